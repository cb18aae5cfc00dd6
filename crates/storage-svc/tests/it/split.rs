//! Secrets in the options of a container manager.

use bus::Kind;
use model::{ContainerManagerConfig, ContainerManagerNodes, ContainerManagerSecret, MASK};
use serde_json::{Value, json};
use storage_client::Transaction;

use crate::service::{Fixture, start};

/// Counts the records beside those that each store has.
const OTHERS: &str = "SELECT count(*) FROM records \
     WHERE key NOT IN ('/commissaire/secrets/mark', '/commissaire/format')";

const TYPE: &str = "ContainerManagerConfig";

fn kubernetes(token: &str) -> Value {
    json!({"name": "k1", "type": "kubernetes",
           "options": {"server_url": "https://k1", "token": token}})
}

async fn save(fixture: &Fixture, record: Value) -> Result<Value, bus::Error> {
    fixture.ask("save", json!([TYPE, record])).await
}

async fn token(fixture: &Fixture) -> Option<Value> {
    let found = fixture.storage.find::<ContainerManagerSecret>("k1").await.unwrap();
    found.map(|secret| secret.record.options["token"].clone())
}

#[tokio::test]
async fn a_token_is_sealed_whoever_saves_it_and_shown_to_nobody() {
    let fixture = start().await;
    let mut changes = fixture.bus.subscribe("notify.storage.#").await.unwrap();
    let text = kubernetes("canary-token").to_string();
    for record in [kubernetes("canary-token"), json!([kubernetes("canary-token")]), text.into()] {
        let saved = save(&fixture, record).await.unwrap();
        assert!(!saved.to_string().contains("canary"), "{saved}");
        let change = changes.next().await.unwrap();
        assert_eq!(change.params["model"], kubernetes(MASK));
        assert_eq!(token(&fixture).await.unwrap(), "canary-token");
    }
    assert_eq!(fixture.ask("get", json!([TYPE, {"name": "k1"}])).await.unwrap(), kubernetes(MASK));
    let listed = fixture.ask("list", json!(["ContainerManagerConfigs"])).await.unwrap();
    assert_eq!(listed, json!([kubernetes(MASK)]));
    for file in std::fs::read_dir(fixture.folder.path()).unwrap() {
        let content = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!content.windows(12).any(|window| window == b"canary-token"));
    }
}

#[tokio::test]
async fn a_mask_keeps_the_token_and_no_token_removes_it() {
    let fixture = start().await;
    save(&fixture, kubernetes("one")).await.unwrap();
    save(&fixture, kubernetes(MASK)).await.unwrap();
    assert_eq!(token(&fixture).await.unwrap(), "one");
    let read = fixture.storage.get::<ContainerManagerConfig>("k1").await.unwrap();
    fixture.storage.transact(&Transaction::default().update(&read).unwrap()).await.unwrap();
    assert_eq!(token(&fixture).await.unwrap(), "one");
    save(&fixture, kubernetes("two")).await.unwrap();
    assert_eq!(token(&fixture).await.unwrap(), "two");
    let without = json!({"name": "k1", "options": {"server_url": "https://k1"}});
    save(&fixture, without).await.unwrap();
    assert_eq!(token(&fixture).await, None);
}

#[tokio::test]
async fn what_belongs_to_a_container_manager_goes_with_it() {
    for by_transaction in [false, true] {
        let fixture = start().await;
        save(&fixture, kubernetes("one")).await.unwrap();
        let nodes = ContainerManagerNodes { name: "k1".into(), nodes: ["a".into()].into() };
        fixture.storage.save(&nodes).await.unwrap();
        if by_transaction {
            let deletion = Transaction::default().delete::<ContainerManagerConfig>("k1");
            fixture.storage.transact(&deletion).await.unwrap();
        } else {
            fixture.storage.delete::<ContainerManagerConfig>("k1").await.unwrap();
        }
        assert_eq!(token(&fixture).await, None);
        let left: i64 = fixture.database().query_row(OTHERS, [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0);
    }
}

#[tokio::test]
async fn options_that_make_no_client_are_refused_and_nothing_is_stored() {
    let fixture = start().await;
    for (record, says) in [
        (json!({"name": "k1"}), "`server_url` is missing"),
        (
            json!({"name": "k1", "options": {"server_url": "https://k", "tokn": "canary"}}),
            "`token`",
        ),
        (json!({"name": "k1", "options": {"token": "canary\n"}}), "printable"),
        (
            json!({"name": "k1", "type": "trivial", "options": {"token": MASK, "key": "canary"}}),
            "all",
        ),
        (json!({"name": "../k", "type": "trivial", "options": {"token": "canary"}}), "a name"),
        (json!({"options": {"token": "canary"}}), "`name`"),
    ] {
        let error = save(&fixture, record.clone()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidParams, "{record}");
        assert!(
            error.to_string().contains(says) && !error.to_string().contains("canary"),
            "{error}"
        );
    }
    let left: i64 = fixture.database().query_row(OTHERS, [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}
