//! A cluster of simulated hosts, and executors of its operations.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bus::{Bus, Call, Context, Error, topology};
use clusterexec_svc::Config;
use clusterexec_svc::context::Context as ExecutorContext;
use clusterexec_svc::web::{MemoryServer, Web};
use host_access::{Deps, LogInLedger};
use model::{
    Address, Cluster, ClusterMember, Host, HostCreds, HostState, Model, Network, Operation,
    OperationControl, OperationEvent, OperationHost, Outcome, Status, Step, Wanted,
};
use runtime::{Clock, Lifecycle};
use serde_json::{Value, json};
use simulated_hosts::SimulatedHosts;
use storage_client::{StorageClient, Transaction, lease};
use storage_svc::Handler;
use storage_svc::store::Memory;
use tokio::time::{Instant, sleep};

/// Members that join in one transaction.
const AT_A_TIME: usize = 100;

/// How long tests wait for what should happen, in paused time.
const HANG: Duration = Duration::from_hours(4);

/// The shortest and the longest pause between two looks.
const LOOK_MIN: Duration = Duration::from_millis(50);
const LOOK_MAX: Duration = Duration::from_secs(1);

/// How long a request of an executor takes to storage.
const LATENCY: Duration = Duration::from_millis(2);

/// The machine that the executors run on.
pub(crate) const OWN_BOOT_ID: &str = "ffffffff-0000-4000-8000-000000000000";

/// The cluster `c1`, its hosts, the storage service, and a clock that follows paused time.
pub(crate) struct Fleet {
    pub(crate) hosts: SimulatedHosts,
    pub(crate) storage: StorageClient,
    pub(crate) clock: Clock,
    /// The receiver of webhook calls.
    pub(crate) receiver: MemoryServer,
    pub(crate) bus: Bus,
    /// The number of log-ins of executors.
    log_ins: Arc<AtomicUsize>,
    pub(crate) life: Lifecycle,
    _folder: tempfile::TempDir,
}

/// When an executor is killed.
struct Kill {
    number: usize,
    is_carried_out: bool,
    hosts: SimulatedHosts,
}

/// One executor, with links of its own to storage and hosts.
pub(crate) struct Executor {
    bus: Bus,
    life: Lifecycle,
    hosts: SimulatedHosts,
    is_cut: Arc<AtomicBool>,
}

pub(crate) fn address(number: usize) -> Address {
    format!("10.0.0.{}", number + 1).into()
}

impl Fleet {
    pub(crate) async fn start(count: usize) -> Self {
        let (bus, life, folder) = (Bus::memory(), Lifecycle::new(), tempfile::tempdir().unwrap());
        let config = storage_svc::Config::new(folder.path().join("secret.key"));
        let config = config.or_handler(Handler::memory(Memory::default()));
        storage_svc::run(&bus, &config, &life).await.unwrap();
        let clock = Clock::simulated("2026-11-28T12:00:00Z".parse().unwrap());
        let storage = StorageClient::new(bus.clone(), Context::service("test"));
        let log_ins = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&log_ins);
        let hosts = SimulatedHosts::default().observed(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let receiver = MemoryServer::default();
        let fleet = Self { hosts, storage, clock, receiver, bus, log_ins, life, _folder: folder };
        for number in 0..count {
            fleet.register(number).await;
        }
        let hostset = (0..count).map(address).collect();
        fleet.set_members(hostset).await;
        fleet
    }

    async fn register(&self, number: usize) {
        let address = address(number);
        self.hosts.add(&address);
        let key = self.hosts.edit(&address, |machine| machine.host_key.clone());
        let creds = HostCreds { ssh_host_key: key, ..HostCreds::new(&address) };
        let (status, os) = (Status::Active, "debian".to_owned());
        let host = Host { address, status, os, ..Host::default() };
        let transaction = Transaction::default().save(&host).unwrap().save(&creds).unwrap();
        self.storage.transact(&transaction).await.unwrap();
    }

    /// The number of log-ins of executors since it was last asked for.
    pub(crate) fn take_log_ins(&self) -> usize {
        self.log_ins.swap(0, Ordering::SeqCst)
    }

    /// Gives the cluster these members, as an operator does.
    pub(crate) async fn set_members(&self, hostset: Vec<Address>) {
        let (name, network) = ("c1".into(), Network::DEFAULT.to_owned());
        let (first, others) = hostset.split_at(hostset.len().min(AT_A_TIME));
        let cluster = Cluster { name, network, hostset: first.to_vec(), ..Cluster::default() };
        self.storage.save(&cluster).await.unwrap();
        for part in others.chunks(AT_A_TIME) {
            let member = |address: &Address| {
                let (address, cluster) = (address.clone(), "c1".into());
                ClusterMember { address, cluster }
            };
            let join = part
                .iter()
                .map(member)
                .try_fold(Transaction::default(), |all, member| all.create(&member));
            self.storage.transact(&join.unwrap()).await.unwrap();
        }
    }

    pub(crate) async fn executor(&self) -> Executor {
        self.executor_with(Config::default()).await
    }

    pub(crate) async fn executor_with(&self, config: Config) -> Executor {
        let own = OWN_BOOT_ID.to_owned();
        self.executor_on(config, self.hosts.handle(), own, None).await
    }

    /// An executor that runs on one of the hosts.
    pub(crate) async fn executor_on_host(&self, number: usize) -> Executor {
        let own = self.hosts.boot_id(&address(number));
        self.executor_on(Config::default(), self.hosts.handle(), own, None).await
    }

    async fn executor_on(
        &self,
        config: Config,
        hosts: SimulatedHosts,
        own_boot_id: String,
        kill: Option<Kill>,
    ) -> Executor {
        let (life, is_cut) = (Lifecycle::new(), Arc::new(AtomicBool::new(false)));
        let bus = self.link(&is_cut, kill).await;
        let deps = Deps {
            ledger: LogInLedger::new(&bus, self.clock.clone()),
            bus: bus.clone(),
            clock: self.clock.clone(),
            hosts: Arc::new(hosts.clone()),
            own_key: "key".into(),
            lease_ttl: lease::TTL,
        };
        let web = Web::Memory(self.receiver.clone());
        let context = ExecutorContext::new(deps, config, web, own_boot_id, &life).unwrap();
        clusterexec_svc::serve(context).await.unwrap();
        Executor { bus, life, hosts, is_cut }
    }

    /// An executor that is killed at its request number `number` to storage: before that is carried out, or after it and
    /// before the answer.
    pub(crate) async fn executor_killed_at(
        &self,
        config: Config,
        number: usize,
        is_carried_out: bool,
    ) -> Executor {
        let kill = Kill { number, is_carried_out, hosts: self.hosts.handle() };
        let own = OWN_BOOT_ID.to_owned();
        self.executor_on(config, kill.hosts.clone(), own, Some(kill)).await
    }

    /// A bus that passes on requests to the storage service and the container manager service, until it is cut.
    async fn link(&self, is_cut: &Arc<AtomicBool>, kill: Option<Kill>) -> Bus {
        let (hub, bus, cut) = (self.bus.clone(), Bus::memory(), Arc::clone(is_cut));
        let (kill, requests) = (kill.map(Arc::new), Arc::new(AtomicUsize::new(0)));
        let forward = move |call: Call| {
            let (hub, cut, kill) = (hub.clone(), Arc::clone(&cut), kill.clone());
            let number = requests.fetch_add(1, Ordering::SeqCst);
            async move {
                sleep(LATENCY).await;
                let kill = kill.filter(|kill| kill.number == number);
                if let Some(kill) = &kill {
                    if kill.is_carried_out {
                        // What came of it is lost with the one who asked.
                        drop(hub.ask(&call.key, &call.params.value(), &call.context).await);
                    }
                    cut.store(true, Ordering::SeqCst);
                    kill.hosts.sever();
                }
                if cut.load(Ordering::SeqCst) {
                    return std::future::pending().await;
                }
                hub.ask(&call.key, &call.params.value(), &call.context).await
            }
        };
        let prefetch = usize::from(u16::MAX);
        bus.serve(topology::STORAGE, prefetch, &self.life, forward.clone()).await.unwrap();
        bus.serve(topology::CONTAINERMGR, prefetch, &self.life, forward).await.unwrap();
        bus
    }

    pub(crate) async fn find<M: Model>(&self, id: &str) -> Option<M> {
        self.storage.find::<M>(id).await.unwrap().map(|found| found.record)
    }

    pub(crate) async fn operation(&self, id: &str) -> Operation {
        self.find(id).await.unwrap()
    }

    /// The part of a host in an operation.
    pub(crate) async fn part(&self, id: &str, number: usize) -> OperationHost {
        let part = self.find(&OperationHost::id_of(id, &address(number))).await;
        part.unwrap_or_else(|| OperationHost::pending(id, &address(number)))
    }

    /// Waits for the end of an operation.
    pub(crate) async fn ended(&self, id: &str) -> Operation {
        let ended = self.until("the operation ends", async || {
            Some(self.operation(id).await).filter(|operation| operation.finished_at.is_some())
        });
        let ended = ended.await;
        let numbers: Vec<_> = self.events(id).await.iter().map(|event| event.seq).collect();
        let expected: Vec<_> = (1..).take(numbers.len()).collect();
        assert_eq!(numbers, expected, "the numbers of its events");
        ended
    }

    /// The last event of an operation.
    pub(crate) async fn last_event(&self, id: &str) -> (Outcome, String) {
        let last = self.events(id).await.pop().unwrap();
        (last.outcome, last.detail)
    }

    /// Waits until a host is at a step.
    pub(crate) async fn at(&self, id: &str, number: usize, step: Step) {
        let what = format!("host {number} is at {step}");
        self.until(&what, async || (self.part(id, number).await.step == step).then_some(())).await;
    }

    /// Waits until the operation is paused; the reason.
    pub(crate) async fn paused(&self, id: &str) -> String {
        self.until("the operation is paused", async || {
            let control = self.find::<OperationControl>(id).await?;
            (control.wanted == Wanted::Pause).then_some(control.reason)
        })
        .await
    }

    pub(crate) async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(begun.elapsed() < HANG, "{what}: not within {HANG:?}");
            // As exact as it has to be: each look takes processor time.
            sleep((begun.elapsed() / 100).clamp(LOOK_MIN, LOOK_MAX)).await;
        }
    }

    /// What an operator says about an operation.
    pub(crate) async fn say(&self, id: &str, wanted: Wanted) {
        let (id, by) = (id.to_owned(), "ann".to_owned());
        let said = OperationControl { id, wanted, by, ..OperationControl::default() };
        self.storage.save(&said).await.unwrap();
    }

    pub(crate) async fn state(&self, number: usize) -> HostState {
        self.find(&address(number)).await.unwrap_or_default()
    }

    pub(crate) async fn status(&self, number: usize) -> Status {
        self.find::<Host>(&address(number)).await.unwrap().status
    }

    /// The log of an operation.
    pub(crate) async fn events(&self, id: &str) -> Vec<OperationEvent> {
        let all = self.storage.list::<OperationEvent>().await.unwrap().into_iter();
        let prefix = format!("{id}.");
        all.map(|event| event.record).filter(|event| event.id.starts_with(&prefix)).collect()
    }

    /// The words of the events of an operation with this outcome, in their order.
    pub(crate) async fn reasons(&self, id: &str, outcome: Outcome) -> Vec<String> {
        let events = self.events(id).await.into_iter();
        let events = events.filter(|event| event.outcome == outcome && !event.reason.is_empty());
        events.map(|event| event.reason).collect()
    }

    /// What the log says about one step of a host.
    pub(crate) async fn logged(
        &self,
        id: &str,
        number: usize,
        step: Step,
    ) -> Vec<(Outcome, String)> {
        let (address, step) = (address(number), step.to_string());
        let events = self.events(id).await.into_iter();
        let events = events.filter(|event| event.host == address && event.step == step);
        events.map(|event| (event.outcome, event.detail)).collect()
    }

    /// Checks that these hosts were rebooted, in this order, each once, and never while more than `budget` were down,
    /// itself included.
    pub(crate) fn assert_commands(&self, expected: &[usize], budget: usize) {
        let commands = self.hosts.commands();
        let rebooted = commands.iter().map(|command| Address::from(command.address.as_str()));
        let rebooted: Vec<_> = rebooted.collect();
        let expected: Vec<_> = expected.iter().map(|number| address(*number)).collect();
        assert_eq!(rebooted, expected);
        for command in commands {
            assert!(command.down.len() < budget, "more than {budget} are unavailable: {command:?}");
        }
    }
}

impl Executor {
    pub(crate) async fn ask(&self, method: &str, params: Value) -> Result<Value, Error> {
        let key = format!("jobs.clusterexec.{method}");
        let answer = self.bus.ask(&key, &params, &Context::service("test")).await?;
        Ok(answer.parse().unwrap())
    }

    /// Starts the operation `o1`.
    pub(crate) async fn start(&self, method: &str, options: Value) -> Result<Value, Error> {
        let version = if method == "deploy" { "42.1" } else { "" };
        let mut params = json!({"cluster_name": "c1", "operation_id": "o1", "options": options});
        if !version.is_empty() {
            params["version"] = json!(version);
        }
        self.ask(method, params).await
    }

    /// Starts the restart `o1`, by default without a time to settle.
    pub(crate) async fn restart(&self, mut options: Value) {
        if options.get("settle").is_none() {
            options["settle"] = json!(0);
        }
        self.start("restart", options).await.unwrap();
    }

    /// Whether it was killed.
    pub(crate) fn is_dead(&self) -> bool {
        self.is_cut.load(Ordering::SeqCst)
    }

    /// From now on, nothing comes from it, as if it had been killed.
    pub(crate) fn kill(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        self.hosts.sever();
    }

    /// Cuts it off from the storage service, and from nothing else.
    pub(crate) fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
    }

    /// Stops it as systemd does.
    pub(crate) async fn stop(&self) {
        self.life.shutdown(Duration::from_secs(20)).await;
    }
}

// The tasks of a dropped fleet would run on in the paused time of the next fleet of the same test.
impl Drop for Fleet {
    fn drop(&mut self) {
        self.life.stop();
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.kill();
        self.life.stop();
    }
}
