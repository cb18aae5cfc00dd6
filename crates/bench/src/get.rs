//! `GET /api/v0/host/X`, against a handler that has the answer in memory.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use hyper::body::Bytes;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Setup;
use crate::client::Client;
use crate::process::{Commissaire, Server};
use crate::report::{Bound, Figure, Report, Row};
use crate::stats::Samples;

/// The p50 is at most this many times the bare one's.
const BOUND: f64 = 2.0;

/// A host that exists in the store only: nobody listens on its SSH port.
pub const NOWHERE: &str = "/api/v0/host/127.0.0.2";

/// Requests of each server that are not counted.
const WARM_UP: usize = 2_000;

/// Connections at a time for the throughput.
const CONNECTIONS: usize = 16;

/// How long a turn of the throughput takes.
pub const TURN: Duration = Duration::from_secs(1);

/// How many turns each server gets.
const TURNS: u32 = 3;

/// Measures and reports.
///
/// # Errors
/// When it cannot be measured.
pub async fn measure(setup: &Setup, report: &mut Report) -> anyhow::Result<()> {
    let commissaire = Commissaire::ready(setup, "get").await?;
    let body = host_from_nowhere(&mut commissaire.client().await?, NOWHERE).await?;
    let file = setup.folder.path().join("host.json");
    std::fs::write(&file, &body).context("cannot write the answer down")?;
    let mut bare = Server::bare(setup, &file)?;
    bare.first_200(NOWHERE, None).await?;
    let authorization = commissaire.authorization()?;
    let servers = [&commissaire.server, &bare];
    let addresses = servers.map(|server| server.address);

    let before = cpu(servers)?;
    let [ours, theirs] = addresses;
    let mut ours = Client::connect(ours, Some(&authorization)).await?;
    let mut theirs = Client::connect(theirs, Some(&authorization)).await?;
    let asked = [&mut ours, &mut theirs];
    let asked = asked.map(|client| Asked { client, path: NOWHERE, expected: &body });
    let [ours, theirs] = latencies(setup.requests, asked).await?;
    let cpu = per_request(before, cpu(servers)?, setup.requests + WARM_UP);
    for (what, percent, bound) in [("p50", 50, Some(Bound::Ratio(BOUND))), ("p99", 99, None)] {
        report.row(Row {
            what: format!("GET host, {what}"),
            ours: Figure::Time(ours.percentile(percent)),
            bare: Some(Figure::Time(theirs.percentile(percent))),
            bound,
        });
    }
    report.row(Row {
        what: "GET host, processor time".to_owned(),
        ours: Figure::Time(cpu[0]),
        bare: Some(Figure::Time(cpu[1])),
        bound: None,
    });
    let [ours, theirs] = throughputs(addresses, &authorization).await?;
    report.row(Row {
        what: format!("GET host, {CONNECTIONS} connections"),
        ours: Figure::Rate(ours),
        bare: Some(Figure::Rate(theirs)),
        bound: None,
    });
    Ok(())
}

fn cpu(servers: [&Server; 2]) -> anyhow::Result<[Duration; 2]> {
    Ok([servers[0].cpu()?, servers[1].cpu()?])
}

fn per_request(before: [Duration; 2], after: [Duration; 2], requests: usize) -> [Duration; 2] {
    let requests = u32::try_from(requests).unwrap_or(u32::MAX);
    std::array::from_fn(|server| after[server].saturating_sub(before[server]) / requests)
}

/// Registers a host that cannot be reached, waits until that is known, and returns its record.
///
/// # Errors
/// When it does not work.
pub async fn host_from_nowhere(client: &mut Client, path: &str) -> anyhow::Result<Bytes> {
    let host = json!({"ssh_priv_key": "", "ssh_port": 1, "bootstrap": "none"});
    client.put(path, &host).await?;
    let begun = Instant::now();
    while client.get_json(path).await?["status"] != "failed" {
        if begun.elapsed() > Duration::from_mins(1) {
            bail!("a host that nobody could reach is not found to be so");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    client.get(path).await
}

/// What is asked for, over which connection, and the answer.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The connection.
    pub client: &'a mut Client,
    /// What is asked for.
    pub path: &'a str,
    /// What the answer has to be.
    pub expected: &'a Bytes,
}

/// One request of each in turns, each over its connection.
///
/// # Errors
/// When an answer is not the expected one.
pub async fn latencies(requests: usize, mut asked: [Asked<'_>; 2]) -> anyhow::Result<[Samples; 2]> {
    let mut times = [Vec::with_capacity(requests), Vec::with_capacity(requests)];
    for request in 0..WARM_UP + requests {
        for (Asked { client, path, expected }, times) in asked.iter_mut().zip(&mut times) {
            let begun = Instant::now();
            let body = client.get(path).await?;
            let took = begun.elapsed();
            if !is_same(&body, expected) {
                bail!("the answers are not the same");
            }
            if request >= WARM_UP {
                times.push(took);
            }
        }
    }
    Ok(times.map(Samples::from_iter))
}

/// Whether two answers are the same, but for the time of the host's last check, which the watcher changes.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let without_check = |body| {
        let mut fields: Map<String, Value> = serde_json::from_slice(body).ok()?;
        fields.remove("last_check").map(|_| fields)
    };
    one == other || without_check(one).is_some_and(|one| Some(one) == without_check(other))
}

/// Answers per second, with both servers in turns.
async fn throughputs(addresses: [SocketAddr; 2], authorization: &str) -> anyhow::Result<[f64; 2]> {
    let mut answers = [0_u32; 2];
    for _ in 0..TURNS {
        for (address, answers) in addresses.into_iter().zip(&mut answers) {
            *answers += busy_turn(address, authorization, NOWHERE, CONNECTIONS).await?;
        }
    }
    Ok(answers.map(|answers| f64::from(answers) / (TURN * TURNS).as_secs_f64()))
}

/// Keeps so many connections busy for one turn; says how many answers came.
///
/// # Errors
/// When one is not 200.
pub async fn busy_turn(
    address: SocketAddr,
    authorization: &str,
    path: &'static str,
    connections: usize,
) -> anyhow::Result<u32> {
    let mut clients = Vec::new();
    for _ in 0..connections {
        let mut client = Client::connect(address, Some(authorization)).await?;
        client.get(path).await?;
        clients.push(client);
    }
    let end = Instant::now() + TURN;
    let mut busy = JoinSet::new();
    for mut client in clients {
        busy.spawn(async move {
            let mut answers = 0_u32;
            while Instant::now() < end {
                client.get(path).await?;
                answers += 1;
            }
            anyhow::Ok(answers)
        });
    }
    busy.join_all().await.into_iter().sum()
}

#[cfg(test)]
mod tests {
    use super::is_same;

    #[test]
    fn answers_may_differ_in_the_last_check_alone() {
        let host =
            br#"{"address":"a","status":"failed","last_check":"2026-11-28T13:25:45.020293"}"#;
        let later =
            br#"{"address":"a","status":"failed","last_check":"2026-11-28T13:26:45.020293"}"#;
        let other =
            br#"{"address":"a","status":"active","last_check":"2026-11-28T13:26:45.020293"}"#;
        assert!(is_same(host, host) && is_same(host, later));
        for different in [&other[..], br#"{"address":"a","status":"failed"}"#, b"", b"oops"] {
            assert!(!is_same(host, different), "{}", String::from_utf8_lossy(different));
        }
        assert!(!is_same(b"oops", b"Oops"));
    }
}
