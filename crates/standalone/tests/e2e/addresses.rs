//! Many addresses, shared by two watchers.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use daemons::Daemon;
use jiff::Timestamp;
use serde_json::{Value, json};
use testbed::sshd::{self, Sshds};
use tokio::time::Instant;

use crate::processes::Form;
use crate::server::{LONG, Server, eventually};

/// How many addresses are watched, where that is said; two cores stand five checks a second.
const COUNT: &str = "COMMISSAIRE_TEST_WATCHED";

#[expect(clippy::disallowed_methods, reason = "tests have no configuration but the environment")]
fn count() -> usize {
    std::env::var(COUNT).map_or(30, |count| count.parse().unwrap())
}

/// The last checks of all hosts, as REST shows them, in seconds since the epoch.
async fn last_checks(server: &Server) -> BTreeMap<String, f64> {
    let hosts = server.get_at_last("/hosts").await;
    let checked = hosts.as_array().unwrap().iter().filter_map(|host| {
        let last = host["last_check"].as_str().filter(|last| !last.is_empty())?;
        let last: Timestamp = format!("{last}Z").parse().unwrap();
        Some((host["address"].as_str().unwrap().to_owned(), last.as_duration().as_secs_f64()))
    });
    checked.collect()
}

/// How often each address was logged in to, as its `sshd` logs it: where each connection goes, and by their ports
/// those whose key is accepted.
fn log_ins(sshds: &Sshds) -> BTreeMap<String, usize> {
    let (mut connections, mut counts) = (BTreeMap::new(), BTreeMap::new());
    let log = sshds.log();
    for line in log.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["Connection", "from", _, "port", port, "on", address, ..] => {
                connections.insert(*port, *address);
            }
            ["Accepted", "publickey", "for", _, "from", _, "port", port, ..] => {
                *counts.entry(connections[port].to_owned()).or_default() += 1;
            }
            _ => {}
        }
    }
    counts
}

/// How regular the checks are, and how soon they are taken over, is shown in paused time by the watcher's own tests:
/// here a busy machine may delay any check.
async fn two_watchers_check_each_address_once_an_interval_and_one_takes_over_alone() {
    let count = count();
    let interval = Duration::from_secs(10.max(count as u64 / 5));
    let options = format!("{}\nLogLevel VERBOSE", sshd::CHEAP_LOGINS);
    let sshds = Sshds::start(count, &options);
    // All arrive at once, which is not what is looked at here: a few log-ins at a time, with patience.
    let config = json!({
        "investigator": {"concurrency": 4, "connect_timeout": 60},
        "watcher": {
            "interval": interval.as_secs(), "connect_timeout": 60, "report_interval": 0.5,
        },
    });
    let mut server = Server::start(Form::Distributed(2), config).await;
    let key = BASE64.encode(std::fs::read(sshds.key()).unwrap());
    for address in sshds.addresses() {
        let host = json!({
            "ssh_port": sshds.port(), "remote_user": sshd::user(), "ssh_priv_key": key,
            "bootstrap": "none",
        });
        server.put(&format!("/host/{address}"), host).await;
    }
    all_settled(&server, count).await;
    let checked = |checks: &BTreeMap<String, f64>| checks.len() == count;
    eventually("all are checked", || async { checked(&last_checks(&server).await).then_some(()) })
        .await;

    let (before, begun) = (log_ins(&sshds), Instant::now());
    let mut shown = last_checks(&server).await;
    let mut noted: BTreeMap<String, usize> = BTreeMap::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    while begun.elapsed() < interval * 5 || noted.len() < count || noted.values().any(|n| *n < 2) {
        assert!(begun.elapsed() < interval * 40, "checks that are shown: {noted:?}");
        ticks.tick().await;
        for (address, last) in last_checks(&server).await {
            if last > shown[&address] {
                shown.insert(address.clone(), last);
                *noted.entry(address).or_default() += 1;
            }
        }
    }
    let (after, intervals) = (log_ins(&sshds), begun.elapsed().as_secs() / interval.as_secs());
    // By one watcher, once whenever its place comes round; beside that a check that was due before, and one that was
    // missed because the watcher was held up for so long that the other took over.
    let most = usize::try_from(intervals).unwrap() + 3;
    for (address, noted) in noted {
        let made = after[&address] - before.get(&address).unwrap_or(&0);
        // The first of those that are shown may have been under way at the beginning.
        assert!(noted <= made + 1, "{address}: {made} log-ins for {noted} checks");
        assert!(made <= most, "{address}: {made} log-ins in {intervals} intervals");
    }

    server.processes.kill(Some(Daemon::Watcher), 0);
    let killed = runtime::Clock::System.wall().as_duration().as_secs_f64();
    let (begun, usual) = (Instant::now(), storage_client::lease::TTL * 2 + interval);
    loop {
        let mut left = last_checks(&server).await;
        left.retain(|_, last| *last <= killed);
        if left.is_empty() {
            break;
        }
        assert!(begun.elapsed() < usual * 10, "killed at {killed}, not taken over: {left:?}");
        ticks.tick().await;
    }
}

/// Waits until all hosts have been looked at, for which a second each is more than enough.
async fn all_settled(server: &Server, count: usize) {
    let (begun, patience) = (Instant::now(), LONG + Duration::from_secs(count as u64));
    loop {
        let hosts = server.get_at_last("/hosts").await;
        let is_settled = |host: &&Value| host["status"] == "disassociated";
        let settled = hosts.as_array().unwrap().iter().filter(is_settled).count();
        if settled == count {
            return;
        }
        assert!(begun.elapsed() < patience, "{settled} of {count} hosts are set up");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

full!(two_watchers_check_each_address_once_an_interval_and_one_takes_over_alone);
