//! Booted hosts that are nodes of the stand-in API server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testbed::Testbed;
use tokio::task::JoinHandle;

use super::stand_in::StandIn;
use crate::server::{Server, eventually, poll};

/// How often the hosts are compared with their nodes.
const FOLLOW: Duration = Duration::from_millis(200);

/// Ten times as long as a rollout over six nodes takes on a machine that does nothing else.
const ROLLOUT: Duration = Duration::from_mins(15);

/// A unit by which a host shows that it runs a kubelet.
const KUBELET: &str = "printf '[Service]\\nExecStart=/bin/sleep infinity\\n[Install]\\nWantedBy=multi-user.target\\n' \
                       >/etc/systemd/system/kubelet.service && systemctl enable --quiet --now kubelet";

/// The steps of a host that is a node, in their order.
const STEPS: [&str; 10] = [
    "pending", "probe", "cordon", "drain", "reboot", "verify", "settle", "ready", "uncordon",
    "done",
];

/// Hosts, and the Kubernetes whose nodes they are: host 0 is the node `w0`, and its turn comes first.
pub(crate) struct Fleet {
    pub(crate) testbed: Arc<Testbed>,
    pub(crate) api: Arc<StandIn>,
    /// Delays of the first reports of kubelets after a boot, by node.
    delays: Arc<Mutex<HashMap<String, Duration>>>,
    follower: JoinHandle<()>,
    pub(crate) first_boots: Vec<String>,
}

pub(crate) fn node(host: usize) -> String {
    format!("w{host}")
}

impl Fleet {
    /// Boots so many hosts and starts the server; `None` where hosts cannot be booted.
    pub(crate) async fn start(test: &str, count: usize) -> Option<Self> {
        let testbed = Arc::new(Testbed::up_booted(test, &vec!["debian"; count])?);
        let api = Arc::new(StandIn::start().await);
        let first_boots: Vec<_> = (0..count).map(|host| testbed.boot_id(host)).collect();
        for (host, boot_id) in first_boots.iter().enumerate() {
            testbed.exec(host, KUBELET);
            let machine_id = testbed.exec(host, "cat /etc/machine-id");
            let settings = json!({"name": node(host), "address": testbed.address(host).0,
                                  "machine_id": machine_id, "boot_id": boot_id});
            api.control(Method::POST, "nodes", &settings).await;
        }
        let delays = Arc::default();
        let follower = follow(Arc::clone(&testbed), Arc::clone(&api), Arc::clone(&delays));
        Some(Self { testbed, api, delays, follower, first_boots })
    }

    /// The cluster `c1` of all hosts, with the container manager `k`.
    pub(crate) async fn cluster(&self, server: &Server) {
        self.cluster_with(server, self.api.options().await).await;
    }

    /// The same, with these options of the container manager.
    pub(crate) async fn cluster_with(&self, server: &Server, options: Value) {
        let manager = json!({"type": "kubernetes", "options": options});
        server.put("/containermanager/k", manager).await;
        server.put("/cluster/c1", json!({"container_manager": "k"})).await;
        for host in 0..self.count() {
            let more = json!({"cluster": "c1", "bootstrap": "none"});
            server.register(&self.testbed, host, more).await;
        }
        for host in 0..self.count() {
            // Once it is set up, and before its node is found, it is disassociated.
            eventually("the host is active", async || {
                let status = server.get_at_last(&format!("/host/{}", self.address(host))).await;
                assert_ne!(status["status"], "failed", "{status}");
                (status["status"] == "active").then_some(())
            })
            .await;
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.first_boots.len()
    }

    pub(crate) fn address(&self, host: usize) -> &str {
        self.testbed.address(host).0
    }

    /// Delays the first report of a kubelet after the next boots of its host.
    pub(crate) fn delay_reports(&self, host: usize, delay: Duration) {
        let mut delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        delays.insert(node(host), delay);
    }

    /// Has the kubelet of a host that was booted report now, without its delay.
    pub(crate) async fn report_now(&self, host: usize) {
        self.delay_reports(host, Duration::ZERO);
        let up = json!({"up": true, "boot_id": self.testbed.boot_id(host)});
        self.api.control(Method::PUT, &format!("kubelets/{}", node(host)), &up).await;
    }

    /// A node that is no host: pods of all hosts can run on it.
    pub(crate) async fn add_spare_node(&self) {
        let spare = json!({"name": "spare", "address": "192.0.2.1"});
        self.api.control(Method::POST, "nodes", &spare).await;
    }

    /// Sets how many pods of a deployment may be unavailable.
    pub(crate) async fn set_budget(&self, app: &str, budget: u32) {
        let path = format!("/apis/policy/v1/namespaces/default/poddisruptionbudgets/{app}");
        self.api.call(Method::PATCH, &path, &json!({"spec": {"maxUnavailable": budget}})).await;
    }

    /// A deployment whose pods may run on this node only, or on all of them, and a disruption budget that allows so many of
    /// them to be unavailable; waits until the pods are ready.
    pub(crate) async fn deploy(&self, app: &str, count: usize, budget: u32, on: Option<usize>) {
        let labels = json!({"app": app});
        let mut pod = json!({"containers": [{"name": "c", "image": "example.invalid/app:1"}]});
        if let Some(host) = on {
            pod["nodeSelector"] = json!({"kubernetes.io/hostname": node(host)});
        }
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": app},
            "spec": {"replicas": count, "selector": {"matchLabels": labels},
                     "template": {"metadata": {"labels": labels}, "spec": pod}}});
        self.api.create("apis/apps/v1", "deployments", &deployment).await;
        let disruptions = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": app},
            "spec": {"maxUnavailable": budget, "selector": {"matchLabels": labels}}});
        self.api.create("apis/policy/v1", "poddisruptionbudgets", &disruptions).await;
        let path = format!("/apis/policy/v1/namespaces/default/poddisruptionbudgets/{app}");
        eventually("the pods are ready", async || {
            let healthy = self.api.get(&path).await["status"]["currentHealthy"].as_u64()?;
            (healthy == count as u64).then_some(())
        })
        .await;
    }

    /// Cordons a node as an administrator of the Kubernetes.
    pub(crate) async fn cordon_by_others(&self, host: usize) {
        let path = format!("/api/v1/nodes/{}?fieldManager=kubectl-cordon", node(host));
        let cordon = json!({"spec": {"unschedulable": true}});
        self.api.call(Method::PATCH, &path, &cordon).await;
    }

    /// A pod without a controller.
    pub(crate) async fn create_naked_pod(&self, name: &str, host: usize) {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"nodeName": node(host),
                     "containers": [{"name": "c", "image": "example.invalid/app:1"}]}});
        self.api.create("api/v1", "pods", &pod).await;
    }

    /// The nodes that are cordoned, or have an annotation of the installation.
    pub(crate) async fn cordoned(&self) -> Vec<String> {
        let nodes = self.api.get("/api/v1/nodes").await;
        let nodes = nodes["items"].as_array().unwrap().iter().filter(|node| {
            let annotations = node["metadata"]["annotations"].as_object().into_iter().flatten();
            let mut annotations = annotations.map(|(name, _)| name);
            node["spec"]["unschedulable"] == true
                || annotations.any(|name| name.starts_with("commissaire.io/"))
        });
        nodes.map(|node| node["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    /// The part of a host in the newest operation.
    pub(crate) async fn part(&self, server: &Server, host: usize) -> Option<Value> {
        let operation = server.stored("/commissaire/operations/").await?;
        let (id, address) = (operation["id"].as_str()?, self.address(host));
        server.stored(&format!("/commissaire/operation_hosts/{id}.{address}")).await
    }

    /// The debt to uncordon the node of a host of the newest operation.
    pub(crate) async fn debt(&self, server: &Server, host: usize) -> Option<Value> {
        let part = self.part(server, host).await?;
        let kubernetes = part["node"]["kubernetes"].as_str()?;
        let id = format!("{kubernetes}.{}", node(host));
        server.stored(&format!("/commissaire/cordon_debts/{id}")).await
    }

    /// Waits until a host has reached a step of the newest operation.
    pub(crate) async fn at(&self, server: &Server, host: usize, wanted: &str) {
        let place = |step: &str| STEPS.iter().position(|known| *known == step);
        let what = format!("{} is at {wanted}", node(host));
        poll(&what, Duration::from_millis(10), ROLLOUT, async || {
            let part = self.part(server, host).await?;
            let step = part["step"].as_str().unwrap_or_default();
            assert_ne!(step, "failed", "{part}");
            (place(step) >= place(wanted)).then_some(())
        })
        .await;
    }

    /// Waits for the end of the newest operation.
    pub(crate) async fn ended(&self, server: &Server) -> Value {
        poll("the operation ends", Duration::from_millis(200), ROLLOUT, async || {
            let record = server.get_at_last("/cluster/c1/restart").await;
            (record["status"] != "in_process").then_some(())
        })
        .await;
        server.operation().await
    }

    /// Waits until no node is cordoned, and the installation owes none.
    pub(crate) async fn uncordoned(&self, server: &Server) {
        eventually("no node is cordoned", async || {
            let debts = server.stored("/commissaire/cordon_debts/").await;
            (self.cordoned().await.is_empty() && debts.is_none()).then_some(())
        })
        .await;
    }

    /// Each of these hosts has been rebooted once, and the others have not; never two were down at a time.
    pub(crate) fn assert_rebooted(&self, hosts: &[usize]) {
        self.assert_each_rebooted_once(hosts);
        assert!(self.testbed.most_away() <= 1, "{:?}", self.testbed.events());
    }

    /// Each of these hosts has been rebooted once, and the others have not.
    pub(crate) fn assert_each_rebooted_once(&self, hosts: &[usize]) {
        for (host, before) in self.first_boots.iter().enumerate() {
            let seen = self.testbed.run(&["events", &self.testbed.hosts()[host]]);
            let downs = seen.lines().filter(|line| line.contains("down")).count();
            assert_eq!(downs, usize::from(hosts.contains(&host)), "{}: {seen}", node(host));
            assert_eq!(self.testbed.boot_id(host) != *before, hosts.contains(&host));
        }
    }

    /// Waits until the log of the newest operation has an event of a host with this text.
    pub(crate) async fn event(&self, server: &Server, host: usize, text: &str) -> Value {
        eventually(text, async || {
            let events = server.events().await.into_iter();
            let mut events = events.filter(|event| event["host"] == self.address(host));
            events.find(|event| event["detail"].as_str().is_some_and(|said| said.contains(text)))
        })
        .await
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

/// Stops the kubelet of a node when its host goes down, and starts it with the boot id of the host once that is up.
#[expect(clippy::disallowed_methods, reason = "the runtime of a test ends all tasks")]
fn follow(
    testbed: Arc<Testbed>,
    api: Arc<StandIn>,
    delays: Arc<Mutex<HashMap<String, Duration>>>,
) -> JoinHandle<()> {
    let names = testbed.run(&["addresses"]);
    let names = names.lines().filter_map(|line| line.split_whitespace().nth(1));
    let names: Vec<_> = names.map(str::to_owned).collect();
    tokio::spawn(async move {
        let mut seen = testbed.events().len();
        loop {
            tokio::time::sleep(FOLLOW).await;
            let events = testbed.events();
            for event in events.iter().skip(seen) {
                let host = names.iter().position(|name| *name == event.host).unwrap();
                let name = node(host);
                let change = if event.up {
                    let delays = delays.lock().unwrap_or_else(PoisonError::into_inner);
                    let delay = delays.get(&name).map_or(0, Duration::as_secs);
                    json!({"up": true, "boot_id": testbed.boot_id(host), "delay_seconds": delay})
                } else {
                    json!({"up": false})
                };
                api.control(Method::PUT, &format!("kubelets/{name}"), &change).await;
            }
            seen = events.len();
        }
    })
}
