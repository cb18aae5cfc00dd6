//! Queues of requests: what happens to a request that no replica takes, and to one that is delivered again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bus::amqp::Options;
use bus::topology::{INVESTIGATE, INVESTIGATOR, STORAGE, STORAGE_GET};
use bus::{Bus, Call, Error, Kind, Result};
use futures_util::StreamExt as _;
use lapin::BasicProperties;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use runtime::Lifecycle;
use serde_json::{Value, json};
use testbed::proxy::Proxy;
use testbed::rabbitmq;

use super::foreign::{Foreigner, declare, reader};
use super::{ECHO, SOON, ask, serve_echo, who};
use crate::support::{connected, options};

/// Longer than a test may take: what fails sooner has not waited for it.
const NEVER: Duration = Duration::from_mins(10);

/// With the JSON around it.
const TOO_LARGE: usize = 16 << 20;

/// Hang guard: ten times a second.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, work).await.expect("an end")
}

fn set_up() -> Options {
    options(&rabbitmq::shared_uri())
}

/// Looks at a queue until that is so of its messages and consumers; both are `None` where it is missing.
async fn until_queue(options: &Options, name: &str, is: impl Fn(Option<(u32, u32)>) -> bool) {
    let looked = async {
        loop {
            let foreigner = Foreigner::connect(options).await;
            let passive = QueueDeclareOptions { passive: true, ..Default::default() };
            let queue = format!("{}.{name}", options.exchange);
            let found =
                foreigner.channel.queue_declare(queue.into(), passive, FieldTable::default());
            let found = found.await.ok().map(|q| (q.message_count(), q.consumer_count()));
            if is(found) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON * 10, looked).await.expect("the queue as expected");
}

fn is_abandoned(answer: Result<Value>) {
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
    assert!(error.to_string().contains("is unknown"), "{error}");
}

#[tokio::test]
async fn request_to_a_queue_without_consumers_fails_long_before_its_deadline() {
    let near = set_up();
    let proxy = Proxy::start(rabbitmq::address(&rabbitmq::shared_uri()));
    let uri = format!("amqp://guest:guest@{}/%2f", proxy.address());
    let (bus, far) =
        (connected(&near).await, connected(&Options { uri: uri.into(), ..near.clone() }).await);
    let life = Lifecycle::new();
    serve_echo(&far, &life, 4).await;
    ask(&bus, "echo.params", json!({})).await.unwrap();
    // As a crash looks to the broker.
    proxy.cut();
    until_queue(&near, "requests.echo", |found| found == Some((0, 0))).await;
    let patient = bus.with_timeout(NEVER);
    let asked = (0..20).map(|_| ask(&patient, "echo.params", json!({})));
    soon(futures_util::future::join_all(asked)).await.into_iter().for_each(is_abandoned);
    // From now on it is known, and they are not even sent.
    let error = soon(ask(&patient, "echo.params", json!({}))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    proxy.restore();
    let answered = async {
        while ask(&patient, "echo.params", json!({})).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(answered).await;
}

#[tokio::test]
async fn request_that_is_lost_with_its_queue_fails_long_before_its_deadline() {
    let options = set_up();
    let (bus, foreigner) = (connected(&options).await, Foreigner::connect(&options).await);
    declare(&foreigner, &options, "requests.storage", STORAGE.binding).await;
    let name = format!("{}.requests.storage", options.exchange);
    // It has taken the request, and so the queue is not given up.
    let (consume, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let channel = &foreigner.channel;
    let consumer = channel.basic_consume(name.as_str().into(), "".into(), consume, none).await;
    let patient = bus.with_timeout(NEVER);
    let (asked, ()) = tokio::join!(ask(&patient, STORAGE_GET, json!({})), async {
        let mut consumer = consumer.unwrap();
        consumer.next().await.unwrap().unwrap();
        channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
    });
    is_abandoned(asked);
}

#[tokio::test]
async fn request_that_nobody_takes_is_dropped_at_its_deadline() {
    let options = set_up();
    let (bus, foreigner) = (connected(&options).await, Foreigner::connect(&options).await);
    declare(&foreigner, &options, "requests.echo", ECHO.binding).await;
    let hasty = bus.with_timeout(Duration::from_millis(100));
    let error = ask(&hasty, "echo.params", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
    until_queue(&options, "requests.echo", |found| found == Some((0, 0))).await;
    let (life, patient) = (Lifecycle::new(), bus.with_timeout(NEVER));
    let echo = serve_echo(&bus, &life, 4).await;
    soon(ask(&patient, "echo.params", json!({}))).await.unwrap();
    assert_eq!(echo.calls(), 1);
    life.shutdown(SOON).await;
}

#[tokio::test]
async fn request_that_another_consumer_has_had_is_not_carried_out() {
    let options = set_up();
    let (bus, foreigner) = (connected(&options).await, Foreigner::connect(&options).await);
    declare(&foreigner, &options, "requests.echo", ECHO.binding).await;
    let name = format!("{}.requests.echo", options.exchange);
    let (consume, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = foreigner.channel.basic_consume(name.into(), "".into(), consume, none).await;
    let patient = bus.with_timeout(NEVER);
    let life = Lifecycle::new();
    let (asked, echo) = tokio::join!(ask(&patient, "echo.params", json!({})), async {
        consumer.unwrap().next().await.unwrap().unwrap();
        // It goes without an acknowledgement, whatever it has done.
        drop(foreigner);
        serve_echo(&bus, &life, 4).await
    });
    let error = asked.unwrap_err();
    assert!(error.to_string().contains("another replica has had the request"), "{error}");
    assert_eq!(echo.calls(), 0);
    soon(ask(&patient, "echo.params", json!({}))).await.unwrap();
    life.shutdown(SOON).await;
}

#[tokio::test]
async fn last_replica_that_stops_removes_the_queue_once_it_has_answered() {
    let options = set_up();
    let (bus, life) = (connected(&options).await, Lifecycle::new());
    let echo = serve_echo(&bus, &life, 4).await;
    let waiting = {
        let bus = bus.with_timeout(NEVER);
        tokio::spawn(async move { ask(&bus, "echo.wait", json!({})).await })
    };
    echo.begun.notified().await;
    life.stop();
    until_queue(&options, "requests.echo", |found| found.is_some_and(|found| found.1 == 0)).await;
    let refused = async {
        while ask(&bus, "echo.params", json!({}))
            .await
            .is_err_and(|e| e.kind() != Kind::Unavailable)
        {}
    };
    soon(refused).await;
    // Longer than it takes to give up a request whose queue is gone.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!waiting.is_finished());
    echo.gate.add_permits(1);
    assert_eq!(soon(waiting).await.unwrap().unwrap(), "waited");
    life.shutdown(SOON).await;
    until_queue(&options, "requests.echo", |found| found.is_none()).await;
}

#[tokio::test]
async fn replica_that_stops_carries_out_what_it_has_received() {
    let options = set_up();
    let (bus, life) = (connected(&options).await, Lifecycle::new());
    let echo = serve_echo(&bus, &life, 1).await;
    let patient = bus.with_timeout(NEVER);
    let ask_twice =
        futures_util::future::join_all((0..2).map(|_| ask(&patient, "echo.wait", json!({}))));
    let (answers, ()) = tokio::join!(ask_twice, async {
        echo.begun.notified().await;
        // Of two, one is begun, and the other received: none is left in the queue.
        until_queue(&options, "requests.echo", |found| found == Some((0, 1))).await;
        life.stop();
        echo.gate.add_permits(2);
        life.shutdown(SOON).await;
    });
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(echo.calls(), 2);
}

/// Serves `echo.*` with the account of the sender.
async fn serve_account(bus: &Bus, life: &Lifecycle) -> Arc<AtomicUsize> {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let handler = move |call: Call| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move { Ok::<_, Error>(json!(call.account)) }
    };
    bus.serve(ECHO, 4, life, handler).await.unwrap();
    calls
}

#[tokio::test]
async fn service_learns_the_account_and_obeys_none_that_is_not_allowed() {
    let options = set_up();
    let (bus, life) = (connected(&options).await, Lifecycle::new());
    serve_account(&bus, &life).await;
    assert_eq!(ask(&bus, "echo.params", json!({})).await.unwrap(), "guest");
    life.shutdown(SOON).await;

    for (accounts, allowed) in [(["guest"], true), (["commissaire-http"], false)] {
        let life = Lifecycle::new();
        let careful = bus.with_allowed_accounts(accounts.map(str::to_owned).into());
        let calls = serve_account(&careful, &life).await;
        let answer = ask(&bus, "echo.params", json!({})).await;
        if let Err(error) = &answer {
            assert_eq!(error.kind(), Kind::Denied);
            assert!(error.to_string().contains("\"guest\""), "{error}");
        }
        assert_eq!((answer.is_ok(), calls.load(Ordering::SeqCst)), (allowed, allowed.into()));
        life.shutdown(SOON).await;
    }
}

#[tokio::test]
async fn bodies_above_16_mib_go_neither_out_nor_in() {
    let options = set_up();
    let (bus, life) = (connected(&options).await, Lifecycle::new());
    let echo = serve_echo(&bus, &life, 4).await;
    let large = || json!("x".repeat(TOO_LARGE));
    let error = ask(&bus, "echo.params", json!({"a": large()})).await.unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidParams);
    bus.notify("notify.test", &large(), &who()).await.unwrap_err();

    let mut foreigner = Foreigner::connect(&options).await;
    let mut news = bus.subscribe("notify.#").await.unwrap();
    let body = json!({"jsonrpc": "2.0", "id": "1", "method": "params", "params": {"a": large()}});
    let answer = foreigner.ask("echo.params", body.clone()).await;
    assert_eq!(answer["error"]["code"], -32602);
    foreigner.publish("notify.test", body.to_string().as_bytes(), BasicProperties::default()).await;
    foreigner.publish("notify.test", b"7", BasicProperties::default()).await;
    assert_eq!(soon(news.next()).await.unwrap().params, 7);
    assert_eq!(echo.calls(), 0);
    life.shutdown(SOON).await;

    // An answer, too: the error takes its place.
    let life = Lifecycle::new();
    let answer = move |_: Call| async { Ok(json!("x".repeat(TOO_LARGE))) };
    bus.serve(ECHO, 4, &life, answer).await.unwrap();
    let error = ask(&bus, "echo.params", json!({})).await.unwrap_err();
    assert!(error.to_string().contains("bytes was refused"), "{error}");
    life.shutdown(SOON).await;
}

#[tokio::test]
async fn job_above_16_mib_is_a_dead_letter_and_such_an_answer_of_another_program_an_error() {
    let options = set_up();
    let (bus, life) = (connected(&options).await, Lifecycle::new());
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let work = move |_: Call| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok(Value::Null) }
    };
    bus.serve(INVESTIGATOR, 4, &life, work).await.unwrap();
    let foreigner = Foreigner::connect(&options).await;
    let job =
        json!({"jsonrpc": "2.0", "method": "investigate", "params": {"a": "x".repeat(TOO_LARGE)}});
    foreigner.publish(INVESTIGATE, job.to_string().as_bytes(), BasicProperties::default()).await;
    until_queue(&options, "investigator.dead", |found| found == Some((1, 0))).await;
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    life.shutdown(SOON).await;

    let (service, mut requests) = reader(&options, "requests.echo", ECHO.binding).await;
    let (answer, ()) = tokio::join!(ask(&bus, "echo.params", json!({})), async {
        let request = soon(requests.next()).await.unwrap().unwrap();
        service.answer(&request.properties, json!("x".repeat(TOO_LARGE))).await;
    });
    let error = answer.unwrap_err().to_string();
    assert!(error.contains("bytes was refused"), "{error}");
}
