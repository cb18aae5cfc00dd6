//! Faults of what the distributed form stands on, while requests go on: every request is answered or
//! fails within its deadline, what was acknowledged is there afterwards, and everything goes on by itself.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use daemons::Daemon;
use reqwest::{Method, StatusCode};
use serde_json::json;
use testbed::etcd::{ALL, Etcd, LEADER};
use testbed::proxy::Proxy;
use testbed::rabbitmq::RabbitMq;
use tokio::time::Instant;

use crate::processes::{Form, Ground};
use crate::server::{Server, eventually};

/// The deadline of a request inside is 10 s; its answer has a little way to go.
const DEADLINE: Duration = Duration::from_secs(12);

/// How soon after a fault everything goes on.
const SOON: Duration = Duration::from_secs(5);

/// How long requests are watched after that.
const AFTERWARDS: Duration = Duration::from_secs(3);

const WRITERS: usize = 4;
const READERS: usize = 2;

/// What became of a request.
#[derive(Debug, Clone)]
struct Request {
    begun: Instant,
    took: Duration,
    status: Option<StatusCode>,
    write: bool,
}

/// Requests that go on until they are told to stop, and what became of them.
#[derive(Debug, Default)]
struct Load {
    stop: AtomicBool,
    next: AtomicUsize,
    acknowledged: Mutex<Vec<String>>,
    requests: Mutex<Vec<Request>>,
}

impl Load {
    async fn request(&self, server: &Server, write: bool) {
        let name = format!("n{}", self.next.fetch_add(1, Ordering::SeqCst));
        let path = if write { format!("/network/{name}") } else { "/network/default".to_owned() };
        let method = if write { Method::PUT } else { Method::GET };
        let begun = Instant::now();
        let answer = server.try_call(method, &path, json!({"type": "none"})).await;
        let (took, status) = (begun.elapsed(), answer.map(|(status, _)| status));
        if write && status == Some(StatusCode::CREATED) {
            self.acknowledged.lock().unwrap().push(name);
        }
        if !status.is_some_and(|status| status.is_success()) {
            // Not in a hurry: a refusal comes within milliseconds.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.requests.lock().unwrap().push(Request { begun, took, status, write });
    }

    /// Writers and readers.
    async fn run(&self, server: &Server) {
        let clients = (0..WRITERS + READERS).map(|client| async move {
            while !self.stop.load(Ordering::SeqCst) {
                self.request(server, client < WRITERS).await;
            }
        });
        futures_util::future::join_all(clients).await;
    }

    fn succeeded(&self) -> usize {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|r| r.status.is_some_and(|status| status.is_success())).count()
    }
}

/// Lets requests go on during the fault, which answers when it was over, and checks what became of them.
async fn survives(server: &Server, fault: impl Future<Output = Instant>) {
    let load = Load::default();
    let (over, ()) = tokio::join!(
        async {
            eventually("requests go on", || async { (load.succeeded() > 50).then_some(()) }).await;
            let over = fault.await;
            tokio::time::sleep_until(over + SOON + AFTERWARDS).await;
            load.stop.store(true, Ordering::SeqCst);
            over
        },
        load.run(server)
    );
    let requests = load.requests.lock().unwrap().clone();
    for request in &requests {
        assert!(request.took < DEADLINE, "{request:?}");
        let ok = request.status.is_some_and(|status| status.is_success());
        let late = request.begun > over + SOON;
        assert!(ok || !late, "{:?} after the end of the fault: {request:?}", request.begun - over);
    }
    let later = |write| requests.iter().any(|r| r.write == write && r.begun > over + SOON);
    assert!(later(true) && later(false), "reading and writing go on");

    let listed = server.get("/networks").await;
    let listed: Vec<&str> =
        listed.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let acknowledged = load.acknowledged.lock().unwrap();
    let lost: Vec<_> =
        acknowledged.iter().filter(|name| !listed.contains(&name.as_str())).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}

async fn distributed(replicas: usize, ground: Ground) -> Server {
    let mut server = Server::prepare(Form::Distributed(replicas), Some(ground), &json!({}));
    server.start_again().await;
    server
}

async fn the_broker_is_restarted() {
    let broker = RabbitMq::up();
    let server = distributed(1, Ground::on(broker.uri(), Etcd::up())).await;
    survives(&server, async {
        broker.stop();
        broker.start();
        Instant::now()
    })
    .await;
}

async fn the_broker_is_killed() {
    let broker = RabbitMq::up();
    let server = distributed(1, Ground::on(broker.uri(), Etcd::up())).await;
    survives(&server, async {
        broker.kill();
        broker.start();
        Instant::now()
    })
    .await;
}

/// A Commissaire whose connections to the broker break on request.
async fn behind_a_proxy() -> (Server, Proxy) {
    let uri = testbed::rabbitmq::shared_uri();
    let broker = testbed::rabbitmq::address(&uri);
    let proxy = Proxy::start(broker);
    let uri = uri.replace(&broker.to_string(), &proxy.address().to_string());
    (distributed(1, Ground::on(uri, Etcd::up())).await, proxy)
}

async fn the_connections_to_the_broker_are_cut() {
    let (server, proxy) = behind_a_proxy().await;
    survives(&server, async {
        proxy.cut();
        tokio::time::sleep(Duration::from_secs(3)).await;
        proxy.restore();
        Instant::now()
    })
    .await;
}

async fn the_connections_to_the_broker_are_half_open() {
    let (server, proxy) = behind_a_proxy().await;
    survives(&server, async {
        proxy.hang();
        tokio::time::sleep(Duration::from_secs(20)).await;
        proxy.restore();
        Instant::now()
    })
    .await;
}

async fn etcd_hangs_for_a_minute() {
    let server = distributed(1, Ground::new()).await;
    let etcd = &server.processes.ground.as_ref().unwrap().etcd;
    survives(&server, async {
        etcd.pause(ALL);
        tokio::time::sleep(Duration::from_mins(1)).await;
        etcd.resume(ALL);
        Instant::now()
    })
    .await;
}

async fn etcd_is_stopped_and_started() {
    let server = distributed(1, Ground::new()).await;
    let etcd = &server.processes.ground.as_ref().unwrap().etcd;
    survives(&server, async {
        etcd.stop(ALL);
        tokio::time::sleep(Duration::from_secs(5)).await;
        etcd.start(ALL);
        Instant::now()
    })
    .await;
}

async fn the_leader_of_three_etcd_members_is_killed() {
    let ground = Ground::on(testbed::rabbitmq::shared_uri(), Etcd::cluster(3));
    let server = distributed(1, ground).await;
    let etcd = &server.processes.ground.as_ref().unwrap().etcd;
    survives(&server, async {
        etcd.kill(LEADER);
        Instant::now()
    })
    .await;
}

async fn a_storage_replica_is_killed_in_the_middle_of_a_save() {
    let server = distributed(2, Ground::new()).await;
    let pid = server.processes.pid(Daemon::Storage, 0);
    survives(&server, async {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        Instant::now()
    })
    .await;
}

async fn without_a_storage_service_the_answer_is_503_at_once() {
    let mut server = distributed(1, Ground::new()).await;
    server.processes.kill(Some(Daemon::Storage), 0);
    // What it was handed at the last moment has to wait for its deadline.
    eventually("the broker has noticed", || async {
        let answer = server.try_call(Method::GET, "/hosts", json!({})).await;
        (answer?.0 == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    let mut took = Vec::new();
    for _ in 0..21 {
        let begun = Instant::now();
        let (status, _) = server.call(Method::GET, "/hosts", json!({})).await;
        took.push(begun.elapsed());
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    }
    took.sort_unstable();
    assert!(took[10] < Duration::from_millis(100), "{took:?}");
}

async fn without_a_broker_the_daemons_wait_and_say_so_once() {
    let broker = RabbitMq::up();
    broker.stop();
    let ground = Ground::on(broker.uri(), Etcd::up());
    let mut server = Server::prepare(Form::Distributed(1), Some(ground), &json!({}));
    server.processes.start_blindly();
    let waiting =
        |server: &Server| server.log().matches(" WARN the message broker amqp://").count();
    eventually("they say that they wait", || async { (waiting(&server) == 6).then_some(()) }).await;
    // Long enough for several attempts.
    tokio::time::sleep(SOON).await;
    broker.start();
    let begun = Instant::now();
    server.answers().await;
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(waiting(&server), 6, "each says it once: {}", server.log());
    let ends = server.processes.terminate_all().await;
    assert!(ends.iter().all(std::process::ExitStatus::success), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_that_wait_for_the_broker_can_be_stopped() {
    let broker = RabbitMq::up();
    broker.stop();
    let ground = Ground::on(broker.uri(), Etcd::up());
    let mut server = Server::prepare(Form::Distributed(1), Some(ground), &json!({}));
    server.processes.start_blindly();
    eventually("they wait", || async {
        (server.log().matches(" WARN the message broker amqp://").count() == 6).then_some(())
    })
    .await;
    let ends = server.processes.terminate_all().await;
    assert!(ends.iter().all(std::process::ExitStatus::success), "{ends:?}");
}

full!(
    the_broker_is_restarted,
    the_broker_is_killed,
    the_connections_to_the_broker_are_cut,
    the_connections_to_the_broker_are_half_open,
    etcd_hangs_for_a_minute,
    etcd_is_stopped_and_started,
    the_leader_of_three_etcd_members_is_killed,
    a_storage_replica_is_killed_in_the_middle_of_a_save,
    without_a_storage_service_the_answer_is_503_at_once,
    without_a_broker_the_daemons_wait_and_say_so_once,
);
