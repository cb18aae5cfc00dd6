//! Continuing operations that ended before all of their hosts were done.

use futures_util::future::join_all;
use model::{HostCreds, Operation, OperationStatus, Status};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Answer, Executor, Gateway, PASSWORD, Setup, USER, V0, basic};

const PATH: &str = "/operation/o1/continue";

const HOSTS: [&str; 3] = ["127.9.0.1", "127.9.0.2", "127.9.0.3"];

/// With the real executor, and an ended operation of a cluster: one host done, one failed, one untouched. A listener
/// takes the place of their SSH servers: it never says a word.
async fn gateway() -> (Gateway, TcpListener) {
    let gateway = Setup { executor: Executor::Real, ..Setup::default() }.start().await;
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let ssh_port = listener.local_addr().unwrap().port();
    for address in HOSTS {
        gateway.host(address, Status::Disassociated).await;
        let creds = HostCreds { ssh_port, ..HostCreds::new(address) };
        gateway.storage.save(&creds).await.unwrap();
    }
    gateway.cluster("c1", &HOSTS).await;
    gateway.operation("o1", json!({"status": "failed", "hosts": HOSTS})).await;
    gateway.progress("o1", HOSTS[0], json!({"step": "done"})).await;
    let failure = json!({"host": HOSTS[1], "step": "verify", "reason": "no answer"});
    gateway.progress("o1", HOSTS[1], json!({"step": "failed", "failure": failure})).await;
    (gateway, listener)
}

fn hosts(plan: &Value) -> Vec<&str> {
    let hosts = plan["hosts"].as_array().unwrap();
    hosts.iter().map(|host| host["address"].as_str().unwrap()).collect()
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_str(&answer.text()).unwrap()
}

#[tokio::test]
async fn the_hosts_that_are_not_done_are_worked_on_by_a_new_operation() {
    let (gateway, _listener) = gateway().await;
    for (body, expected) in [
        (json!({"dry_run": true}), vec![HOSTS[2]]),
        (json!({"dry_run": true, "retry_failed": true}), vec![HOSTS[1], HOSTS[2]]),
    ] {
        let plan = gateway.send("POST", &format!("{V0}{PATH}"), body.to_string()).await;
        assert_eq!((plan.status, hosts(&json_of(&plan))), (200, expected), "{}", plan.text());
    }
    let who = (gateway.address, USER, "key");
    let started = gateway.keyed(who, "POST", PATH, json!({})).await;
    assert_eq!(started.status, 201, "{}", started.text());
    let id = started.header("location").strip_prefix("/api/v0/operation/").unwrap().to_owned();
    assert_eq!(json_of(&started)["id"], json!(id));
    // Again with the same key: the same answer. Without it: what continues it is named.
    gateway.keyed(who, "POST", PATH, json!({})).await.is(201, &json_of(&started));
    gateway.post(PATH).await.refused(409, &format!("continued by {id}"));
    let shown = json_of(&gateway.get(&format!("/operation/{id}")).await);
    assert_eq!((&shown["continues"], hosts(&shown)), (&json!("o1"), vec![HOSTS[2]]));
    assert_eq!(json_of(&gateway.get("/operation/o1").await)["continued_by"], json!(id));
    assert_eq!(gateway.storage.list::<Operation>().await.unwrap().len(), 2);
}

/// Ten requests at once, over two gateways.
async fn at_once(gateway: &Gateway, key: impl Fn(usize) -> String) -> Vec<Answer> {
    let addresses = [gateway.address, gateway.another().await.address];
    let ask = async |at: usize| {
        let (address, key) = (addresses[at % 2], key(at));
        gateway.keyed((address, USER, &key), "POST", PATH, json!({})).await
    };
    join_all((0..10).map(ask)).await
}

#[tokio::test]
async fn of_many_requests_at_once_one_continues_the_operation() {
    let (gateway, _listener) = gateway().await;
    let answers = at_once(&gateway, |at| at.to_string()).await;
    let (started, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 201);
    assert_eq!(started.len(), 1);
    for answer in refused {
        assert_eq!(answer.status, 409, "{}", answer.text());
    }
    let operations = gateway.storage.list::<Operation>().await.unwrap();
    assert_eq!(operations.len(), 2);
    let before = gateway.stored::<Operation>("o1").await.unwrap();
    assert_eq!(json!(before.continued_by), json_of(started[0])["id"]);
}

#[tokio::test]
async fn the_same_request_many_times_at_once_has_the_same_answer() {
    let (gateway, _listener) = gateway().await;
    let answers = at_once(&gateway, |_| "key".to_owned()).await;
    let first = json_of(&answers[0]);
    for answer in &answers {
        answer.is(201, &first);
    }
    assert_eq!(gateway.storage.list::<Operation>().await.unwrap().len(), 2);
}

#[tokio::test]
async fn hosts_whose_turn_did_not_come_are_shown_as_skipped() {
    let (gateway, _listener) = gateway().await;
    let shown = json_of(&gateway.get("/operation/o1").await);
    let counts =
        json!({"total": 3, "done": 1, "skipped": 1, "failed": 1, "under_way": 0, "pending": 0});
    assert_eq!(shown["counts"], counts);
    assert_eq!(shown["hosts"][2]["skipped"], json!("the operation ended before its turn"));
}

#[tokio::test]
async fn what_cannot_be_continued_is_refused() {
    let (gateway, _listener) = gateway().await;
    gateway.post("/operation/o9/continue").await.refused(404, "there is no operation o9");
    for (status, why) in [("finished", "has finished"), ("in_process", "is in process")] {
        gateway.operation("o2", json!({"status": status})).await;
        gateway.post("/operation/o2/continue").await.refused(409, why);
    }
    gateway.operation("o3", json!({"status": "failed"})).await;
    gateway.post("/operation/o3/continue").await.refused(409, "no host left");
    gateway.operation_on("c1").await;
    gateway.post(PATH).await.refused(409, "in process");
    let stored = gateway.stored::<Operation>("o1").await.unwrap();
    assert_eq!((stored.status, stored.continued_by), (OperationStatus::Failed, None));
    let reader = basic(format!("reader:{PASSWORD}"));
    let at = format!("{V0}{PATH}");
    gateway.send_as(&reader, "POST", &at).await.refused(403, "needs the role operator");
}
