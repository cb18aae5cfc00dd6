//! Calls of the webhook: which events, with which body, and how often.

use std::time::Duration;

use bus::topology;
use clusterexec_svc::Config;
use model::explain::{self, OperationFacts};
use model::{
    Alarm, Failure, Freeze, Lease, Operation, OperationControl, OperationHost, OperationWait,
    PendingWebhook, Step, Wanted,
};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use testbed::log::Log;
use tokio::time::{sleep, timeout};
use tracing::level_filters::LevelFilter;

use crate::fleet::{Executor, Fleet, address};

/// A request to the webhook.
#[derive(Debug, PartialEq)]
struct Request {
    delivery: String,
    event: String,
    body: Value,
}

fn config() -> Config {
    Config {
        webhook_url: Some("http://receiver.example/?token=hidden".parse().unwrap()),
        ..Config::default()
    }
}

/// A fleet and an executor with a webhook, which is to restart its hosts.
async fn restarting(count: usize, options: Value) -> (Fleet, Executor) {
    let fleet = Fleet::start(count).await;
    let executor = fleet.executor_with(config()).await;
    executor.restart(options).await;
    (fleet, executor)
}

/// The requests since this was last asked for.
fn taken(fleet: &Fleet) -> Vec<Request> {
    let requests = fleet.receiver.take().into_iter().map(|post| {
        let header = |name: &str| post.headers[name].to_str().unwrap().to_owned();
        Request {
            delivery: header("X-Commissaire-Delivery"),
            event: header("X-Commissaire-Event"),
            body: serde_json::from_str(&post.body).unwrap(),
        }
    });
    requests.collect()
}

/// The next request, which is the only one since the last.
async fn next(fleet: &Fleet) -> Request {
    let requests = async || Some(taken(fleet)).filter(|requests| !requests.is_empty());
    let mut requests = fleet.until("a request to the webhook", requests).await;
    assert_eq!(requests.len(), 1, "{requests:?}");
    requests.remove(0)
}

/// The operation as the webhook shows it.
async fn shown(fleet: &Fleet) -> Value {
    let operation = fleet.operation("o1").await;
    let mut failures = Vec::<Failure>::new();
    for number in 0..operation.hosts.len() {
        failures.extend(fleet.part("o1", number).await.failure);
    }
    json!({
        "id": "o1", "cluster": "c1", "kind": "restart", "version": "", "status": operation.status,
        "reason": operation.reason, "started_by": operation.started_by,
        "started_at": operation.started_at, "finished_at": operation.finished_at,
        "failures": failures,
    })
}

/// The explanation of the operation by the records of this moment.
async fn explained(fleet: &Fleet) -> Value {
    let operation = fleet.find::<Operation>("o1").await.unwrap();
    let mut hosts = Vec::<OperationHost>::new();
    for number in 0..operation.hosts.len() {
        hosts.push(fleet.part("o1", number).await);
    }
    let control = fleet.find::<OperationControl>("o1").await;
    let wait = fleet.find::<OperationWait>("o1").await;
    let (freeze, alarm) = (fleet.find(Freeze::ALL).await, fleet.find(Alarm::FLEET).await);
    let facts = OperationFacts {
        operation: &operation,
        hosts: &hosts,
        control: control.as_ref(),
        wait: wait.as_ref().map(|wait| &wait.wait),
        freeze: freeze.as_ref(),
        alarm: alarm.as_ref(),
        has_executor: true,
    };
    serde_json::to_value(explain::operation(&facts).1).unwrap()
}

/// Checks that nothing more is sent, and nothing is left to be sent.
async fn assert_nothing_pending(fleet: &Fleet) {
    sleep(Duration::from_hours(1)).await;
    assert_eq!(taken(fleet), []);
    assert!(fleet.storage.list::<PendingWebhook>().await.unwrap().is_empty());
    let leases = fleet.storage.list::<Lease>().await.unwrap();
    let leases: Vec<_> = leases.into_iter().map(|lease| lease.record.name).collect();
    assert!(!leases.iter().any(|name| name.starts_with("webhook.")), "{leases:?}");
}

async fn freeze(fleet: &Fleet) {
    let (name, by) = (Freeze::ALL.to_owned(), "ann".to_owned());
    let freeze =
        Freeze { name, by, at: fleet.clock.stamp(), reason: "floods".to_owned(), restored: false };
    fleet.storage.save(&freeze).await.unwrap();
}

fn alarm(fleet: &Fleet) -> Alarm {
    let (scope, since) = (Alarm::FLEET.to_owned(), fleet.clock.stamp());
    Alarm { scope, since, share: 0.4, reason: "4 of 10 hosts are unreachable".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn end_of_an_operation_is_reported_once() {
    for (boot, event, state) in
        [(Some(Duration::from_secs(20)), "finished", "finished"), (None, "failed", "failed")]
    {
        let (fleet, _executor) = restarting(1, json!({})).await;
        fleet.hosts.edit(&address(0), |machine| machine.boot = boot);
        fleet.ended("o1").await;
        let Request { delivery, event: named, body } = next(&fleet).await;
        assert_eq!((named.as_str(), delivery.contains(&format!("o1.{event}."))), (event, true));
        let explanation = explained(&fleet).await;
        assert_eq!(explanation["state"], state);
        let operation = shown(&fleet).await;
        assert_eq!(operation["failures"].as_array().unwrap().len(), usize::from(boot.is_none()));
        let expected = json!({
            "event": event, "state": state, "operation": operation, "explanation": explanation,
        });
        assert_eq!(body, expected);
        assert_nothing_pending(&fleet).await;
    }
}

#[tokio::test(start_paused = true)]
async fn abort_during_a_pause_is_a_failure_with_the_state_aborted_and_ends_the_pause() {
    let (fleet, _executor) = restarting(2, json!({})).await;
    fleet.at("o1", 0, Step::Verify).await;
    fleet.say("o1", Wanted::Pause).await;
    assert_eq!(next(&fleet).await.event, "paused");
    fleet.say("o1", Wanted::Abort).await;
    fleet.ended("o1").await;
    sleep(Duration::from_secs(1)).await;
    let mut requests = taken(&fleet);
    requests.sort_by(|a, b| a.event.cmp(&b.event));
    let bodies: Vec<_> = requests.into_iter().map(|request| request.body).collect();
    let body = json!({
        "event": "failed", "state": "aborted", "operation": shown(&fleet).await,
        "explanation": explained(&fleet).await,
    });
    let mut resolved = body.clone();
    (resolved["event"], resolved["resolved"]) = (json!("paused"), json!(true));
    assert_eq!(bodies, [body, resolved]);
    assert_nothing_pending(&fleet).await;
}

/// Pauses and resumes an operation whose first host is at `step`, and checks what is reported.
async fn pause_at(count: usize, step: Step) {
    let (fleet, _executor) = restarting(count, json!({})).await;
    fleet.at("o1", 0, step).await;
    fleet.say("o1", Wanted::Pause).await;
    let Request { event, body, delivery } = next(&fleet).await;
    assert_eq!(event, "paused");
    let explanation = explained(&fleet).await;
    assert!(explanation["sentence"].as_str().unwrap().contains("by ann"), "{explanation}");
    let expected = json!({
        "event": "paused", "resolved": false, "state": "paused", "operation": shown(&fleet).await,
        "explanation": explanation,
    });
    assert_eq!(body, expected);
    sleep(Duration::from_hours(1)).await;
    assert_eq!(taken(&fleet), [], "a pause is one event");

    fleet.say("o1", Wanted::Run).await;
    let resumed = next(&fleet).await;
    assert_eq!((resumed.event.as_str(), &resumed.body["resolved"]), ("paused", &json!(true)));
    assert_eq!(resumed.body["operation"]["status"], "in_process");
    assert_ne!(resumed.delivery, delivery);
    fleet.ended("o1").await;
    assert_eq!(next(&fleet).await.event, "finished");
    assert_nothing_pending(&fleet).await;
}

#[tokio::test(start_paused = true)]
async fn pause_between_two_hosts_is_reported_and_so_is_its_end() {
    pause_at(2, Step::Verify).await;
}

#[tokio::test(start_paused = true)]
async fn pause_of_a_host_under_way_is_reported_and_so_is_its_end() {
    pause_at(1, Step::Probe).await;
    pause_at(2, Step::Reboot).await;
}

#[tokio::test(start_paused = true)]
async fn wait_of_five_minutes_is_reported_before_the_pause_that_it_leads_to() {
    let (fleet, _executor) = restarting(2, json!({})).await;
    fleet.at("o1", 0, Step::Verify).await;
    fleet.storage.save(&alarm(&fleet)).await.unwrap();
    let waiting = next(&fleet).await.body;
    assert_eq!(waiting["explanation"], explained(&fleet).await);
    assert_eq!((&waiting["event"], &waiting["state"]), (&json!("waiting"), &json!("frozen")));
    fleet.paused("o1").await;
    sleep(Duration::from_secs(5)).await;
    let explanation = explained(&fleet).await;
    assert_eq!(explanation["reason"], "alarm-timeout");
    let mut bodies: Vec<_> = taken(&fleet).into_iter().map(|request| request.body).collect();
    bodies.sort_by_key(|body| body["event"].to_string());
    let expected = [("paused", false), ("waiting", true)].map(|(event, resolved)| {
        json!({
            "event": event, "resolved": resolved, "state": "paused",
            "operation": waiting["operation"], "explanation": explanation,
        })
    });
    assert_eq!(bodies, expected);
}

#[tokio::test(start_paused = true)]
async fn wait_for_a_freeze_is_reported_after_five_minutes() {
    for step in [Step::Reboot, Step::Done] {
        let (fleet, _executor) = restarting(2, json!({})).await;
        fleet.at("o1", 0, step).await;
        freeze(&fleet).await;
        sleep(Duration::from_secs(295)).await;
        assert_eq!(taken(&fleet), []);
        let Request { event, body, .. } = next(&fleet).await;
        assert_eq!(event, "waiting");
        let expected = json!({
            "event": "waiting", "resolved": false, "state": "frozen",
            "operation": shown(&fleet).await, "explanation": explained(&fleet).await,
        });
        assert_eq!(body, expected);
        sleep(Duration::from_hours(1)).await;
        assert_eq!(taken(&fleet), [], "a wait is one event");
        fleet.storage.delete::<Freeze>(Freeze::ALL).await.unwrap();
        let Request { event, body, .. } = next(&fleet).await;
        assert_eq!((event.as_str(), &body["resolved"]), ("waiting", &json!(true)));
        fleet.ended("o1").await;
        assert_eq!(next(&fleet).await.event, "finished");
        assert_nothing_pending(&fleet).await;
    }
}

#[tokio::test(start_paused = true)]
async fn wait_for_the_budget_is_reported_while_a_host_waits_for_its_go_ahead() {
    let (fleet, _executor) = restarting(2, json!({})).await;
    fleet.at("o1", 0, Step::Reboot).await;
    fleet.hosts.power_off(&address(1));
    let Request { event, body, .. } = next(&fleet).await;
    assert_eq!(event, "waiting");
    assert_eq!(body["explanation"]["reason"], "budget");
    assert!(
        body["explanation"]["sentence"].as_str().unwrap().contains(address(1).as_str()),
        "{body}"
    );
    fleet.hosts.power_on(&address(1));
    assert_eq!(next(&fleet).await.body["resolved"], true);
    fleet.ended("o1").await;
    assert_eq!(next(&fleet).await.event, "finished");
    assert_nothing_pending(&fleet).await;
}

#[tokio::test(start_paused = true)]
async fn soak_time_is_not_reported() {
    let (fleet, _executor) = restarting(2, json!({"soak": 3600})).await;
    fleet.ended("o1").await;
    assert_eq!(next(&fleet).await.event, "finished");
    assert_nothing_pending(&fleet).await;
}

#[tokio::test(start_paused = true)]
async fn take_over_is_reported_and_what_was_reported_before_is_not_repeated() {
    let (fleet, first) = restarting(2, json!({})).await;
    fleet.at("o1", 0, Step::Verify).await;
    fleet.say("o1", Wanted::Pause).await;
    assert_eq!(next(&fleet).await.event, "paused");
    first.kill();
    let _second = fleet.executor_with(config()).await;
    let Request { event, body, .. } = next(&fleet).await;
    assert_eq!(event, "taken-over");
    let expected = json!({
        "event": "taken-over", "resolved": false, "state": "paused",
        "operation": shown(&fleet).await, "explanation": explained(&fleet).await,
    });
    assert_eq!(body, expected);
    sleep(Duration::from_hours(1)).await;
    assert_eq!(taken(&fleet), []);
    fleet.say("o1", Wanted::Run).await;
    assert_eq!(next(&fleet).await.body["resolved"], true);
    fleet.ended("o1").await;
    assert_eq!(next(&fleet).await.event, "finished");
    assert_nothing_pending(&fleet).await;
}

#[tokio::test(start_paused = true)]
async fn event_of_an_executor_that_dies_before_the_delivery_is_delivered_by_another() {
    let (fleet, first) = restarting(1, json!({})).await;
    fleet.receiver.set_status(StatusCode::SERVICE_UNAVAILABLE);
    fleet.ended("o1").await;
    let refused = next(&fleet).await;
    first.kill();
    sleep(Duration::from_mins(10)).await;
    let _attempts_of_the_dead = fleet.receiver.take();
    fleet.receiver.set_status(StatusCode::OK);
    let _second = fleet.executor_with(config()).await;
    assert_eq!(next(&fleet).await, refused, "the same delivery");
    assert_nothing_pending(&fleet).await;
}

#[tokio::test(start_paused = true)]
async fn end_is_delivered_whenever_the_executor_is_killed() {
    for is_carried_out in [false, true] {
        let mut number = 0;
        loop {
            let fleet = Fleet::start(1).await;
            let first = fleet.executor_killed_at(config(), number, is_carried_out).await;
            let options = json!({"settle": 0});
            let accepted = first.start("restart", options.clone()).await.is_ok();
            let second = fleet.executor_with(config()).await;
            if !accepted {
                second.start("restart", options).await.unwrap();
            }
            fleet.ended("o1").await;
            sleep(Duration::from_mins(2)).await;
            let mut ends = taken(&fleet);
            ends.retain(|request| request.event == "finished");
            // A second delivery after a crash is the same.
            ends.dedup();
            assert_eq!(ends.len(), 1, "request {number}: {ends:?}");
            assert!(fleet.storage.list::<PendingWebhook>().await.unwrap().is_empty());
            if !first.is_dead() {
                break;
            }
            number += 1;
        }
        assert!(number > 30, "an operation takes more than {number} requests");
    }
}

#[tokio::test(start_paused = true)]
async fn event_is_dropped_after_five_attempts_with_back_off() {
    let log = Log::capture_from(LevelFilter::INFO);
    let (fleet, _executor) = restarting(1, json!({})).await;
    fleet.receiver.set_status(StatusCode::INTERNAL_SERVER_ERROR);
    fleet.ended("o1").await;
    let begun = fleet.clock.wall();
    let dropped =
        async || fleet.storage.list::<PendingWebhook>().await.unwrap().is_empty().then_some(());
    fleet.until("the event is dropped", dropped).await;
    let took = fleet.clock.wall().duration_since(begun).as_secs();
    assert!((15..=35).contains(&took), "{took} s: 2, 4, 8 and 16, each less up to its half");
    let attempts = taken(&fleet);
    assert_eq!(attempts.len(), 5);
    assert!(attempts.iter().all(|attempt| *attempt == attempts[0]), "{attempts:?}");
    let log = log.text();
    assert_eq!(log.matches("delivery to the webhook failed").count(), 5, "{log}");
    assert_eq!(log.matches("the event is dropped").count(), 1, "{log}");
    assert!(!log.contains("hidden"), "the URL may hold a secret: {log}");
    assert_nothing_pending(&fleet).await;
}

#[tokio::test(start_paused = true)]
async fn later_event_replaces_an_undelivered_one() {
    let (fleet, _executor) = restarting(1, json!({})).await;
    fleet.at("o1", 0, Step::Probe).await;
    fleet.receiver.set_status(StatusCode::SERVICE_UNAVAILABLE);
    fleet.say("o1", Wanted::Pause).await;
    let paused = next(&fleet).await;
    let pending = fleet.storage.get::<PendingWebhook>("o1.paused").await.unwrap();
    let wait = fleet.storage.get::<OperationWait>("o1").await.unwrap();
    assert_eq!(pending.revision, wait.revision, "both are written in one transaction");
    fleet.say("o1", Wanted::Run).await;
    let is_resolved = async || {
        let pending = fleet.find::<PendingWebhook>("o1.paused").await?;
        (pending.resolved == Some(true)).then_some(())
    };
    fleet.until("the end of the pause is pending", is_resolved).await;
    assert_eq!(fleet.storage.list::<PendingWebhook>().await.unwrap().len(), 1);
    fleet.receiver.set_status(StatusCode::OK);
    fleet.ended("o1").await;
    sleep(Duration::from_mins(5)).await;
    let requests = taken(&fleet);
    let last = requests.iter().rfind(|request| request.event == "paused").unwrap();
    assert_eq!(last.body["resolved"], true);
    assert_ne!(last.delivery, paused.delivery);
    assert_nothing_pending(&fleet).await;
}

/// HMAC-SHA256 by RFC 2104, in hexadecimal digits.
fn hmac(key: &[u8], text: &str) -> String {
    let padded = |pad: u8| (0..64).map(move |i| key.get(i).copied().unwrap_or_default() ^ pad);
    let inner: Vec<u8> = padded(0x36).chain(text.bytes()).collect();
    let outer: Vec<u8> = padded(0x5c).chain(Sha256::digest(inner)).collect();
    Sha256::digest(outer).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[tokio::test(start_paused = true)]
async fn delivery_is_signed_with_the_secret() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "s3cret\n").unwrap();
    let fleet = Fleet::start(1).await;
    let webhook_secret_file = Some(file.path().to_owned());
    let executor = fleet.executor_with(Config { webhook_secret_file, ..config() }).await;
    executor.restart(json!({})).await;
    let ended = fleet.ended("o1").await.finished_at.unwrap();
    let posts = async || Some(fleet.receiver.take()).filter(|posts| !posts.is_empty());
    let post = fleet.until("a request to the webhook", posts).await.remove(0);
    let timestamp = post.headers["X-Commissaire-Timestamp"].to_str().unwrap();
    let ended = model::stamp::parse(&ended).unwrap().as_second();
    assert!((ended..ended + 30).contains(&timestamp.parse().unwrap()), "{timestamp}");
    let expected = format!("sha256={}", hmac(b"s3cret", &format!("{timestamp}.{}", post.body)));
    assert_eq!(post.headers["X-Commissaire-Signature"], expected.as_str());
}

#[tokio::test(start_paused = true)]
async fn alarm_of_the_watcher_is_reported_and_so_is_its_end() {
    let fleet = Fleet::start(1).await;
    let _executor = fleet.executor_with(config()).await;
    let alarm = alarm(&fleet);
    for resolved in [false, true] {
        fleet.storage.save(&PendingWebhook::alarm(alarm.clone(), resolved)).await.unwrap();
        let Request { event, body, delivery } = next(&fleet).await;
        assert_eq!((event.as_str(), delivery.starts_with("alarm.fleet.")), ("alarm", true));
        assert_eq!(body, json!({"event": "alarm", "resolved": resolved, "alarm": alarm}));
    }
    assert_nothing_pending(&fleet).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_webhook_nothing_is_written_and_events_of_the_watcher_are_removed() {
    let fleet = Fleet::start(2).await;
    let mut written = fleet.bus.subscribe(&topology::changed("PendingWebhook", "*")).await.unwrap();
    let first = fleet.executor().await;
    first.restart(json!({})).await;
    fleet.at("o1", 0, Step::Verify).await;
    fleet.say("o1", Wanted::Pause).await;
    sleep(Duration::from_mins(10)).await;
    first.kill();
    let _second = fleet.executor().await;
    fleet.say("o1", Wanted::Run).await;
    fleet.at("o1", 0, Step::Done).await;
    freeze(&fleet).await;
    sleep(Duration::from_mins(10)).await;
    fleet.storage.delete::<Freeze>(Freeze::ALL).await.unwrap();
    fleet.ended("o1").await;
    assert!(timeout(Duration::from_mins(1), written.next()).await.is_err());
    fleet.storage.save(&PendingWebhook::alarm(alarm(&fleet), false)).await.unwrap();
    assert_nothing_pending(&fleet).await;
}
