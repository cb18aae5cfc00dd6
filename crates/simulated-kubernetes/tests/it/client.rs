//! A real client, in process and in paused time.

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, EvictParams, ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::json;
use tower::ServiceBuilder;

use crate::support::{ADMIN, budget, name, pods, running, seconds, workload};

#[tokio::test(start_paused = true)]
async fn kube_client_cordons_evicts_and_watches() {
    let kubernetes = running(&["w1", "w2"]);
    kubernetes.apply(workload("Deployment", "web", 2));
    kubernetes.apply(budget("web", &json!({"minAvailable": 1})));
    seconds(8).await;
    let authorize = |mut request: http::Request<kube::client::Body>| {
        let token = format!("Bearer {ADMIN}").parse().unwrap();
        request.headers_mut().insert("authorization", token);
        request
    };
    let service = ServiceBuilder::new().map_request(authorize).service(kubernetes.service());
    let client = Client::new(service, "default");
    let nodes: Api<Node> = Api::all(client.clone());
    let listed = nodes.list(&ListParams::default()).await.unwrap();
    assert_eq!(listed.items.len(), 2);
    let version = listed.metadata.resource_version.unwrap();
    let patch = json!({"spec": {"unschedulable": true}});
    let cordoned = nodes.patch("w1", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    assert_eq!(cordoned.spec.unwrap().unschedulable, Some(true));
    let mut events =
        Box::pin(nodes.watch(&WatchParams::default().timeout(20), &version).await.unwrap());
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Modified(_)))));
    let pods_api: Api<Pod> = Api::default_namespaced(client);
    let web: Vec<_> = pods(&kubernetes, "web-").iter().map(name).collect();
    pods_api.evict(&web[0], &EvictParams::default()).await.unwrap();
    let refused = pods_api.evict(&web[1], &EvictParams::default()).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 429));
    assert!(pods_api.get_opt("nope").await.unwrap().is_none());
    assert_eq!(kubernetes.effects().last().unwrap().name, "nope");
}
