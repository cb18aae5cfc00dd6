//! Checks of hosts by the watcher, against as many bare `ssh HOST true` at a time.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use testbed::sshd::{self, Sshds};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::Setup;
use crate::client::Client;
use crate::process::{Commissaire, resident_of_children};
use crate::report::{Bound, Figure, Report, Row};

/// Checks a second are at least this many times the bare ones.
const RATE: f64 = 0.9;

/// The memory of a check is at most this many times that of one bare `ssh`.
const MEMORY: f64 = 1.2;

/// Checks at a time.
const CONCURRENCY: usize = 32;

/// Twice as many hosts, so that there is always one whose turn it is.
const HOSTS: usize = 2 * CONCURRENCY;

/// How long a turn takes, and how long everything runs before it.
const TURN: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_secs(3);

/// How many turns each gets.
const TURNS: u32 = 3;

/// The pause between looks at the memory.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How long it may take until all hosts are set up.
const PATIENCE: Duration = Duration::from_mins(2);

/// What one turn shows.
#[derive(Debug, Default, Clone, Copy)]
struct Turn {
    log_ins: usize,
    took: Duration,
    /// Of one `ssh` in the middle of it, in bytes.
    ssh: u64,
    /// Of `commissaire`, in bytes.
    own: u64,
}

/// Measures and reports.
///
/// # Errors
/// When it cannot be measured.
pub async fn measure(setup: &Setup, report: &mut Report) -> anyhow::Result<()> {
    let sshds = Sshds::start(HOSTS, "");
    let idle = register(setup, &sshds).await?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 1..=TURNS {
        bare.push(bare_turn(&sshds).await?);
        ours.push(our_turn(setup, &sshds).await?);
        let [ours, bare] = [&ours, &bare].map(|turns: &Vec<_>| Figure::Rate(rate(turns)));
        eprintln!("round {round}: {ours} and {bare}");
    }
    report.row(Row {
        what: format!("checks, {CONCURRENCY} at a time"),
        ours: Figure::Rate(rate(&ours)),
        bare: Some(Figure::Rate(rate(&bare))),
        bound: Some(Bound::LeastRatio(RATE)),
    });
    let (grown, ssh) = (mean(&ours, |turn| turn.own).saturating_sub(idle), |turns: &[Turn]| {
        mean(turns, |turn| turn.ssh)
    });
    report.row(Row {
        what: "memory of a check under way".to_owned(),
        ours: Figure::Memory(ssh(&ours) + grown / CONCURRENCY as u64),
        bare: Some(Figure::Memory(ssh(&bare))),
        bound: Some(Bound::Ratio(MEMORY)),
    });
    report.note(format!(
        "commissaire has {} while it checks {CONCURRENCY} hosts at a time, {} while it checks none",
        Figure::Memory(idle + grown),
        Figure::Memory(idle)
    ));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "some thousand log-ins")]
fn rate(turns: &[Turn]) -> f64 {
    let took: Duration = turns.iter().map(|turn| turn.took).sum();
    turns.iter().map(|turn| turn.log_ins).sum::<usize>() as f64 / took.as_secs_f64()
}

fn mean(turns: &[Turn], of: fn(&Turn) -> u64) -> u64 {
    turns.iter().map(of).sum::<u64>() / turns.len().max(1) as u64
}

/// What commissaire is told: to check so often.
fn config(interval: f64) -> Value {
    json!({"watcher": {"interval": interval, "concurrency": CONCURRENCY}})
}

/// Registers all hosts and waits until they are set up; returns the memory of a commissaire that knows
/// them and does nothing.
async fn register(setup: &Setup, sshds: &Sshds) -> anyhow::Result<u64> {
    const IDLE: f64 = 1e6;
    let commissaire = Commissaire::ready_with(setup, "watch", &config(IDLE), &[]).await?;
    let mut client = commissaire.client().await?;
    let key = std::fs::read(sshds.key()).context("cannot read the key of the hosts")?;
    for address in sshds.addresses() {
        let host = json!({
            "ssh_priv_key": BASE64.encode(&key),
            "ssh_port": sshds.port(),
            "remote_user": sshd::user(),
            "bootstrap": "none",
        });
        client.put(&format!("/api/v0/host/{address}"), &host).await?;
    }
    for address in sshds.addresses() {
        set_up(&mut client, address).await?;
    }
    drop(client);
    drop(commissaire);
    let commissaire = Commissaire::ready_with(setup, "watch", &config(IDLE), &[]).await?;
    sleep(WARM_UP).await;
    commissaire.server.resident()
}

async fn set_up(client: &mut Client, address: &str) -> anyhow::Result<()> {
    let (path, begun) = (format!("/api/v0/host/{address}"), Instant::now());
    loop {
        let host = client.get_json(&path).await?;
        match host["status"].as_str() {
            Some("active" | "disassociated") => return Ok(()),
            Some("failed") => bail!("{}", client.get_json(&format!("{path}/status")).await?),
            _ if begun.elapsed() > PATIENCE => bail!("it is not set up in time: {host}"),
            _ => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Every host is due at any time: as many as are allowed are checked at a time.
async fn our_turn(setup: &Setup, sshds: &Sshds) -> anyhow::Result<Turn> {
    let commissaire = Commissaire::ready_with(setup, "watch", &config(0.001), &[]).await?;
    let turn = watched(sshds, commissaire.server.id()).await?;
    let own = commissaire.server.resident()?;
    let mut client = commissaire.client().await?;
    for address in sshds.addresses() {
        let host = client.get_json(&format!("/api/v0/host/{address}")).await?;
        ensure!(host["status"] == "disassociated" && host["last_check"] != "", "checked? {host}");
    }
    Ok(Turn { own, ..turn })
}

async fn bare_turn(sshds: &Sshds) -> anyhow::Result<Turn> {
    let addresses = sshds.addresses();
    let mut loops = JoinSet::new();
    for hosts in addresses.chunks(HOSTS / CONCURRENCY) {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        let (port, key) = (sshds.port(), sshds.key());
        loops.spawn(async move {
            loop {
                for host in &hosts {
                    let mut command = Command::new("ssh");
                    command.args(crate::bare_restart::SSH_OPTIONS).arg("-i").arg(&key);
                    command.arg("-p").arg(port.to_string()).args([host.as_str(), "true"]);
                    command.stdin(Stdio::null()).kill_on_drop(true);
                    let status = command.status().await.context("cannot start ssh")?;
                    ensure!(status.success(), "a bare ssh failed: {status}");
                }
            }
        });
    }
    tokio::select! {
        turn = watched(sshds, std::process::id()) => turn,
        Some(ended) = loops.join_next() => match ended.context("a loop of bare ssh broke")? {
            Ok(()) => bail!("a loop of bare ssh ended"),
            Err(error) => Err(error),
        },
    }
}

/// Watches a turn of log-ins, which the processes below `parent` do.
async fn watched(sshds: &Sshds, parent: u32) -> anyhow::Result<Turn> {
    sleep(WARM_UP).await;
    let (before, begun) = (log_ins(sshds), Instant::now());
    let mut seen = Vec::new();
    while begun.elapsed() < TURN {
        sleep(LOOK_AGAIN).await;
        seen.extend(resident_of_children(parent, "ssh")?);
    }
    ensure!(!seen.is_empty(), "no ssh was seen");
    let took = begun.elapsed();
    let ssh = seen.iter().sum::<u64>() / seen.len() as u64;
    Ok(Turn { log_ins: log_ins(sshds) - before, took, ssh, own: 0 })
}

/// How many log-ins there have been, as those say who let somebody in.
fn log_ins(sshds: &Sshds) -> usize {
    sshds.log().matches("Accepted publickey").count()
}
