//! Backups over the API, and what a restore from one changes.

use backup::{Backup, Verification};
use model::{Binding, Enrollment, HostCreds, Instance, LastBackup, Model};
use serde_json::{Value, json};

use crate::support::{Gateway, V0, basic};

/// A user with the role reader.
const READER: &str = "reader:se:cret";

const PATH: &str = "/api/v0/backup";

/// Saves a record.
async fn save<T: Model>(gateway: &Gateway, record: Value) {
    let record: T = serde_json::from_value(record).unwrap();
    gateway.storage.save(&record).await.unwrap();
}

#[tokio::test]
async fn backup_is_complete_verified_audited_and_without_readable_credentials() {
    let gateway = Gateway::start().await;
    gateway.cluster("c1", &["10.0.0.1"]).await;
    let creds = json!({"address": "10.0.0.1", "ssh_priv_key": "canary-canary"});
    save::<HostCreds>(&gateway, creds).await;
    let answer = gateway.send("GET", PATH, "").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"));
    let text = answer.text();
    assert!(!text.contains("canary"), "{text}");
    let backup = Backup::read(text.as_bytes(), Verification::Full).unwrap();
    assert_eq!(backup.header.counts["Cluster"], 1);
    assert_eq!(backup.header.counts["HostCreds"], 1);
    assert!(backup.keys.is_none());
    let not_included = backup.header.not_included.join("; ");
    assert!(not_included.contains("--with-key") && not_included.contains("audit log"));
    assert!(
        gateway.audit().iter().any(|line| line["path"] == json!(PATH)),
        "{:?}",
        gateway.audit()
    );

    let last = gateway.storage.get::<LastBackup>(LastBackup::ALL).await.unwrap().record;
    assert_eq!((last.taken_at, last.records), (backup.header.taken_at, backup.header.records));
    let readyz = gateway.send_as(&basic(READER), "GET", "/readyz?verbose").await.json();
    assert_eq!(readyz["last_backup"]["records"], json!(backup.header.records));
    let metrics = gateway.send("GET", "/metrics", "").await.text();
    assert!(metrics.contains("\ncommissaire_last_backup_timestamp_seconds 1"), "{metrics}");
}

#[tokio::test]
async fn backup_needs_the_role_of_its_own_or_an_administrator() {
    let gateway = Gateway::start().await;
    let answer = gateway.send_as(&basic(READER), "GET", PATH).await;
    answer.refused(403, "the role backup or admin on all clusters");
    let binding = |role: &str, clusters: Value| {
        json!({"name": "reader", "kind": "user", "subject": READER.split_once(':').unwrap().0, "role": role,
            "clusters": clusters})
    };
    let put =
        async |body: Value| gateway.send("PUT", "/api/v0/binding/reader", body.to_string()).await;
    put(binding("backup", json!(["c1"]))).await.refused(400, "for all of them");
    assert_eq!(put(binding("backup", json!(["*"]))).await.status, 201);
    let as_reader = async |path: &str| gateway.send_as(&basic(READER), "GET", path).await;
    assert_eq!(as_reader(PATH).await.status, 200);
    as_reader("/api/v0/hosts").await.refused(403, "has the role backup");
    as_reader("/api/v0/cluster/c1").await.refused(403, "has the role backup");
}

#[tokio::test]
async fn restored_binding_gives_rights_once_it_is_accepted() {
    let gateway = Gateway::start().await;
    gateway.cluster("c1", &[]).await;
    let user = READER.split_once(':').unwrap().0;
    let binding = json!({"name": "b1", "kind": "user", "subject": user, "role": "operator", "clusters": ["c1"],
        "changed_at": "2026-12-01T00:00:00.000000", "pending": true});
    save::<Binding>(&gateway, binding).await;
    // By a write of its own, this gateway reads the bindings again.
    let other = json!({"kind": "user", "subject": "x", "role": "reader", "clusters": ["c1"]});
    gateway.send("PUT", &format!("{V0}/binding/b2"), other.to_string()).await;
    let as_reader = async |path: &str| gateway.send_as(&basic(READER), "GET", path).await;
    as_reader("/api/v0/clusters").await.refused(403, "restored from a backup");
    let accept = async |names: Value| {
        let body = json!({"names": names}).to_string();
        gateway.send("POST", "/api/v0/bindings/accept", body).await
    };
    accept(json!([])).await.refused(400, "at least one");
    accept(json!(["b1", "b9"])).await.refused(404, "b9");
    as_reader("/api/v0/clusters").await.refused(403, "restored from a backup");
    let accepted = accept(json!(["b1", "b2"])).await;
    assert_eq!(accepted.status, 200, "{}", accepted.text());
    assert_eq!(accepted.json()[0].get("pending"), None);
    as_reader("/api/v0/clusters").await.is(200, &json!(["c1"]));
    assert_eq!(accept(json!(["b1"])).await.status, 200, "again");
}

#[tokio::test]
async fn enrollment_token_that_a_restore_voided_is_refused_with_the_reason() {
    let gateway = Gateway::start().await;
    let made = gateway.send("POST", "/api/v0/enrollments", "{}").await.json();
    let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    let mut enrollment = gateway.storage.get::<Enrollment>(id).await.unwrap().record;
    enrollment.voided_at = "2026-12-01T00:00:00.000000".into();
    gateway.storage.save(&enrollment).await.unwrap();
    let as_host = basic(format!("enroll:{token}"));
    let refused = gateway.send_as(&as_host, "PUT", "/api/v0/host/10.0.0.9").await;
    refused.refused(403, "a restore from a backup voided this enrollment token");
    let listed = gateway.send("GET", "/api/v0/enrollments", "").await.json();
    assert_eq!(listed[0]["voided_at"], json!("2026-12-01T00:00:00.000000"));
}

#[tokio::test]
async fn readers_of_events_begin_again_after_a_restore() {
    let gateway = Gateway::start().await;
    gateway.operation("o1", json!({"status": "finished"})).await;
    let event = |seq: u64| {
        json!({"id": format!("o1.{seq:010}"), "seq": seq, "time": "2026-11-26T05:00:01.000000", "host": "10.0.0.1",
            "step": "probe", "outcome": "ok", "detail": "d"})
    };
    for seq in 1..=3 {
        save::<model::OperationEvent>(&gateway, event(seq)).await;
    }
    let ids = async |last: &str| {
        let request = gateway.request_of_user("GET", "/operation/o1/events?follow=false");
        let request = request.header("accept", "text/event-stream").header("last-event-id", last);
        let text = request.send().await.unwrap().text().await.unwrap();
        let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
        ids.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ids("2").await, ["3"]);
    let instance = json!({"name": "all", "id": "i", "generation": 2, "generation_id": "g2"});
    save::<Instance>(&gateway, instance).await;
    assert_eq!(
        ids("2").await,
        ["2-1", "2-2", "2-3"],
        "those of the former generation do not count"
    );
    assert_eq!(ids("2-2").await, ["2-3"]);
    assert_eq!(ids("1-3").await, ["2-1", "2-2", "2-3"]);
}
