//! Changes of clusters that take several transactions: large ones are filled, emptied and deleted.

use std::sync::Arc;
use std::time::Duration;

use bus::{Call, Error, Kind, topology};
use model::{
    Cluster, ClusterChange, ContainerManagerNodes, Host, HostCreds, Lease, Network, Status,
};
use runtime::Lifecycle;
use serde_json::{Value, json};
use storage_client::Transaction;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::support::{Executor, Gateway, Managers, Setup};

fn addresses(range: std::ops::Range<usize>) -> Vec<String> {
    let mut addresses: Vec<_> =
        range.map(|n| format!("10.0.{}.{}", n / 200, n % 200 + 1)).collect();
    addresses.sort();
    addresses
}

impl Gateway {
    /// Hosts with this status.
    async fn hosts(&self, addresses: &[String], status: Status) {
        for part in addresses.chunks(50) {
            let mut transaction = Transaction::default();
            for address in part {
                let host = Host { address: address.clone().into(), status, ..Host::default() };
                let creds = HostCreds::new(address);
                transaction = transaction.save(&host).unwrap().save(&creds).unwrap();
            }
            // In the distributed form the store may not have answered yet, and credentials not be sealed.
            let written = async {
                while let Err(error) = self.storage.transact(&transaction).await {
                    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
                    sleep(Duration::from_millis(50)).await;
                }
            };
            timeout(Duration::from_mins(1), written).await.expect("the store does not answer");
        }
    }

    /// `c1` with these members, which are active, and the container manager `k`.
    async fn filled(&self, members: &[String], change: Option<ClusterChange>) {
        self.put("/containermanager/k", json!({"type": "trivial"})).await;
        self.hosts(members, Status::Active).await;
        let cluster = Cluster {
            name: "c1".into(),
            network: Network::DEFAULT.to_owned(),
            hostset: members.iter().map(|member| member.as_str().into()).collect(),
            container_manager: "k".to_owned(),
            change,
            ..Cluster::default()
        };
        self.storage.save(&cluster).await.unwrap();
    }

    async fn statuses(&self, addresses: &[String]) -> Vec<Status> {
        let hosts = self.storage.get_many::<Host>(addresses).await.unwrap();
        hosts.into_iter().map(|host| host.unwrap().record.status).collect()
    }

    async fn until_gone(&self) {
        self.until(|cluster| cluster.is_none()).await;
    }

    async fn until(&self, holds: impl Fn(Option<Cluster>) -> bool) {
        let look = async {
            while !holds(self.stored::<Cluster>("c1").await) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_mins(5), look).await.expect("the change does not go on");
    }

    /// A container manager service that answers a request for each permit.
    async fn gated_managers(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        let passing = Arc::clone(&gate);
        let handler = move |_: Call| {
            let gate = Arc::clone(&passing);
            async move {
                gate.acquire().await.unwrap().forget();
                Ok::<_, Error>(Value::Null)
            }
        };
        self.bus.serve(topology::CONTAINERMGR, 256, &self.life, handler).await.unwrap();
        gate
    }
}

/// More hosts than one transaction of etcd takes, both ways.
#[tokio::test]
async fn a_cluster_of_300_hosts_is_filled_changed_and_deleted() {
    let gateway = Setup { managers: Managers::Real, ..Setup::default() }.start().await;
    let all = addresses(0..300);
    gateway.filled(&[], None).await;
    gateway.hosts(&all, Status::Disassociated).await;
    let replace = |old: Vec<String>, new: Vec<String>| {
        let gateway = &gateway;
        async move {
            let answer = gateway.put("/cluster/c1/hosts", json!({"old": old, "new": new})).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let cluster: Cluster = gateway.stored("c1").await.unwrap();
            assert_eq!(cluster.hostset, new);
            assert_eq!(cluster.change, None);
            let nodes: ContainerManagerNodes = gateway.stored("k").await.unwrap();
            assert_eq!(nodes.nodes.into_iter().collect::<Vec<_>>(), new);
        }
    };
    replace(vec![], all.clone()).await;
    assert!(gateway.statuses(&all).await.iter().all(|status| *status == Status::Active));
    replace(all.clone(), vec![]).await;
    assert!(gateway.statuses(&all).await.iter().all(|status| *status == Status::Disassociated));
    replace(vec![], all.clone()).await;
    gateway.delete("/cluster/c1").await.is(200, &json!([]));
    gateway.delete("/cluster/c1").await.refused(404, "there is no cluster c1");
    assert!(gateway.statuses(&all).await.iter().all(|status| *status == Status::Disassociated));
    let nodes: ContainerManagerNodes = gateway.stored("k").await.unwrap();
    assert!(nodes.nodes.is_empty());
    assert!(gateway.stored::<Lease>("change.c1").await.is_none());
}

#[tokio::test]
async fn hosts_that_may_not_join_are_refused_before_anything_changes() {
    let gateway = Gateway::start().await;
    let all = addresses(0..120);
    gateway.cluster("c1", &[]).await;
    gateway.hosts(&all, Status::Disassociated).await;
    gateway.host(&all[119], Status::Failed).await;
    let before = gateway.records().await;
    let path = "/cluster/c1/hosts";
    gateway.put(path, json!({"old": [], "new": all})).await.refused(405, "is not ready");
    let stale = json!({"old": ["10.9.9.9"], "new": all});
    gateway.put(path, stale).await.refused(409, "`old` is not what the members are");
    assert_eq!(gateway.records().await, before);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test waits for the task")]
async fn a_deletion_excludes_other_changes_and_another_gateway_finishes_it() {
    let setup = Setup { executor: Executor::Real, ..Setup::default() };
    let gateway = setup.start().await;
    let all = addresses(0..120);
    gateway.filled(&all, None).await;
    gateway.host("10.1.0.1", Status::Disassociated).await;
    let gate = gateway.gated_managers().await;
    gate.add_permits(1);
    let life = Lifecycle::new();
    let first = gateway.another_until(&life).await;
    let request = tokio::spawn(async move { first.delete("/cluster/c1").await });
    gateway.until(|cluster| cluster.is_some_and(|cluster| cluster.hostset.len() == 70)).await;

    let shown = gateway.get("/cluster/c1").await;
    assert!(shown.text().contains(r#""status":"deleting""#), "{}", shown.text());
    let deleted = "the cluster c1 is being deleted";
    let replacement = json!({"old": [], "new": []});
    for (path, body) in [
        ("/cluster/c1", json!({})),
        ("/cluster/c1/hosts", replacement),
        ("/cluster/c1/hosts/10.1.0.1", json!({})),
        ("/cluster/c1/restart", json!({})),
        ("/host/10.1.0.2", json!({"cluster": "c1"})),
        ("/enrollments", json!({"cluster": "c1"})),
    ] {
        let answer = match path {
            "/enrollments" => gateway.send("POST", "/api/v0/enrollments", body.to_string()).await,
            _ => gateway.put(path, body).await,
        };
        answer.refused(409, deleted);
    }
    let member = format!("/cluster/c1/hosts/{}", all[119]);
    gateway.delete(&member).await.refused(409, deleted);

    life.shutdown(Duration::from_mins(1)).await;
    let stopped = request.await.unwrap();
    stopped.refused(503, "goes on by itself");
    let cluster: Cluster = gateway.stored("c1").await.unwrap();
    assert_eq!((cluster.hostset.len(), cluster.change), (70, Some(ClusterChange::Deleting)));
    gate.add_permits(10);
    gateway.delete("/cluster/c1").await.is(200, &json!([]));
    assert!(gateway.stored::<Cluster>("c1").await.is_none());
    assert!(gateway.statuses(&all).await.iter().all(|status| *status == Status::Disassociated));
}

/// As after `kill -9`: the mark and a lease that is not renewed.
#[tokio::test]
async fn a_gateway_that_starts_finishes_what_another_left() {
    let gateway = Setup { managers: Managers::Real, ..Setup::default() }.start().await;
    let all = addresses(0..120);
    let (kept, dropped) = all.split_at(10);
    let lease = Lease { name: "change.c1".into(), owner: "gone".to_owned(), ..Lease::default() };
    gateway.storage.save(&lease).await.unwrap();
    let change = ClusterChange::Changing {
        hostset: kept.iter().map(|address| address.as_str().into()).collect(),
    };
    gateway.filled(&all, Some(change)).await;
    let _started = gateway.another().await;
    gateway.until(|cluster| cluster.unwrap().change.is_none()).await;
    assert_eq!(gateway.stored::<Cluster>("c1").await.unwrap().hostset, kept);
    assert!(gateway.statuses(dropped).await.iter().all(|status| *status == Status::Disassociated));

    gateway.filled(&all, Some(ClusterChange::Deleting)).await;
    let _started = gateway.another().await;
    gateway.until_gone().await;
}

/// Both ways: the cluster is deleted, and emptied.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "the request ends with its gateway")]
async fn a_change_goes_on_after_its_gateway_was_killed_in_the_middle() {
    let gateway = Gateway::start().await;
    let all = addresses(0..120);
    let gate = gateway.gated_managers().await;
    for deletes in [false, true] {
        gateway.filled(&all, None).await;
        // All its tasks die at once, and its lease is not released. On a single thread: on several, one task can
        // notice the end of another one, and release the lease, before it is dropped itself.
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let killed = gateway.another_on(runtime.handle(), &Lifecycle::new()).await;
        let emptied = json!({"old": all.clone(), "new": []});
        let request = tokio::spawn(async move {
            if deletes {
                killed.delete("/cluster/c1").await
            } else {
                killed.put("/cluster/c1/hosts", emptied).await
            }
        });
        gate.add_permits(1);
        gateway.until(|cluster| cluster.is_some_and(|cluster| cluster.hostset.len() == 70)).await;
        runtime.shutdown_background();
        request.abort();
        let half = gateway.stored::<Cluster>("c1").await.unwrap();
        assert!(half.change.is_some() && half.hostset.len() == 70, "{:?}", half.change);
        // The lease is still there, and is not renewed any more; it need not last for its whole time.
        let lease: Lease = gateway.stored("change.c1").await.unwrap();
        gateway.storage.save(&Lease { ttl_ms: 500, ..lease }).await.unwrap();
        gate.add_permits(100);
        let _next = gateway.another().await;
        gateway.until(|cluster| cluster.is_none_or(|cluster| cluster.change.is_none())).await;
        let left = gateway.stored::<Cluster>("c1").await.map(|cluster| cluster.hostset);
        assert_eq!(left, (!deletes).then(Vec::new), "deletes: {deletes}");
        let statuses = gateway.statuses(&all).await;
        assert!(statuses.iter().all(|status| *status == Status::Disassociated), "{statuses:?}");
        // Remaining permits must not let the next change through.
        gate.forget_permits(1000);
    }
}

#[tokio::test]
async fn a_host_that_registers_itself_meanwhile_is_to_try_again() {
    let setup = Setup { trusted_proxies: vec!["127.0.0.1".to_owned()], ..Setup::default() };
    let gateway = setup.start().await;
    let lease = Lease {
        name: "change.c1".into(),
        owner: "another".to_owned(),
        ttl_ms: 3_600_000,
        ..Lease::default()
    };
    gateway.storage.save(&lease).await.unwrap();
    gateway.filled(&[], Some(ClusterChange::Deleting)).await;
    let body = json!({"cluster": "c1"}).to_string();
    let from = ("x-forwarded-for", "10.1.0.1");
    let answer = gateway.send_with(from, "PUT", "/api/v0/host", &body).await;
    answer.refused(503, "the cluster c1 is being deleted");
    assert!(answer.header("retry-after").parse::<u64>().is_ok());
}

#[tokio::test]
async fn a_deletion_that_takes_longer_than_a_request_goes_on() {
    let mut setup = Setup::default();
    setup.config.limits.request = Duration::from_secs(4);
    let gateway = setup.start().await;
    gateway.filled(&addresses(0..60), None).await;
    let gate = gateway.gated_managers().await;
    let answer = gateway.delete("/cluster/c1").await;
    answer.refused(504, "the change of the cluster c1 goes on by itself");
    gate.add_permits(10);
    gateway.until_gone().await;
}

#[tokio::test]
async fn a_change_that_the_manager_refuses_ends_and_takes_its_nodes_back() {
    let refusal = Error::new(Kind::ContainerManager, "nodes is forbidden (Forbidden)");
    let managers = Managers::Answers(Err(refusal));
    let gateway = Setup { managers, ..Setup::default() }.start().await;
    let all = addresses(0..60);
    gateway.filled(&[], None).await;
    gateway.hosts(&all, Status::Disassociated).await;
    let answer = gateway.put("/cluster/c1/hosts", json!({"old": [], "new": all})).await;
    answer.refused(502, "(Forbidden); the change of the members of c1 has ended there");
    let cluster: Cluster = gateway.stored("c1").await.unwrap();
    assert_eq!((cluster.hostset, cluster.change), (vec![], None));
    let calls: Vec<_> = gateway.registrations().into_iter().map(|(method, _)| method).collect();
    assert_eq!(calls, ["register_node", "remove_node"]);
}
