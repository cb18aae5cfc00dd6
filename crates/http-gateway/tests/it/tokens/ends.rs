//! The end of a token: by time, by revocation, and in streams that it has opened.

use axum::body::{Body, BodyDataStream};
use futures_util::StreamExt as _;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Client, Ground, as_password, user};
use crate::support::in_time;

/// The events of an operation, as a token reads them.
struct Events(BodyDataStream);

impl Events {
    async fn open(client: &Client, authorization: &str) -> Self {
        let response = client.open(authorization, ("GET", "/operation/o1/events"), json!({})).await;
        assert_eq!(response.status(), 200);
        let mut events = Self(Body::into_data_stream(response.into_body()));
        assert!(events.next().await, "the first event");
        events
    }

    /// Whether there is one more.
    async fn next(&mut self) -> bool {
        matches!(in_time(self.0.next()).await, Some(Ok(_)))
    }

    /// Reads until it is broken off, while its operation goes on.
    async fn until_broken_off(mut self) {
        while let Some(Ok(_)) = in_time(self.0.next()).await {}
    }
}

async fn with_operation(role: &str) -> (Ground, Client) {
    let (ground, client) = Box::pin(Ground::with(role)).await;
    ground.gateway.operation("o1", json!({"cluster": "web"})).await;
    ground.gateway.event("o1", 1, "d").await;
    (ground, client)
}

#[tokio::test]
async fn token_is_refused_once_it_has_expired_or_comes_from_another_network() {
    let (ground, client) = Ground::with("operator").await;
    let asked = json!({"name": "a", "role": "reader", "clusters": ["web"], "expires": 3600, "from": ["10.0.0.0/24"]});
    let (_, bearer) = client.made(&user("ann"), asked).await;
    let outside = Client { source: [10, 0, 1, 7].into(), ..ground.another_gateway().await };
    outside.until(401, &bearer, "/tokens").await;
    outside.get(&bearer, "/whoami").await.refused(401, "not accepted from 10.0.1.7");
    outside.get(&as_password(&bearer), "/whoami").await.refused(403, "not accepted from 10.0.1.7");
    ground.clock.advance(SignedDuration::from_secs(3599));
    assert_eq!(client.get(&bearer, "/whoami").await.status, 200);
    ground.clock.advance(SignedDuration::from_secs(1));
    client.get(&bearer, "/whoami").await.refused(401, "has expired");
    // Its secret was right, so a change that it attempts is recorded.
    client.call(&bearer, ("DELETE", "/cluster/web"), json!({})).await.refused(401, "has expired");
    let line: Value = serde_json::from_str(&ground.audit.lines().pop().unwrap()).unwrap();
    assert_eq!((&line["principal"], &line["status"]), (&json!("token:a/ann"), &json!(401)));
}

#[tokio::test]
async fn revoked_token_is_refused_at_every_gateway_and_its_streams_end() {
    let (ground, client) = with_operation("operator").await;
    let other = ground.another_gateway().await;
    let (id, bearer) = client.token("operator", &["web"]).await;
    other.until(200, &bearer, "/whoami").await;
    let streams = [Events::open(&client, &bearer).await, Events::open(&other, &bearer).await];
    let mut owners = Events::open(&client, &user("ann")).await;
    client
        .call(&user("ann"), ("DELETE", &format!("/token/{id}")), json!({}))
        .await
        .is(200, &json!([]));
    client.get(&bearer, "/whoami").await.refused(401, "unknown, or was revoked");
    other.until(401, &bearer, "/whoami").await;
    for stream in streams {
        stream.until_broken_off().await;
    }
    ground.gateway.event("o1", 2, "d").await;
    assert!(owners.next().await, "the stream of the owner goes on");
}

#[tokio::test]
async fn streams_of_a_token_end_when_the_rights_of_its_owner_change() {
    let (ground, client) = with_operation("operator").await;
    let (_, bearer) = client.token("reader", &["web"]).await;
    let mut stream = Events::open(&client, &bearer).await;
    // Bindings of others, and tokens of others, end nothing.
    let binding = |subject: &str| json!({"kind": "user", "subject": subject, "role": "reader", "clusters": ["web"]});
    client.call(&user("root"), ("PUT", "/binding/bob"), binding("bob")).await;
    client.token("operator", &["web"]).await;
    ground.gateway.event("o1", 2, "d").await;
    assert!(stream.next().await);
    client.call(&user("root"), ("PUT", "/binding/ann"), binding("ann")).await;
    stream.until_broken_off().await;
    let stream = Events::open(&client, &bearer).await;
    client.call(&user("root"), ("DELETE", "/binding/ann"), json!({})).await;
    stream.until_broken_off().await;
}

#[tokio::test]
async fn stream_of_a_token_ends_when_it_expires() {
    let (_ground, client) = with_operation("operator").await;
    let asked = json!({"name": "a", "role": "reader", "clusters": ["web"], "expires": 1});
    let (_, bearer) = client.made(&user("ann"), asked).await;
    let stream = Events::open(&client, &bearer).await;
    stream.until_broken_off().await;
    client.get(&bearer, "/whoami").await.refused(401, "has expired");
}
