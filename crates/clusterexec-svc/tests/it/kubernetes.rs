//! A cluster of simulated hosts that are nodes of a simulated Kubernetes, with the container manager service between.

use std::sync::Arc;
use std::time::Duration;

use containermgr_svc::{ClientFactory, Config};
use model::{Cluster, ContainerManagerConfig, CordonDebt, DebtState, HostState};
use runtime::Files;
use serde_json::{Value, json};
use simulated_kubernetes::{
    Fault, FaultAction, MASTERS, NodeSettings, Settings, SimulatedKubernetes,
};
use storage_client::Transaction;
use tokio::time::sleep;

use crate::fleet::{Fleet, address};

/// How often a node is compared with its host.
const MIRROR: Duration = Duration::from_millis(250);

/// How long a request takes to a slow API server.
pub(crate) const SLOW: Duration = Duration::from_millis(400);

/// The user of the container manager.
pub(crate) const USER: &str = "commissaire";

/// The fleet with its Kubernetes: host 0 is the node `w0`.
pub(crate) struct KubernetesFleet {
    pub(crate) fleet: Fleet,
    pub(crate) kubernetes: SimulatedKubernetes,
}

pub(crate) fn node(number: usize) -> String {
    format!("w{number}")
}

impl KubernetesFleet {
    /// A fleet whose first `control_plane` hosts are the control plane.
    pub(crate) async fn start(count: usize, control_plane: usize) -> Self {
        let fleet = Fleet::start(count).await;
        let start = "2026-11-28T12:00:00Z".parse().unwrap();
        let kubernetes = SimulatedKubernetes::new(Settings { seed: 1, start });
        kubernetes.add_user("token", USER, &[MASTERS]);
        for number in 0..count {
            let name = node(number);
            let boot_id = fleet.hosts.boot_id(&address(number));
            let machine_id = format!("{number:032x}");
            let settings = NodeSettings::new(&name, &address(number));
            let settings = NodeSettings { boot_id, machine_id: machine_id.clone(), ..settings };
            kubernetes.add_node(&if number < control_plane {
                settings.control_plane()
            } else {
                settings
            });
            // As of the last investigation.
            let known = HostState { machine_id: machine_id.clone(), ..fleet.state(number).await };
            let known = HostState { address: address(number), ..known };
            fleet.storage.save(&known).await.unwrap();
            fleet.hosts.edit(&address(number), |machine| {
                machine.facts.kubelet = true;
                machine.facts.machine_id = machine_id;
            });
        }
        let all = Self { fleet, kubernetes };
        all.configure().await;
        all.run();
        all
    }

    /// The container manager `k` of the cluster.
    async fn configure(&self) {
        let storage = &self.fleet.storage;
        let config = json!({"name": "k", "type": "kubernetes",
                            "options": {"server_url": "https://api.test"}});
        let config: ContainerManagerConfig = serde_json::from_value(config).unwrap();
        let mut cluster = storage.get::<Cluster>("c1").await.unwrap();
        "k".clone_into(&mut cluster.record.container_manager);
        let transaction = Transaction::default().save(&config).unwrap();
        storage.transact(&transaction.update(&cluster).unwrap()).await.unwrap();
        let kubernetes = self.kubernetes.clone();
        let clients = ClientFactory::Function(Arc::new(move |_| Ok(kubernetes.client("token"))));
        let (bus, life) = (self.fleet.bus.clone(), &self.fleet.life);
        containermgr_svc::run_with(bus, Config::default(), Files::default(), clients, life)
            .await
            .unwrap();
    }

    /// Moves the hosts from this one on into a second cluster, `c2`, with the same container manager.
    pub(crate) async fn split(&self, from: usize) {
        let storage = &self.fleet.storage;
        let mut first = storage.get::<Cluster>("c1").await.unwrap().record;
        let hostset = first.hostset.split_off(from);
        storage.save(&first).await.unwrap();
        let second = Cluster { name: "c2".into(), hostset, ..first };
        storage.save(&second).await.unwrap();
    }

    /// Runs the controllers, and kubelets that are up while their hosts are.
    fn run(&self) {
        let kubernetes = self.kubernetes.clone();
        self.fleet.life.spawn("kubernetes", async move { kubernetes.run().await });
        let (kubernetes, hosts) = (self.kubernetes.clone(), self.fleet.hosts.handle());
        let count = self.kubernetes.objects("nodes").len();
        self.fleet.life.spawn("kubelets", async move {
            let boot_id = |number| hosts.boot_id(&address(number));
            let mut known: Vec<_> = (0..count).map(|number| Some(boot_id(number))).collect();
            loop {
                for (number, known) in known.iter_mut().enumerate() {
                    let is_up = hosts.edit(&address(number), |machine| machine.is_up());
                    let current = is_up.then(|| boot_id(number));
                    if current == *known {
                        continue;
                    }
                    match &current {
                        Some(boot_id) => kubernetes.kubelet_up(&node(number), boot_id),
                        None => kubernetes.kubelet_down(&node(number)),
                    }
                    *known = current;
                }
                sleep(MIRROR).await;
            }
        });
    }

    /// A deployment of so many pods, and a disruption budget that allows `unavailable` of them.
    pub(crate) async fn deploy(&self, name: &str, replicas: usize, unavailable: u32) {
        let labels = json!({"app": name});
        self.kubernetes.apply(json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
                     "template": {"metadata": {"labels": labels},
                                  "spec": {"containers": [{"name": "c", "image": "i"}]}}}}));
        self.kubernetes.apply(json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"maxUnavailable": unavailable, "selector": {"matchLabels": labels}}}));
        self.fleet
            .until("the pods are ready", async || (self.ready(name) == replicas).then_some(()))
            .await;
        // The controllers of budgets and deployments see it, too.
        sleep(Duration::from_secs(3)).await;
    }

    fn ready(&self, app: &str) -> usize {
        let pods = self.kubernetes.objects("pods").into_iter();
        let pods = pods.filter(|pod| pod["metadata"]["labels"]["app"] == app);
        pods.filter(|pod| condition(pod, "Ready")).count()
    }

    /// The names of the pods on a node.
    pub(crate) fn pods_on(&self, number: usize) -> Vec<String> {
        let pods = self.kubernetes.objects("pods").into_iter();
        let pods = pods.filter(|pod| pod["spec"]["nodeName"] == node(number).as_str());
        pods.map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Has requests of the container manager take a while, so that steps can be observed.
    pub(crate) fn slow_down(&self) {
        self.kubernetes.fault(Fault::new(FaultAction::Delay(SLOW)).of_user(USER));
    }

    pub(crate) fn is_cordoned(&self, number: usize) -> bool {
        let node = self.kubernetes.object("nodes", "", &node(number)).unwrap();
        node["spec"]["unschedulable"] == true
    }

    /// Changes a node as an administrator.
    pub(crate) fn change_node(&self, number: usize, change: impl Fn(&mut Value)) {
        let mut changed = self.kubernetes.object("nodes", "", &node(number)).unwrap();
        change(&mut changed);
        self.kubernetes.apply(changed);
    }

    pub(crate) async fn debts(&self) -> Vec<(String, DebtState)> {
        let debts = self.fleet.storage.list::<CordonDebt>().await.unwrap().into_iter();
        debts.map(|debt| (debt.record.node, debt.record.state)).collect()
    }

    /// Waits until no node is cordoned by the installation.
    pub(crate) async fn settled(&self) {
        let paid = async || self.debts().await.is_empty().then_some(());
        self.fleet.until("all debts are paid", paid).await;
    }

    /// What the container manager has changed, in its order: `patch nodes w0 unschedulable=true`.
    pub(crate) fn changes(&self) -> Vec<String> {
        let effects = self.kubernetes.effects().into_iter();
        let effects = effects.filter(|effect| effect.user == USER && effect.status < 300);
        effects.filter_map(|effect| effect.summary).collect()
    }
}

/// Whether a condition of an object is true.
pub(crate) fn condition(object: &Value, name: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|found| found["type"] == name && found["status"] == "True")
}
