//! API servers that are services in the same process.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;

use containermgr_svc::ClientFactory;
use http::{Request, Response};
use kube::client::Body;
use model::KubernetesOptions;
use serde_json::json;

use crate::support::{Fixture, recorded};

fn client(options: &KubernetesOptions) -> Result<kube::Client, String> {
    let server_url = options.server_url.as_ref().unwrap();
    if server_url.host_str() != Some("known.test") {
        return Err(format!("there is no server {server_url}"));
    }
    let service = tower::service_fn(|_: Request<Body>| {
        let body = recorded("node-get-200")["response"].to_string().into_bytes();
        ready(Ok::<_, Infallible>(Response::new(Body::from(body))))
    });
    Ok(kube::Client::new(service, "default"))
}

#[tokio::test]
async fn a_function_makes_the_client_of_each_server_url() {
    let fixture = Fixture::without_service().await;
    fixture.start_service_with(ClientFactory::Function(Arc::new(client))).await;
    fixture.configure("k", "kubernetes", json!({"server_url": "https://known.test"})).await;
    let status = fixture.call("get_node_status", "192.168.152.110").await.unwrap();
    assert_eq!(status["kind"], "Node");
    let options = json!({"server_url": "https://unknown.test"});
    fixture.configure("unknown", "kubernetes", options).await;
    let params = json!(["unknown", "192.168.152.110"]);
    let error = fixture.ask("container.get_node_status", params).await.unwrap_err();
    assert!(error.to_string().contains("there is no server https://unknown.test/"), "{error}");
}
