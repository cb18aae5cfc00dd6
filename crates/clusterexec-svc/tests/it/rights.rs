//! The account of the container manager lacks one right of `conf/kubernetes/rbac.yaml`: which messages name
//! it, and which nodes stay cordoned.

use std::collections::BTreeSet;
use std::time::Duration;

use bus::Kind;
use model::{CordonDebt, DebtState, Operation, OperationStatus, Outcome, Step, Wanted};
use serde_json::{Value, json};
use simulated_kubernetes::{Effect, Fault, FaultAction};

use crate::fleet::address;
use crate::kubernetes::{KubernetesFleet, SLOW, node};

/// The manifests of the account.
const RBAC: &str = include_str!("../../../../conf/kubernetes/rbac.yaml");

/// The account.
const ACCOUNT: &str = "system:serviceaccount:commissaire:commissaire";

/// A verb on a resource, or on a path that names none.
type Right<'a> = (&'a str, &'a str);

/// What a missing right leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consequence {
    /// The operation is rejected before it starts.
    Rejected,
    /// The host is postponed at this step, and the operation is paused.
    Postponed(Step),
    /// An event of this step, and nothing else.
    Event(Step),
    /// Nothing: an operation does not need it.
    Nothing,
}

use Consequence::{Event, Nothing, Postponed, Rejected};

/// All rights in the manifests, and what happens if they were missing all along.
const RIGHTS: &[(Right<'_>, Consequence)] = &[
    (("get", "namespaces"), Rejected),
    (("get", "nodes"), Postponed(Step::Probe)),
    (("list", "nodes"), Rejected),
    (("patch", "nodes"), Postponed(Step::Cordon)),
    // The group of all users has it by the role `system:public-info-viewer`, unless an administrator takes it away.
    (("get", "/readyz"), Nothing),
    // Only the names of two disruption budgets of one pod are looked up by it.
    (("get", "pods"), Nothing),
    (("list", "pods"), Rejected),
    (("create", "pods/eviction"), Postponed(Step::Drain)),
    (("list", "poddisruptionbudgets"), Rejected),
    (("list", "daemonsets"), Rejected),
    // Pods are controlled by the ReplicaSets of a Deployment; the plan would name system-upgrade-controller by it.
    (("get", "deployments"), Nothing),
    (("get", "replicasets"), Event(Step::Drain)),
    (("get", "statefulsets"), Event(Step::Drain)),
    (("get", "replicationcontrollers"), Event(Step::Drain)),
    (("list", "volumeattachments"), Postponed(Step::Drain)),
    (("get", "csinodes"), Postponed(Step::Probe)),
    (("get", "persistentvolumeclaims"), Postponed(Step::Drain)),
    (("list", "persistentvolumes"), Rejected),
    // Of the optional roles.
    (("create", "nodes"), Nothing),
    (("delete", "nodes"), Nothing),
    (("get", "machines"), Event(Step::Cordon)),
    (("patch", "machines"), Event(Step::Cordon)),
];

/// The documents of the manifests.
fn manifests() -> impl Iterator<Item = Value> {
    RBAC.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap())
}

/// The rules of a role, one for each right.
fn rules(role: &Value) -> Vec<(String, String, Value)> {
    let texts = |value: &Value| {
        let texts: Vec<String> = serde_json::from_value(value.clone()).unwrap_or_default();
        texts
    };
    let mut rules = Vec::new();
    for rule in role["rules"].as_array().unwrap() {
        for kind in ["resources", "nonResourceURLs"] {
            for resource in texts(&rule[kind]) {
                for verb in texts(&rule["verbs"]) {
                    let mut one = rule.clone();
                    one["verbs"] = json!([verb]);
                    one[kind] = json!([resource]);
                    rules.push((verb, resource.clone(), one));
                }
            }
        }
    }
    rules
}

/// Whether a sentence names a right, as the API server does.
fn names(sentence: &str, (verb, resource): Right<'_>) -> bool {
    sentence.contains(&format!("cannot {verb} resource \"{resource}\""))
}

impl KubernetesFleet {
    /// Gives the account the rights in the manifests, without this one if there is one.
    fn grant(&self, without: Option<Right<'_>>) {
        for mut manifest in manifests() {
            if manifest["kind"] == "ClusterRole" {
                let rules = rules(&manifest).into_iter();
                let rules = rules.filter(|(verb, resource, _)| {
                    without.is_none_or(|without| without != (verb.as_str(), resource.as_str()))
                });
                manifest["rules"] = rules.map(|(_, _, rule)| rule).collect();
            }
            self.kubernetes.apply(manifest);
        }
        self.kubernetes.add_service_account_token("token", "commissaire", "commissaire");
    }

    /// Three nodes; an operation on the first one needs each right.
    async fn start_with_everything() -> Self {
        let all = Self::start(3, 0).await;
        all.deploy("web", 3, 1).await;
        let labels = |app: &str| json!({"app": app});
        let containers = json!([{"name": "c", "image": "i"}]);
        let apply = |object: Value| all.kubernetes.apply(object);
        // A pod of a StatefulSet, and one of a ReplicationController, on the first node.
        apply(json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": "db", "namespace": "default"},
            "spec": {"replicas": 1, "serviceName": "db", "selector": {"matchLabels": labels("db")},
                     "template": {"metadata": {"labels": labels("db")},
                                  "spec": {"containers": containers,
                                           "nodeSelector": {"kubernetes.io/hostname": "w0"}}}}}));
        apply(json!({"apiVersion": "v1", "kind": "ReplicationController",
            "metadata": {"name": "old", "namespace": "default"},
            "spec": {"replicas": 1, "selector": labels("old")}, "status": {"readyReplicas": 1}}));
        let uid = {
            let old = all.kubernetes.object("replicationcontrollers", "default", "old").unwrap();
            old["metadata"]["uid"].clone()
        };
        let owner = json!({"apiVersion": "v1", "kind": "ReplicationController", "name": "old",
                           "uid": uid, "controller": true});
        apply(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "old-1", "namespace": "default", "labels": labels("old"),
                         "ownerReferences": [owner]},
            "spec": {"nodeName": "w0", "containers": containers}}));
        // Pods that stay, and use a volume; the one of the first node is attached.
        apply(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": "default"}, "spec": {"volumeName": "pv-1"}}));
        let volume = json!({"name": "v", "persistentVolumeClaim": {"claimName": "data"}});
        apply(json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": "agent", "namespace": "default"},
            "spec": {"selector": {"matchLabels": labels("agent")},
                     "template": {"metadata": {"labels": labels("agent")},
                                  "spec": {"containers": containers, "volumes": [volume]}}}}));
        apply(json!({"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment",
            "metadata": {"name": "a1"},
            "spec": {"attacher": "csi", "nodeName": "w0", "source": {"persistentVolumeName": "pv-1"}}}));
        // A Machine of Cluster API behind the first node.
        apply(json!({"apiVersion": "cluster.x-k8s.io/v1beta1", "kind": "Machine",
            "metadata": {"name": "m0", "namespace": "default"}, "spec": {}}));
        all.change_node(0, |node| {
            let annotations = &mut node["metadata"]["annotations"];
            annotations["cluster.x-k8s.io/machine"] = json!("m0");
            annotations["cluster.x-k8s.io/cluster-namespace"] = json!("default");
        });
        let ready = async || (all.pods_on(0).len() >= 4).then_some(());
        all.fleet.until("the pods are on the first node", ready).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        all
    }

    /// The changes of objects by the account.
    fn changes_by_the_account(&self) -> Vec<Effect> {
        let effects = self.kubernetes.effects().into_iter();
        effects.filter(|effect| effect.user == ACCOUNT && effect.summary.is_some()).collect()
    }

    /// The debt of the first node, if it is due and its reason names this right.
    async fn debt_that_names(&self, right: Right<'_>) -> Option<CordonDebt> {
        let debts = self.fleet.storage.list::<CordonDebt>().await.unwrap().into_iter();
        let mut debts = debts.map(|debt| debt.record).filter(|debt| debt.node == "w0");
        debts.find(|debt| debt.state == DebtState::Due && names(&debt.reason, right))
    }

    /// Waits until no node is cordoned, and the installation owes none.
    async fn assert_nothing_is_cordoned(&self, context: &str) {
        self.settled().await;
        for number in 0..3 {
            assert!(!self.is_cordoned(number), "{context}: {}", node(number));
        }
    }

    /// The operation finishes, and each of these hosts was rebooted once.
    async fn assert_finished(&self, hosts: &[usize], context: &str) {
        let ended = self.fleet.ended("o1").await;
        let events = self.fleet.events("o1").await;
        assert_eq!(ended.status, OperationStatus::Finished, "{context}: {events:#?}");
        let commands = self.fleet.hosts.commands().into_iter();
        let mut rebooted: Vec<_> =
            commands.map(|command| command.address.as_str().to_owned()).collect();
        rebooted.sort_unstable();
        let expected: Vec<_> = hosts.iter().map(|host| address(*host).to_string()).collect();
        assert_eq!(rebooted, expected, "{context}");
        self.assert_nothing_is_cordoned(context).await;
    }

    /// Waits until a host is postponed at a step and the operation is paused, both with this right in their reasons.
    async fn assert_postponed(&self, number: usize, step: Step, right: Right<'_>) {
        let reason = self.fleet.paused("o1").await;
        let part = self.fleet.part("o1", number).await;
        let postponed = part.postponed.unwrap_or_default();
        assert_eq!(part.step, Step::Pending, "{right:?}: {reason}");
        assert!(names(&postponed, right), "{right:?}: {postponed}");
        assert!(names(&reason, right), "{right:?}: {reason}");
        let events = self.fleet.logged("o1", number, step).await;
        let is_named = |(outcome, detail): &(Outcome, String)| {
            *outcome == Outcome::Postponed && names(detail, right)
        };
        assert!(events.iter().any(is_named), "{right:?}: {events:?}");
        let commands = self.fleet.hosts.commands();
        let own = address(number);
        assert!(commands.iter().all(|command| command.address != own.as_str()), "{right:?}");
        self.assert_nothing_is_cordoned(&format!("{right:?}")).await;
    }
}

/// Each postponement is the last one, and a drain does not last long.
fn options() -> Value {
    json!({"drain": {"attempts": 1, "timeout": 60}})
}

#[test]
fn each_right_in_the_manifests_has_a_consequence() {
    let roles = manifests().filter(|manifest| manifest["kind"] == "ClusterRole");
    let rights: Vec<_> = roles.flat_map(|role| rules(&role)).collect();
    let rights: BTreeSet<Right<'_>> =
        rights.iter().map(|(verb, resource, _)| (verb.as_str(), resource.as_str())).collect();
    let known: BTreeSet<_> = RIGHTS.iter().map(|(right, _)| *right).collect();
    assert_eq!(known, rights);
}

#[tokio::test(start_paused = true)]
async fn operation_needs_no_right_beyond_those_in_the_manifests() {
    let all = KubernetesFleet::start_with_everything().await;
    all.grant(None);
    let executor = all.fleet.executor().await;
    executor.start("restart", options()).await.unwrap();
    all.assert_finished(&[0, 1, 2], "all rights").await;
    let effects = all.kubernetes.effects().into_iter();
    let denied: Vec<_> = effects.filter(|effect| effect.status == 403).collect();
    assert_eq!(denied, []);
}

#[tokio::test(start_paused = true)]
async fn right_that_was_missing_all_along_is_named_before_anything_is_rebooted() {
    for (right, consequence) in RIGHTS {
        let (right, context) = (*right, format!("{right:?}"));
        let all = KubernetesFleet::start_with_everything().await;
        all.grant(Some(right));
        let executor = all.fleet.executor().await;
        let started = executor.start("restart", options()).await;
        match consequence {
            Rejected => {
                let refused = started.unwrap_err();
                assert_eq!(refused.kind(), Kind::ContainerManager, "{context}");
                let refused = refused.to_string();
                assert!(names(&refused, right), "{context}: {refused}");
                assert!(refused.contains("conf/kubernetes/rbac.yaml"), "{context}: {refused}");
                assert!(refused.contains("container manager k"), "{context}: {refused}");
                assert!(all.fleet.find::<Operation>("o1").await.is_none(), "{context}");
                assert!(all.changes_by_the_account().is_empty(), "{context}");
                all.grant(None);
                executor.start("restart", options()).await.unwrap();
            }
            Postponed(step) => {
                started.unwrap();
                all.assert_postponed(0, *step, right).await;
                all.grant(None);
                all.fleet.say("o1", Wanted::Run).await;
            }
            Event(step) => {
                started.unwrap();
                all.assert_finished(&[0, 1, 2], &context).await;
                let events = all.fleet.logged("o1", 0, *step).await;
                let named = events.iter().filter(|(_, detail)| names(detail, right)).count();
                assert_eq!(named, 1, "{context}: {:#?}", all.fleet.events("o1").await);
            }
            Nothing => {
                started.unwrap();
            }
        }
        all.assert_finished(&[0, 1, 2], &context).await;
    }
}

#[tokio::test(start_paused = true)]
async fn right_that_is_taken_away_before_the_reboot_postpones_the_host() {
    for (step, right) in [
        (Step::Probe, ("get", "csinodes")),
        (Step::Cordon, ("patch", "nodes")),
        (Step::Drain, ("list", "pods")),
        (Step::Drain, ("create", "pods/eviction")),
        (Step::Drain, ("list", "volumeattachments")),
    ] {
        let all = KubernetesFleet::start_with_everything().await;
        all.grant(None);
        let slow = Fault::new(FaultAction::Delay(SLOW)).of_user(ACCOUNT);
        all.kubernetes.fault(slow);
        let executor = all.fleet.executor().await;
        executor.start("restart", options()).await.unwrap();
        all.fleet.at("o1", 0, step).await;
        all.grant(Some(right));
        all.assert_postponed(0, step, right).await;
        all.grant(None);
        all.fleet.say("o1", Wanted::Run).await;
        all.assert_finished(&[0, 1, 2], &format!("{step} {right:?}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn hosts_are_postponed_whose_nodes_may_not_be_listed_before_their_turns() {
    let right = ("list", "nodes");
    let all = KubernetesFleet::start_with_everything().await;
    all.grant(None);
    let executor = all.fleet.executor().await;
    let options = json!({"soak": 60, "drain": {"attempts": 1}});
    executor.start("restart", options).await.unwrap();
    all.fleet.at("o1", 0, Step::Done).await;
    all.grant(Some(right));
    for number in [1, 2] {
        all.assert_postponed(number, Step::Pending, right).await;
    }
    all.grant(None);
    all.fleet.say("o1", Wanted::Run).await;
    all.assert_finished(&[0, 1, 2], "hosts that were postponed").await;
}

#[tokio::test(start_paused = true)]
async fn host_whose_node_may_not_be_read_any_more_is_postponed_and_its_cordon_is_a_debt() {
    let right = ("get", "nodes");
    let all = KubernetesFleet::start_with_everything().await;
    all.grant(None);
    all.kubernetes.fault(Fault::new(FaultAction::Delay(SLOW)).of_user(ACCOUNT));
    let executor = all.fleet.executor().await;
    executor.start("restart", options()).await.unwrap();
    all.fleet.at("o1", 0, Step::Drain).await;
    all.grant(Some(right));
    let postponed = async || all.fleet.part("o1", 0).await.postponed;
    let postponed = all.fleet.until("it is postponed", postponed).await;
    assert!(names(&postponed, right), "{postponed}");
    let due = async || all.debt_that_names(right).await;
    all.fleet.until("the debt has its reason", due).await;
    // The node counts as unavailable, and no other host is started.
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert!(all.is_cordoned(0) && all.fleet.hosts.commands().is_empty());
    all.grant(None);
    let reason = all.fleet.paused("o1").await;
    assert!(names(&reason, right), "{reason}");
    all.fleet.say("o1", Wanted::Run).await;
    all.assert_finished(&[0, 1, 2], "get nodes").await;
}

/// Without the nodes it is not known how many are unavailable.
#[tokio::test(start_paused = true)]
async fn right_that_is_taken_away_after_the_reboot_leaves_a_debt() {
    let host = || json!({"hosts": [address(0).as_str()]});
    for right in [("get", "nodes"), ("list", "pods"), ("get", "csinodes")] {
        let all = KubernetesFleet::start_with_everything().await;
        all.grant(None);
        let executor = all.fleet.executor().await;
        executor.start("restart", host()).await.unwrap();
        all.fleet.at("o1", 0, Step::Verify).await;
        all.grant(Some(right));
        assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Failed, "{right:?}");
        let part = all.fleet.part("o1", 0).await;
        assert_eq!((part.step, part.reason.as_str()), (Step::Failed, "kubernetes-denied"));
        let failure = part.failure.unwrap().reason;
        assert!(names(&failure, right), "{right:?}: {failure}");
        assert!(failure.contains("conf/kubernetes/rbac.yaml"), "{right:?}: {failure}");
        assert!(all.is_cordoned(0), "{right:?}");
        assert_eq!(all.debts().await, [("w0".to_owned(), DebtState::Kept)], "{right:?}");
        all.grant(None);
        executor.ask("uncordon", json!({"address": address(0).as_str()})).await.unwrap();
        all.assert_nothing_is_cordoned(&format!("{right:?}")).await;
    }
    for right in [("patch", "nodes"), ("get", "nodes")] {
        let all = KubernetesFleet::start_with_everything().await;
        all.grant(None);
        all.kubernetes.fault(Fault::new(FaultAction::Delay(SLOW)).of_user(ACCOUNT));
        let executor = all.fleet.executor().await;
        executor.start("restart", host()).await.unwrap();
        all.fleet.at("o1", 0, Step::Uncordon).await;
        all.grant(Some(right));
        assert_eq!(all.fleet.ended("o1").await.status, OperationStatus::Finished, "{right:?}");
        let events = all.fleet.logged("o1", 0, Step::Uncordon).await;
        assert!(events.iter().any(|(_, detail)| names(detail, right)), "{right:?}: {events:?}");
        let due = async || all.debt_that_names(right).await;
        all.fleet.until("the debt has its reason", due).await;
        assert!(all.is_cordoned(0), "{right:?}");
        all.grant(None);
        all.assert_nothing_is_cordoned(&format!("{right:?}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn controllers_that_may_not_be_read_any_more_are_not_waited_for() {
    let right = ("get", "replicasets");
    let all = KubernetesFleet::start_with_everything().await;
    all.grant(None);
    all.kubernetes.fault(Fault::new(FaultAction::Delay(SLOW)).of_user(ACCOUNT));
    let executor = all.fleet.executor().await;
    executor.start("restart", json!({"hosts": [address(0).as_str()]})).await.unwrap();
    all.fleet.at("o1", 0, Step::Ready).await;
    all.grant(Some(right));
    all.assert_finished(&[0], "get replicasets").await;
    let events = all.fleet.logged("o1", 0, Step::Uncordon).await;
    assert!(events.iter().any(|(_, detail)| names(detail, right)), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn command_for_a_single_host_names_the_missing_right() {
    let host = || json!({"address": address(0).as_str()});
    let right = ("patch", "nodes");
    let all = KubernetesFleet::start_with_everything().await;
    all.grant(Some(right));
    let executor = all.fleet.executor().await;
    let refused = executor.ask("cordon", host()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::ContainerManager, "{refused}");
    let refused = refused.to_string();
    assert!(names(&refused, right) && refused.contains("conf/kubernetes/rbac.yaml"), "{refused}");
    assert!(!all.is_cordoned(0) && all.debts().await.is_empty());
    // A drain is an operation, and rejected like a restart.
    all.grant(Some(("list", "pods")));
    let drain = json!({"hosts": [address(0).as_str()]});
    let refused = executor.start("drain", drain).await.unwrap_err().to_string();
    assert!(names(&refused, ("list", "pods")), "{refused}");
    assert!(refused.contains("conf/kubernetes/rbac.yaml"), "{refused}");

    all.grant(None);
    executor.ask("cordon", host()).await.unwrap();
    all.grant(Some(right));
    let uncordoned = executor.ask("uncordon", host()).await.unwrap();
    assert_eq!(uncordoned["cordoned"], true, "{uncordoned}");
    assert!(names(uncordoned["warnings"][0].as_str().unwrap(), right), "{uncordoned}");
    let due = async || all.debt_that_names(right).await;
    all.fleet.until("the debt has its reason", due).await;
    all.grant(None);
    all.assert_nothing_is_cordoned("a single host").await;
}
