//! What principals with roles on some clusters see and change: nothing of the others, over every declared route.

use serde_json::{Value, json};

use crate::roles::{METHODS, PUBLIC, may};
use crate::support::{
    Answer, Custodia, Executor, Gateway, PASSWORD, ROUTES, SECRET_ROUTES, Setup, WITH_BODY, basic,
};
use model::{Binding, CordonDebt, OperationWait, Status, UNAVAILABLE_NODES};

mod nodes;
mod sequences;

/// The roles; each is that of the user of the same name, on the cluster `c1` only. The administrator is `other`.
const BOUND: [(&str, &str); 3] =
    [("reader", "reader"), ("operator", "operator"), ("other", "admin")];

/// What a user that is bound to `c1` may not learn of.
const FOREIGN: [&str; 6] =
    ["foreign1", "10.77.0.1", "foreign-op", "10.79.0.1", "foreign-detail", "foreign-node"];

/// The route with the names of another cluster, host and operation.
fn with_names(path: &str, [cluster, host, operation]: [&str; 3]) -> String {
    path.replace("/c1", &format!("/{cluster}"))
        .replace("10.0.0.1", host)
        .replace("/o1", &format!("/{operation}"))
}

/// Routes that need a role on all clusters, in other words than the declarations.
fn is_for_all_clusters(method: &str, path: &str) -> bool {
    let parts = [
        "/backup",
        "/freeze",
        "/containermanager",
        "/network",
        "/enrollment",
        "/metrics",
        "/binding",
        "/secrets",
        "/healthcheck/",
    ];
    parts.iter().any(|part| path.contains(part))
        || (method == "PUT" && path.ends_with("/placement"))
}

/// A gateway with a cluster `c1`, another one of which every record and sentence names something in [`FOREIGN`], and bound
/// users.
async fn gateway() -> Gateway {
    let setup = Setup {
        custodia: Some(Custodia::open()),
        executor: Executor::Answers(Ok(json!({}))),
        ..Setup::default()
    };
    let gateway = setup.start().await.with_everything().await;
    gateway.host("10.77.0.1", Status::Active).await;
    gateway.host_state(json!({"address": "10.77.0.1", "detail": "foreign-detail"})).await;
    gateway.host("10.79.0.1", Status::Disassociated).await;
    gateway.cluster("foreign1", &["10.77.0.1"]).await;
    gateway.operation("foreign-op", json!({"cluster": "foreign1", "hosts": ["10.77.0.1"]})).await;
    gateway.event("foreign-op", 1, "foreign-detail").await;
    gateway.alarm("cluster.foreign1").await;
    gateway.alarm("manager.foreign1").await;
    gateway.operation("o1", json!({"hosts": ["10.0.0.1"], "status": "in_process"})).await;
    let nodes = format!("{UNAVAILABLE_NODES}foreign-node (operation foreign-op)");
    let names =
        format!("these are: 10.77.0.1 (foreign-detail), 10.79.0.1 (foreign-detail); and {nodes}");
    let wait = json!({"reason": "quorum-group", "detail": names});
    gateway
        .progress("o1", "10.0.0.1", json!({"step": "pending", "wait": wait, "postponed": names}))
        .await;
    gateway.event("o1", 2, &names).await;
    gateway
        .host_state(json!({"address": "10.0.0.1", "detail": names, "reason": "unreachable"}))
        .await;
    let mut wait = wait;
    wait["id"] = json!("o1");
    gateway.storage.save::<OperationWait>(&serde_json::from_value(wait).unwrap()).await.unwrap();
    let debt = json!({"id": "k.foreign1", "container_manager": "k1", "node_uid": "u", "node": "foreign1", "address": "10.77.0.1",
        "cluster": "foreign1", "cordoned_by": "commissaire/i/o", "operation": "foreign-op", "state": "due", "since": "2026-11-26T05:00:00.000000", "reason": "foreign-detail"});
    gateway.storage.save::<CordonDebt>(&serde_json::from_value(debt).unwrap()).await.unwrap();
    for (user, role) in BOUND {
        bind(&gateway, user, role, &["c1"]).await;
    }
    gateway
}

async fn bind(gateway: &Gateway, user: &str, role: &str, clusters: &[&str]) {
    let binding = json!({"kind": "user", "subject": user, "role": role, "clusters": clusters});
    let answer = gateway.put(&format!("/binding/of-{user}"), binding).await;
    assert!(answer.status < 300, "{}", answer.text());
}

/// A body that fits, where a route reads one.
fn body_for(method: &str, path: &str) -> &'static str {
    let of_route = WITH_BODY.iter().find(|(with, of, _)| (*with, *of) == (method, path));
    of_route.map_or("{}", |(_, _, body)| body)
}

async fn call(gateway: &Gateway, user: &str, method: &str, path: &str, body: &str) -> Answer {
    let authorization = basic(format!("{user}:{PASSWORD}"));
    let path =
        if path.ends_with("/events") { format!("{path}?follow=false") } else { path.to_owned() };
    let headers = [("authorization", authorization.as_str())];
    gateway.send_plain(&headers, (method, &path), body.to_owned()).await
}

fn assert_no_foreign(answer: &Answer) {
    let text = answer.text();
    for foreign in FOREIGN {
        assert!(!text.contains(foreign), "{foreign}: {} {text}", answer.what);
    }
}

/// The records that are about the other cluster or the host in none.
async fn foreign_records(gateway: &Gateway) -> Vec<(String, String, u64)> {
    let all = gateway.records().await.into_iter();
    let is_foreign = |text: &str| FOREIGN.iter().any(|foreign| text.contains(foreign));
    let foreign =
        all.filter(|entry| is_foreign(&entry.key) || entry.value.contains("\"foreign1\""));
    foreign.map(|entry| (entry.key, entry.value, entry.revision)).collect()
}

#[tokio::test]
async fn what_is_not_theirs_does_not_exist_for_bound_principals_on_any_route() {
    let gateway = gateway().await;
    let before = foreign_records(&gateway).await;
    assert!(before.len() >= 9, "{before:?}");
    for (user, role) in BOUND {
        for (path, _) in ROUTES.iter().chain(&SECRET_ROUTES) {
            for method in METHODS {
                let of_route = |names| {
                    let (gateway, path) = (&gateway, with_names(path, names));
                    async move {
                        call(gateway, user, method, &path, body_for(method, path_of(&path))).await
                    }
                };
                let foreign = of_route(["foreign1", "10.77.0.1", "foreign-op"]).await;
                let registers = method == "PUT"
                    && path.ends_with("/host/10.0.0.1")
                    && !path.contains("cluster");
                if with_names(path, ["", "", ""]) == *path {
                    // It names none of them.
                    assert_no_foreign(&foreign);
                } else if !registers {
                    let missing = of_route(["missing1", "10.78.0.1", "missing-op"]).await;
                    let expected = missing.text().replace("missing1", "foreign1");
                    let expected = expected
                        .replace("10.78.0.1", "10.77.0.1")
                        .replace("missing-op", "foreign-op");
                    assert_eq!(
                        (foreign.status, foreign.text()),
                        (missing.status, expected),
                        "{role} {method} {path}"
                    );
                    assert!(foreign.status >= 400, "{role} {method} {path}");
                }
                assert_eq!(foreign_records(&gateway).await, before, "{role} {method} {path}");
            }
        }
    }
    let asked = format!("{:?}", gateway.restarts());
    assert!(!asked.contains("foreign1") && !asked.contains("10.77.0.1"), "{asked}");
}

/// The route that a path with other names is of.
fn path_of(path: &str) -> &'static str {
    let names = [["foreign1", "10.77.0.1", "foreign-op"], ["missing1", "10.78.0.1", "missing-op"]];
    let routes = ROUTES.iter().chain(&SECRET_ROUTES).map(|(route, _)| *route);
    let is_of = |route: &&str| names.iter().any(|names| with_names(route, *names) == path);
    routes.into_iter().find(is_of).unwrap_or("")
}

#[tokio::test]
async fn what_is_theirs_is_open_to_bound_principals_by_their_roles_without_a_word_about_others() {
    for (user, role) in BOUND {
        let gateway = gateway().await;
        for (path, served) in ROUTES.iter().chain(&SECRET_ROUTES) {
            if PUBLIC.contains(path) {
                continue;
            }
            for method in METHODS {
                let answer = call(&gateway, user, method, path, "[]").await;
                let is_served = served.contains(&method);
                let allowed = may(role, method, path) && (is_served || role == "admin");
                let allowed = allowed && !(is_served && is_for_all_clusters(method, path));
                assert_eq!(
                    answer.status != 403,
                    allowed,
                    "{role} {method} {path} {}",
                    answer.text()
                );
                assert_no_foreign(&answer);
                // What a call has taken away is needed by the next one.
                if method == "DELETE" && answer.status < 300 {
                    drop(gateway.send("PUT", path, "{}").await);
                }
            }
        }
    }
}

#[tokio::test]
async fn lists_and_sentences_show_what_may_be_seen() {
    let gateway = gateway().await;
    let get = async |user: &str, path: &str| {
        let answer = call(&gateway, user, "GET", &format!("/api/v0{path}"), "").await;
        assert_eq!(answer.status, 200, "{user} {path} {}", answer.text());
        answer
    };
    for (user, _) in BOUND {
        assert_eq!(get(user, "/clusters").await.json(), json!(["c1"]));
        let hosts = get(user, "/hosts").await.json();
        assert_eq!(hosts.as_array().unwrap().len(), 1, "{hosts}");
        assert_eq!(hosts[0]["address"], "10.0.0.1");
        let rights = get(user, "/whoami").await.json()["rights"].clone();
        assert_eq!(rights[0]["clusters"], json!(["c1"]));
        for path in [
            "/operation/o1",
            "/operation/o1/events",
            "/explain/operation/o1",
            "/host/10.0.0.1/status",
        ] {
            let answer = get(user, path).await;
            assert_no_foreign(&answer);
            let text = answer.text();
            assert!(
                text.contains(
                    "these are: 2 hosts of clusters that you may not see; and these nodes are unavailable: 1 in all"
                ),
                "{path}: {text}"
            );
            // Naming them changes nothing.
            let named = r#"{"hosts": ["10.77.0.1"], "address": "10.79.0.1"}"#;
            let named = call(&gateway, user, "GET", &format!("/api/v0{path}"), named).await;
            assert_eq!((named.status, named.text()), (200, text), "{user} {path}");
        }
        assert_no_foreign(&get(user, "/explain").await);
    }
    let everything = get("admin", "/operation/o1").await.text();
    assert!(everything.contains("these are: 10.77.0.1 (foreign-detail)"), "{everything}");
    assert_eq!(get("admin", "/hosts").await.json().as_array().unwrap().len(), 4);
    assert!(get("admin", "/explain").await.text().contains("foreign1"));
}

#[tokio::test]
async fn alarm_of_several_clusters_says_nothing_about_the_others() {
    let gateway = gateway().await;
    gateway.alarm("fleet").await;
    let alarm = |answer: Answer| answer.json()["alarm"]["reason"].as_str().unwrap().to_owned();
    let seen = alarm(call(&gateway, "reader", "GET", "/api/v0/cluster/c1", "").await);
    assert_eq!(seen, "hosts of several clusters became unreachable or refuse log-ins at once");
    assert!(alarm(gateway.get("/cluster/c1").await).contains("4 of 10"));
}

#[tokio::test]
async fn bound_principals_register_hosts_in_their_clusters_with_keys_of_their_own() {
    let gateway = gateway().await;
    let register = async |user: &str, address: &str, body: Value| {
        call(&gateway, user, "PUT", &format!("/api/v0/host/{address}"), &body.to_string()).await
    };
    let own_key = json!({"cluster": "c1", "ssh_priv_key": "a2V5"});
    assert_eq!(register("operator", "10.0.0.9", own_key.clone()).await.status, 201);
    assert_eq!(register("operator", "10.0.0.9", own_key.clone()).await.status, 201, "again");
    register("operator", "10.0.0.8", json!({"cluster": "c1"}))
        .await
        .refused(403, "the server's own SSH key");
    register("operator", "10.0.0.8", json!({"ssh_priv_key": "a2V5"}))
        .await
        .refused(403, "name one of yours");
    for cluster in ["foreign1", "missing1"] {
        let body = json!({"cluster": cluster, "ssh_priv_key": "a2V5"});
        let expected = format!("there is no cluster \"{cluster}\"");
        register("operator", "10.0.0.8", body).await.refused(409, &expected);
    }
    for address in ["10.77.0.1", "10.79.0.1"] {
        register("operator", address, own_key.clone())
            .await
            .refused(409, "exists, and not in a cluster that you may see");
    }
    let body = json!({"address": "10.0.0.7", "cluster": "c1", "ssh_priv_key": "a2V5"}).to_string();
    let unnamed = call(&gateway, "operator", "PUT", "/api/v0/host", &body).await;
    assert_eq!(unnamed.status, 201);
    assert_eq!(register("reader", "10.0.0.8", own_key).await.status, 403);
}

#[tokio::test]
async fn kept_answer_about_a_host_ends_with_the_right_to_see_it() {
    let gateway = gateway().await;
    let authorization = basic(format!("operator:{PASSWORD}"));
    let headers = [("authorization", authorization.as_str()), ("idempotency-key", "k1")];
    let body = json!({"address": "10.0.0.9", "cluster": "c1", "ssh_priv_key": "a2V5"}).to_string();
    let register =
        async || gateway.send_plain(&headers, ("PUT", "/api/v0/host"), body.clone()).await;
    let first = register().await;
    assert_eq!(first.status, 201, "{}", first.text());
    assert_eq!(register().await.json(), first.json());
    let left = gateway.delete("/cluster/c1/hosts/10.0.0.9").await;
    assert_eq!(left.status, 200);
    register().await.refused(404, "there is no host 10.0.0.9");
}

#[tokio::test]
async fn servers_own_key_goes_nowhere_new_without_a_role_on_all_clusters() {
    let gateway = gateway().await;
    let body = json!({"ssh_priv_key": "", "ssh_port": 2222}).to_string();
    let rotation = call(&gateway, "other", "PUT", "/api/v0/host/10.0.0.1/creds", &body).await;
    rotation.refused(403, "the server's own SSH key");
    let body = body_for("PUT", "/api/v0/host/10.0.0.1/hostkey");
    gateway
        .host_state(json!({"address": "10.0.0.1", "seen_host_key": crate::support::HOST_KEY}))
        .await;
    let accepted = call(&gateway, "operator", "PUT", "/api/v0/host/10.0.0.1/hostkey", body).await;
    accepted.refused(403, "the server's own SSH key");
    assert_eq!(gateway.send("PUT", "/api/v0/host/10.0.0.1/hostkey", body).await.status, 202);
}

#[tokio::test]
async fn clusters_are_made_by_their_names_on_managers_that_serve_them() {
    let gateway = gateway().await;
    bind(&gateway, "operator", "operator", &["c1", "web-*"]).await;
    let manager = json!({"type": "trivial", "clusters": ["web-eu*", "db"]});
    assert_eq!(gateway.put("/containermanager/k9", manager).await.status, 201);
    let make = async |user: &str, name: &str, body: Value| {
        call(&gateway, user, "PUT", &format!("/api/v0/cluster/{name}"), &body.to_string()).await
    };
    assert_eq!(make("operator", "web-eu1", json!({"container_manager": "k9"})).await.status, 201);
    for manager in ["k9", "k1", "missing"] {
        let refused = make("operator", "web-us1", json!({"container_manager": manager})).await;
        refused.refused(409, &format!("there is no container manager \"{manager}\""));
    }
    make("operator", "other", json!({}))
        .await
        .refused(403, "the role operator on the cluster other");
    make("operator", "foreign1", json!({}))
        .await
        .refused(403, "the role operator on the cluster foreign1");
    let network = make("operator", "web-net", json!({"network": "n1"})).await;
    assert_eq!(network.json()["network"], "default");
    make("admin", "x", json!({"container_manager": "k9"}))
        .await
        .refused(409, "serves the clusters web-eu*, db");
    assert_eq!(make("admin", "db", json!({"container_manager": "k9"})).await.status, 201);
    assert_eq!(make("admin", "x", json!({"container_manager": "k1"})).await.status, 201);
    // Again the same is no error.
    for user in ["admin", "operator"] {
        let repeated = make(user, "web-k1", json!({"container_manager": "k1"})).await;
        assert_eq!(repeated.status, 201, "{user}: {}", repeated.text());
    }
}

#[tokio::test]
async fn hosts_join_with_rights_on_the_host_and_on_the_cluster() {
    let gateway = gateway().await;
    gateway.cluster("c2", &[]).await;
    bind(&gateway, "operator", "operator", &["c1", "c2"]).await;
    let join = async |user: &str, cluster: &str, host: &str| {
        let path = format!("/api/v0/cluster/{cluster}/hosts/{host}");
        call(&gateway, user, "PUT", &path, "{}").await
    };
    for host in ["10.79.0.1", "10.77.0.1", "10.78.0.1"] {
        join("operator", "c2", host).await.refused(404, &format!("there is no host {host}"));
        let body = json!({"old": [], "new": [host]}).to_string();
        let replaced = call(&gateway, "operator", "PUT", "/api/v0/cluster/c2/hosts", &body).await;
        replaced.refused(404, &format!("there is no host {host}"));
    }
    join("operator", "c2", "10.0.0.1").await.refused(409, "is a member of c1");
    join("operator", "foreign1", "10.0.0.1").await.refused(404, "there is no cluster foreign1");
    bind(&gateway, "operator", "operator", &["*"]).await;
    assert_eq!(join("operator", "c2", "10.79.0.1").await.status, 200);
}

#[tokio::test]
async fn binding_takes_effect_at_once_and_without_one_the_configuration_counts() {
    let gateway = gateway().await;
    let status = async |user: &str, method: &str, path: &str| {
        call(&gateway, user, method, path, "{}").await.status
    };
    assert_eq!(status("reader", "PUT", "/api/v0/cluster/c1/restart").await, 403);
    bind(&gateway, "reader", "operator", &["c1"]).await;
    assert_eq!(status("reader", "PUT", "/api/v0/cluster/c1/restart").await, 201);
    assert_eq!(status("reader", "GET", "/api/v0/host/10.77.0.1").await, 404);
    assert_eq!(gateway.delete("/binding/of-reader").await.status, 200);
    assert_eq!(status("reader", "GET", "/api/v0/host/10.77.0.1").await, 200);
    assert_eq!(status("reader", "PUT", "/api/v0/cluster/c1/restart").await, 403);
    gateway.delete("/binding/of-reader").await.refused(404, "there is no binding of-reader");
}

#[tokio::test]
async fn administrator_does_not_take_its_own_rights_away() {
    let gateway = gateway().await;
    let binding = |role: &str, clusters: &[&str]| json!({"kind": "user", "subject": "admin", "role": role, "clusters": clusters});
    for (role, clusters) in [("reader", "*"), ("admin", "c1"), ("operator", "*")] {
        let refused = gateway.put("/binding/b1", binding(role, &[clusters])).await;
        refused.refused(409, "admin would no longer be an administrator of all clusters");
    }
    assert_eq!(gateway.put("/binding/b1", binding("admin", &["*"])).await.status, 201);
    assert_eq!(gateway.put("/binding/b2", binding("reader", &["c1"])).await.status, 201);
    gateway.delete("/binding/b1").await.refused(409, "would no longer be");
    assert_eq!(gateway.put("/binding/b1", binding("admin", &["*"])).await.status, 200, "again");
    assert_eq!(gateway.delete("/binding/b2").await.status, 200);
    assert_eq!(gateway.delete("/binding/b1").await.status, 200);
    // Without a binding, the configuration counts: it makes this one a reader.
    bind(&gateway, "reader", "admin", &["*"]).await;
    let delete = async |name: &str| {
        call(&gateway, "reader", "DELETE", &format!("/api/v0/binding/{name}"), "").await
    };
    delete("of-reader").await.refused(409, "reader would no longer be an administrator");
    let again = json!({"kind": "user", "subject": "reader", "role": "admin", "clusters": ["*"]});
    assert_eq!(gateway.put("/binding/again", again).await.status, 201);
    assert_eq!(delete("of-reader").await.status, 200);
    delete("again").await.refused(409, "reader would no longer be an administrator");
}

#[tokio::test]
async fn two_simultaneous_deletions_leave_an_administrator_its_rights() {
    for _ in 0..20 {
        let gateway = Gateway::start().await.with_everything().await;
        let admin =
            json!({"kind": "user", "subject": "reader", "role": "admin", "clusters": ["*"]});
        for name in ["b1", "b2"] {
            assert_eq!(gateway.put(&format!("/binding/{name}"), admin.clone()).await.status, 201);
        }
        let delete = |path| call(&gateway, "reader", "DELETE", path, "");
        let (one, two) = tokio::join!(delete("/api/v0/binding/b1"), delete("/api/v0/binding/b2"));
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert!(statuses == [200, 409], "{statuses:?}");
    }
}

#[tokio::test]
async fn host_with_a_placement_is_deleted_with_a_role_on_all_clusters() {
    let gateway = Gateway::start().await.with_everything().await;
    bind(&gateway, "operator", "operator", &["c1"]).await;
    bind(&gateway, "other", "admin", &["c1"]).await;
    let delete = |user| call(&gateway, user, "DELETE", "/api/v0/host/10.0.0.1", "");
    let placement = json!({"quorum_group": "etcd"});
    assert_eq!(gateway.put("/host/10.0.0.1/placement", placement).await.status, 200);
    for user in ["operator", "other"] {
        delete(user).await.refused(403, "10.0.0.1 has a node name or a quorum group");
    }
    assert_eq!(gateway.put("/host/10.0.0.1/placement", json!({})).await.status, 200);
    let deleted = delete("operator").await;
    assert_eq!(deleted.status, 200, "{}", deleted.text());
}

#[tokio::test]
async fn nothing_is_read_or_changed_while_bindings_cannot_be_read() {
    let gateway = Gateway::start().await.with_everything().await;
    bind(&gateway, "reader", "reader", &["c1"]).await;
    gateway.damage::<Binding>("of-reader", "{").await;
    // It has known none before.
    let gateway = gateway.another().await;
    for user in ["admin", "reader"] {
        let whoami = call(&gateway, user, "GET", "/api/v0/whoami", "").await;
        assert_eq!(whoami.status, 200, "{}", whoami.text());
        for path in ["/metrics", "/readyz?verbose", "/api/v0/cluster/c1"] {
            let refused = call(&gateway, user, "GET", path, "").await;
            refused.refused(503, "a binding in the store is damaged");
            assert!(!refused.text().contains("of-reader"), "{}", refused.text());
        }
    }
    for (path, served) in ROUTES {
        if PUBLIC.contains(&path) || ["/api/v0/whoami", "/api/v0/publickey"].contains(&path) {
            continue;
        }
        for method in served.iter().filter(|method| **method != "HEAD") {
            let before = gateway.records().await;
            let answer = call(&gateway, "reader", method, path, body_for(method, path)).await;
            assert!(
                [403, 503].contains(&answer.status) || path.ends_with("/explain"),
                "{method} {path} {}",
                answer.text()
            );
            assert_eq!(gateway.records().await, before, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn bindings_that_were_known_limit_what_needs_no_record() {
    let gateway = Gateway::start().await.with_everything().await;
    bind(&gateway, "reader", "reader", &["c1"]).await;
    let status = async |user: &str| call(&gateway, user, "GET", "/metrics", "").await.status;
    assert_eq!([status("reader").await, status("other").await], [403, 200]);
    gateway.damage::<Binding>("of-reader", "{").await;
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_mins(2)).await;
    tokio::time::resume();
    call(&gateway, "other", "GET", "/api/v0/clusters", "").await.refused(503, "damaged");
    assert_eq!([status("reader").await, status("other").await], [403, 200]);
}
