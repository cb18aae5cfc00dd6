//! The watcher's processes: many addresses shared by two of them, and rolls that wait for the end of a freeze.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use daemons::Daemon;
use jiff::Timestamp;
use serde_json::{Value, json};
use testbed::Testbed;
use testbed::sshd::{self, Sshds};

use crate::processes::Form;
use crate::server::{LONG, Server, eventually};

/// How many addresses are watched, where that is said; two cores stand five checks a second.
const COUNT: &str = "COMMISSAIRE_TEST_WATCHED";

/// The checks of each address, as REST shows them: seconds since the epoch.
type Checks = BTreeMap<String, Vec<f64>>;

#[expect(clippy::disallowed_methods, reason = "tests have no configuration but the environment")]
fn count() -> usize {
    std::env::var(COUNT).map_or(100, |count| count.parse().unwrap())
}

/// Takes note of all checks for so long.
async fn record(server: &Server, checks: &mut Checks, span: Duration) {
    let (begun, mut ticks) = (Instant::now(), tokio::time::interval(Duration::from_millis(500)));
    while begun.elapsed() < span {
        ticks.tick().await;
        for host in server.get("/hosts").await.as_array().unwrap() {
            let Some(last) = host["last_check"].as_str().filter(|last| !last.is_empty()) else {
                continue;
            };
            let last: Timestamp = format!("{last}Z").parse().unwrap();
            let seen = checks.entry(host["address"].as_str().unwrap().to_owned()).or_default();
            let last = last.as_duration().as_secs_f64();
            if seen.last() != Some(&last) {
                seen.push(last);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_watchers_check_each_address_once_an_interval_and_one_takes_over_at_once() {
    let count = count();
    let interval = Duration::from_secs(30.max(count as u64 / 5));
    let sshds = Sshds::start(count, sshd::CHEAP_LOGINS);
    // All arrive at once, which is not what is looked at here: a few log-ins at a time, with patience.
    let config = json!({
        "lease-ttl": 8,
        "investigator": {"concurrency": 4, "connect_timeout": 60},
        "watcher": {
            "interval": interval.as_secs(), "connect_timeout": 20, "report_interval": 0.5,
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
    // The first round is irregular: everybody has just come.
    record(&server, &mut Checks::new(), interval * 2).await;
    let (mut checks, before) = (Checks::new(), log_ins(&sshds));
    record(&server, &mut checks, interval * 2).await;
    let log_ins = log_ins(&sshds) - before;
    assert_eq!(checks.len(), count);
    let seconds = interval.as_secs_f64();
    let mut off = Vec::new();
    for (address, checks) in &checks {
        for two in checks.windows(2) {
            let share = (two[1] - two[0]) / seconds;
            if !(0.9..=1.1).contains(&share) {
                off.push(format!("{address}: {share:.2}"));
            }
        }
    }
    eprintln!("{count} addresses, {log_ins} log-ins, off by more than a tenth: {off:?}");
    // A machine that stands still for a moment holds up all that are due then.
    assert!(off.len() <= count / 10, "of an interval: {off:?}");
    // The first of each was before; as many as are under way at each end are seen by one of both only.
    let noted: usize = checks.values().map(|checks| checks.len() - 1).sum();
    assert!(log_ins.abs_diff(noted) <= count / 10, "{log_ins} log-ins for {noted} checks");

    server.processes.kill(Some(Daemon::Watcher), 0);
    let killed = service_core::Clock::System.now().as_duration().as_secs_f64();
    let mut checks = Checks::new();
    // Who was checked just before is due an interval later; the rest is for the check itself.
    record(&server, &mut checks, interval.mul_f64(1.2)).await;
    let late: Vec<_> = checks.iter().filter(|(_, checks)| checks.last() <= Some(&killed)).collect();
    assert!(
        late.is_empty() && checks.len() == count,
        "killed at {killed}, not taken over: {late:?}"
    );
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

fn log_ins(sshds: &Sshds) -> usize {
    sshds.log().matches("Accepted publickey").count()
}

async fn a_roll_waits_while_too_many_hosts_are_unreachable(form: Form) {
    let members = Testbed::up_light(2);
    let others = Testbed::up_light(4);
    let watcher = json!({"interval": 3, "retry-pauses": [0.5, 1], "alarm-end-after": 1});
    let server = Server::start(form, json!({"watcher": watcher})).await;
    server.cluster(&members).await;
    for host in 0..others.hosts().len() {
        server.register(&others, host, json!({"bootstrap": "none"})).await;
    }
    for host in 0..others.hosts().len() {
        server.settled(others.address(host).0).await;
    }
    for host in others.hosts() {
        others.run(&["kill", host]);
    }
    eventually("an alarm is raised", || async {
        server.get("/cluster/c1").await.get("alarm").cloned()
    })
    .await;
    let before = [members.boot_id(0), members.boot_id(1)];
    server.put("/cluster/c1/restart", json!({})).await;
    let event = server.event("waiting").await;
    assert!(event["detail"].as_str().unwrap().contains("unreachable"), "{event}");
    assert_eq!([members.boot_id(0), members.boot_id(1)], before, "nothing has been restarted");
    for host in others.hosts() {
        others.run(&["start", host]);
    }
    let record = server.restarted().await;
    assert_eq!(record["status"], "finished", "{record}");
    assert_ne!(members.boot_id(0), before[0]);
    assert_eq!(server.log().matches("alarm raised").count(), 1);
}

/// A host that is cut off is `failed` within two intervals, and itself again within one after it is back.
async fn a_host_cut_off_fails_and_heals_in_time(form: Form) {
    const INTERVAL: Duration = Duration::from_secs(20);
    let test = "a_host_cut_off_fails_and_heals_in_time";
    let Some(testbed) = Testbed::up_booted(test, &["debian"; 4]) else { return };
    let watcher = json!({"interval": 20, "retry-pauses": [1.5, 5], "connect-timeout": 3});
    let server = Server::start(form, json!({"watcher": watcher})).await;
    server.cluster(&testbed).await;
    let path = format!("/host/{}", testbed.address(0).0);
    let until = async |status: &'static str| {
        eventually(status, async || (server.get(&path).await["status"] == status).then_some(()))
            .await;
    };
    testbed.run(&["cut", &testbed.hosts()[0]]);
    let begun = Instant::now();
    until("failed").await;
    assert!(begun.elapsed() <= INTERVAL * 2, "{:?}", begun.elapsed());
    testbed.run(&["heal", &testbed.hosts()[0]]);
    let begun = Instant::now();
    until("disassociated").await;
    assert!(begun.elapsed() <= INTERVAL.mul_f64(1.1), "{:?}", begun.elapsed());
}

both_forms!(
    a_roll_waits_while_too_many_hosts_are_unreachable,
    a_host_cut_off_fails_and_heals_in_time,
);
