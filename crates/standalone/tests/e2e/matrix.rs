//! The crash matrix: whoever carries a restart out is killed, or stopped until another has taken over and then
//! continued, and the broker and the store go away, each before and after every step of a host. Whatever
//! happens, the operation ends, and each host has been restarted once, one at a time.
//!
//! All of it takes half an hour: `tools/test --full`. Otherwise a few cases, drawn by a seed that
//! is printed, and that can be given.

use std::time::Duration;

use daemons::Daemon;
use futures_util::{StreamExt as _, future, stream};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rustix::process::{Signal, kill_process};
use serde_json::json;
use testbed::Testbed;
use testbed::etcd::{ALL, Etcd};
use testbed::rabbitmq::RabbitMq;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::crashes::restarted_once_each;
use crate::moments::{Moment, reached};
use crate::processes::{Form, Ground};
use crate::server::{Server, eventually};

/// How many cases are drawn; or a fault, whose cases are all tried; or `all`.
const CASES: &str = "COMMISSAIRE_TEST_MATRIX";

/// What they are drawn by.
const SEED: &str = "COMMISSAIRE_TEST_SEED";

/// Cases at a time: most of their time goes into waiting.
const AT_A_TIME: usize = 2;

/// Before and after each step of the first host, and in between.
const MOMENTS: [Moment; 8] = [
    Moment::Accepted,
    Moment::Step("probe"),
    Moment::Step("reboot"),
    Moment::Step("verify"),
    Moment::Away,
    Moment::Back,
    Moment::Step("done"),
    Moment::SecondAway,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// kill -9 of everything, in the one-process form.
    AllKilled,
    /// kill -9 of the executor at work; there is another.
    Killed,
    /// SIGSTOP of the executor at work until the other has taken over, then SIGCONT.
    Stopped,
    BrokerAway(Duration),
    StoreAway(Duration),
}

fn cases(outage: Duration) -> Vec<(Fault, Moment)> {
    let faults = [
        Fault::AllKilled,
        Fault::Killed,
        Fault::Stopped,
        Fault::BrokerAway(outage),
        Fault::StoreAway(outage),
    ];
    faults.iter().flat_map(|fault| MOMENTS.map(|moment| (*fault, moment))).collect()
}

#[expect(clippy::disallowed_methods, reason = "tests have no configuration but the environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_each_host_is_restarted_once() {
    let wanted = environment(CASES).unwrap_or_else(|| "2".to_owned());
    let chosen = match wanted.parse() {
        Ok(number) => drawn(number),
        Err(_) => named(&wanted),
    };
    assert!(!chosen.is_empty(), "{CASES}={wanted}: no such case");
    let tried = chosen.iter().map(|&(fault, moment)| async move {
        // One that fails does not keep the others from being tried. On a thread of its own: when that ends, what it
        // has started is killed.
        let here = Handle::current();
        let outcome = spawn_blocking(move || here.block_on(case(fault, moment))).await;
        eprintln!("{fault:?} at {moment:?}: {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        outcome.is_err().then_some((fault, moment))
    });
    let failed: Vec<_> =
        stream::iter(tried).buffer_unordered(AT_A_TIME).filter_map(future::ready).collect().await;
    assert!(failed.is_empty(), "{} of {} failed: {failed:?}", failed.len(), chosen.len());
}

fn drawn(number: usize) -> Vec<(Fault, Moment)> {
    let seed = environment(SEED).map_or_else(rand::random, |seed| seed.parse().unwrap());
    // A few times as long as the lease lasts.
    let all = cases(Duration::from_secs(25));
    let drawn = all.sample(&mut StdRng::seed_from_u64(seed), number).copied().collect();
    eprintln!("{SEED}={seed}: {drawn:?}");
    drawn
}

/// Those of a fault, such as `Stopped`, or all.
fn named(fault: &str) -> Vec<(Fault, Moment)> {
    let mut named = cases(Duration::from_mins(1));
    named.retain(|case| fault == "all" || format!("{:?}", case.0).starts_with(fault));
    named
}

async fn case(fault: Fault, moment: Moment) {
    let testbed = Testbed::up(&["debian", "debian"]);
    let broker = matches!(fault, Fault::BrokerAway(_)).then(RabbitMq::up);
    let (form, ground) = match (fault, &broker) {
        (Fault::AllKilled, _) => (Form::OneProcess, None),
        (_, Some(broker)) => (Form::Distributed(2), Some(Ground::on(broker.uri(), Etcd::up()))),
        _ => (Form::Distributed(2), None),
    };
    let mut server = Server::prepare(form, ground, &json!({"lease-ttl": 8}));
    server.start_again().await;
    server.cluster(&testbed).await;
    let before = [testbed.boot_id(0), testbed.boot_id(1)];
    server.put("/cluster/c1/restart", json!({})).await;
    reached(moment, &server, &testbed).await;
    match fault {
        Fault::AllKilled => {
            server.processes.kill_all();
            server.start_again().await;
        }
        Fault::Killed => {
            let replica = at_work(&server).await;
            server.processes.kill(Some(Daemon::Clusterexec), replica);
        }
        Fault::Stopped => stopped_and_continued(&server).await,
        Fault::BrokerAway(outage) => {
            let broker = broker.as_ref().unwrap();
            broker.stop();
            tokio::time::sleep(outage).await;
            broker.start();
        }
        Fault::StoreAway(outage) => {
            let etcd = &server.processes.ground.as_ref().unwrap().etcd;
            etcd.pause(ALL);
            tokio::time::sleep(outage).await;
            etcd.resume(ALL);
        }
    }
    restarted_once_each(&server, &testbed, &before).await;
}

/// The replica that has the operation: the last to say so.
async fn at_work(server: &Server) -> usize {
    let says = |replica| {
        let log = server.processes.log_of(Daemon::Clusterexec, replica);
        log.contains("accepted cluster.name=") || log.contains("taken over operation.id=")
    };
    eventually("an executor at work", || async { (0..2).find(|replica| says(*replica)) }).await
}

async fn stopped_and_continued(server: &Server) {
    let replica = at_work(server).await;
    let pid = server.processes.pid(Daemon::Clusterexec, replica);
    kill_process(pid, Signal::STOP).unwrap();
    eventually("the other takes over, or there is nothing left to do", || async {
        let other = server.processes.log_of(Daemon::Clusterexec, 1 - replica);
        let record = server.stored("/commissaire/cluster/c1/restart").await?;
        let over = record["status"] != "in_process";
        (other.contains("taken over") || over).then_some(())
    })
    .await;
    kill_process(pid, Signal::CONT).unwrap();
}
