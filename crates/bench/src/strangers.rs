//! Log-ins of a user beside clients without credentials: 300 that guess passwords, each as soon as the last guess is rejected,
//! and 5,000 silent connections from one address; against the same server without them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::Setup;
use crate::client::Client;
use crate::get::{NOWHERE, host_from_nowhere};
use crate::process::Commissaire;
use crate::report::{Bound, Figure, Report, Row};
use crate::stats::Samples;

/// Clients that guess passwords, each over new connections.
const GUESSING: usize = 300;

/// Silent connections.
const SILENT: usize = 5_000;

/// Bound of the p50 beside them, as a multiple of that without.
const BOUND: f64 = 2.0;

/// Bound of a first log-in beside clients that guess.
const FIRST: Duration = Duration::from_mins(1);

/// Bound of the growth of memory.
const MEMORY: f64 = 1.5;

/// Measured log-ins of a user, each over a new connection.
const LOG_INS: usize = 500;

/// The time until all of them are connected.
const ARRIVAL: Duration = Duration::from_secs(5);

/// A second user, whose credentials are not verified yet; the password is the administrator's.
const NEWCOMER: &str = "newcomer";

/// Measures and reports.
///
/// # Errors
/// When it cannot be measured.
pub async fn measure(setup: &Setup, report: &mut Report) -> anyhow::Result<()> {
    make_room_for(SILENT)?;
    guessing(setup, report).await?;
    silence(setup, report).await
}

async fn guessing(setup: &Setup, report: &mut Report) -> anyhow::Result<()> {
    let commissaire = with_a_newcomer(setup).await?;
    let (address, administrator) = (commissaire.server.address, commissaire.authorization()?);
    let quiet = log_ins(address, &administrator).await?;

    let mut others = JoinSet::new();
    for number in 0..GUESSING {
        others.spawn(guess(address, number));
    }
    sleep(ARRIVAL).await;
    // Open connections take memory, which must not grow.
    let memory = commissaire.server.resident()?;
    let beside = log_ins(address, &administrator).await?;
    let first = first_log_in(address, &administrator).await?;
    let after = commissaire.server.resident()?;
    others.shutdown().await;

    let what = |what| format!("beside {GUESSING} guessing clients: {what}");
    row(report, what("a user's log-in, p50"), beside.percentile(50), quiet.percentile(50));
    report.row(Row {
        what: what("a first log-in"),
        ours: Figure::Time(first),
        bare: None,
        bound: Some(Bound::Most(Figure::Time(FIRST))),
    });
    memory_row(report, what("memory, after that"), after, memory);
    Ok(())
}

async fn silence(setup: &Setup, report: &mut Report) -> anyhow::Result<()> {
    let commissaire = Commissaire::ready(setup, "silence").await?;
    host_from_nowhere(&mut commissaire.client().await?, NOWHERE).await?;
    let (address, administrator) = (commissaire.server.address, commissaire.authorization()?);
    let quiet = log_ins(address, &administrator).await?;

    let mut others = JoinSet::new();
    for _ in 0..SILENT {
        others.spawn(stay_silent(address));
    }
    sleep(ARRIVAL).await;
    // Open connections take memory, which must not grow.
    let memory = commissaire.server.resident()?;
    let beside = log_ins(address, &administrator).await?;
    sleep(3 * ARRIVAL).await;
    let after = commissaire.server.resident()?;
    others.shutdown().await;

    let what = |what| format!("beside {SILENT} silent connections: {what}");
    row(report, what("a user's log-in, p50"), beside.percentile(50), quiet.percentile(50));
    memory_row(report, what("memory, 15 s later"), after, memory);
    Ok(())
}

fn row(report: &mut Report, what: String, beside: Duration, quiet: Duration) {
    report.row(Row {
        what,
        ours: Figure::Time(beside),
        bare: Some(Figure::Time(quiet)),
        bound: Some(Bound::Ratio(BOUND)),
    });
}

fn memory_row(report: &mut Report, what: String, beside: u64, quiet: u64) {
    report.row(Row {
        what,
        ours: Figure::Memory(beside),
        bare: Some(Figure::Memory(quiet)),
        bound: Some(Bound::Ratio(MEMORY)),
    });
}

/// A commissaire with a host and a second user.
async fn with_a_newcomer(setup: &Setup) -> anyhow::Result<Commissaire> {
    let made = Commissaire::ready(setup, "guessing").await?;
    host_from_nowhere(&mut made.client().await?, NOWHERE).await?;
    let users: serde_json::Value = serde_json::from_str(&made.users()?).context("no users")?;
    drop(made);
    let hash = &users["admin"]["hash"];
    let users = json!({"admin": {"hash": hash}, NEWCOMER: {"hash": hash}});
    let plugin = json!({"name": "httpbasicauth", "users": users});
    let config = json!({"authentication-plugins": [plugin]});
    Commissaire::ready_with(setup, "guessing", &config, &[]).await
}

/// The time to connect and to receive a response.
async fn log_ins(address: SocketAddr, authorization: &str) -> anyhow::Result<Samples> {
    let mut times = Vec::with_capacity(LOG_INS);
    for number in 0..=LOG_INS {
        let begun = Instant::now();
        Client::connect(address, Some(authorization)).await?.get(NOWHERE).await?;
        // The first one includes the password check.
        if number > 0 {
            times.push(begun.elapsed());
        }
    }
    Ok(Samples::from_iter(times))
}

async fn first_log_in(address: SocketAddr, administrator: &str) -> anyhow::Result<Duration> {
    let encoded = administrator.strip_prefix("Basic ").context("no password")?;
    let text = String::from_utf8(BASE64.decode(encoded)?)?;
    let (_, password) = text.split_once(':').context("no password")?;
    let newcomer = format!("Basic {}", BASE64.encode(format!("{NEWCOMER}:{password}")));
    let begun = Instant::now();
    Client::connect(address, Some(&newcomer)).await?.get(NOWHERE).await?;
    Ok(begun.elapsed())
}

/// Sends one wrong user name and password after the other.
async fn guess(address: SocketAddr, client: usize) -> anyhow::Result<()> {
    for number in 0_usize.. {
        let guess = format!("user{client}.{number}:password{number}");
        let authorization = format!("Basic {}", BASE64.encode(guess));
        let mut client = Client::connect(address, Some(&authorization)).await?;
        let (status, _) = client.send(Method::GET, NOWHERE, Bytes::new()).await?;
        ensure!(status != StatusCode::OK, "a wrong password was accepted");
    }
    Ok(())
}

/// Keeps a silent connection open; reconnects when it is closed.
async fn stay_silent(address: SocketAddr) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(address).await {
            // Until the server closes it.
            drop(stream.read(&mut [0]).await);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

fn make_room_for(connections: usize) -> anyhow::Result<()> {
    let wanted = connections as u64 + 1024;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.current.map(|current| current.max(wanted));
    setrlimit(Resource::Nofile, limit).context("this takes 6,024 open files: see `ulimit -n`")
}
