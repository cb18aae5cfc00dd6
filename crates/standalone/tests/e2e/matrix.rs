//! The crash matrix: whoever carries a restart out is killed, or stopped until another has taken over and then
//! continued, and the broker and the store go away, each before and after every step of a host. Whatever
//! happens, the operation ends, and each host has been restarted once, one at a time.
//!
//! All of it takes half an hour.

use std::time::Duration;

use daemons::Daemon;
use futures_util::{StreamExt as _, future, stream};
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

/// Names a fault whose cases alone are tried, such as `Stopped`.
const FAULT: &str = "COMMISSAIRE_TEST_FAULT";

/// Several times as long as a lease lasts.
const OUTAGE: Duration = Duration::from_mins(1);

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
    BrokerAway,
    StoreAway,
}

const FAULTS: [Fault; 5] =
    [Fault::AllKilled, Fault::Killed, Fault::Stopped, Fault::BrokerAway, Fault::StoreAway];

#[expect(clippy::disallowed_methods, reason = "tests have no configuration but the environment")]
fn chosen() -> Vec<(Fault, Moment)> {
    let wanted = std::env::var(FAULT).unwrap_or_default();
    let faults = FAULTS.into_iter().filter(|fault| format!("{fault:?}").starts_with(&wanted));
    let chosen: Vec<_> = faults.flat_map(|fault| MOMENTS.map(|moment| (fault, moment))).collect();
    assert!(!chosen.is_empty(), "{FAULT}={wanted}: no such fault");
    chosen
}

async fn whatever_happens_each_host_is_restarted_once() {
    let chosen = chosen();
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

async fn case(fault: Fault, moment: Moment) {
    let testbed = Testbed::up(&["debian", "debian"]);
    let broker = (fault == Fault::BrokerAway).then(RabbitMq::up);
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
        Fault::BrokerAway => {
            let broker = broker.as_ref().unwrap();
            broker.stop();
            tokio::time::sleep(OUTAGE).await;
            broker.start();
        }
        Fault::StoreAway => {
            let etcd = &server.processes.ground.as_ref().unwrap().etcd;
            etcd.pause(ALL);
            tokio::time::sleep(OUTAGE).await;
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

full!(whatever_happens_each_host_is_restarted_once,);
