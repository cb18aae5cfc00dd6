//! How much an etcd grows by the checks of a large fleet, history included: the real storage service and two watchers
//! with their default configurations, on a broker and an etcd of their own, and hosts that answer at once.
//!
//! Nothing is compacted in the meantime: the service compacts for the first time after an hour.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bus::{Bus, Context, amqp};
use etcd_client::{Client, EventType, WatchOptions, WatchStream};
use host_access::{Deps, LogInLedger};
use model::{Host, HostCreds, Status};
use runtime::{Clock, Lifecycle};
use secrecy::SecretString;
use serde_json::json;
use simulated_hosts::SimulatedHosts;
use storage_client::{StorageClient, Transaction, lease};
use testbed::etcd::Etcd;
use testbed::rabbitmq::RabbitMq;
use tokio::time::Instant;
use watcher_svc::Config;

use crate::Setup;
use crate::report::{Bound, Figure, Report, Row};

const HOSTS: u32 = 2_500;

/// The most that etcd may grow a day, in bytes.
const MOST: u64 = 100_000_000;

const DAY: Duration = Duration::from_hours(24);

/// Hosts that are registered at a time: etcd takes no more than 128 operations in a transaction.
const AT_A_TIME: usize = 25;

/// How long it may take until each host has been checked for the first time, which is written to its record.
const FIRST_CHECKS: Duration = Duration::from_mins(5);

/// After that: an interval and two reports, so that all hosts are reported.
const SETTLE: Duration = Duration::from_mins(2);

/// How long the services may take to stop.
const STOP: Duration = Duration::from_secs(10);

/// The storage service and the watchers, each with a connection of its own to the broker.
struct Services {
    storage: StorageClient,
    lives: Vec<Lifecycle>,
}

/// The writes below a prefix.
#[derive(Debug, Default, Clone, Copy)]
struct Written {
    writes: u64,
    /// Of keys and values.
    bytes: u64,
}

/// The writes by their prefixes.
#[derive(Debug, Default)]
struct Counts(BTreeMap<String, Written>);

/// Measures and reports.
///
/// # Errors
/// When it cannot be measured.
pub async fn measure(setup: &Setup, report: &mut Report) -> anyhow::Result<()> {
    let (broker, etcd) = (RabbitMq::up(), Etcd::up());
    let services = Services::start(setup, &broker, &etcd).await?;
    let measured = growth(setup, &services.storage, &etcd, report).await;
    for life in services.lives.iter().rev() {
        life.shutdown(STOP).await;
    }
    measured
}

async fn growth(
    setup: &Setup,
    storage: &StorageClient,
    etcd: &Etcd,
    report: &mut Report,
) -> anyhow::Result<()> {
    all_checked(storage, None).await?;
    tokio::time::sleep(SETTLE).await;
    let client = Client::connect([etcd.endpoints()], None).await;
    let mut client = client.context("cannot connect to etcd")?;
    let since = Clock::System.stamp();
    let (before, begun) = (State::read(&mut client).await?, Instant::now());
    let options = WatchOptions::new().with_all_keys().with_start_revision(before.revision + 1);
    let mut changes = client.watch("", Some(options)).await.context("cannot watch etcd")?;
    let mut counts = Counts::default();
    tokio::select! {
        counted = counts.count(&mut changes) => counted?,
        () = tokio::time::sleep(setup.seconds) => {}
    }
    let (after, took) = (State::read(&mut client).await?, begun.elapsed());
    ensure!(before.size <= after.size, "etcd was compacted: {before:?}, {after:?}");
    // Hosts that were not checked would have made no writes.
    all_checked(storage, Some(&since)).await?;

    let grown = after.size - before.size;
    report.row(Row {
        what: format!("growth of etcd a day, {HOSTS} hosts"),
        ours: Figure::Memory(a_day(grown, took)),
        bare: None,
        bound: Some(Bound::Most(Figure::Memory(MOST))),
    });
    report.note(format!(
        "etcd grew by {} in {:.0} s, in {} revisions; keys and values: {counts}",
        Figure::Memory(grown),
        took.as_secs_f64(),
        after.revision - before.revision
    ));
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "megabytes, to one digit"
)]
fn a_day(bytes: u64, took: Duration) -> u64 {
    (bytes as f64 * DAY.div_duration_f64(took)) as u64
}

/// Waits until each host has been checked, after `since` where that is given.
async fn all_checked(storage: &StorageClient, since: Option<&str>) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let hosts = storage.list::<Host>().await.context("the hosts cannot be listed")?;
        let checked = |last: &str| !last.is_empty() && since.is_none_or(|since| last > since);
        let left = hosts.iter().filter(|host| !checked(&host.record.last_check)).count();
        if left == 0 && hosts.len() == HOSTS as usize {
            return Ok(());
        }
        ensure!(begun.elapsed() < FIRST_CHECKS, "{left} of {} are not checked", hosts.len());
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

impl Services {
    async fn start(setup: &Setup, broker: &RabbitMq, etcd: &Etcd) -> anyhow::Result<Self> {
        let folder = setup.folder.path().join("etcd");
        std::fs::create_dir(&folder).context("cannot make a folder")?;
        let life = Lifecycle::new();
        let bus = connect(broker, "storage", &life).await?;
        let config = json!({
            "storage_handlers": {"type": "etcd", "server_url": etcd.endpoints()},
            "secret_key_file": folder.join("secret.key"),
        });
        let config = serde_json::from_value(config).context("no configuration")?;
        storage_svc::run(&bus, &config, &life).await.context("no storage service")?;
        let storage = StorageClient::new(bus, Context::service("bench"));
        let hosts = SimulatedHosts::default();
        register(&storage, &hosts).await.context("cannot register hosts")?;
        let mut lives = vec![life];
        for name in ["w1", "w2"] {
            let life = Lifecycle::new();
            let bus = connect(broker, name, &life).await?;
            let deps = Deps {
                ledger: LogInLedger::new(&bus, Clock::System),
                bus,
                clock: Clock::System,
                hosts: Arc::new(hosts.clone()),
                own_key: SecretString::default(),
                lease_ttl: lease::TTL,
            };
            let started = watcher_svc::run(deps, Config::default(), &life).await;
            started.context("no watcher")?;
            lives.push(life);
        }
        Ok(Self { storage, lives })
    }
}

async fn connect(broker: &RabbitMq, name: &str, life: &Lifecycle) -> anyhow::Result<Bus> {
    let (uri, exchange) = (broker.uri().clone().into(), "bench".to_owned());
    let origin = "the broker of the measurement".to_owned();
    let options = amqp::Options { uri, origin, exchange, name: name.to_owned() };
    Bus::amqp(&options, life).await.context("cannot connect to the broker")
}

async fn register(storage: &StorageClient, hosts: &SimulatedHosts) -> bus::Result<()> {
    let numbers: Vec<_> = (0..HOSTS).collect();
    for part in numbers.chunks(AT_A_TIME) {
        let mut transaction = Transaction::default();
        for number in part {
            let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 100, 0, 1).to_bits() + number);
            let (address, status) = (address.to_string(), Status::Active);
            hosts.add(&address);
            let creds = HostCreds::new(&address);
            let host = Host {
                address: address.into(),
                status,
                os: "debian".to_owned(),
                ..Host::default()
            };
            transaction = transaction.save(&host)?.save(&creds)?;
        }
        storage.transact(&transaction).await?;
    }
    Ok(())
}

/// An etcd at a moment.
#[derive(Debug, Clone, Copy)]
struct State {
    revision: i64,
    /// Of its database, in use.
    size: u64,
}

impl State {
    async fn read(client: &mut Client) -> anyhow::Result<Self> {
        let status = client.status().await.context("etcd does not tell its state")?;
        let revision = status.header().context("no header")?.revision();
        let size = u64::try_from(status.raft_used_db_size()).context("no size")?;
        Ok(Self { revision, size })
    }
}

impl Counts {
    /// Counts for as long as it is awaited.
    async fn count(&mut self, changes: &mut WatchStream) -> anyhow::Result<()> {
        loop {
            let Some(answer) = changes.message().await.context("cannot watch etcd")? else {
                bail!("etcd has ended the watch");
            };
            ensure!(!answer.canceled(), "the watch is canceled: {}", answer.cancel_reason());
            for event in answer.events() {
                let Some(entry) = event.kv() else { continue };
                let key = entry.key_str().context("a key that is no text")?;
                let mut prefix = key.rsplit_once('/').map_or(key, |(prefix, _)| prefix).to_owned();
                if event.event_type() == EventType::Delete {
                    prefix.push_str(" (deleted)");
                }
                let written = self.0.entry(prefix).or_default();
                written.writes += 1;
                written.bytes += (entry.key().len() + entry.value().len()) as u64;
            }
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (prefix, Written { writes, bytes })) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{prefix} {writes} ({} kB)", bytes / 1000)?;
        }
        Ok(())
    }
}
