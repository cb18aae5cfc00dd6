//! Restarting a cluster of ten hosts, one at a time, against a bare reboot and a bare playbook of each.

use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use testbed::Testbed;
use tokio::time::Instant;

use crate::Setup;
use crate::bare_restart::{BareHost, Parts};
use crate::client::Client;
use crate::process::Commissaire;
use crate::report::{Bound, Figure, Report, Row};
use crate::stats::Samples;

/// At most this many times the bare parts.
const BOUND: f64 = 1.2;

const FLAVOURS: [&str; 10] = ["debian"; 10];
const CLUSTER: &str = "/api/v0/cluster/bench";
const RESTART: &str = "/api/v0/cluster/bench/restart";

/// How long anything may take that takes seconds.
const PATIENCE: Duration = Duration::from_mins(10);

/// The pause between looks at what is under way.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Measures and reports.
///
/// # Errors
/// When it cannot be measured.
pub async fn measure(setup: &Setup, report: &mut Report) -> anyhow::Result<()> {
    let testbed = Testbed::up(&FLAVOURS);
    let commissaire = Commissaire::ready(setup, "restart").await?;
    let mut client = commissaire.client().await?;
    register(&testbed, &mut client).await?;
    let bare = (0..FLAVOURS.len()).map(|n| BareHost::new(&testbed, n, setup.folder.path()));
    let bare = bare.collect::<anyhow::Result<Vec<_>>>()?;

    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    let mut parts = Vec::new();
    for round in 1..=setup.rounds {
        settle(&testbed);
        let mut together = Duration::ZERO;
        for (number, host) in bare.iter().enumerate() {
            let part = host.restart(&testbed.boot_id(number)).await?;
            together += part.reboot + part.playbook;
            parts.push(part);
        }
        theirs.push(together);
        settle(&testbed);
        let took = restart(&testbed, &mut client, &json!({"settle": 0})).await?;
        ours.push(took);
        eprintln!("round {round}: {} and {}", Figure::Time(took), Figure::Time(together));
    }
    settle(&testbed);
    let settled = restart(&testbed, &mut client, &json!({})).await?;
    conclude(report, &testbed, ours, theirs, &parts);
    report.note(format!(
        "with the default `settle` of 30 s a host, the restart takes {}",
        Figure::Time(settled)
    ));
    Ok(())
}

fn conclude(
    report: &mut Report,
    testbed: &Testbed,
    ours: Vec<Duration>,
    theirs: Vec<Duration>,
    parts: &[Parts],
) {
    report.row(Row {
        what: format!("restart of {} hosts", FLAVOURS.len()),
        ours: Figure::Time(Samples::from_iter(ours).median()),
        bare: Some(Figure::Time(Samples::from_iter(theirs).median())),
        bound: Some(Bound::Ratio(BOUND)),
    });
    let median = |part: fn(&Parts) -> Duration| {
        Figure::Time(parts.iter().map(part).collect::<Samples>().median())
    };
    report.note(format!(
        "of a bare restart the reboot takes {}, the playbook {}, a host",
        median(|part| part.reboot),
        median(|part| part.playbook)
    ));
    if testbed.is_light() {
        report.note("LIGHT HOSTS: none could be booted here, so `restart` says little".to_owned());
    }
}

/// Puts the hosts into a cluster and waits until they may be restarted.
async fn register(testbed: &Testbed, client: &mut Client) -> anyhow::Result<()> {
    let key = std::fs::read(testbed.key()).context("cannot read the key of the hosts")?;
    client.put(CLUSTER, &json!({})).await?;
    for number in 0..FLAVOURS.len() {
        let (address, port) = testbed.address(number);
        let host = json!({
            "ssh_priv_key": BASE64.encode(&key),
            "ssh_port": port,
            "remote_user": testbed.user(),
            "cluster": "bench",
            "bootstrap": "none",
        });
        client.put(&format!("/api/v0/host/{address}"), &host).await?;
    }
    for number in 0..FLAVOURS.len() {
        let path = format!("/api/v0/host/{}", testbed.address(number).0);
        let begun = Instant::now();
        loop {
            let host = client.get_json(&path).await?;
            match host["status"].as_str() {
                Some("active" | "disassociated") => break,
                Some("failed") => bail!("{}", client.get_json(&format!("{path}/status")).await?),
                _ if begun.elapsed() > PATIENCE => bail!("it is not set up in time: {host}"),
                _ => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }
    Ok(())
}

/// Restarts the cluster, and says how long that took.
async fn restart(
    testbed: &Testbed,
    client: &mut Client,
    options: &Value,
) -> anyhow::Result<Duration> {
    let before = boot_ids(testbed);
    let begun = Instant::now();
    client.put(RESTART, options).await?;
    let record = loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        let record = client.get_json(RESTART).await?;
        if record["status"] != "in_process" {
            break record;
        }
        if begun.elapsed() > PATIENCE {
            bail!("the restart does not end: {record}");
        }
    };
    let took = begun.elapsed();
    let same = before.iter().zip(boot_ids(testbed)).any(|(before, after)| *before == after);
    if record["status"] != "finished" || same {
        bail!("not all hosts were restarted: {record}");
    }
    Ok(took)
}

fn boot_ids(testbed: &Testbed) -> Vec<String> {
    (0..FLAVOURS.len()).map(|number| testbed.boot_id(number)).collect()
}

/// Waits until the hosts have come up entirely: a reboot in the middle of that takes longer.
fn settle(testbed: &Testbed) {
    if !testbed.is_light() {
        for number in 0..FLAVOURS.len() {
            // "degraded" is good enough.
            testbed.exec(number, "systemctl is-system-running --wait || true");
        }
    }
}
