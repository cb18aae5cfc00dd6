//! Sequences of calls of bound principals, between which an administrator moves hosts: in any order,
//! nothing that is not theirs is shown or changed.

use std::collections::{BTreeMap, HashSet};

use model::Status;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::bind;
use crate::support::{Answer, Executor, Gateway, PASSWORD, Setup, basic};

const CLUSTERS: [&str; 3] = ["own1", "own2", "foreign1"];

/// At first a member of each cluster, a host in none, and an address without a host.
const HOSTS: [&str; 5] = ["10.1.0.1", "10.2.0.1", "10.3.0.1", "10.4.0.1", "10.5.0.1"];

const OPERATIONS: [&str; 2] = ["op-own1", "op-foreign1"];

/// The administrator of all clusters, and users with a role on the clusters that are theirs.
const USERS: [&str; 4] = ["admin", "operator", "other", "reader"];

fn is_own(cluster: &str) -> bool {
    cluster.starts_with("own")
}

/// A call of a user.
#[derive(Debug, Clone)]
struct Call {
    user: &'static str,
    method: &'static str,
    path: String,
    body: Value,
    /// An idempotency key, of which there are few.
    key: Option<u8>,
}

fn call() -> impl Strategy<Value = Call> {
    let cluster = || prop::sample::select(CLUSTERS.to_vec());
    let host = || prop::sample::select(HOSTS.to_vec());
    let operation = prop::sample::select(OPERATIONS.to_vec());
    let members = || prop::sample::subsequence(HOSTS.to_vec(), 0..3);
    let new_host = |cluster: &str| json!({"cluster": cluster, "ssh_priv_key": "a2V5"});
    let on_cluster =
        (cluster(), host(), members(), members()).prop_flat_map(move |(c, h, old, new)| {
            prop::sample::select(vec![
                ("PUT", format!("/cluster/{c}"), json!({})),
                ("PUT", format!("/cluster/{c}"), json!({"container_manager": "k1"})),
                ("DELETE", format!("/cluster/{c}"), Value::Null),
                ("GET", format!("/cluster/{c}"), Value::Null),
                ("PUT", format!("/cluster/{c}/restart"), json!({})),
                ("PUT", format!("/cluster/{c}/hosts/{h}"), json!({})),
                ("PUT", format!("/cluster/{c}/hosts/{h}"), json!({})),
                ("DELETE", format!("/cluster/{c}/hosts/{h}"), Value::Null),
                ("PUT", format!("/cluster/{c}/hosts"), json!({"old": old, "new": new})),
                ("PUT", format!("/host/{h}"), new_host(c)),
                ("PUT", "/host".to_owned(), {
                    let mut body = new_host(c);
                    body["address"] = json!(h);
                    body
                }),
            ])
        });
    let on_host = host().prop_flat_map(|h| {
        prop::sample::select(vec![
            ("GET", format!("/host/{h}"), Value::Null),
            ("GET", format!("/host/{h}/status"), Value::Null),
            ("GET", format!("/explain/host/{h}"), Value::Null),
            ("POST", format!("/host/{h}/investigate"), json!({})),
            ("POST", format!("/host/{h}/drain"), json!({})),
            ("PUT", format!("/host/{h}"), json!({})),
            ("DELETE", format!("/host/{h}"), Value::Null),
        ])
    });
    let elsewhere = operation.prop_flat_map(|o| {
        prop::sample::select(vec![
            ("GET", format!("/operation/{o}"), Value::Null),
            ("GET", format!("/operation/{o}/events?follow=false"), Value::Null),
            ("POST", format!("/operation/{o}/continue"), json!({})),
            ("POST", format!("/operation/{o}/abort"), json!({})),
            ("GET", "/hosts".to_owned(), Value::Null),
            ("GET", "/clusters".to_owned(), Value::Null),
            ("GET", "/explain".to_owned(), Value::Null),
        ])
    });
    let user = prop::sample::select(USERS.to_vec());
    let key = prop::option::weighted(0.3, 0_u8..2);
    let request = prop_oneof![4 => on_cluster, 3 => on_host, 2 => elsewhere];
    (user, request, key).prop_map(|(user, (method, path, body), key)| {
        let path = format!("/api/v0{path}");
        Call { user, method, path, body, key }
    })
}

/// The records by their keys.
type Records = BTreeMap<String, String>;

async fn records(gateway: &Gateway) -> Records {
    let all = gateway.records().await.into_iter();
    let kept = all.filter(|entry| !entry.key.starts_with("/commissaire/idempotency/"));
    kept.map(|entry| (entry.key, entry.value)).collect()
}

/// The cluster of a host.
fn cluster_of(records: &Records, address: &str) -> Option<String> {
    let member = records.get(&format!("/commissaire/cluster_members/{address}"))?;
    let member: Value = serde_json::from_str(member).unwrap();
    Some(member["cluster"].as_str().unwrap().to_owned())
}

fn exists(records: &Records, address: &str) -> bool {
    records.contains_key(&format!("/commissaire/hosts/{address}"))
}

/// Whether a host is there, and not in a cluster of theirs.
fn is_foreign(records: &Records, address: &str) -> bool {
    exists(records, address)
        && !cluster_of(records, address).is_some_and(|cluster| is_own(&cluster))
}

/// Whether a bound principal may have changed the record with this key.
fn is_theirs(key: &str, before: &Records, after: &Records) -> bool {
    let (folder, name) = key.rsplit_once('/').unwrap();
    match folder.trim_start_matches("/commissaire/") {
        "clusters" => is_own(name),
        "cluster_members" | "hosts" | "secrets/hosts" | "host_state" | "host_placements" => {
            // A host is registered, changed, removed or moved within their clusters.
            let at = if exists(before, name) { before } else { after };
            let stays = [before, after].map(|records| cluster_of(records, name));
            cluster_of(at, name).is_some_and(|cluster| is_own(&cluster))
                && stays.into_iter().flatten().all(|cluster| is_own(&cluster))
        }
        "operation_control" => name == "op-own1",
        "leases" => name.starts_with("change.own"),
        _ => false,
    }
}

async fn start() -> Gateway {
    let executor = Executor::Answers(Ok(json!({})));
    let gateway = Setup { executor, ..Setup::default() }.start().await;
    for (n, address) in HOSTS[..4].iter().enumerate() {
        let status = if n == 3 { Status::Disassociated } else { Status::Active };
        gateway.host(address, status).await;
        if let Some(cluster) = CLUSTERS.get(n) {
            gateway.cluster(cluster, &[address]).await;
        }
    }
    for (id, cluster, host) in
        [("op-own1", "own1", "10.1.0.1"), ("op-foreign1", "foreign1", "10.3.0.1")]
    {
        let members = json!({"cluster": cluster, "hosts": [host], "status": "in_process"});
        gateway.operation(id, members).await;
        gateway.event(id, 1, &format!("detail of {cluster}")).await;
    }
    let manager = gateway.put("/containermanager/k1", json!({"type": "trivial"})).await;
    assert_eq!(manager.status, 201);
    for (user, role) in [("operator", "operator"), ("other", "admin"), ("reader", "reader")] {
        bind(&gateway, user, role, &["own*"]).await;
    }
    gateway
}

async fn send(gateway: &Gateway, call: &Call) -> Answer {
    let authorization = basic(format!("{}:{PASSWORD}", call.user));
    let key = call.key.map(|key| format!("key-{key}-{}-{}", call.method, call.path));
    let mut headers = vec![("authorization", authorization.as_str()), ("last-event-id", "0")];
    headers.extend(key.as_deref().map(|key| ("idempotency-key", key)));
    let body = if call.body.is_null() { String::new() } else { call.body.to_string() };
    gateway.send_plain(&headers, (call.method, &call.path), body).await
}

async fn keeps_to_what_is_theirs(calls: Vec<Call>) -> Result<(), TestCaseError> {
    let gateway = start().await;
    let mut has_been_theirs: HashSet<&str> = HashSet::new();
    for call in &calls {
        let (before, asked) = (records(&gateway).await, gateway.restarts().len());
        has_been_theirs.extend(
            HOSTS
                .iter()
                .filter(|host| cluster_of(&before, host).is_some_and(|cluster| is_own(&cluster))),
        );
        let answer = send(&gateway, call).await;
        if call.user == "admin" {
            continue;
        }
        let after = records(&gateway).await;
        let keys = before.keys().chain(after.keys());
        for key in keys.filter(|key| before.get(*key) != after.get(*key)) {
            prop_assert!(is_theirs(key, &before, &after), "{call:?} changed {key}");
        }
        for asked in &gateway.restarts()[asked..] {
            let params = asked.params.value();
            let of = params["cluster_name"].as_str().or(params["id"].as_str()).unwrap_or_default();
            prop_assert!(is_own(of) || of == "op-own1", "{call:?} asked for {params}");
        }
        let (text, request) = (answer.text(), format!("{} {}", call.path, call.body));
        let is_refused = answer.status >= 400;
        let is_hidden = |host: &&&str| is_foreign(&before, host) && is_foreign(&after, host);
        for host in HOSTS.iter().filter(is_hidden) {
            let is_about_it =
                call.path.contains(&format!("/host/{host}")) || call.body["address"] == *host;
            prop_assert!(!is_about_it || is_refused, "{call:?}: {text}");
        }
        // Records of operations of their clusters name hosts that have left them since.
        let hosts = HOSTS.iter().filter(|host| !has_been_theirs.contains(*host));
        for name in hosts.filter(is_hidden).chain(&["foreign1", "detail of foreign"]) {
            // A refusal may repeat a name of its request.
            let is_repeated = request.contains(name) && (is_refused || text == "[]");
            prop_assert!(is_repeated || !text.contains(name), "{call:?} shows {name}: {text}");
        }
    }
    gateway.life.stop();
    Ok(())
}

#[test]
fn no_sequence_of_calls_shows_or_changes_what_is_not_theirs() {
    let runtime = Runtime::new().unwrap();
    let mut runner =
        TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let tested = runner.run(&prop::collection::vec(call(), 1..40), |calls| {
        runtime.block_on(keeps_to_what_is_theirs(calls))
    });
    if let Err(error) = tested {
        panic!("{error}");
    }
}
