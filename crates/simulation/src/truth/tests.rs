//! Tests of the checker: each invariant is seen violated.

use serde_json::json;

use super::*;

const CLUSTER: &str = "c1";

fn truth() -> Truth {
    Truth::new(Trace::new(false))
}

fn put(truth: &Truth, revision: u64, key: String, value: &Value) {
    let commit = Commit { puts: vec![(key, value.to_string())], ..Commit::default() };
    truth.commit(revision, &commit);
}

fn lease(truth: &Truth, owner: &str) {
    let name = LeasePurpose::Operation(CLUSTER).name();
    let lease = json!({"name": name, "owner": owner, "counter": 1, "ttl_ms": 15_000});
    put(truth, 1, Lease::key(&name), &lease);
    let save = json!({"model_type_name": Lease::TYPE, "model_json_data": lease});
    truth.learn_owner("executor-1", &json!({"saves": [save]}));
}

fn operation(truth: &Truth, id: &str, status: &str) {
    let operation = json!({
        "id": id, "cluster": CLUSTER, "kind": "restart", "status": status, "started_by": id,
        "started_at": "t", "hosts": ["h1", "h2"], "options": {"soak": 10},
    });
    put(truth, 2, Operation::key(id), &operation);
}

fn event(truth: &Truth, seq: u64, detail: &str) {
    let id = OperationEvent::id_of("o1", seq);
    let event = json!({
        "id": id, "seq": seq, "time": "t", "host": "", "step": "", "outcome": "ok", "detail": detail,
    });
    put(truth, 3, OperationEvent::key(&id), &event);
}

fn part(truth: &Truth, address: &str, step: &str) {
    let id = OperationHost::id_of("o1", address);
    put(truth, 4, OperationHost::key(&id), &json!({"id": id, "address": address, "step": step}));
}

fn effect(address: &str, unavailable: &[&str], process: &str) -> Effect {
    Effect {
        process: process.into(),
        address: address.to_owned(),
        unit: None,
        is_ignored: false,
        claim: None,
        boot_id: "b1".to_owned(),
        host_key: "key".to_owned(),
        unavailable: unavailable.iter().map(|host| (*host).to_owned()).collect(),
        unavailable_since: Vec::new(),
    }
}

/// An operation on two hosts, the first of which is at its reboot.
fn under_way() -> Truth {
    let truth = truth();
    for address in ["h1", "h2"] {
        let member = json!({"address": address, "cluster": CLUSTER});
        put(&truth, 1, ClusterMember::key(address), &member);
    }
    lease(&truth, "me");
    operation(&truth, "o1", "in_process");
    part(&truth, "h1", "reboot");
    assert_eq!(truth.violations(), Vec::<String>::new());
    truth
}

fn assert_violated(truth: &Truth, invariant: &str) {
    let violations = truth.violations();
    assert!(violations.iter().any(|found| found.starts_with(invariant)), "{violations:?}");
}

#[tokio::test(start_paused = true)]
async fn events_have_no_gap_and_are_not_replaced() {
    let truth = truth();
    event(&truth, 1, "a");
    event(&truth, 2, "b");
    event(&truth, 2, "b");
    assert_eq!(truth.violations(), Vec::<String>::new());
    event(&truth, 2, "c");
    event(&truth, 4, "d");
    assert_eq!(truth.violations().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_operation_is_in_process_under_its_lease() {
    let without = truth();
    operation(&without, "o1", "in_process");
    assert_violated(&without, "3: o1 is in process without a lease");
    let second = under_way();
    operation(&second, "o2", "in_process");
    assert_violated(&second, "3: o1 and o2 are in process");
    let again = under_way();
    operation(&again, "o1", "finished");
    operation(&again, "o1", "in_process");
    assert_violated(&again, "6: the operation o1 ended");
}

#[tokio::test(start_paused = true)]
async fn command_that_a_host_ignores_may_be_repeated() {
    let truth = under_way();
    tokio::time::sleep(Duration::from_mins(1)).await;
    let command = effect("h1", &[], "executor-1");
    truth.effect(&Effect { is_ignored: true, ..command.clone() });
    truth.effect(&command);
    assert_eq!(truth.violations(), Vec::<String>::new());
    truth.effect(&command);
    assert_violated(&truth, "2: h1 gets reboot a second time");
}

#[tokio::test(start_paused = true)]
async fn effect_is_within_the_budget_once_and_by_the_holder_of_the_lease() {
    tokio::time::sleep(Duration::from_mins(1)).await;
    let truth = under_way();
    tokio::time::sleep(Duration::from_mins(1)).await;
    truth.effect(&effect("h1", &[], "executor-1"));
    assert_eq!(truth.violations(), Vec::<String>::new());
    truth.effect(&effect("h1", &["h2"], "executor-2"));
    for invariant in ["1: h1", "2: h1 gets reboot a second time", "3: executor-2 changes h1"] {
        assert_violated(&truth, invariant);
    }
    truth.effect(&effect("h2", &[], "executor-1"));
    assert_violated(&truth, "7: h2 is changed without an operation");
}

#[tokio::test(start_paused = true)]
async fn nothing_happens_after_a_pause_an_alarm_or_a_change_of_the_key() {
    let truth = under_way();
    truth.has_key("h1", Some("another".to_owned()));
    let pause = json!({"id": "o1", "wanted": "pause", "by": "ann", "at": "t", "reason": ""});
    put(&truth, 5, OperationControl::key("o1"), &pause);
    put(&truth, 6, Alarm::key(Alarm::FLEET), &json!({"scope": Alarm::FLEET}));
    tokio::time::sleep(Duration::from_secs(2)).await;
    truth.effect(&effect("h1", &[], "executor-1"));
    for invariant in ["7: h1 is changed though", "7: h1 is changed in an alarm", "8: h1"] {
        assert_violated(&truth, invariant);
    }
}

#[tokio::test(start_paused = true)]
async fn soak_time_is_kept_by_the_same_executor() {
    let truth = under_way();
    part(&truth, "h1", "done");
    tokio::time::sleep(Duration::from_secs(5)).await;
    part(&truth, "h2", "probe");
    assert_violated(&truth, "soak: h2");
    let other = under_way();
    part(&other, "h1", "done");
    lease(&other, "another");
    part(&other, "h2", "probe");
    assert_eq!(other.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn read_is_explained_by_one_moment_since_its_request() {
    let truth = truth();
    put(&truth, 1, "/a".to_owned(), &json!(1));
    put(&truth, 2, "/b".to_owned(), &json!(1));
    let since = truth.commits();
    put(&truth, 3, "/a".to_owned(), &json!(2));
    let read = |records: &[(&str, Option<u64>)]| Read {
        prefix: Some("/"),
        records: records.iter().map(|(key, at)| ((*key).to_owned(), *at)).collect(),
    };
    for records in [[("/a", Some(1)), ("/b", Some(2))], [("/a", Some(3)), ("/b", Some(2))]] {
        truth.check_read("gateway-1", &read(&records), since);
    }
    assert_eq!(truth.violations(), Vec::<String>::new());
    let before = [("/a", Some(1))];
    truth.check_read("gateway-1", &read(&before), since);
    truth.check_read("gateway-1", &read(&[("/a", Some(3)), ("/b", Some(1))]), since);
    assert_eq!(truth.violations().len(), 2);
}
