//! A running gateway, with everything behind it.

mod behind;
mod ground;
mod requests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bus::presence::{self, Presence};
use bus::{Bus, Call, Context, Error, topology};
use host_access::{Ansible, Deps, LogInLedger, RunDir, Ssh};
use http_gateway::{Config, Ports, Service};
use model::{Network, NetworkType};
use reqwest::Client;
use runtime::{Clock, Files, Lifecycle};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use storage_client::StorageClient;
use storage_svc::store::Store;
use testbed::etcd::Etcd;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use self::ground::Ground;
use super::{Custodia, in_time};

pub(crate) use self::ground::Form;

/// What every path of the API begins with.
pub(crate) const V0: &str = "/api/v0";

pub(crate) const USER: &str = "admin";
pub(crate) const PASSWORD: &str = "se:cret";

/// How the storage service behaves.
pub(crate) enum Storage {
    Real,
    Absent,
    Silent,
}

/// How the cluster executor behaves.
pub(crate) enum Executor {
    Absent,
    Silent,
    Answers(Result<Value, Error>),
    Real,
}

/// How the container manager service behaves.
pub(crate) enum Managers {
    Absent,
    Real,
    Answers(Result<Value, Error>),
}

/// What a fixture is made of.
pub(crate) struct Setup {
    /// `COMMISSAIRE_TEST_FORM=distributed` makes it the distributed one for every test.
    pub(crate) form: Form,
    pub(crate) storage: Storage,
    pub(crate) executor: Executor,
    pub(crate) managers: Managers,
    /// How trials of credentials end; `None`: nobody tries any.
    pub(crate) trials: Option<Result<Value, Error>>,
    pub(crate) public_key: Option<&'static str>,
    pub(crate) self_auths: Vec<String>,
    /// The keeper of secrets.
    pub(crate) custodia: Option<Custodia>,
    /// Who is believed about where a request comes from.
    pub(crate) trusted_proxies: Vec<String>,
    /// The file of the audit log; one of the fixture's own when left out.
    pub(crate) audit_log: Option<PathBuf>,
    /// How long the gateway waits for an answer on the bus.
    pub(crate) timeout: Duration,
    /// Everything else that it is told.
    pub(crate) config: Config,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            form: Form::of_this_run(),
            storage: Storage::Real,
            executor: Executor::Absent,
            managers: Managers::Absent,
            trials: None,
            public_key: None,
            self_auths: Vec::new(),
            custodia: None,
            trusted_proxies: Vec::new(),
            audit_log: None,
            timeout: bus::REQUEST_TIMEOUT,
            config: Config::default(),
        }
    }
}

/// Messages that a stand-in got.
type Calls = Arc<Mutex<Vec<Call>>>;

/// See the module.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    /// It is called without a socket, unless it runs elsewhere.
    service: Option<Service>,
    config: Config,
    pub(crate) bus: Bus,
    pub(crate) storage: StorageClient,
    /// Where the state of health is served, if on a listener of its own.
    pub(crate) health: Option<SocketAddr>,
    pub(crate) life: Lifecycle,
    client: Client,
    store: Store,
    _ground: (tempfile::TempDir, Option<Etcd>),
    restarts: Calls,
    investigations: Calls,
    registrations: Calls,
    trials: Calls,
    audit_log: PathBuf,
}

impl Setup {
    pub(crate) async fn start(self) -> Gateway {
        let folder = tempfile::tempdir().unwrap();
        let life = Lifecycle::new();
        let Ground { bus, handler, store, etcd } = Ground::new(self.form, &life).await;
        let storage = StorageClient::new(bus.clone(), Context::service("test"));
        match self.storage {
            Storage::Absent => {}
            Storage::Silent => silent(&bus, topology::STORAGE, &life).await,
            Storage::Real => {
                let secret_key_file = folder.path().join("secret.key");
                let config = storage_svc::Config::new(secret_key_file).or_handler(handler.clone());
                storage_svc::run(&bus, &config, &life).await.unwrap();
                let (name, options) = (Network::DEFAULT.to_owned(), Map::new());
                let default = Network { name, kind: NetworkType::FlannelEtcd, options };
                storage.save(&default).await.unwrap();
            }
        }
        let restarts = match self.executor {
            Executor::Absent => Calls::default(),
            Executor::Silent => {
                silent(&bus, topology::CLUSTEREXEC, &life).await;
                Calls::default()
            }
            Executor::Answers(answer) => {
                until_present(&bus, topology::CLUSTEREXEC, &life).await;
                recorder(&bus, topology::CLUSTEREXEC, &life, answer).await
            }
            Executor::Real => {
                executor(&bus, folder.path(), &life).await;
                Calls::default()
            }
        };
        let registrations = match self.managers {
            Managers::Absent => Calls::default(),
            Managers::Real => {
                let config = containermgr_svc::Config::default();
                containermgr_svc::run(bus.clone(), config, Files::System, &life).await.unwrap();
                Calls::default()
            }
            Managers::Answers(answer) => {
                recorder(&bus, topology::CONTAINERMGR, &life, answer).await
            }
        };
        let trials = match self.trials {
            None => Calls::default(),
            Some(answer) => recorder(&bus, topology::HOSTS, &life, answer).await,
        };
        let investigations = recorder(&bus, topology::INVESTIGATOR, &life, Ok(Value::Null)).await;

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ssh_public_key_file = self.public_key.map(|key| {
            let file = folder.path().join("id.pub");
            std::fs::write(&file, key).unwrap();
            file
        });
        let custodia_socket_path = self.custodia.map(|custodia| {
            let socket = folder.path().join("custodia.sock");
            custodia.serve(&socket, &life);
            socket
        });
        let audit_log = self.audit_log.unwrap_or_else(|| folder.path().join("audit.log"));
        let config = Config {
            authentication_plugins: serde_json::from_value(plugins()).unwrap(),
            self_auths: self.self_auths,
            custodia_socket_path: custodia_socket_path.or(self.config.custodia_socket_path),
            ssh_public_key_file: ssh_public_key_file.or(self.config.ssh_public_key_file),
            trusted_proxies: self.trusted_proxies.try_into().unwrap(),
            audit_log: Some(audit_log.clone()),
            ..self.config
        };
        let gateway_bus = bus.with_timeout(self.timeout);
        let ports = Ports::system(gateway_bus, &config).unwrap();
        let service = http_gateway::service(ports, &config, &life).await.unwrap();
        let health = http_gateway::listen(service.clone(), &config, listener, &life).unwrap();
        let client = Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        Gateway {
            address,
            service: Some(service),
            config,
            bus,
            storage,
            health,
            life,
            client,
            store,
            restarts,
            investigations,
            registrations,
            trials,
            audit_log,
            _ground: (folder, etcd),
        }
    }
}

/// The authentication of every fixture: two administrators, and a user for each other role, named after
/// it. All have the same password, with the cheapest hash there is.
fn plugins() -> Value {
    let hash = bcrypt::hash(PASSWORD, 4).unwrap();
    let mut users = json!({USER: {"hash": hash}, "other": {"hash": hash}});
    for role in ["operator", "reader", "enroll"] {
        users[role] = json!({"hash": hash, "role": role});
    }
    json!([{"name": "httpbasicauth", "users": users}])
}

/// An `Authorization` header's value.
pub(crate) fn basic(user_and_password: impl AsRef<[u8]>) -> String {
    format!("Basic {}", BASE64.encode(user_and_password))
}

async fn executor(bus: &Bus, folder: &Path, life: &Lifecycle) {
    let deps = Deps {
        bus: bus.clone(),
        clock: Clock::System,
        hosts: Arc::new(Ssh::new(RunDir::create(folder, "x").unwrap(), Ansible::new(None))),
        own_key: SecretString::default(),
        ledger: LogInLedger::new(bus, Clock::System),
        lease_ttl: storage_client::lease::TTL,
    };
    let config = clusterexec_svc::Config::default();
    clusterexec_svc::run(deps, config, "no machine".to_owned(), life).await.unwrap();
}

async fn silent(bus: &Bus, queue: topology::Queue, life: &Lifecycle) {
    bus.serve(queue, 256, life, |_| std::future::pending::<Result<Value, Error>>()).await.unwrap();
}

async fn recorder(
    bus: &Bus,
    queue: topology::Queue,
    life: &Lifecycle,
    answer: Result<Value, Error>,
) -> Calls {
    let calls = Calls::default();
    let record = Arc::clone(&calls);
    let handler = move |call| {
        record.lock().unwrap().push(call);
        std::future::ready(answer.clone())
    };
    bus.serve(queue, 1, life, handler).await.unwrap();
    calls
}

/// Answers pings as a service does that consumes from this queue, from now on.
async fn until_present(bus: &Bus, queue: topology::Queue, life: &Lifecycle) {
    presence::answer_pings(bus, queue.name, life);
    let (context, window) = (Context::default(), Duration::from_millis(50));
    let has_answered = |found: &[Presence]| found.iter().any(|found| found.service == queue.name);
    let ping = async || presence::ping(bus, &context, window, has_answered).await.unwrap();
    in_time(async { while !has_answered(&ping().await) {} }).await;
}

impl Gateway {
    /// With the storage service, without an executor.
    pub(crate) async fn start() -> Self {
        Setup::default().start().await
    }

    /// Another gateway over the same bus and the same store.
    pub(crate) async fn another(&self) -> Self {
        self.another_until(&self.life).await
    }

    /// The same with a lifecycle of its own.
    pub(crate) async fn another_until(&self, life: &Lifecycle) -> Self {
        self.another_on(&Handle::current(), life).await
    }

    /// The same with all its tasks on this runtime.
    pub(crate) async fn another_on(&self, runtime: &Handle, life: &Lifecycle) -> Self {
        let (bus, config, lifecycle) = (self.bus.clone(), self.config.clone(), life.clone());
        let starting = runtime.spawn(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            (address, http_gateway::run(bus, &config, listener, &lifecycle).await.unwrap())
        });
        let (address, health) = starting.await.unwrap();
        Self {
            address,
            service: None,
            config: self.config.clone(),
            health,
            life: life.clone(),
            audit_log: self.audit_log.clone(),
            trials: Arc::clone(&self.trials),
            bus: self.bus.clone(),
            storage: self.storage.clone(),
            client: self.client.clone(),
            store: self.store.clone(),
            restarts: Arc::clone(&self.restarts),
            investigations: Arc::clone(&self.investigations),
            registrations: Arc::clone(&self.registrations),
            _ground: (tempfile::tempdir().unwrap(), None),
        }
    }

    /// With an executor that answers like this.
    pub(crate) async fn with_executor(answer: Result<Value, Error>) -> Self {
        Setup { executor: Executor::Answers(answer), ..Setup::default() }.start().await
    }
}
