//! Many hosts that are registered at once, against the Ansible work in it alone at the same parallelism.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use testbed::sshd::{self, Sshds};
use tokio::time::{Instant, sleep};

use crate::Setup;
use crate::bare_playbook::BarePlaybook;
use crate::client::Client;
use crate::process::Commissaire;
use crate::report::{Bound, Figure, Report, Row};

/// It takes at most this many times as long as the Ansible work alone.
const BOUND: f64 = 1.2;

/// `ansible-playbook` processes at a time, on either side.
const PROCESSES: usize = 4;

/// How long a host may take, on average.
const PATIENCE: Duration = Duration::from_secs(15);

/// The pause between looks at the list of hosts.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// In place of the bundled one, which would set this very machine up. The less it does, the more of the whole
/// is our own part.
const PLAYBOOK: &str = "- hosts: all\n  gather_facts: false\n  tasks:\n    \
                        - raw: echo {{ inventory_hostname }} >>LOG\n";

/// Measures and reports.
///
/// # Errors
/// When it cannot be measured.
pub async fn measure(setup: &Setup, report: &mut Report) -> anyhow::Result<()> {
    let sshds = Sshds::start(setup.hosts, "");
    let folder = setup.folder.path().join("playbooks");
    std::fs::create_dir(&folder).context("no folder for the playbooks")?;
    let log = folder.join("log");
    let text = PLAYBOOK.replace("LOG", &log.display().to_string());
    std::fs::write(folder.join("bootstrap.yaml"), &text).context("cannot write the playbook")?;
    let login = (sshds.port(), sshd::user(), sshds.key());
    let bare = BarePlaybook::new(&folder, &text, login)?;

    // One half before and one after: whatever else the machine is doing falls on both sides.
    let addresses = sshds.addresses();
    let (before, after) = addresses.split_at(addresses.len() / 2);
    let mut alone = play(&bare, before).await?;
    played(&log, before)?;
    let (ours, memory) = register(setup, &sshds, &folder).await?;
    played(&log, &addresses)?;
    alone += play(&bare, after).await?;
    played(&log, after)?;
    report.row(Row {
        what: format!("{} registrations at once", setup.hosts),
        ours: Figure::Time(ours),
        bare: Some(Figure::Time(alone)),
        bound: Some(Bound::Ratio(BOUND)),
    });
    report.note(format!("commissaire has {} after the registrations", Figure::Memory(memory)));
    Ok(())
}

/// Each of these hosts has been played on, exactly once since the last look.
fn played(log: &Path, hosts: &[&str]) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(log).context("the playbook has not been played")?;
    std::fs::remove_file(log).context("cannot remove the log")?;
    let (mut played, mut hosts): (Vec<_>, _) = (text.lines().collect(), hosts.to_vec());
    played.sort_unstable();
    hosts.sort_unstable();
    ensure!(played == hosts, "not each host was played on once: {played:?}");
    Ok(())
}

async fn play(bare: &BarePlaybook, hosts: &[&str]) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let plays = stream::iter(hosts).map(|host| bare.play(host));
    plays.buffer_unordered(PROCESSES).try_collect::<()>().await?;
    Ok(begun.elapsed())
}

/// Registers all hosts, waits until they are set up, and says how long that took and how many bytes
/// commissaire has then.
async fn register(
    setup: &Setup,
    sshds: &Sshds,
    playbooks: &Path,
) -> anyhow::Result<(Duration, u64)> {
    // Checks of hosts that are set up are measured by `watch`.
    let config = json!({
        "investigator": {"playbook_path": playbooks, "ansible_processes": PROCESSES},
        "watcher": {"interval": 1e6},
    });
    let commissaire = Commissaire::ready_with(setup, "registrations", &config, &[]).await?;
    let mut client = commissaire.client().await?;
    let network = json!({"type": "flannel_server", "options": {"address": "127.0.0.1:8888"}});
    client.put("/api/v0/network/fl", &network).await?;
    client.put("/api/v0/cluster/bench", &json!({"network": "fl"})).await?;
    let key = std::fs::read(sshds.key()).context("cannot read the key of the hosts")?;
    let host = json!({
        "ssh_priv_key": BASE64.encode(&key),
        "ssh_port": sshds.port(),
        "remote_user": sshd::user(),
        "cluster": "bench",
        "bootstrap": "full",
    });
    let begun = Instant::now();
    for address in sshds.addresses() {
        client.put(&format!("/api/v0/host/{address}"), &host).await?;
    }
    while !all_set_up(&mut client, setup.hosts).await? {
        ensure!(begun.elapsed() < PATIENCE * u32::try_from(setup.hosts)?, "not set up in time");
        sleep(LOOK_AGAIN).await;
    }
    Ok((begun.elapsed(), commissaire.server.resident()?))
}

async fn all_set_up(client: &mut Client, count: usize) -> anyhow::Result<bool> {
    let hosts = client.get_json("/api/v0/hosts").await?;
    let hosts = hosts.as_array().context("no list of hosts")?;
    ensure!(hosts.len() == count, "{} of {count} hosts are there", hosts.len());
    let is = |host: &&Value, status: &str| host["status"] == status;
    if let Some(failed) = hosts.iter().find(|host| is(host, "failed")) {
        let address = failed["address"].as_str().context("a host without an address")?;
        bail!("{}", client.get_json(&format!("/api/v0/host/{address}/status")).await?);
    }
    Ok(hosts.iter().all(|host| is(&host, "disassociated")))
}
