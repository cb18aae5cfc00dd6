//! What every bus backend must do. Each rule is a function over a fresh bus; the macro at the end runs
//! them all on each backend.

mod confidential;
mod dead_letters;
mod foreign;
mod queues;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bus::topology::{INVESTIGATE, INVESTIGATOR, Queue};
use bus::{Bus, Call, Context, Error, Fitness, Kind, Result, presence};
use runtime::Lifecycle;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

const ECHO: Queue = Queue { name: "echo", binding: "echo.*", jobs: false, bare: false };
const SOON: Duration = Duration::from_secs(10);

/// How often two replicas take turns.
const TURNS: usize = 40;

/// Serves `echo.*`: answers, refuses, panics or waits for `gate`, as the method says.
async fn serve_echo(bus: &Bus, life: &Lifecycle, prefetch: usize) -> Echo {
    let echo =
        Echo { gate: Arc::new(Semaphore::new(0)), calls: Arc::default(), begun: Arc::default() };
    let served = echo.clone();
    let handler = move |call: Call| {
        let echo = served.clone();
        async move { echo.answer(call).await }
    };
    bus.serve(ECHO, prefetch, life, handler).await.unwrap();
    echo
}

#[derive(Clone)]
struct Echo {
    gate: Arc<Semaphore>,
    calls: Arc<AtomicUsize>,
    begun: Arc<Notify>,
}

impl Echo {
    async fn answer(&self, call: Call) -> Result<Value> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.begun.notify_one();
        match call.method.as_str() {
            "params" => Ok(call.params.value()),
            "who" => Ok(json!([
                call.context.request_id,
                call.context.principal,
                call.context.traceparent
            ])),
            "wait" => {
                self.gate.acquire().await.unwrap().forget();
                Ok(json!("waited"))
            }
            "refuse" => Err(Error::conflict("no").with_data(json!({"why": 1}))),
            "panic" => panic!("a test's panic"),
            other => Err(Error::new(Kind::MethodNotFound, format!("no method {other}"))),
        }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

fn who() -> Context {
    Context {
        request_id: "r-1".into(),
        principal: "admin".into(),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    }
}

async fn ask(bus: &Bus, key: &str, params: Value) -> Result<Value> {
    bus.request(key, &params, &who()).await
}

async fn a_request_is_answered(bus: Bus) {
    let life = Lifecycle::new();
    serve_echo(&bus, &life, 4).await;
    for params in [json!({"a": [1, null, "ä"]}), json!([1, 2]), json!({})] {
        assert_eq!(ask(&bus, "echo.params", params.clone()).await.unwrap(), params);
    }
    life.shutdown(SOON).await;
}

async fn the_context_travels(bus: Bus) {
    let life = Lifecycle::new();
    serve_echo(&bus, &life, 4).await;
    let Context { request_id, principal, traceparent } = who();
    let answer = ask(&bus, "echo.who", json!({})).await.unwrap();
    assert_eq!(answer, json!([request_id, principal, traceparent]));
    life.shutdown(SOON).await;
}

async fn errors_keep_code_message_and_data(bus: Bus) {
    let life = Lifecycle::new();
    serve_echo(&bus, &life, 4).await;
    let error = ask(&bus, "echo.refuse", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    assert_eq!((error.to_string().as_str(), error.data()), ("no", Some(&json!({"why": 1}))));
    let error = ask(&bus, "echo.nonsense", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), Kind::MethodNotFound);
    life.shutdown(SOON).await;
}

async fn nobody_there_fails_at_once(bus: Bus) {
    let error = ask(&bus, "echo.params", json!({})).await.unwrap_err();
    // After its deadline it would be a timeout.
    assert_eq!(error.kind(), Kind::Unavailable);
}

/// Serves `echo.*` while it is fit.
async fn serve_while(bus: &Bus, life: &Lifecycle, fitness: &watch::Sender<bool>) -> Echo {
    let echo =
        Echo { gate: Arc::new(Semaphore::new(0)), calls: Arc::default(), begun: Arc::default() };
    let served = echo.clone();
    let handler = move |call: Call| {
        let echo = served.clone();
        async move { echo.answer(call).await }
    };
    let fitness = Fitness::following(fitness.subscribe());
    bus.serve_while(ECHO, 4, fitness, life, handler).await.unwrap();
    echo
}

/// Asks until the outcome is as wanted.
async fn until(bus: &Bus, is: impl Fn(&Result<Value>) -> bool) -> Result<Value> {
    let bus = &bus.with_timeout(Duration::from_secs(1));
    let asked = async {
        loop {
            let answer = ask(bus, "echo.params", json!({})).await;
            if is(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, asked).await.unwrap()
}

async fn an_unfit_replica_gets_no_requests_until_it_is_fit(bus: Bus) {
    let life = Lifecycle::new();
    let (fit, unfit) = (watch::Sender::new(true), watch::Sender::new(false));
    serve_while(&bus, &life, &fit).await;
    let other = serve_while(&bus, &life, &unfit).await;
    for _ in 0..10 {
        ask(&bus, "echo.params", json!({})).await.unwrap();
    }
    assert_eq!(other.calls(), 0);

    fit.send_replace(false);
    // One that reaches the broker with the last consumer's farewell may be lost with the queue: it times out.
    let is_refused = |answer: &Result<Value>| {
        let refused =
            |error: &Error| error.kind() == Kind::Unavailable && error.part() == Some("echo");
        answer.as_ref().is_err_and(refused)
    };
    let refused = until(&bus, is_refused).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable);
    assert!(refused.to_string().contains("no replica of the echo service"), "{refused}");
    unfit.send_replace(true);
    until(&bus, Result::is_ok).await.unwrap();
    assert!(other.calls() > 0);
    life.shutdown(SOON).await;
}

/// The one that leaves removes the queue's binding if it sees no other consumer.
async fn a_replica_that_becomes_fit_while_the_other_one_leaves_gets_the_requests(bus: Bus) {
    let life = Lifecycle::new();
    let fitness = [watch::Sender::new(true), watch::Sender::new(false)];
    let replicas =
        [serve_while(&bus, &life, &fitness[0]).await, serve_while(&bus, &life, &fitness[1]).await];
    for turn in 1..=TURNS {
        let next = turn % 2;
        fitness[next].send_replace(true);
        fitness[1 - next].send_replace(false);
        let before = replicas[next].calls();
        until(&bus, |answer| answer.is_ok() && replicas[next].calls() > before).await.unwrap();
    }
    life.shutdown(SOON).await;
}

async fn a_replica_that_becomes_unfit_finishes_what_it_has_begun(bus: Bus) {
    let life = Lifecycle::new();
    let fitness = watch::Sender::new(true);
    let echo = serve_while(&bus, &life, &fitness).await;
    let waiting = tokio::spawn({
        let bus = bus.clone();
        async move { ask(&bus, "echo.wait", json!({})).await }
    });
    echo.begun.notified().await;
    fitness.send_replace(false);
    until(&bus, Result::is_err).await.unwrap_err();
    echo.gate.add_permits(1);
    assert_eq!(waiting.await.unwrap().unwrap(), "waited");
    life.shutdown(SOON).await;
}

async fn a_panic_is_an_answer_and_not_the_end(bus: Bus) {
    let life = Lifecycle::new();
    serve_echo(&bus, &life, 1).await;
    for _ in 0..3 {
        let error = ask(&bus, "echo.panic", json!({})).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Internal);
    }
    assert_eq!(ask(&bus, "echo.params", json!({"a": 1})).await.unwrap(), json!({"a": 1}));
    life.shutdown(SOON).await;
}

async fn a_late_answer_is_a_timeout(bus: Bus) {
    let life = Lifecycle::new();
    let echo = serve_echo(&bus, &life, 4).await;
    let hasty = bus.with_timeout(Duration::from_millis(100));
    let error = ask(&hasty, "echo.wait", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
    echo.gate.add_permits(1);
    life.shutdown(SOON).await;
}

async fn what_is_past_its_deadline_is_never_begun(bus: Bus) {
    let life = Lifecycle::new();
    let echo = serve_echo(&bus, &life, 1).await;
    let occupied = tokio::join!(async { ask(&bus, "echo.wait", json!({})).await }, async {
        echo.begun.notified().await;
        let hasty = bus.with_timeout(Duration::from_millis(100));
        let late = ask(&hasty, "echo.params", json!({})).await;
        assert_eq!(late.unwrap_err().kind(), Kind::Timeout);
        echo.gate.add_permits(1);
    });
    assert_eq!(occupied.0.unwrap(), "waited");
    ask(&bus, "echo.params", json!({})).await.unwrap();
    assert_eq!(echo.calls(), 2, "the late one must not have been begun");
    life.shutdown(SOON).await;
}

async fn a_handler_runs_on_when_its_caller_is_gone(bus: Bus) {
    let life = Lifecycle::new();
    let echo = serve_echo(&bus, &life, 4).await;
    tokio::select! {
        _ = ask(&bus, "echo.wait", json!({})) => panic!("nobody opened the gate"),
        () = echo.begun.notified() => {}
    }
    echo.gate.add_permits(1);
    life.shutdown(SOON).await;
    assert_eq!(echo.gate.available_permits(), 0, "the handler went through the gate");
}

async fn at_most_prefetch_are_worked_on_at_a_time(bus: Bus) {
    let life = Lifecycle::new();
    let echo = serve_echo(&bus, &life, 2).await;
    let requests = (0..5).map(|_| ask(&bus, "echo.wait", json!({})));
    let opening = async {
        while echo.calls() < 2 {
            echo.begun.notified().await;
        }
        for opened in 0..5 {
            assert!(echo.calls() <= 2 + opened);
            echo.gate.add_permits(1);
            tokio::task::yield_now().await;
        }
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(requests), opening);
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    life.shutdown(SOON).await;
}

async fn replicas_share_the_work(bus: Bus) {
    let life = Lifecycle::new();
    let (one, two) = (serve_echo(&bus, &life, 4).await, serve_echo(&bus, &life, 4).await);
    for _ in 0..20 {
        ask(&bus, "echo.params", json!({})).await.unwrap();
    }
    assert_eq!(one.calls() + two.calls(), 20);
    assert!(one.calls() > 0 && two.calls() > 0);
    life.shutdown(SOON).await;
}

async fn a_stopped_replica_gets_nothing_more(bus: Bus) {
    let (stopped, running) = (Lifecycle::new(), Lifecycle::new());
    serve_echo(&bus, &stopped, 4).await;
    let echo = serve_echo(&bus, &running, 4).await;
    stopped.shutdown(SOON).await;
    for _ in 0..10 {
        ask(&bus, "echo.params", json!({})).await.unwrap();
    }
    assert_eq!(echo.calls(), 10);
    running.shutdown(SOON).await;
    let error = ask(&bus, "echo.params", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
}

async fn stopping_finishes_what_is_under_way(bus: Bus) {
    let life = Lifecycle::new();
    let echo = serve_echo(&bus, &life, 4).await;
    let (answer, ()) = tokio::join!(ask(&bus, "echo.wait", json!({})), async {
        echo.begun.notified().await;
        life.stop();
        echo.gate.add_permits(1);
        life.shutdown(SOON).await;
    });
    assert_eq!(answer.unwrap(), "waited");
}

async fn a_job_waits_for_its_consumer_and_reaches_one(bus: Bus) {
    let life = Lifecycle::new();
    for n in 0..10 {
        bus.notify(INVESTIGATE, &json!({"address": n}), &who()).await.unwrap();
    }
    let (sender, mut receiver) = mpsc::unbounded_channel();
    for _ in 0..2 {
        let sender = sender.clone();
        let handler = move |call: Call| {
            sender.send(call.params.value()["address"].as_u64().unwrap()).unwrap();
            async { Ok(Value::Null) }
        };
        bus.serve(INVESTIGATOR, 4, &life, handler).await.unwrap();
    }
    let mut seen = Vec::new();
    for _ in 0..10 {
        seen.push(tokio::time::timeout(SOON, receiver.recv()).await.unwrap().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    life.shutdown(SOON).await;
    assert!(receiver.try_recv().is_err(), "no job came twice");
}

async fn a_notification_reaches_every_subscriber_that_asked(bus: Bus) {
    let mut hosts = bus.subscribe("notify.storage.Host.*").await.unwrap();
    let mut all = bus.subscribe("notify.#").await.unwrap();
    for key in ["notify.storage.Host.created", "notify.storage.Cluster.updated"] {
        bus.notify(key, &json!({"event": key}), &who()).await.unwrap();
    }
    let first = hosts.next().await.unwrap();
    assert_eq!(first.key, "notify.storage.Host.created");
    assert_eq!(first.params, json!({"event": "notify.storage.Host.created"}));
    assert_eq!(all.next().await.unwrap().key, "notify.storage.Host.created");
    assert_eq!(all.next().await.unwrap().key, "notify.storage.Cluster.updated");
    bus.notify("notify.storage.Host.deleted", &json!({}), &who()).await.unwrap();
    assert_eq!(hosts.next().await.unwrap().key, "notify.storage.Host.deleted");
}

async fn a_slow_subscriber_is_told_that_it_lost_some(bus: Bus) {
    let mut slow = bus.subscribe("notify.#").await.unwrap();
    // What a fast one has got, the slow one could have got.
    let mut fast = bus.subscribe("notify.#").await.unwrap();
    for _ in 0..60 {
        for _ in 0..100 {
            bus.notify("notify.x", &json!({}), &who()).await.unwrap();
        }
        for _ in 0..100 {
            fast.next().await.unwrap();
        }
    }
    let mut got = 0;
    while tokio::time::timeout(SOON, slow.next()).await.expect("the end").is_some() {
        got += 1;
    }
    assert!((1..6000).contains(&got), "{got}");
}

async fn every_replica_answers_a_ping_until_it_stops(bus: Bus) {
    let (lasting, stopped) = (Lifecycle::new(), Lifecycle::new());
    presence::answer_pings(&bus, "storage", &lasting);
    presence::answer_pings(&bus, "watcher", &lasting);
    presence::answer_pings(&bus, "watcher", &stopped);
    let replicas = pinged(&bus, 3).await;
    let services: Vec<_> = replicas.iter().map(|replica| replica.service.as_str()).collect();
    assert_eq!(services, ["storage", "watcher", "watcher"]);
    assert_ne!(replicas[1].replica, replicas[2].replica);
    assert!(replicas.iter().all(|replica| replica.version == env!("CARGO_PKG_VERSION")));
    stopped.shutdown(SOON).await;
    let left = pinged(&bus, 2).await;
    assert!(left.iter().all(|replica| replicas.contains(replica)), "{left:?}");
}

/// Pings until exactly `count` replicas answer.
async fn pinged(bus: &Bus, count: usize) -> Vec<presence::Presence> {
    let window = Duration::from_millis(500);
    let pinged = async {
        loop {
            let replicas = presence::ping(bus, &who(), window, |_| false).await.unwrap();
            if replicas.len() == count {
                return replicas;
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), pinged).await.expect("the replicas")
}

async fn a_ping_that_is_answered_by_enough_waits_for_no_more(bus: Bus) {
    let life = Lifecycle::new();
    presence::answer_pings(&bus, "storage", &life);
    // The window is longer than the guard: only `enough` can end it.
    let enough = |replicas: &[presence::Presence]| replicas.len() == 1;
    let pinged = async {
        loop {
            let window = Duration::from_secs(1);
            if !presence::ping(&bus, &who(), window, |_| false).await.unwrap().is_empty() {
                break presence::ping(&bus, &who(), SOON * 100, enough).await.unwrap();
            }
        }
    };
    let replicas = tokio::time::timeout(SOON * 10, pinged).await.expect("an early end");
    assert_eq!(replicas.len(), 1);
}

macro_rules! conformance {
    ($($rule:ident),+ $(,)?) => {
        conformance!(@ memory, bus::Bus::memory(), $($rule),+);
        conformance!(@ amqp, crate::support::bus().await, $($rule),+);
    };
    (@ $backend:ident, $make:expr, $($rule:ident),+) => {
        mod $backend {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                super::$rule($make).await;
            })+
        }
    };
}

conformance!(
    a_request_is_answered,
    the_context_travels,
    errors_keep_code_message_and_data,
    nobody_there_fails_at_once,
    an_unfit_replica_gets_no_requests_until_it_is_fit,
    a_replica_that_becomes_fit_while_the_other_one_leaves_gets_the_requests,
    a_replica_that_becomes_unfit_finishes_what_it_has_begun,
    a_panic_is_an_answer_and_not_the_end,
    a_late_answer_is_a_timeout,
    what_is_past_its_deadline_is_never_begun,
    a_handler_runs_on_when_its_caller_is_gone,
    at_most_prefetch_are_worked_on_at_a_time,
    replicas_share_the_work,
    a_stopped_replica_gets_nothing_more,
    stopping_finishes_what_is_under_way,
    a_job_waits_for_its_consumer_and_reaches_one,
    a_notification_reaches_every_subscriber_that_asked,
    a_slow_subscriber_is_told_that_it_lost_some,
    every_replica_answers_a_ping_until_it_stops,
    a_ping_that_is_answered_by_enough_waits_for_no_more,
);
