//! Container managers follow the stored configurations.

use std::time::Duration;

use model::ContainerManagerConfig;
use serde_json::json;

use crate::support::{Api, Fixture};

/// Waits until a call about `k` is answered like this: notifications take a moment.
async fn until(fixture: &Fixture, address: &str, says: Result<(), &str>) {
    let answered = async {
        loop {
            let answer = fixture.call("node_registered", address).await;
            let as_expected = match (&answer, says) {
                (Ok(_), Ok(())) => true,
                (Err(error), Err(says)) => error.to_string().contains(says),
                _ => false,
            };
            if as_expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), answered).await.unwrap();
}

#[tokio::test]
async fn what_was_stored_before_the_start_is_known() {
    let fixture = Fixture::without_service().await;
    let api = Api::start().await;
    fixture.configure("k", "openshift", api.options()).await;
    let life = fixture.start_service().await;
    fixture.call("register_node", "10.0.0.1").await.unwrap();
    // And after a restart of the service.
    life.shutdown(Duration::from_secs(5)).await;
    let error = fixture.call("node_registered", "10.0.0.1").await.unwrap_err();
    assert_eq!(error.kind(), bus::Kind::Unavailable);
    fixture.start_service().await;
    fixture.call("node_registered", "10.0.0.1").await.unwrap();
}

#[tokio::test]
async fn what_is_created_is_known_at_once_and_what_is_not_is_unknown() {
    let fixture = Fixture::start().await;
    for name in ["k", "", "../k", "a b"] {
        let params = json!([name, "10.0.0.1"]);
        let error = fixture.ask("container.register_node", params).await.unwrap_err();
        assert_eq!(error.kind().code(), -20001);
        assert!(error.to_string().contains("there is no container manager"), "{error}");
    }
    fixture.configure("k", "trivial", json!({})).await;
    fixture.call("register_node", "10.0.0.1").await.unwrap();
}

#[tokio::test]
async fn a_changed_configuration_takes_the_place_of_the_old_one() {
    let fixture = Fixture::start().await;
    let (one, two) = (Api::start().await, Api::start().await);
    fixture.configure("k", "kubernetes", one.options()).await;
    fixture.call("register_node", "10.0.0.1").await.unwrap();
    fixture.configure("k", "kubernetes", two.options()).await;
    until(&fixture, "10.0.0.1", Err("not registered")).await;
    assert_eq!((one.nodes().len(), two.nodes().len()), (1, 0));
    // A token alone, too.
    let mut options = two.options();
    options["token"] = "another".into();
    fixture.configure("k", "kubernetes", options).await;
    until(&fixture, "10.0.0.1", Err("the token or certificate is not accepted")).await;
    // What cannot be used is not used in its old form.
    let broken = json!({"server_url": "https://127.0.0.1:1",
                        "certificate_authority_path": "/nonexistent/ca.pem"});
    fixture.configure("k", "kubernetes", broken).await;
    until(&fixture, "10.0.0.1", Err("cannot read /nonexistent/ca.pem")).await;
    fixture.configure("k", "kubernetes", one.options()).await;
    until(&fixture, "10.0.0.1", Ok(())).await;
}

#[tokio::test]
async fn a_deleted_one_is_forgotten() {
    let fixture = Fixture::start().await;
    fixture.configure("k", "trivial", json!({})).await;
    fixture.call("register_node", "10.0.0.1").await.unwrap();
    fixture.storage.delete::<ContainerManagerConfig>("k").await.unwrap();
    until(&fixture, "10.0.0.1", Err("there is no container manager")).await;
    // One of the same name begins without nodes.
    fixture.configure("k", "trivial", json!({})).await;
    until(&fixture, "10.0.0.1", Err("not registered")).await;
}

#[tokio::test]
async fn a_secret_that_is_not_stored_is_told() {
    let fixture = Fixture::start().await;
    let options = json!({"server_url": "https://127.0.0.1:1", "token": "********"});
    fixture.configure("k", "kubernetes", options).await;
    let message = fixture.refused("register_node", "10.0.0.1").await;
    assert!(message.contains("the option `token` is not stored"), "{message}");
}
