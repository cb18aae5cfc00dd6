//! Tokens with which hosts register themselves.

use model::{Cluster, Enrollment, HostState, Status};
use serde_json::{Value, json};

use crate::support::{Answer, Gateway, HOST_KEY, Setup, V0, basic};

/// A gateway behind a proxy, so that hosts come from addresses of their own; with a cluster `c1`.
async fn gateway() -> Gateway {
    let trusted_proxies = vec!["127.0.0.1".to_owned()];
    let gateway = Setup { trusted_proxies, ..Setup::default() }.start().await;
    gateway.cluster("c1", &[]).await;
    gateway.cluster("c2", &[]).await;
    gateway
}

/// An enrollment: its id and its token.
async fn enrollment(gateway: &Gateway, asked: Value) -> (String, String) {
    let made = gateway.send("POST", &format!("{V0}/enrollments"), asked.to_string()).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let text = |member: &str| made.json()[member].as_str().unwrap().to_owned();
    (text("id"), text("token"))
}

/// `PUT path` with a token, from an address.
async fn put(gateway: &Gateway, token: &str, from: &str, path: &str, body: &Value) -> Answer {
    call(gateway, token, from, ("PUT", path), body).await
}

async fn call(
    gateway: &Gateway,
    token: &str,
    from: &str,
    (method, path): (&str, &str),
    body: &Value,
) -> Answer {
    let authorization = basic(format!("enroll:{token}"));
    let headers = [("authorization", authorization.as_str()), ("x-forwarded-for", from)];
    gateway.send_plain(&headers, (method, &format!("{V0}{path}")), body.to_string()).await
}

fn body() -> Value {
    json!({"ssh_host_key": HOST_KEY})
}

/// The newest line of the audit log: who, from where, and the answer.
fn last(gateway: &Gateway) -> (Value, Value, Value) {
    let line = gateway.audit().pop().unwrap();
    (line["principal"].clone(), line["source"].clone(), line["status"].clone())
}

#[tokio::test]
async fn a_token_is_shown_once_and_kept_as_a_hash() {
    let gateway = gateway().await;
    let asked = json!({"cluster": "c1", "expires": "2h", "uses": 3, "from": ["10.0.0.0/8"]});
    let (id, token) = enrollment(&gateway, asked).await;
    let listed = gateway.get("/enrollments").await;
    let shown = &listed.json()[0];
    assert_eq!((shown["id"].as_str(), shown["uses"].as_u64()), (Some(id.as_str()), Some(3)));
    assert_eq!((&shown["cluster"], &shown["from"]), (&json!("c1"), &json!(["10.0.0.0/8"])));
    assert_eq!(shown["created_by"], "admin");
    let secret = token.split_once('.').unwrap().1;
    assert!(!listed.text().contains(secret) && !listed.text().contains("hash"));
    for entry in gateway.records().await {
        assert!(!format!("{entry:?}").contains(secret));
    }
    assert!(!json!(gateway.audit()).to_string().contains(secret));
    for (wrong, status, words) in [
        (json!({"cluster": "nope"}), 409, "there is no cluster"),
        (json!({"cluster": 7}), 400, "cluster"),
        (json!({"uses": 0}), 400, "uses is 1 to"),
        (json!({"uses": 10_001}), 400, "uses is 1 to"),
        (json!({"from": ["x"]}), 400, "from"),
        (json!({"expires": "soon"}), 400, "expires is"),
        (json!({"expires": 0}), 400, "expires is"),
        (json!({"expires": null}), 400, "expires"),
    ] {
        let answer = gateway.send("POST", &format!("{V0}/enrollments"), wrong.to_string()).await;
        answer.refused(status, words);
    }
    gateway.delete(&format!("/enrollment/{id}")).await.is(200, &json!([]));
    gateway.delete(&format!("/enrollment/{id}")).await.refused(404, "there is no enrollment");
    gateway.get("/enrollments").await.is(200, &json!([]));
}

#[tokio::test]
async fn a_host_registers_itself_and_waits_outside_its_cluster() {
    let gateway = gateway().await;
    let (id, token) = enrollment(&gateway, json!({"cluster": "c1"})).await;
    // First boots retry: with and without the cluster, and by either path.
    for (path, body) in [
        ("/host", body()),
        ("/host/10.0.0.1", body()),
        ("/host", json!({"ssh_host_key": HOST_KEY, "cluster": "c1", "address": "10.0.0.1"})),
    ] {
        let answer = put(&gateway, &token, "10.0.0.1", path, &body).await;
        assert_eq!((answer.status, &answer.json()["status"]), (201, &json!("investigating")));
    }
    assert_eq!(last(&gateway), (json!(format!("enroll:{id}")), json!("10.0.0.1"), json!(201)));
    let state: HostState = gateway.stored("10.0.0.1").await.unwrap();
    let enrolled = state.enrolled.unwrap();
    assert_eq!(
        (enrolled.id, enrolled.cluster.as_str(), enrolled.proven),
        (id.clone(), "c1", false)
    );
    assert!(gateway.stored::<Cluster>("c1").await.unwrap().hostset.is_empty());
    let stored: Enrollment = gateway.stored(&id).await.unwrap();
    assert_eq!(stored.hosts, ["10.0.0.1"]);
    // Nobody lets it in before: it is not ready.
    gateway.put("/cluster/c1/hosts/10.0.0.1", json!({})).await.refused(405, "not ready");
    // As bearer, too.
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("x-forwarded-for", "10.0.0.1")];
    let target = format!("{V0}/host");
    let answer = gateway.send_plain(&headers, ("PUT", &target), body().to_string()).await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn what_a_token_is_not_for_is_refused_and_audited() {
    let gateway = gateway().await;
    gateway.host("10.0.0.9", Status::Active).await;
    let asked = json!({"cluster": "c1", "uses": 1, "from": ["10.0.0.0/24"]});
    let (id, token) = enrollment(&gateway, asked).await;
    let before = gateway.records().await;
    let other_cluster = json!({"ssh_host_key": HOST_KEY, "cluster": "c2"});
    let here = "10.0.0.1";
    for (from, method, path, sent, status, words) in [
        ("10.0.1.1", "PUT", "/host/10.0.1.1", body(), 403, "another network"),
        (here, "PUT", "/host/10.0.0.2", body(), 403, "by the address it asks from"),
        (here, "PUT", "/host/web1", body(), 403, "by the address it asks from"),
        (here, "PUT", "/host/10.0.0.9", body(), 403, "by the address it asks from"),
        (here, "PUT", "/host/10.0.0.1", other_cluster, 403, "not for that cluster"),
        (here, "PUT", "/host/10.0.0.1", json!({}), 400, "ssh_host_key is needed"),
        // What is registered in another way is told nothing but that.
        ("10.0.0.9", "PUT", "/host", body(), 409, "not with this enrollment token"),
        (here, "GET", "/host/10.0.0.1", json!({}), 403, "nothing else"),
        (here, "GET", "/hosts", json!({}), 403, "nothing else"),
        (here, "GET", "/nothing", json!({}), 403, "nothing else"),
        (here, "DELETE", "/host/10.0.0.1", json!({}), 403, "nothing else"),
        (here, "POST", "/enrollments", json!({}), 403, "nothing else"),
        (here, "GET", "/host/10.0.0.9/creds", json!({}), 403, "nothing else"),
        (here, "PUT", "/host/10.0.0.9/creds", json!({"remote_user": "me"}), 403, "nothing else"),
        (here, "PUT", "/host/10.0.0.9/hostkey", json!({}), 403, "nothing else"),
        (here, "POST", "/host/10.0.0.9/investigate", json!({}), 403, "nothing else"),
        (here, "PUT", "/cluster/c1/hosts/10.0.0.9", json!({}), 403, "nothing else"),
        (here, "PUT", "/cluster/c1/restart", json!({}), 403, "nothing else"),
        (here, "PUT", "/cluster/c1/upgrade", json!({}), 403, "nothing else"),
        (here, "PUT", "/cluster/c1/deploy", json!({"version": "1"}), 403, "nothing else"),
    ] {
        call(&gateway, &token, from, (method, path), &sent).await.refused(status, words);
        let expected = (json!(format!("enroll:{id}")), json!(from), json!(status));
        assert_eq!(last(&gateway), expected, "{method} {path}");
    }
    assert_eq!(gateway.records().await, before);
}

#[tokio::test]
async fn a_token_that_is_expired_used_up_or_revoked_is_refused() {
    let gateway = gateway().await;
    let (id, token) = enrollment(&gateway, json!({"expires": 3600})).await;
    assert_eq!(put(&gateway, &token, "10.0.0.1", "/host", &body()).await.status, 201);
    let refused = async |from: &str, words: &str| {
        put(&gateway, &token, from, "/host", &body()).await.refused(403, words);
        let expected = (json!(format!("enroll:{id}")), json!(from), json!(403));
        assert_eq!(last(&gateway), expected, "{words}");
    };
    refused("10.0.0.2", "used up").await;
    // Another secret for the same enrollment, and then another enrollment.
    let other = enrollment(&gateway, json!({})).await.1;
    let mixed = format!("{id}.{}", other.split_once('.').unwrap().1);
    let lines = gateway.audit().len();
    put(&gateway, &mixed, "10.0.0.1", "/host", &body()).await.refused(403, "unknown");
    assert_eq!(gateway.audit().len(), lines, "a token with a wrong secret is not audited");
    let expire = |enrollment: &mut Enrollment| {
        enrollment.expires = "2026-01-01T00:00:00.000000".into();
        Ok(true)
    };
    gateway.storage.update(&id, expire).await.unwrap();
    refused("10.0.0.1", "expired").await;
    gateway.delete(&format!("/enrollment/{id}")).await.is(200, &json!([]));
    // Without its record, the secret cannot be verified.
    let lines = gateway.audit().len();
    put(&gateway, &token, "10.0.0.1", "/host", &body()).await.refused(403, "revoked");
    assert_eq!(gateway.audit().len(), lines);
    assert!(gateway.stored::<HostState>("10.0.0.2").await.is_none());
    // The host that registered before is not the token's to take away.
    assert!(gateway.stored::<HostState>("10.0.0.1").await.is_some());
}

#[tokio::test]
async fn at_the_same_moment_a_token_is_used_no_more_often() {
    let gateway = gateway().await;
    let (id, token) = enrollment(&gateway, json!({"uses": 3})).await;
    let hosts: Vec<_> = (1..=12).map(|host| format!("10.0.0.{host}")).collect();
    let body = body();
    let registrations = hosts.iter().map(|host| put(&gateway, &token, host, "/host", &body));
    let answers = futures_util::future::join_all(registrations).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 3);
    assert_eq!(answers.iter().filter(|answer| answer.status == 403).count(), 9);
    assert_eq!(gateway.stored::<Enrollment>(&id).await.unwrap().hosts.len(), 3);
}
