//! How old the last look at 100 members, one of them silent, is when the command runs on a host that the look was for.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bus::{Bus, Context};
use host_access::{Ansible, Deps, Hosts, LogInLedger, RunDir, Session, Ssh, Target};
use model::{Cluster, Host, HostCreds, Network, Status};
use runtime::{Clock, Lifecycle};
use secrecy::SecretString;
use storage_client::{StorageClient, Transaction, lease};
use testbed::Testbed;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::Setup;
use crate::report::{Bound, Figure, Report, Row};
use crate::stats::Samples;

/// Members, the host and the silent one included.
const MEMBERS: usize = 100;

/// Members that are registered at a time: no more than 128 changes are accepted at once.
const AT_A_TIME: usize = 50;

/// How often it is measured.
const ROUNDS: usize = 20;

/// The most that it may be.
const MOST: Duration = Duration::from_millis(300);

/// How long a log-in may take.
const LOG_IN: Duration = Duration::from_secs(20);

/// Measures and reports.
///
/// # Errors
/// When it cannot be measured.
pub async fn measure(setup: &Setup, report: &mut Report) -> anyhow::Result<()> {
    let testbed = Testbed::up(&["debian"]);
    let folder = setup.folder.path().join("window");
    std::fs::create_dir(&folder).context("cannot make a folder")?;
    let run_dir = RunDir::create(&folder, "b").context("no run directory")?;
    let hosts: Arc<dyn Hosts> = Arc::new(Ssh::new(run_dir, Ansible::new(None)));
    let session = log_in(&testbed, hosts.as_ref()).await?;
    let (bus, life) = (Bus::memory(), Lifecycle::new());
    let config = storage_svc::Config::sqlite(folder.join("store.db"), folder.join("secret.key"));
    storage_svc::run(&bus, &config, &life).await.context("no storage service")?;
    let storage = StorageClient::new(bus.clone(), Context::service("bench"));
    let _members = fill(&storage, testbed.address(0)).await.context("cannot register hosts")?;
    let deps = Deps {
        ledger: LogInLedger::new(&bus, Clock::System),
        bus,
        clock: Clock::System,
        hosts,
        own_key: SecretString::default(),
        lease_ttl: lease::TTL,
    };
    let measured = crate::executor::window(deps, "bench", session.as_ref(), ROUNDS, &life).await;
    let windows = measured.context("no go-ahead")?;
    let took = windows.ran.into_iter().collect::<Samples>();
    report.row(Row {
        what: format!("look at {MEMBERS}, until the command"),
        ours: Figure::Time(took.max()),
        bare: None,
        bound: Some(Bound::Most(Figure::Time(MOST))),
    });
    report.note(format!(
        "of {ROUNDS} looks the longest counts; the median is {}; {} go-aheads more arrived too late, and their command \
         was not run",
        Figure::Time(took.median()),
        windows.late
    ));
    life.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

async fn log_in(testbed: &Testbed, hosts: &dyn Hosts) -> anyhow::Result<Box<dyn Session>> {
    let (address, port) = testbed.address(0);
    let private_key = std::fs::read_to_string(testbed.key()).context("no key of the hosts")?;
    let target = Target {
        address: address.to_owned(),
        port,
        user: testbed.user(),
        private_key: private_key.into(),
        host_keys: Vec::new(),
    };
    hosts.connect(&target, LOG_IN).await.context("cannot log in")
}

/// Listeners in place of hosts, and the connections that fill the queue of the silent one.
async fn fill(
    storage: &StorageClient,
    (host, port): (&str, u16),
) -> anyhow::Result<(Vec<TcpListener>, Vec<TcpStream>)> {
    let (mut listeners, mut waiting) = (Vec::new(), Vec::new());
    let mut members = vec![(host.to_owned(), port)];
    for number in 1..MEMBERS {
        let address =
            Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(127, 1, 1, 0)) + u32::try_from(number)?);
        let socket = TcpSocket::new_v4()?;
        socket.bind((address, 0).into())?;
        let silent = number == 1;
        let listener = socket.listen(if silent { 0 } else { 1024 })?;
        let local = listener.local_addr()?;
        if silent {
            // With its queue full, it does not answer.
            while let Ok(stream) = tokio::time::timeout(LOOK, TcpStream::connect(local)).await {
                waiting.push(stream.context("the silent host refuses a connection")?);
            }
        }
        listeners.push(listener);
        members.push((address.to_string(), local.port()));
    }
    for part in members.chunks(AT_A_TIME) {
        let mut transaction = Transaction::default();
        for (address, port) in part {
            let (address, status, os) =
                (address.clone(), Status::Disassociated, "debian".to_owned());
            let creds = HostCreds { ssh_port: *port, ..HostCreds::new(&address) };
            let host = Host { address: address.into(), status, os, ..Host::default() };
            transaction = transaction.save(&host)?.save(&creds)?;
        }
        storage.transact(&transaction).await?;
    }
    let (name, network) = ("bench".into(), Network::DEFAULT.to_owned());
    let hostset = members.into_iter().map(|(address, _)| address.into()).collect();
    let cluster = Cluster { name, network, hostset, ..Cluster::default() };
    storage.transact(&Transaction::default().save(&cluster)?).await?;
    Ok((listeners, waiting))
}

/// How long a connection may take, after which its listener does not answer.
const LOOK: Duration = Duration::from_millis(500);
