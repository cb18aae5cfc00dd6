//! What a step of an operation costs, decided and saved, in ever larger clusters: the planner, the look at
//! all members, and the records. Nothing is done to the hosts, which are one listener on many addresses.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bus::{Bus, Context};
use host_access::{Ansible, Deps, LogInLedger, RunDir, Ssh};
use model::{Host, HostCreds, HostState, Status};
use runtime::{Clock, Lifecycle};
use secrecy::SecretString;
use storage_client::{StorageClient, Transaction, lease};
use tokio::net::TcpSocket;

use crate::report::{Bound, Figure, Report, Row};
use crate::stats::Samples;
use crate::{Setup, cluster};

/// The sizes of clusters; each is ten times the one before.
const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];

/// Hosts that are taken through their steps in each.
const HOSTS: usize = 5;

/// Connections that may wait to be accepted.
const QUEUE: u32 = 1024;

/// Hosts that are written at a time.
const AT_A_TIME: usize = 40;

/// Measures and reports.
///
/// # Errors
/// When it cannot be measured.
pub async fn measure(setup: &Setup, report: &mut Report) -> anyhow::Result<()> {
    let listener = listen().context("cannot listen")?;
    let port = listener.local_addr().context("cannot listen")?.port();
    #[expect(
        clippy::disallowed_methods,
        reason = "it ends with the program: nothing waits for it"
    )]
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let mut smaller: Option<Duration> = None;
    for size in SIZES {
        let (accepted, step) = with(setup, port, size).await?;
        // Ten times as many hosts: ten times as long at most.
        report.row(Row {
            what: format!("a host's steps, of {size}"),
            ours: Figure::Time(step),
            bare: smaller.map(|smaller| Figure::Time(smaller * 10)),
            bound: smaller.map(|_| Bound::Ratio(1.0)),
        });
        report.note(format!("a restart of {size} hosts is accepted in {}", Figure::Time(accepted)));
        smaller = Some(step);
    }
    Ok(())
}

/// Its queue holds all connections that the executor makes at a time. TCP tries a connection again after a second when
/// the queue is full, which would not happen with separate hosts.
fn listen() -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::UNSPECIFIED, 0).into())?;
    let listener = socket.listen(QUEUE)?.into_std()?;
    listener.set_nonblocking(false)?;
    Ok(listener)
}

/// The acceptance, and the median of a host's way from its turn to its end.
async fn with(setup: &Setup, port: u16, size: usize) -> anyhow::Result<(Duration, Duration)> {
    let folder = setup.folder.path().join(format!("steps-{size}"));
    std::fs::create_dir(&folder).context("cannot make a folder")?;
    let (bus, life) = (Bus::memory(), Lifecycle::new());
    let config = storage_svc::Config::sqlite(folder.join("store.db"), folder.join("secret.key"));
    storage_svc::run(&bus, &config, &life).await.context("no storage service")?;
    let storage = StorageClient::new(bus.clone(), Context::service("bench"));
    fill(&storage, port, size).await.context("cannot register hosts")?;
    let run_dir = RunDir::create(&folder, "b").context("no run directory")?;
    let deps = Deps {
        bus: bus.clone(),
        clock: Clock::System,
        hosts: Arc::new(Ssh::new(run_dir, Ansible::new(None))),
        own_key: SecretString::default(),
        ledger: LogInLedger::new(&bus, Clock::System),
        lease_ttl: lease::TTL,
    };
    let config = clusterexec_svc::Config::default();
    let measured = crate::executor::steps(deps, config, "bench", HOSTS, &life).await;
    let (accepted, steps) = measured.context("the restart is refused")?;
    life.shutdown(Duration::from_secs(5)).await;
    Ok((accepted, Samples::from_iter(steps).median()))
}

async fn fill(storage: &StorageClient, port: u16, size: usize) -> bus::Result<()> {
    let mut hostset: Vec<_> = (0..size).map(address).collect();
    hostset.sort_unstable();
    for part in hostset.chunks(AT_A_TIME) {
        let mut transaction = Transaction::default();
        for address in part {
            let status = Status::Disassociated;
            let host = Host { address: address.clone().into(), status, ..Host::default() };
            let creds = HostCreds { ssh_port: port, ..HostCreds::new(address) };
            let state = HostState { address: address.clone().into(), ..HostState::default() };
            transaction = transaction.save(&host)?.save(&creds)?.save(&state)?;
        }
        storage.transact(&transaction).await?;
    }
    cluster::make(storage, "bench", &hostset).await
}

/// One of the many addresses of this machine.
fn address(number: usize) -> String {
    let number = u32::try_from(number).unwrap_or(0);
    Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + 1 + number).to_string()
}
