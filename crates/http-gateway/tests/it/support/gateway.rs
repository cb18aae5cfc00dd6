//! A running gateway, with everything behind it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use host_access::{Ansible, Deps, LogInLedger, RunDir, Ssh};
use http_gateway::peer::Peer;
use http_gateway::{Config, Ports, Service, StartError};
use reqwest::{Client, Method, RequestBuilder};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use service_core::bus::{Call, Context, amqp, topology};
use service_core::model::{
    Alarm, Cluster, Event, Host, HostCreds, HostProgress, HostState, Lease, Model, Network,
    NetworkType, Operation, Status, WriteProbe,
};
use service_core::{Bus, Clock, Error, Files, Lifecycle, StorageClient};
use storage_svc::config::Handler;
use storage_svc::store::{Commit, Entry, Store};
use testbed::etcd::Etcd;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::{Answer, Custodia, HOST_KEY, raw};

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
            storage: Storage::Real,
            executor: Executor::Absent,
            managers: Managers::Absent,
            trials: None,
            public_key: None,
            self_auths: Vec::new(),
            custodia: None,
            trusted_proxies: Vec::new(),
            audit_log: None,
            timeout: service_core::bus::REQUEST_TIMEOUT,
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
        let Form { bus, handler, store, etcd } = Form::new(folder.path(), &life).await;
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
            Executor::Answers(answer) => recorder(&bus, topology::CLUSTEREXEC, &life, answer).await,
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

/// What the services stand on: `COMMISSAIRE_TEST_FORM=distributed` says that of the six daemons.
struct Form {
    bus: Bus,
    handler: Handler,
    store: Store,
    etcd: Option<Etcd>,
}

impl Form {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration but this")]
    async fn new(folder: &Path, life: &Lifecycle) -> Self {
        if std::env::var("COMMISSAIRE_TEST_FORM").as_deref() == Ok("distributed") {
            return Self::distributed(life).await;
        }
        let path = folder.join("store.db");
        let store = Store::sqlite(&path).unwrap();
        Self { bus: Bus::memory(), handler: Handler::sqlite(path), store, etcd: None }
    }

    /// The broker of all tests, an exchange and an etcd of this fixture's own.
    async fn distributed(life: &Lifecycle) -> Self {
        let amqp = amqp::Options {
            uri: testbed::rabbitmq::shared_uri().into(),
            exchange: format!("test-{}", service_core::random::uuid()),
            name: "test".to_owned(),
        };
        let etcd = Etcd::up();
        let options = json!({"server_url": etcd.endpoints()});
        let options: service_core::etcd::Options = serde_json::from_value(options).unwrap();
        let store = Store::etcd(&options).await.unwrap();
        let bus = Bus::amqp(&amqp, life).await.unwrap();
        Self { bus, handler: Handler::etcd(options), store, etcd: Some(etcd) }
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
        lease_ttl: service_core::lease::TTL,
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

// Requests
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

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", &format!("{V0}{path}"), "").await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send("PUT", &format!("{V0}{path}"), body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", &format!("{V0}{path}"), "").await
    }

    pub(crate) async fn post(&self, path: &str) -> Answer {
        self.send("POST", &format!("{V0}{path}"), "").await
    }

    /// A request of the user, with any method, path and body.
    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let request = self.request(method, target).basic_auth(USER, Some(PASSWORD));
        self.answer(request.body(body)).await
    }

    /// A request without credentials but for this `Authorization` header.
    pub(crate) async fn send_as(&self, authorization: &str, method: &str, target: &str) -> Answer {
        let request = self.request(method, target);
        let request = match authorization {
            "" => request,
            value => request.header("authorization", value),
        };
        self.answer(request).await
    }

    /// A request of the user with one more header.
    pub(crate) async fn send_with(
        &self,
        (name, value): (&str, &str),
        method: &str,
        target: &str,
        body: &str,
    ) -> Answer {
        let request = self.request(method, target).basic_auth(USER, Some(PASSWORD));
        self.answer(request.header(name, value).body(body.to_owned())).await
    }

    /// A request with any headers and body, and no credentials but among them.
    pub(crate) async fn send_plain(
        &self,
        headers: &[(&str, &str)],
        (method, target): (&str, &str),
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let mut request = self.request(method, target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.answer(request.body(body)).await
    }

    /// A request of the user that is not sent yet.
    pub(crate) fn request_of_user(&self, method: &str, path: &str) -> RequestBuilder {
        self.request(method, &format!("{V0}{path}")).basic_auth(USER, Some(PASSWORD))
    }

    fn request(&self, method: &str, target: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("http://{}{target}", self.address))
    }

    /// A request of `user` to one of the gateways, with an `Idempotency-Key`.
    pub(crate) async fn keyed(
        &self,
        (address, user, key): (SocketAddr, &str, &str),
        method: &str,
        path: &str,
        body: Value,
    ) -> Answer {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.client.request(method, format!("http://{address}{V0}{path}"));
        let request = request.basic_auth(user, Some(PASSWORD)).header("idempotency-key", key);
        over_a_socket(request.body(body.to_string())).await
    }

    /// The answer to a request, of the service itself where it runs here.
    async fn answer(&self, request: RequestBuilder) -> Answer {
        let Some(service) = &self.service else { return over_a_socket(request).await };
        let what = format!("{request:?}");
        let response = service.answer(received(request)).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec();
        Answer { what, status, headers, body }
    }

    /// Another gateway over the same bus, as this configuration has it, without a socket.
    pub(crate) async fn service_with(&self, config: &Config) -> Result<Service, StartError> {
        let ports = Ports::system(self.bus.clone(), config)?;
        http_gateway::service(ports, config, &self.life).await
    }

    /// A request of the user whose target, method and body nobody has touched.
    pub(crate) async fn raw(&self, method: &str, target: &[u8], body: &[u8]) -> Answer {
        self.raw_as(basic(format!("{USER}:{PASSWORD}")).as_bytes(), method, target, body).await
    }

    /// The same with any `Authorization` header.
    pub(crate) async fn raw_as(
        &self,
        authorization: &[u8],
        method: &str,
        target: &[u8],
        body: &[u8],
    ) -> Answer {
        let length = body.len();
        let rest = format!(
            "\r\nHost: test\r\nContent-Length: {length}\r\nConnection: close\r\nAuthorization: "
        );
        let line = [method.as_bytes(), b" ", target, b" HTTP/1.1"].concat();
        let request = [&line, rest.as_bytes(), authorization, b"\r\n\r\n", body].concat();
        raw::exchange(self.address, &request).await
    }

    /// Bytes, whatever they are.
    pub(crate) async fn bytes(&self, request: &[u8]) -> Answer {
        raw::exchange(self.address, request).await
    }
}

/// As a server gives it to the service: the path alone, and who is at the other end.
fn received(request: RequestBuilder) -> Request<reqwest::Body> {
    let mut request = Request::try_from(request.build().unwrap()).unwrap();
    let target = request.uri().path_and_query().unwrap().as_str();
    *request.uri_mut() = target.parse().unwrap();
    let peer: SocketAddr = "127.0.0.1:4711".parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(Peer::from(peer)));
    request
}

async fn over_a_socket(request: RequestBuilder) -> Answer {
    let what = format!("{request:?}");
    let response = request.send().await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { what, status, headers, body: response.bytes().await.unwrap().to_vec() }
}

// What is behind it
impl Gateway {
    /// A host that is in this state, with the credentials it was registered with.
    pub(crate) async fn host(&self, address: &str, status: Status) {
        let host = Host { address: address.to_owned(), status, ..Host::default() };
        self.storage.save(&host).await.unwrap();
        self.storage.save(&HostCreds::new(address)).await.unwrap();
    }

    /// A cluster in the default network with these members.
    pub(crate) async fn cluster(&self, name: &str, members: &[&str]) {
        let (name, network) = (name.to_owned(), Network::DEFAULT.to_owned());
        let hostset = members.iter().map(ToString::to_string).collect();
        let cluster = Cluster { name, network, hostset, ..Cluster::default() };
        self.storage.save(&cluster).await.unwrap();
    }

    /// An operation in process on this cluster.
    pub(crate) async fn operation_on(&self, cluster: &str) {
        let (name, owner) = (format!("operation.{cluster}"), "executor".to_owned());
        let lease = Lease { name, owner, counter: 1, ttl_ms: 60_000, ..Lease::default() };
        self.storage.save(&lease).await.unwrap();
    }

    /// An alarm of this scope.
    pub(crate) async fn alarm(&self, scope: &str) {
        let since = "2026-11-28T05:00:00.000000".to_owned();
        let reason = "4 of 10 hosts became unreachable or refuse log-ins at once".to_owned();
        let alarm = Alarm { scope: scope.to_owned(), since, share: 0.4, reason };
        self.storage.save(&alarm).await.unwrap();
    }

    /// A restart of the cluster `c1`, in process, but for these members.
    pub(crate) async fn operation(&self, id: &str, members: Value) -> Operation {
        let mut operation = json!({"id": id, "cluster": "c1", "kind": "restart", "hosts": [],
            "started_by": "admin", "request_id": "r", "started_at": "2026-11-26T05:00:00.000000"});
        operation.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let operation: Operation = serde_json::from_value(operation).unwrap();
        self.storage.save(&operation).await.unwrap()
    }

    /// A host's part in an operation.
    pub(crate) async fn progress(&self, operation: &str, address: &str, members: Value) {
        let id = HostProgress::id_of(operation, address);
        let mut progress = json!({"id": id, "address": address});
        progress.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self.storage
            .save::<HostProgress>(&serde_json::from_value(progress).unwrap())
            .await
            .unwrap();
    }

    /// An event of an operation.
    pub(crate) async fn event(&self, operation: &str, seq: u64, detail: &str) {
        let event = json!({"id": Event::id_of(operation, seq), "seq": seq, "outcome": "ok",
            "time": "2026-11-26T05:00:01.000000", "host": "10.0.0.1", "step": "probe",
            "detail": detail});
        self.storage.save::<Event>(&serde_json::from_value(event).unwrap()).await.unwrap();
    }

    /// What is known about a host beyond its record.
    pub(crate) async fn host_state(&self, state: Value) {
        let state: HostState = serde_json::from_value(state).unwrap();
        self.storage.save(&state).await.unwrap();
    }

    /// What [`super::ROUTES`] and [`super::WITH_BODY`] speak of; `10.0.0.2` is a host in no cluster.
    pub(crate) async fn with_everything(self) -> Self {
        self.host("10.0.0.1", Status::Active).await;
        self.host_state(json!({"address": "10.0.0.1", "seen_host_key": HOST_KEY})).await;
        self.host("10.0.0.2", Status::Disassociated).await;
        self.cluster("c1", &["10.0.0.1"]).await;
        let ended = json!({"status": "finished", "finished_at": "2026-11-26T05:01:00.000000",
                           "hosts": ["10.0.0.1"]});
        self.operation("o1", ended).await;
        self.progress("o1", "10.0.0.1", json!({"step": "done"})).await;
        self.event("o1", 1, "").await;
        self.put("/network/n1", json!({}))
            .await
            .is(201, &json!({"name": "n1", "type": "flannel_etcd", "options": {}}));
        self.put("/containermanager/k1", json!({"type": "trivial"}))
            .await
            .is(201, &json!({"name": "k1", "type": "trivial", "options": {}}));
        self
    }

    /// A record as it is stored.
    pub(crate) async fn stored<T: Model>(&self, id: &str) -> Option<T> {
        self.storage.find::<T>(id).await.unwrap().map(|found| found.record)
    }

    /// The lines of the audit log.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.audit_log).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Everything that is stored, with revisions, but for the probe that `/readyz` writes.
    pub(crate) async fn records(&self) -> Vec<Entry> {
        let all = self.store.list("/").await.unwrap();
        all.iter().filter(|entry| !entry.key.starts_with(WriteProbe::PREFIX)).cloned().collect()
    }

    /// Writes over a record, past the storage service.
    pub(crate) async fn damage<T: Model>(&self, id: &str, value: &str) {
        let puts = vec![(T::key(id), value.to_owned())];
        let done = self.store.commit(Commit { puts, ..Commit::default() }).await.unwrap();
        assert_eq!(done.replaced, [true]);
    }

    /// What the container manager service was asked so far: methods and parameters.
    pub(crate) fn registrations(&self) -> Vec<(String, Value)> {
        let calls = self.registrations.lock().unwrap();
        calls.iter().map(|call| (call.method.clone(), call.params.0.clone())).collect()
    }

    /// The credentials that were tried so far.
    pub(crate) fn trials(&self) -> Vec<Value> {
        self.trials.lock().unwrap().iter().map(|call| call.params.0.clone()).collect()
    }

    /// What the executor was asked so far.
    pub(crate) fn restarts(&self) -> Vec<Call> {
        self.restarts.lock().unwrap().clone()
    }

    /// The hosts that the investigator was sent to since this was last asked.
    pub(crate) async fn investigations(&self) -> Vec<String> {
        // Messages are taken in turn: when this one has arrived, those before it have.
        let last = json!({"address": "last"});
        self.bus.notify(topology::INVESTIGATE, &last, &Context::default()).await.unwrap();
        let mut addresses = Vec::new();
        while addresses.last().is_none_or(|address| address != "last") {
            tokio::task::yield_now().await;
            let calls = std::mem::take(&mut *self.investigations.lock().unwrap());
            let address = |call: &Call| call.params.0["address"].as_str().unwrap().to_owned();
            addresses.extend(calls.iter().map(address));
        }
        addresses.pop();
        addresses
    }
}
