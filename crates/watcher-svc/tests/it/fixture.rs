//! The storage service, watchers on it, and hosts for them.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use host_access::{Ansible, Deps, LogInLedger, RunDir, Ssh};
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::json;
use service_core::bus::{Context, topology};
use service_core::lease::TTL_MIN;
use service_core::model::{Host, HostCreds, HostState, Model, Status};
use service_core::{Bus, Clock, Lifecycle, StorageClient, clock};
use tempfile::TempDir;
use testbed::Testbed;
use testbed::sshd::Sshds;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use watcher_svc::Config;

/// Long enough for anything that works.
const LONG: Duration = Duration::from_secs(90);

/// The storage service, without a watcher yet.
pub(crate) struct Fixture {
    pub(crate) bus: Bus,
    pub(crate) storage: StorageClient,
    /// Of the storage service.
    life: Lifecycle,
    folder: TempDir,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        let fixture = Self::without_storage();
        fixture.start_storage().await;
        fixture
    }

    /// The same before the storage service is started.
    pub(crate) fn without_storage() -> Self {
        log();
        // A short path: control sockets are made below it.
        let folder = tempfile::Builder::new().prefix("w").tempdir().unwrap();
        let bus = Bus::memory();
        let storage = StorageClient::new(bus.clone(), Context::service("test"));
        Self { bus, storage, life: Lifecycle::new(), folder }
    }

    pub(crate) async fn start_storage(&self) {
        let (database, secret_key_file) =
            (self.folder.path().join("store.db"), self.folder.path().join("secret.key"));
        let config = storage_svc::Config::sqlite(database, secret_key_file);
        storage_svc::run(&self.bus, &config, &self.life).await.unwrap();
    }

    /// What a watcher of this name needs.
    pub(crate) fn deps(&self, name: &str) -> Deps {
        Deps {
            bus: self.bus.clone(),
            clock: Clock::System,
            hosts: Arc::new(Ssh::new(
                RunDir::create(&self.folder.path().join("r"), name).unwrap(),
                Ansible::new(None),
            )),
            own_key: SecretString::from("no key"),
            ledger: LogInLedger::new(&self.bus, Clock::System),
            lease_ttl: TTL_MIN,
        }
    }

    /// Starts a watcher; it ends with what is returned.
    pub(crate) async fn watch(&self, config: &Config) -> Lifecycle {
        let life = Lifecycle::new();
        watcher_svc::run(self.deps("w"), config.clone(), &life).await.unwrap();
        life
    }

    /// Registers a host of the testbed that is in this state.
    pub(crate) async fn register(&self, testbed: &Testbed, host: usize, status: Status) {
        let (address, port) = testbed.address(host);
        let key = BASE64.encode(std::fs::read(testbed.key()).unwrap());
        let creds = HostCreds {
            ssh_priv_key: key.into(),
            remote_user: testbed.user(),
            ssh_port: port,
            ssh_host_key: testbed.run(&["host-key", &testbed.hosts()[host]]),
            ..HostCreds::new(address)
        };
        self.add(&creds, status).await;
    }

    /// Registers all hosts of these `sshd`s as active ones.
    pub(crate) async fn register_all(&self, sshds: &Sshds) {
        let key = BASE64.encode(std::fs::read(sshds.key()).unwrap());
        for address in sshds.addresses() {
            let creds = HostCreds {
                ssh_priv_key: key.clone().into(),
                remote_user: testbed::sshd::user(),
                ssh_port: sshds.port(),
                ssh_host_key: sshds.host_key(),
                ..HostCreds::new(address)
            };
            self.add(&creds, Status::Active).await;
        }
    }

    /// A host that is in this state.
    pub(crate) async fn add(&self, creds: &HostCreds, status: Status) {
        let address = creds.address.clone();
        self.storage.save(creds).await.unwrap();
        self.storage.save(&Host { address, status, ..Host::default() }).await.unwrap();
    }

    pub(crate) async fn host(&self, address: &str) -> Host {
        self.storage.get::<Host>(address).await.unwrap().record
    }

    pub(crate) async fn state(&self, address: &str) -> HostState {
        let found = self.storage.find::<HostState>(address).await.unwrap();
        found.map(|state| state.record).unwrap_or_default()
    }

    /// Deletes a record.
    pub(crate) async fn delete<T: Model>(&self, id: &str) {
        self.storage.delete::<T>(id).await.unwrap();
    }

    /// Waits until a host has this status.
    pub(crate) async fn until(&self, address: &str, status: Status) {
        let what = format!("{address} becomes {status}");
        eventually(&what, || async { (self.host(address).await.status == status).then_some(()) })
            .await;
    }

    /// Waits for a check of a host that ends from now on.
    pub(crate) async fn checked(&self, address: &str) {
        self.all_checked(&[address]).await;
    }

    /// Waits for a check of each of these hosts that ends from now on.
    pub(crate) async fn all_checked(&self, addresses: &[&str]) {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let last_checks = || async {
            let hosts = self.storage.get_many::<Host>(&addresses).await.unwrap();
            let hosts = hosts.into_iter().map(|host| host.unwrap().record.last_check);
            hosts.collect::<Vec<_>>()
        };
        let before = last_checks().await;
        eventually(&format!("{addresses:?} are checked"), || async {
            let now = last_checks().await;
            before.iter().zip(&now).all(|(before, now)| before < now).then_some(())
        })
        .await;
    }

    /// The checks of all hosts from now on.
    pub(crate) async fn checks(&self) -> Checks {
        let (storage, mut seen) = (self.storage.clone(), BTreeMap::new());
        Checks::look(&storage, &mut seen).await;
        let (sender, new) = mpsc::unbounded_channel();
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        let looking = tokio::spawn(async move {
            loop {
                for check in Checks::look(&storage, &mut seen).await {
                    drop(sender.send(check));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Checks { new, looking }
    }

    /// Asks for a check.
    pub(crate) async fn ask(&self, address: &str, last_check: &str) {
        let record = json!({"address": address, "last_check": last_check});
        self.bus.notify(topology::WATCH, &record, &Context::default()).await.unwrap();
    }
}

/// Checks of hosts as records and reports show them, looked for in the background.
pub(crate) struct Checks {
    new: mpsc::UnboundedReceiver<(String, Timestamp)>,
    looking: JoinHandle<()>,
}

impl Checks {
    /// The next check: the host, and when it ended.
    pub(crate) async fn next(&mut self) -> (String, Timestamp) {
        self.new.recv().await.expect("the hosts are looked at")
    }

    /// The hosts that have been checked since `seen`.
    async fn look(
        storage: &StorageClient,
        seen: &mut BTreeMap<String, String>,
    ) -> Vec<(String, Timestamp)> {
        let mut new = Vec::new();
        for host in storage.list::<Host>().await.unwrap() {
            let Host { address, last_check, .. } = host.record;
            let Some(time) = clock::parse(&last_check) else { continue };
            let before = seen.insert(address.clone(), last_check.clone());
            if before.is_none_or(|before| before < last_check) {
                new.push((address, time));
            }
        }
        new
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// Intervals of so many seconds, with retries after half a second and one, and alarms that end soon.
pub(crate) fn every(seconds: f64) -> Config {
    serde_json::from_value(json!({
        "interval": seconds, "retry_pauses": [0.5, 1], "connect_timeout": 10, "report_interval": 0.1,
        "alarm_end_after": 0.5,
    }))
    .unwrap()
}

/// Credentials of a host without a key pinned, at a port of this machine.
pub(crate) fn creds(address: &str, listener: &TcpListener) -> HostCreds {
    let ssh_port = listener.local_addr().unwrap().port();
    HostCreds { ssh_port, ..HostCreds::new(address) }
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let begin = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    while begin.elapsed() < LONG {
        ticks.tick().await;
        if let Some(answer) = ask().await {
            return answer;
        }
    }
    panic!("not within {LONG:?}: {what}");
}

/// What was logged in this process: by all its tests.
pub(crate) fn log() -> String {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl Write for Log {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(text);
            Ok(text.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    static LOG: OnceLock<Log> = OnceLock::new();
    let log = LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
        log
    });
    String::from_utf8(log.0.lock().unwrap().clone()).unwrap()
}
