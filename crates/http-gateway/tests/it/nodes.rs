//! What joining and leaving a cluster means for its container manager.

use bus::{Error, Kind};
use futures_util::future::join_all;
use model::{Address, Cluster, ClusterChange, ContainerManagerNodes, Host, HostState, Status};
use serde_json::{Value, json};

use crate::support::{Gateway, Managers, Setup};

impl Gateway {
    /// `c1` and `c2` with the container manager `k`, `10.0.0.1` to `10.0.0.4` in no cluster.
    async fn managed(managers: Managers) -> Self {
        let gateway = Setup { managers, ..Setup::default() }.start().await;
        gateway.put("/containermanager/k", json!({"type": "trivial"})).await;
        for cluster in ["c1", "c2"] {
            let body = json!({"container_manager": "k"});
            assert_eq!(gateway.put(&format!("/cluster/{cluster}"), body).await.status, 201);
        }
        for n in 1..=4 {
            gateway.host(&format!("10.0.0.{n}"), Status::Disassociated).await;
        }
        gateway
    }

    async fn nodes(&self) -> Vec<Address> {
        let nodes = self.stored::<ContainerManagerNodes>("k").await;
        nodes.map(|nodes| nodes.nodes.into_iter().collect()).unwrap_or_default()
    }

    async fn members(&self, cluster: &str) -> Vec<Address> {
        self.stored::<Cluster>(cluster).await.unwrap().hostset
    }

    async fn is(&self, address: &str, status: Status) {
        assert_eq!(self.stored::<Host>(address).await.unwrap().status, status, "{address}");
    }
}

fn refusal() -> Managers {
    Managers::Answers(Err(Error::new(Kind::ContainerManager, "nodes is forbidden (Forbidden)")))
}

#[tokio::test]
async fn a_host_that_joins_is_registered_and_active_until_it_leaves() {
    let gateway = Gateway::managed(Managers::Real).await;
    for _ in 0..2 {
        gateway.put("/cluster/c1/hosts/10.0.0.1", json!({})).await.is(200, &json!(["10.0.0.1"]));
    }
    gateway.is("10.0.0.1", Status::Active).await;
    assert_eq!(gateway.nodes().await, ["10.0.0.1"]);
    let status = gateway.get("/host/10.0.0.1/status").await;
    status.is(
        200,
        &json!({"type": "host_only", "host": {"last_check": "", "status": "active"},
                "container_manager": {"node": "10.0.0.1", "status": "ok"}}),
    );
    for _ in 0..2 {
        gateway.delete("/cluster/c1/hosts/10.0.0.1").await.is(200, &json!([]));
    }
    gateway.is("10.0.0.1", Status::Disassociated).await;
    assert!(gateway.nodes().await.is_empty());
}

#[tokio::test]
async fn a_change_of_members_registers_some_and_removes_others() {
    let gateway = Gateway::managed(Managers::Real).await;
    let replace = |old: Value, new: Value| {
        let gateway = &gateway;
        async move { gateway.put("/cluster/c1/hosts", json!({"old": old, "new": new})).await }
    };
    let answer = replace(json!([]), json!(["10.0.0.1", "10.0.0.2", "10.0.0.3"])).await;
    assert_eq!((answer.status, gateway.nodes().await.len()), (200, 3));
    let answer =
        replace(json!(["10.0.0.3", "10.0.0.2", "10.0.0.1"]), json!(["10.0.0.3", "10.0.0.4"])).await;
    assert_eq!(answer.status, 200);
    assert_eq!(gateway.nodes().await, ["10.0.0.3", "10.0.0.4"]);
    gateway.is("10.0.0.1", Status::Disassociated).await;
    gateway.is("10.0.0.4", Status::Active).await;
    // One that is not fit: nobody is registered.
    let answer = replace(json!(["10.0.0.3", "10.0.0.4"]), json!(["10.0.0.1", "10.9.9.9"])).await;
    answer.refused(404, "there is no host 10.9.9.9");
    assert_eq!(gateway.nodes().await, ["10.0.0.3", "10.0.0.4"]);
}

#[tokio::test]
async fn a_deleted_host_or_cluster_takes_its_own_nodes_along() {
    let gateway = Gateway::managed(Managers::Real).await;
    for (cluster, address) in
        [("c1", "10.0.0.1"), ("c1", "10.0.0.2"), ("c1", "10.0.0.3"), ("c2", "10.0.0.4")]
    {
        gateway.put(&format!("/cluster/{cluster}/hosts/{address}"), json!({})).await;
    }
    gateway.delete("/host/10.0.0.1").await.is(200, &json!([]));
    assert_eq!(gateway.nodes().await, ["10.0.0.2", "10.0.0.3", "10.0.0.4"]);
    gateway.operation_on("c1").await;
    gateway.delete("/cluster/c1").await.refused(409, "an operation is in process");
    gateway.delete("/host/10.0.0.2").await.refused(409, "an operation is in process");
    assert_eq!(gateway.nodes().await.len(), 3);
    gateway.storage.delete::<model::Lease>("operation.c1").await.unwrap();
    gateway.delete("/cluster/c1").await.is(200, &json!([]));
    assert_eq!(gateway.nodes().await, ["10.0.0.4"]);
    gateway.is("10.0.0.2", Status::Disassociated).await;
    gateway.is("10.0.0.4", Status::Active).await;
}

#[tokio::test]
async fn a_host_that_is_refused_is_no_member() {
    let gateway = Gateway::managed(refusal()).await;
    let before = gateway.records().await;
    let forbidden = "nodes is forbidden (Forbidden)";
    gateway.put("/cluster/c1/hosts/10.0.0.1", json!({})).await.refused(502, forbidden);
    let both = json!({"old": [], "new": ["10.0.0.1", "10.0.0.2"]});
    gateway.put("/cluster/c1/hosts", both).await.refused(502, forbidden);
    assert_eq!(gateway.records().await, before);
    let asked = json!({"container_manager_name": "k", "address": "10.0.0.1"});
    let calls = gateway.registrations();
    assert_eq!(calls[0], ("register_node".to_owned(), asked.clone()));
    // An answer may be lost, and the node be there all the same.
    assert_eq!(calls[1], ("remove_node".to_owned(), asked));
    assert_eq!(calls.len(), 4, "{calls:?}");
}

#[tokio::test]
async fn members_that_the_manager_does_not_let_leave_stay() {
    let gateway = Gateway::managed(refusal()).await;
    let mut cluster: Cluster = gateway.stored("c1").await.unwrap();
    cluster.hostset = vec!["10.0.0.1".into(), "10.0.0.2".into()];
    gateway.storage.save(&cluster).await.unwrap();
    let before = gateway.records().await;
    for path in ["/cluster/c1/hosts/10.0.0.1", "/host/10.0.0.1"] {
        gateway.delete(path).await.refused(502, "(Forbidden)");
    }
    assert_eq!(gateway.records().await, before);
    for _ in 0..2 {
        let answer = gateway.delete("/cluster/c1").await;
        answer.refused(502, "(Forbidden); the cluster c1 stays marked as being deleted");
    }
    let marked: Cluster = gateway.stored("c1").await.unwrap();
    assert_eq!(marked, Cluster { change: Some(ClusterChange::Deleting), ..cluster });
    let all = json!({"container_manager_name": "k", "addresses": ["10.0.0.1", "10.0.0.2"]});
    assert_eq!(gateway.registrations()[2], ("remove_all_nodes".to_owned(), all));
    // What cannot be said is left out.
    let status = gateway.get("/host/10.0.0.1/status").await;
    assert!(status.text().contains(r#""container_manager":{}"#), "{}", status.text());
}

#[tokio::test]
async fn without_the_service_nobody_joins_or_leaves() {
    let gateway = Gateway::managed(Managers::Absent).await;
    let refused = gateway.put("/cluster/c1/hosts/10.0.0.1", json!({})).await;
    refused.refused(503, "no replica of the containermgr service");
    gateway.is("10.0.0.1", Status::Disassociated).await;
    // An empty cluster has nobody to take out; nor has one whose container manager is gone.
    gateway.delete("/cluster/c2").await.is(200, &json!([]));
    let mut cluster: Cluster = gateway.stored("c1").await.unwrap();
    cluster.hostset = vec!["10.0.0.1".into()];
    cluster.container_manager = "gone".to_owned();
    gateway.storage.save(&cluster).await.unwrap();
    gateway.delete("/cluster/c1/hosts/10.0.0.1").await.is(200, &json!([]));
}

#[tokio::test]
async fn of_two_clusters_that_want_a_host_one_gets_it_and_its_node_stays() {
    let gateway = Gateway::managed(Managers::Real).await;
    for n in 1..=4 {
        let join = |cluster: &str| {
            let path = format!("/cluster/{cluster}/hosts/10.0.0.{n}");
            let gateway = &gateway;
            async move { gateway.put(&path, json!({})).await.status }
        };
        let mut statuses = join_all([join("c1"), join("c2")]).await;
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409]);
    }
    assert_eq!(gateway.nodes().await.len(), 4);
    let members = [gateway.members("c1").await, gateway.members("c2").await].concat();
    assert_eq!(members.len(), 4);
}

#[tokio::test]
async fn a_host_that_joins_after_all_is_no_longer_said_to_be_refused() {
    let gateway = Gateway::managed(Managers::Real).await;
    let reason = HostState::MANAGER_REFUSES;
    gateway.host_state(json!({"address": "10.0.0.1", "reason": reason, "detail": "no"})).await;
    gateway.put("/cluster/c1/hosts/10.0.0.1", json!({})).await.is(200, &json!(["10.0.0.1"]));
    let state: HostState = gateway.stored("10.0.0.1").await.unwrap();
    assert_eq!((state.reason.as_str(), state.detail.as_str()), ("", ""));
}
