//! Credentials: shown where they are asked for, and nowhere else.

use serde_json::json;

use super::new_host;
use crate::support::{Gateway, HOST_KEY};

#[tokio::test]
async fn credentials_are_shown_as_they_were_given() {
    let gateway = Gateway::start().await;
    for (given, shown) in [
        (json!({}), json!({"ssh_priv_key": "", "remote_user": "root"})),
        (
            json!({"ssh_priv_key": "a2V5", "remote_user": "ops", "ssh_port": 22}),
            json!({"ssh_priv_key": "a2V5", "remote_user": "ops"}),
        ),
        (
            json!({"ssh_priv_key": "a2V5", "ssh_port": 2222, "ssh_host_key": format!("{HOST_KEY} a b")}),
            json!({"ssh_priv_key": "a2V5", "remote_user": "root", "ssh_port": 2222,
                   "ssh_host_key": HOST_KEY}),
        ),
    ] {
        gateway.put("/host/10.0.0.1", given).await.is(201, &new_host("10.0.0.1"));
        let mut shown = shown;
        shown["address"] = json!("10.0.0.1");
        gateway.get("/host/10.0.0.1/creds").await.is(200, &shown);
        gateway.delete("/host/10.0.0.1").await.is(200, &json!([]));
    }
    gateway.get("/host/10.0.0.1/creds").await.refused(404, "there is no host 10.0.0.1");
}

#[tokio::test]
async fn credentials_appear_nowhere_else() {
    let gateway = Gateway::start().await;
    gateway.cluster("c1", &[]).await;
    let canary = "Y2FuYXJ5LWNhbmFyeQ==";
    let body = json!({"ssh_priv_key": canary, "remote_user": "canary-user", "cluster": "c1"});
    let mut answers = vec![gateway.put("/host/10.0.0.1", body.clone()).await];
    answers.push(gateway.put("/host/10.0.0.1", body).await);
    let mut wrong = json!({"ssh_priv_key": format!("!{canary}"), "remote_user": "canary-user"});
    answers.push(gateway.put("/host/10.0.0.1", wrong.clone()).await);
    answers.push(gateway.put("/host/10.0.0.2", wrong.clone()).await);
    wrong["ssh_priv_key"] = json!([canary]);
    answers.push(gateway.put("/host/10.0.0.2", wrong).await);
    answers.push(gateway.send("PUT", "/api/v0/host/10.0.0.2", format!("{{{canary}")).await);
    for path in ["/hosts", "/host/10.0.0.1", "/host/10.0.0.1/status", "/cluster/c1", "/clusters"] {
        answers.push(gateway.get(path).await);
    }
    answers.push(gateway.post("/host/10.0.0.1/investigate").await);
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [201, 201, 409, 400, 400, 400, 200, 200, 200, 200, 200, 202]);
    for answer in answers {
        let text = answer.text();
        assert!(!text.contains("Y2FuYXJ5") && !text.contains("canary"), "{} {text}", answer.what);
    }
}
