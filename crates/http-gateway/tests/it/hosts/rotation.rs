//! Other credentials: tried first, and kept only when they let in.

use bus::Error;
use model::{HostCreds, Status};
use serde_json::{Value, json};

use crate::support::{Gateway, HOST_KEY, Setup};

const PATH: &str = "/host/10.0.0.1/creds";

async fn gateway(trials: Result<Value, Error>) -> Gateway {
    let gateway = Setup { trials: Some(trials), ..Setup::default() }.start().await;
    gateway.host("10.0.0.1", Status::Active).await;
    gateway
}

fn host(status: &str) -> Value {
    json!({"address": "10.0.0.1", "status": status, "os": "", "cpus": 0, "memory": 0, "space": 0,
           "last_check": "", "source": ""})
}

#[tokio::test]
async fn credentials_that_let_in_take_the_place_of_the_old_ones() {
    let gateway = gateway(Ok(json!({"ssh_host_key": HOST_KEY}))).await;
    let answer = gateway.put(PATH, json!({"ssh_priv_key": "a2V5", "ssh_port": 2222})).await;
    answer.is(200, &host("active"));
    let shown = json!({"address": "10.0.0.1", "ssh_priv_key": "a2V5", "remote_user": "root",
                       "ssh_port": 2222, "ssh_host_key": HOST_KEY});
    gateway.get(PATH).await.is(200, &shown);
    // What is left out stays, what the host shows never replaces a key that is pinned.
    gateway
        .put(PATH, json!({"remote_user": "ops", "ssh_priv_key": ""}))
        .await
        .is(200, &host("active"));
    let shown = json!({"address": "10.0.0.1", "ssh_priv_key": "", "remote_user": "ops",
                       "ssh_port": 2222, "ssh_host_key": HOST_KEY});
    gateway.get(PATH).await.is(200, &shown);
    assert_eq!(gateway.trials().len(), 2);
    assert_eq!(gateway.trials()[1], shown, "what is kept is what was tried");
    assert!(gateway.investigations().await.is_empty());
}

#[tokio::test]
async fn credentials_that_are_refused_change_nothing() {
    let gateway = gateway(Err(Error::conflict("10.0.0.1 refuses the log-in of ops"))).await;
    let before = gateway.records().await;
    let answer = gateway.put(PATH, json!({"ssh_priv_key": "Y2FuYXJ5", "remote_user": "ops"})).await;
    answer.refused(409, "refuses the log-in of ops");
    assert!(!answer.text().contains("Y2FuYXJ5"), "{}", answer.text());
    assert_eq!(gateway.records().await, before);
}

#[tokio::test]
async fn what_cannot_be_meant_is_never_tried() {
    let gateway = gateway(Ok(json!({}))).await;
    gateway.cluster("c1", &["10.0.0.1"]).await;
    for (body, words) in [
        (json!({}), "say what is to change"),
        (json!({"ssh_private_key": "a2V5"}), "say what is to change"),
        (json!({"ssh_priv_key": "!"}), "in base64"),
        (json!({"ssh_priv_key": null}), "ssh_priv_key: "),
        (json!({"ssh_port": 0}), "1 to 65535"),
        (json!({"ssh_port": 65536}), "ssh_port: "),
        (json!({"remote_user": "-oProxyCommand"}), "a remote user is"),
        (json!({"ssh_host_key": ""}), "ssh_host_key: "),
        (json!({"address": "10.0.0.2", "ssh_port": 22}), "the path names"),
    ] {
        gateway.put(PATH, body).await.refused(400, words);
    }
    let body = json!({"ssh_port": 2222});
    gateway.put("/host/10.0.0.9/creds", body.clone()).await.refused(404, "there is no host");
    gateway.operation_on("c1").await;
    gateway.put(PATH, body).await.refused(409, "an operation is in process on the cluster c1");
    assert_eq!(gateway.trials(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_host_that_failed_is_looked_at_again() {
    let gateway = gateway(Ok(json!({"ssh_host_key": HOST_KEY}))).await;
    gateway.host("10.0.0.1", Status::Failed).await;
    gateway.put(PATH, json!({"remote_user": "ops"})).await.is(200, &host("investigating"));
    assert_eq!(gateway.investigations().await, ["10.0.0.1"]);
}

#[tokio::test]
async fn without_somebody_to_try_them_it_is_503_and_nothing_changes() {
    let gateway = Gateway::start().await;
    gateway.host("10.0.0.1", Status::Active).await;
    gateway.put(PATH, json!({"remote_user": "ops"})).await.refused(503, "try again");
    assert_eq!(gateway.stored::<HostCreds>("10.0.0.1").await.unwrap().remote_user, "root");
}
