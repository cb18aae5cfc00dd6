//! Many restarts of clusters whose hosts lose power and reboot by themselves at random moments, checked from outside:
//! each 100 ms a monitor looks which hosts' sshd listens, and the hosts record when a reboot command arrives.
//!
//! It checks the invariants 1, 2 and 4 of operations: no command arrives when, by the hosts' state 300 ms earlier, it
//! makes more hosts unavailable than allowed; at most one arrives at each host; every operation ends, or pauses with a
//! reason. `tools/test --full` runs 200 rolls; `COMMISSAIRE_TEST_ROLLS`, `COMMISSAIRE_TEST_LANES` and
//! `COMMISSAIRE_TEST_SEED` set how many, in how many clusters at a time, and what is drawn. Roll N of a seed has the same
//! faults in every run; `COMMISSAIRE_TEST_FIRST_ROLL` begins at a later one.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reqwest::{Method, StatusCode};
use serde_json::json;
use testbed::Testbed;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::processes::Form;
use crate::server::{Server, eventually};

/// Hosts of a cluster.
const HOSTS: usize = 4;

/// How old what an executor knows of a host may be when its command arrives, in ms.
const WINDOW: u64 = 300;

/// Hang guard for one operation.
const ENDS: Duration = Duration::from_mins(10);

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Loses its power, and is started again after so many ms.
    PowerCut(u64),
    Reboot,
}

/// What is drawn for one roll.
#[derive(Debug)]
struct Plan {
    max_unavailable: usize,
    settle: u64,
    /// When, in ms from the start; which host; what happens to it.
    faults: Vec<(u64, usize, Fault)>,
}

/// What the monitor saw of a host: from this time on, in ms since the epoch, it answered or did not.
type Seen = Vec<Vec<(u64, bool)>>;

#[derive(Debug, Default)]
struct Totals {
    commands: AtomicU64,
    violations: AtomicU64,
}

#[expect(clippy::disallowed_methods, reason = "tests have no configuration but the environment")]
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

#[expect(clippy::disallowed_methods, reason = "compared with the times that hosts write down")]
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

impl Plan {
    fn of(seed: u64, roll: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(roll.wrapping_mul(0x9e37_79b9)));
        let fault = |rng: &mut StdRng| {
            let away = rng.random_range(500..6000);
            let fault = if rng.random_bool(0.5) { Fault::PowerCut(away) } else { Fault::Reboot };
            (rng.random_range(0..25_000), rng.random_range(0..HOSTS), fault)
        };
        let mut faults: Vec<_> = (0..rng.random_range(1..=3)).map(|_| fault(&mut rng)).collect();
        faults.sort_unstable_by_key(|(at, ..)| *at);
        let settle = if rng.random_bool(0.2) { 2 } else { 0 };
        Self { max_unavailable: rng.random_range(1..=2), settle, faults }
    }
}

async fn no_command_arrives_while_too_many_hosts_are_unavailable() {
    let seed = number("COMMISSAIRE_TEST_SEED", u32::from_be_bytes(runtime::random::bytes()).into());
    let rolls = number("COMMISSAIRE_TEST_ROLLS", 4);
    let first = number("COMMISSAIRE_TEST_FIRST_ROLL", 0);
    let lanes = number("COMMISSAIRE_TEST_LANES", 2).clamp(1, rolls.max(1));
    eprintln!(
        "COMMISSAIRE_TEST_SEED={seed}: rolls {first} to {} in {lanes} clusters",
        first + rolls - 1
    );
    let next = Arc::new(AtomicU64::new(first));
    let totals = Arc::new(Totals::default());
    let lanes = (0..lanes).map(|_| {
        let (next, totals, here) = (next.clone(), totals.clone(), Handle::current());
        // On a thread of its own: what it has started ends with that.
        spawn_blocking(move || here.block_on(lane(seed, first + rolls, &next, &totals)))
    });
    let failed = join_all(lanes).await.into_iter().filter(Result::is_err).count();
    let load = |count: &AtomicU64| count.load(Ordering::SeqCst);
    let (commands, violations) = (load(&totals.commands), load(&totals.violations));
    eprintln!("{rolls} rolls, {commands} commands, {violations} violations");
    assert_eq!((violations, failed), (0, 0), "violations, and clusters that could not go on");
}

/// One cluster, roll after roll.
async fn lane(seed: u64, end: u64, next: &AtomicU64, totals: &Totals) {
    let testbed = Arc::new(Testbed::up_light(HOSTS));
    let clusterexec = json!({"connect-timeout": 3, "room-timeout": 10, "verify-timeout": 60});
    // Two of four hosts are enough for an alarm, which is not what is looked at here.
    let watcher = json!({"alarm-end-after": 1});
    let config = json!({"clusterexec": clusterexec, "watcher": watcher});
    let server = Server::start(Form::OneProcess, config).await;
    server.cluster(&testbed).await;
    let settles = knows_settle(&server).await;
    loop {
        let roll = next.fetch_add(1, Ordering::SeqCst);
        if roll >= end {
            return;
        }
        let plan = Plan::of(seed, roll);
        let (outcome, commands, violations) = run(&server, &testbed, &plan, settles).await;
        eprintln!(
            "roll {roll}: {plan:?}: {outcome}, {commands} commands, {} violations",
            violations.len()
        );
        for violation in &violations {
            eprintln!("roll {roll}: VIOLATION: {violation}");
        }
        totals.commands.fetch_add(commands as u64, Ordering::SeqCst);
        totals.violations.fetch_add(violations.len() as u64, Ordering::SeqCst);
        repair(&server, &testbed).await;
    }
}

/// Whether this server has the option `settle`.
async fn knows_settle(server: &Server) -> bool {
    let dry = json!({"dry_run": true, "settle": 0});
    server.call(Method::PUT, "/cluster/c1/restart", dry).await.0 == StatusCode::OK
}

/// One roll under faults: how it ended, how many commands arrived, and what was not allowed.
async fn run(
    server: &Server,
    testbed: &Arc<Testbed>,
    plan: &Plan,
    settles: bool,
) -> (String, usize, Vec<String>) {
    let begun = now_ms();
    let mut options = json!({"max_unavailable": plan.max_unavailable});
    if settles {
        options["settle"] = json!(plan.settle);
    }
    let over = Notify::new();
    let roll = async {
        server.put("/cluster/c1/restart", options).await;
        let outcome = tokio::time::timeout(ENDS, ended(server)).await;
        // A command that was on its way.
        sleep(Duration::from_secs(1)).await;
        over.notify_one();
        outcome.unwrap_or_else(|_| Err("it neither ended nor paused with a reason".to_owned()))
    };
    let (outcome, (), seen) =
        tokio::join!(roll, faults(testbed, plan), monitored(testbed, over.notified()));
    let commands = testbed.commands();
    let commands: Vec<_> = commands.into_iter().filter(|(time, _)| *time >= begun).collect();
    let mut violations = judge(testbed, plan, &commands, &seen);
    let outcome = outcome.unwrap_or_else(|why| {
        violations.push(why.clone());
        why
    });
    (outcome, commands.len(), violations)
}

/// The end of the operation; one that pauses is aborted, since the cluster is wanted for the next roll.
async fn ended(server: &Server) -> Result<String, String> {
    loop {
        let operation = server.operation().await;
        let state = operation["state"].as_str().unwrap_or_default().to_owned();
        if !operation["finished_at"].is_null() {
            let hosts = operation["hosts"].as_array().into_iter().flatten();
            let failures: Vec<_> =
                hosts.filter_map(|host| host["failure"]["reason"].as_str()).collect();
            return Ok(format!(
                "{state} {} {} {failures:?}",
                operation["counts"], operation["reason"]
            ));
        }
        if state == "paused" {
            let reason = operation["control"]["reason"].as_str().unwrap_or_default().to_owned();
            if reason.is_empty() {
                return Err(format!("paused without a reason: {operation}"));
            }
            server.tell("abort").await;
            eventually("the aborted operation ends", || async {
                (!server.operation().await["finished_at"].is_null()).then_some(())
            })
            .await;
            return Ok(format!("paused: {reason}"));
        }
        sleep(Duration::from_millis(200)).await;
    }
}

async fn faults(testbed: &Arc<Testbed>, plan: &Plan) {
    let begun = Instant::now();
    for &(at, host, fault) in &plan.faults {
        tokio::time::sleep_until(begun + Duration::from_millis(at)).await;
        let name = testbed.hosts()[host].clone();
        // One that is down already refuses both: that is no fault then.
        match fault {
            Fault::Reboot => drop(testbed_does(testbed, &["reboot", "--no-wait", &name]).await),
            Fault::PowerCut(away) => {
                if testbed_does(testbed, &["kill", &name]).await.is_ok() {
                    sleep(Duration::from_millis(away)).await;
                    testbed_does(testbed, &["start", &name]).await.unwrap();
                }
            }
        }
    }
}

async fn testbed_does(testbed: &Arc<Testbed>, arguments: &[&str]) -> Result<String, String> {
    let testbed = testbed.clone();
    let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
    let run = move || testbed.try_run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    spawn_blocking(run).await.unwrap()
}

/// Looks each 100 ms, until the other has ended, which hosts listen. Light hosts share the network of this machine, and
/// a connection would make sshd fork for each look.
async fn monitored(testbed: &Testbed, until: impl Future<Output = ()>) -> Seen {
    let hosts = 0..testbed.hosts().len();
    let lines: Vec<_> = hosts.map(|host| listening_line(testbed.address(host))).collect();
    let mut seen: Seen = vec![Vec::new(); lines.len()];
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    tokio::pin!(until);
    loop {
        tokio::select! {
            () = &mut until => return seen,
            _ = ticks.tick() => {}
        }
        let (time, sockets) = (now_ms(), std::fs::read_to_string("/proc/net/tcp").unwrap());
        for (host, line) in lines.iter().enumerate() {
            seen[host].push((time, sockets.contains(line)));
        }
    }
}

/// What a line of `/proc/net/tcp` contains if something listens there: address and port, no peer, state 0A.
fn listening_line((address, port): (&str, u16)) -> String {
    let address: Ipv4Addr = address.parse().unwrap();
    let address = u32::from_ne_bytes(address.octets());
    format!(" {address:08X}:{port:04X} 00000000:0000 0A ")
}

/// What arrived that should not have.
fn judge(testbed: &Testbed, plan: &Plan, commands: &[(u64, String)], seen: &Seen) -> Vec<String> {
    let mut violations = Vec::new();
    let name = |host: usize| testbed.address(host).0;
    for (index, (time, host)) in commands.iter().enumerate() {
        if commands[..index].iter().any(|(_, other)| other == host) {
            violations.push(format!("a second command reached {host} at {time}"));
        }
        let was_down = |other: &usize| {
            let before = seen[*other].iter().rev().find(|(at, _)| at + WINDOW <= *time);
            name(*other) != host && before.is_some_and(|(_, up)| !up)
        };
        let down: Vec<_> = (0..seen.len()).filter(was_down).map(name).collect();
        if down.len() + 1 > plan.max_unavailable {
            violations.push(format!("a command reached {host} at {time} while {down:?} were down"));
        }
    }
    violations
}

/// All hosts up and registered as such again.
async fn repair(server: &Server, testbed: &Arc<Testbed>) {
    for host in 0..testbed.hosts().len() {
        let (address, port) = testbed.address(host);
        // One that is running refuses.
        drop(testbed_does(testbed, &["start", &testbed.hosts()[host]]).await);
        eventually("the host answers", || async { TcpStream::connect((address, port)).await.ok() })
            .await;
    }
    for host in 0..testbed.hosts().len() {
        let address = testbed.address(host).0;
        eventually("the host is usable again", || async {
            let status = server.get_at_last(&format!("/host/{address}/status")).await;
            if status["host"]["status"] == "failed" {
                let path = format!("/host/{address}/investigate");
                server.call(Method::POST, &path, json!({})).await;
            }
            (status["host"]["status"] == "disassociated").then_some(())
        })
        .await;
    }
}

full!(no_command_arrives_while_too_many_hosts_are_unavailable,);
