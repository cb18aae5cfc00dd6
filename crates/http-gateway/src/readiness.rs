//! Whether the gateway can serve, which services are running, and which alarms last: what `/readyz` answers.
//!
//! Anonymous clients may ask as often as they like, so results are cached, and one request at a time
//! does the work that the others wait for.

use std::sync::Arc;
use std::time::Duration;

use bus::presence::{self, Presence};
use bus::{Bus, Context, Error, topology, warn_unless_outage};
use model::{Alarm, ContainerManagerConfig, LastBackup, Network, WaitReason, WriteProbe};
use runtime::Clock;
use serde_json::{Map, Value, json};
use storage_client::StorageClient;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::audit::Audit;

/// Timeout of each check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the result of the checks is used.
const CHECKS_AGE: Duration = Duration::from_secs(1);

/// How long a successful write to the store counts.
const WRITE_AGE: Duration = Duration::from_secs(30);

/// How long a failed write to the store counts.
const FAILED_WRITE_AGE: Duration = Duration::from_secs(5);

/// How long the answers to a ping are used.
const PING_AGE: Duration = Duration::from_secs(3);

/// How long answers to a ping are collected.
const PING_WINDOW: Duration = Duration::from_millis(500);

/// What is expected to run beside the gateway; the checks notice a missing storage service.
const EXPECTED: [&str; 3] =
    [topology::CLUSTEREXEC.name, topology::INVESTIGATOR.name, topology::WATCHER.name];

/// The parts that the API cannot serve without, each with the reason when it has failed.
const PARTS: [(&str, WaitReason); 5] = [
    ("broker", WaitReason::BrokerAway),
    ("storage", WaitReason::StorageAway),
    ("store", WaitReason::StoreAway),
    ("store_write", WaitReason::StoreReadOnly),
    ("audit_log", WaitReason::AuditLogFailed),
];

/// The cache; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<Cache>>);

#[derive(Debug, Default)]
struct Cache {
    checks: Option<(Instant, Checks)>,
    write: Option<(Instant, bool)>,
    services: Option<(Instant, Services)>,
    alarms: Option<(Instant, Option<Vec<Alarm>>)>,
    backup: Option<(Instant, Option<LastBackup>)>,
}

/// What the checks found.
#[derive(Debug, Clone)]
pub struct Checks {
    /// Each part with `ok`, `failed` or, where an earlier failure prevents the check, `unknown`.
    pub parts: Map<String, Value>,
    /// The first failure, for people.
    pub failure: Option<&'static str>,
}

/// Which services are running.
#[derive(Debug, Clone)]
pub struct Services {
    /// The replicas that answered.
    pub replicas: Vec<Presence>,
    /// Expected services of which no replica answered.
    pub missing: Vec<String>,
    /// Whether the whole window was waited for, so that no replica is left out.
    is_complete: bool,
}

/// What the checks use.
#[derive(Debug)]
pub struct Ground<'a> {
    /// The services.
    pub bus: &'a Bus,
    /// Who asks.
    pub context: &'a Context,
    /// The audit log.
    pub audit: &'a Audit,
    /// The time.
    pub clock: &'a Clock,
}

impl Readiness {
    /// Whether the API can serve.
    pub async fn checks(&self, ground: &Ground<'_>) -> Checks {
        let mut cache = self.0.lock().await;
        if let Some((at, checks)) = &cache.checks
            && at.elapsed() < CHECKS_AGE
        {
            return checks.clone();
        }
        let checks = ground.check(&mut cache.write).await;
        cache.checks = Some((Instant::now(), checks.clone()));
        checks
    }

    /// Which services are running; `all` replicas of them, or at least one of each.
    pub async fn services(&self, ground: &Ground<'_>, all: bool) -> Services {
        let mut cache = self.0.lock().await;
        if let Some((at, services)) = &cache.services
            && at.elapsed() < PING_AGE
            && (services.is_complete || !all)
        {
            return services.clone();
        }
        let services = ground.ping(all).await;
        cache.services = Some((Instant::now(), services.clone()));
        services
    }

    /// The alarms that last; `None` when the storage service does not answer.
    pub async fn alarms(&self, ground: &Ground<'_>) -> Option<Vec<Alarm>> {
        let mut cache = self.0.lock().await;
        if let Some((at, alarms)) = &cache.alarms
            && at.elapsed() < CHECKS_AGE
        {
            return alarms.clone();
        }
        let alarms = ground.alarms().await;
        cache.alarms = Some((Instant::now(), alarms.clone()));
        alarms
    }
}

impl Readiness {
    /// The newest backup; `None` without one, or when the storage service does not answer.
    pub async fn last_backup(&self, ground: &Ground<'_>) -> Option<LastBackup> {
        let mut cache = self.0.lock().await;
        if let Some((at, last)) = &cache.backup
            && at.elapsed() < CHECKS_AGE
        {
            return last.clone();
        }
        let last = ground.last_backup().await;
        cache.backup = Some((Instant::now(), last.clone()));
        last
    }
}

impl Ground<'_> {
    async fn check(&self, write: &mut Option<(Instant, bool)>) -> Checks {
        let parts = Map::from_iter(PARTS.map(|(part, _)| (part.to_owned(), json!("unknown"))));
        let mut checks = Checks { parts, failure: None };
        let audit = timeout(CHECK_TIMEOUT, self.audit.is_writable()).await.unwrap_or(false);
        checks.note("audit_log", audit, "the audit log cannot be written, so changes are refused");
        if !checks.note("broker", self.bus.is_connected(), "the message broker does not answer") {
            return checks;
        }
        let bus = self.bus.with_timeout(CHECK_TIMEOUT);
        let storage = StorageClient::new(bus.clone(), self.context.clone());
        let asked =
            bus.request(topology::STORAGE_LIST_STORE_HANDLERS, &json!({}), self.context).await;
        let failure =
            "the storage service does not answer: it is not running, or does not reach its store";
        if !checks.note("storage", succeeded(&asked), failure) {
            return checks;
        }
        let read = succeeded(&storage.find::<Network>(Network::DEFAULT).await);
        if !checks.note("store", read, "the store behind the storage service does not answer") {
            return checks;
        }
        let written = self.write(&storage, write).await;
        checks.note(
            "store_write",
            written,
            "the store behind the storage service accepts no writes: the log of the storage service says why",
        );
        checks
    }

    /// Writes a small record, unless this was tried a short while ago.
    async fn write(&self, storage: &StorageClient, last: &mut Option<(Instant, bool)>) -> bool {
        if let Some((at, written)) = *last
            && at.elapsed() < if written { WRITE_AGE } else { FAILED_WRITE_AGE }
        {
            return written;
        }
        let probe = WriteProbe { name: "gateway".to_owned(), written_at: self.clock.stamp() };
        let written = succeeded(&storage.save(&probe).await);
        *last = Some((Instant::now(), written));
        written
    }

    async fn ping(&self, all: bool) -> Services {
        let expected = self.expected().await;
        let missing = |replicas: &[Presence]| {
            let runs = |name: &&&str| replicas.iter().any(|replica| replica.service == **name);
            let missing = expected.iter().filter(|name| !runs(name));
            missing.map(|name| (*name).to_owned()).collect::<Vec<_>>()
        };
        let enough = |replicas: &[Presence]| !all && missing(replicas).is_empty();
        let replicas = presence::ping(self.bus, self.context, PING_WINDOW, enough).await;
        let replicas = replicas.unwrap_or_else(|error| {
            warn_unless_outage!(error, "the services cannot be pinged");
            Vec::new()
        });
        let missing = missing(&replicas);
        for name in &expected {
            let is_missing = missing.iter().any(|missing| missing == name);
            metrics::gauge!("commissaire_service_missing", "service" => *name).set(if is_missing {
                1.0
            } else {
                0.0
            });
        }
        // Without a missing service the ping may have ended at the first answer of each.
        let is_complete = all || !missing.is_empty();
        Services { replicas, missing, is_complete }
    }

    async fn alarms(&self) -> Option<Vec<Alarm>> {
        let bus = self.bus.with_timeout(CHECK_TIMEOUT);
        let found = StorageClient::new(bus, self.context.clone()).list::<Alarm>().await;
        if let Err(error) = &found {
            warn_unless_outage!(error, "the alarms cannot be read");
        }
        let alarms: Vec<_> = found.ok()?.into_iter().map(|alarm| alarm.record).collect();
        for kind in ["fleet", "cluster", "manager"] {
            let of_kind = |alarm: &&Alarm| alarm.scope.split('.').next() == Some(kind);
            let count = u32::try_from(alarms.iter().filter(of_kind).count()).unwrap_or(u32::MAX);
            metrics::gauge!("commissaire_alarms", "scope" => kind).set(count);
        }
        Some(alarms)
    }

    async fn last_backup(&self) -> Option<LastBackup> {
        let bus = self.bus.with_timeout(CHECK_TIMEOUT);
        let storage = StorageClient::new(bus, self.context.clone());
        let found = storage.find::<LastBackup>(LastBackup::ALL).await;
        if let Err(error) = &found {
            warn_unless_outage!(error, "the time of the last backup cannot be read");
        }
        let last = found.ok()??.record;
        if let Some(taken_at) = last.taken_at.timestamp() {
            // A gauge is a float: exact to a microsecond.
            let seconds = taken_at.as_duration().as_secs_f64();
            metrics::gauge!("commissaire_last_backup_timestamp_seconds").set(seconds);
        }
        Some(last)
    }

    /// The services that should run; that of container managers, where there is one to talk to.
    async fn expected(&self) -> Vec<&'static str> {
        let bus = self.bus.with_timeout(CHECK_TIMEOUT);
        let storage = StorageClient::new(bus, self.context.clone());
        let managers = storage.list::<ContainerManagerConfig>().await;
        let mut expected = EXPECTED.to_vec();
        if managers.is_ok_and(|managers| !managers.is_empty()) {
            expected.push(topology::CONTAINERMGR.name);
        }
        expected
    }
}

impl Services {
    /// Whether no replica of an expected service answered.
    pub fn lacks(&self, name: &str) -> bool {
        self.missing.iter().any(|missing| missing == name)
    }
}

impl Checks {
    /// The reasons of the parts that have failed.
    pub fn failed(&self) -> Vec<WaitReason> {
        let failed = PARTS.into_iter().filter(|(part, _)| self.parts[*part] == json!("failed"));
        failed.map(|(_, reason)| reason).collect()
    }

    fn note(&mut self, part: &str, works: bool, failure: &'static str) -> bool {
        self.parts.insert(part.to_owned(), json!(if works { "ok" } else { "failed" }));
        if !works {
            self.failure.get_or_insert(failure);
        }
        works
    }
}

fn succeeded<T>(result: &Result<T, Error>) -> bool {
    if let Err(error) = result {
        warn_unless_outage!(error, "a check of /readyz failed");
    }
    result.is_ok()
}
