//! The members of clusters.

use futures_util::future::join_all;
use model::{Cluster, Host, Status};
use serde_json::{Value, json};

use crate::support::Gateway;

fn change(old: &[&str], new: &[&str]) -> Value {
    json!({"old": old, "new": new})
}

/// A cluster's whole record.
fn record(members: &[&str]) -> Value {
    json!({"name": "c1", "status": "", "network": "default", "hostset": members,
           "container_manager": ""})
}

impl Gateway {
    async fn status_of(&self, address: &str) -> Status {
        self.stored::<Host>(address).await.unwrap().status
    }

    /// `c1` with `10.0.0.1`, `c2` with `10.0.0.2`, `10.0.0.3` in no cluster, and hosts that are not
    /// ready.
    async fn with_clusters() -> Self {
        let gateway = Self::start().await;
        for (address, status) in [
            ("10.0.0.1", Status::Active),
            ("10.0.0.2", Status::Disassociated),
            ("10.0.0.3", Status::Active),
            ("10.0.1.1", Status::New),
            ("10.0.1.2", Status::Investigating),
            ("10.0.1.3", Status::Bootstrapping),
            ("10.0.1.4", Status::Failed),
        ] {
            gateway.host(address, status).await;
        }
        gateway.cluster("c1", &["10.0.0.1"]).await;
        gateway.cluster("c2", &["10.0.0.2"]).await;
        gateway
    }
}

#[tokio::test]
async fn leaving_turns_active_into_disassociated_and_nothing_else() {
    let gateway = Gateway::with_clusters().await;
    gateway.cluster("c1", &["10.0.0.1", "10.0.0.3", "10.0.1.2", "10.0.1.4"]).await;
    gateway.delete("/cluster/c1/hosts/10.0.0.1").await.is(200, &json!([]));
    gateway.delete("/cluster/c1/hosts/10.0.1.4").await.is(200, &json!([]));
    let rest = change(&["10.0.0.3", "10.0.1.2"], &[]);
    gateway.put("/cluster/c1/hosts", rest).await.is(200, &record(&[]));
    for (address, status) in [
        ("10.0.0.1", Status::Disassociated),
        ("10.0.0.3", Status::Disassociated),
        ("10.0.1.2", Status::Investigating),
        ("10.0.1.4", Status::Failed),
    ] {
        assert_eq!(gateway.status_of(address).await, status, "{address}");
    }
}

#[tokio::test]
async fn a_new_member_that_does_not_exist_is_404() {
    let gateway = Gateway::with_clusters().await;
    let before = gateway.records().await;
    for missing in ["10.9.9.9", "not an address", "", "../x", "-oProxyCommand=x"] {
        let body = change(&["10.0.0.1"], &["10.0.0.1", "10.0.0.3", missing]);
        gateway.put("/cluster/c1/hosts", body).await.refused(404, "there is no host");
    }
    assert_eq!(gateway.records().await, before);
}

#[tokio::test]
async fn a_host_that_is_not_ready_is_405_and_says_what_is_allowed() {
    let gateway = Gateway::with_clusters().await;
    let before = gateway.records().await;
    for address in ["10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.4"] {
        let one = gateway.put(&format!("/cluster/c1/hosts/{address}"), json!({})).await;
        one.refused(405, "not ready");
        assert_eq!(one.allowed(), ["DELETE", "GET", "HEAD"]);
        let body = change(&["10.0.0.1"], &["10.0.0.3", address]);
        let many = gateway.put("/cluster/c1/hosts", body).await;
        many.refused(405, "not ready");
        assert_eq!(many.allowed(), ["GET", "HEAD"]);
    }
    assert_eq!(gateway.records().await, before);
}

#[tokio::test]
async fn members_are_replaced_as_a_set() {
    let gateway = Gateway::with_clusters().await;
    gateway.host("10.0.0.4", Status::Disassociated).await;
    let path = "/cluster/c1/hosts";
    for (old, new, members) in [
        (
            &["10.0.0.1"][..],
            &["10.0.0.4", "10.0.0.3", "10.0.0.1"][..],
            &["10.0.0.1", "10.0.0.3", "10.0.0.4"][..],
        ),
        (
            &["10.0.0.4", "10.0.0.1", "10.0.0.3", "10.0.0.1"],
            &["10.0.0.3", "10.0.0.3"],
            &["10.0.0.3"],
        ),
        (&["10.0.0.3"], &["::ffff:10.0.0.4", "10.0.0.4"], &["10.0.0.4"]),
        (&["10.0.0.4"], &["10.0.0.4"], &["10.0.0.4"]),
        (&["10.0.0.4", "::ffff:10.0.0.4"], &[], &[]),
        (&[], &[], &[]),
    ] {
        gateway.put(path, change(old, new)).await.is(200, &record(members));
        gateway.get(path).await.is(200, &json!(members));
    }
}

#[tokio::test]
async fn a_member_that_stays_need_not_be_ready() {
    let gateway = Gateway::with_clusters().await;
    gateway.cluster("c1", &["10.0.0.1", "10.0.1.4"]).await;
    gateway.put("/cluster/c1/hosts/10.0.1.4", json!({})).await.is(200, &json!(["10.0.1.4"]));
    let body = change(&["10.0.0.1", "10.0.1.4"], &["10.0.1.4", "10.0.0.3"]);
    gateway.put("/cluster/c1/hosts", body).await.is(200, &record(&["10.0.0.3", "10.0.1.4"]));
    assert_eq!(gateway.status_of("10.0.1.4").await, Status::Failed);
}

/// How many clients change one cluster at the same moment.
const CLIENTS: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_at_once_lose_no_change() {
    let gateway = Gateway::start().await;
    lose_no_change(&gateway, &gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_of_two_gateways_lose_no_change() {
    let gateway = Gateway::start().await;
    let other = gateway.another();
    lose_no_change(&gateway, &other.await).await;
}

/// Half of the clients join, half of them leave; half of each ask the one gateway, half the other.
async fn lose_no_change(gateway: &Gateway, other: &Gateway) {
    let addresses: Vec<_> = (0..CLIENTS).map(|n| format!("10.1.0.{n}")).collect();
    let (staying, leaving) = addresses.split_at(CLIENTS / 2);
    for address in &addresses {
        gateway.host(address, Status::Disassociated).await;
    }
    gateway.cluster("c1", &leaving.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let path = |address: &String| format!("/cluster/c1/hosts/{address}");
    let join = async |(n, address): (usize, &String)| {
        let asked = if n % 2 == 0 { gateway } else { other };
        asked.put(&path(address), json!({})).await.is(200, &json!([address]));
    };
    let leave = async |(n, address): (usize, &String)| {
        let asked = if n % 2 == 0 { gateway } else { other };
        asked.delete(&path(address)).await.is(200, &json!([]));
    };
    let joining = staying.iter().enumerate().map(join);
    futures_util::join!(join_all(joining), join_all(leaving.iter().enumerate().map(leave)));
    let mut expected = staying.to_vec();
    expected.sort();
    assert_eq!(gateway.stored::<Cluster>("c1").await.unwrap().hostset, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clusters_never_get_the_same_host() {
    let gateway = Gateway::start().await;
    gateway.host("10.0.0.1", Status::Disassociated).await;
    let clusters: Vec<_> = (0..8).map(|n| format!("c{n}")).collect();
    for name in &clusters {
        gateway.cluster(name, &[]).await;
    }
    let join = async |name: &String| {
        gateway.put(&format!("/cluster/{name}/hosts/10.0.0.1"), json!({})).await.status
    };
    let mut statuses = join_all(clusters.iter().map(join)).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409, 409, 409]);
    let stored = gateway.storage.list::<Cluster>().await.unwrap();
    assert_eq!(stored.iter().filter(|cluster| cluster.record.has("10.0.0.1")).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_replacements_of_one_view_a_single_one_gets_through() {
    let gateway = Gateway::start().await;
    gateway.cluster("c1", &[]).await;
    let addresses: Vec<_> = (0..8).map(|n| format!("10.1.0.{n}")).collect();
    for address in &addresses {
        gateway.host(address, Status::Disassociated).await;
    }
    let replace = async |address: &String| {
        gateway.put("/cluster/c1/hosts", change(&[], &[address])).await.status
    };
    let mut statuses = join_all(addresses.iter().map(replace)).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409, 409, 409]);
    assert_eq!(gateway.stored::<Cluster>("c1").await.unwrap().hostset.len(), 1);
}
