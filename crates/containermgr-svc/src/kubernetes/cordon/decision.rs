//! What the cordon or uncordon of a node needs, and the patch that does it. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use model::messages::{CordonRequest, UncordonRequest};
use serde_json::{Value, json};

use super::CORDONED_BY;
use crate::kubernetes::node_state::{annotation, annotations, is_unschedulable};
use crate::kubernetes::patch::annotation_path;

/// The annotation with those of [`PROTECTIONS`] that the cordon has added, between commas.
const ADDED: &str = "commissaire.io/cordon-added";

/// Annotations by which autoscalers leave a node alone.
const PROTECTIONS: [&str; 2] =
    ["cluster-autoscaler.kubernetes.io/scale-down-disabled", "karpenter.sh/do-not-disrupt"];

/// The value of a protection.
const PROTECTED: &str = "true";

/// The path of the field in a JSON Patch.
const UNSCHEDULABLE: &str = "/spec/unschedulable";

/// What a node needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is in the wanted state.
    Done,
    /// The operations of this JSON Patch, which fails if the node has changed.
    Patch(Value),
    /// It has a cordon of another owner.
    Foreign,
    /// It is another node of the same name.
    Missing,
}

/// What the cordon of a node needs.
pub(super) fn cordon(node: &Node, request: &CordonRequest) -> Decision {
    if node.metadata.uid.as_deref() != Some(&*request.uid) {
        return Decision::Missing;
    }
    let owner = annotation(node, CORDONED_BY);
    if is_unschedulable(node) {
        if owner == request.cordoned_by {
            return Decision::Done;
        }
        if owner.is_empty() || owner != request.takes_over {
            return Decision::Foreign;
        }
    }
    let mut patch = Patch::of(node);
    patch.set_unschedulable();
    patch.annotate(CORDONED_BY, &request.cordoned_by);
    // Those that an earlier cordon of ours has added are removed with this one.
    let earlier = added(node);
    let mut ours = Vec::new();
    for key in PROTECTIONS {
        let is_there = !annotation(node, key).is_empty();
        if !is_there {
            patch.annotate(key, PROTECTED);
        }
        if !is_there || earlier.contains(&key) {
            ours.push(key);
        }
    }
    if !ours.is_empty() {
        patch.annotate(ADDED, &ours.join(","));
    }
    patch.decision()
}

/// What the uncordon of a node needs.
pub(super) fn uncordon(node: &Node, request: &UncordonRequest) -> Decision {
    if node.metadata.uid.as_deref() != Some(&*request.uid) {
        return Decision::Missing;
    }
    let owner = annotation(node, CORDONED_BY);
    let is_ours =
        !owner.is_empty() && (request.cordoned_by.is_empty() || owner == request.cordoned_by);
    if !is_ours && !is_unschedulable(node) {
        return Decision::Done;
    }
    if !is_ours && !request.cordoned_by.is_empty() {
        return Decision::Foreign;
    }
    let mut patch = Patch::of(node);
    if is_ours {
        patch.expect(CORDONED_BY, owner);
        for key in added(node) {
            if annotation(node, key) == PROTECTED {
                patch.remove(&annotation_path(key));
            }
        }
        for key in [ADDED, CORDONED_BY] {
            if annotations(node).is_some_and(|annotations| annotations.contains_key(key)) {
                patch.remove(&annotation_path(key));
            }
        }
    }
    if is_unschedulable(node) {
        patch.remove(UNSCHEDULABLE);
    }
    patch.decision()
}

/// The protections that an earlier cordon of ours has added.
fn added(node: &Node) -> Vec<&'static str> {
    let listed: Vec<_> = annotation(node, ADDED).split(',').collect();
    PROTECTIONS.into_iter().filter(|key| listed.contains(key)).collect()
}

/// The operations of a JSON Patch of a node that has not changed since it was read.
#[derive(Debug)]
struct Patch {
    operations: Vec<Value>,
    has_annotations: bool,
}

impl Patch {
    fn of(node: &Node) -> Self {
        let version = node.metadata.resource_version.as_deref();
        let test = json!({"op": "test", "path": "/metadata/resourceVersion", "value": version});
        Self {
            operations: vec![test],
            has_annotations: annotations(node).is_some_and(|annotations| !annotations.is_empty()),
        }
    }

    fn set_unschedulable(&mut self) {
        self.operations.push(json!({"op": "add", "path": UNSCHEDULABLE, "value": true}));
    }

    fn annotate(&mut self, key: &str, value: &str) {
        if !self.has_annotations {
            let none = BTreeMap::<String, String>::new();
            let path = "/metadata/annotations";
            self.operations.push(json!({"op": "add", "path": path, "value": none}));
            self.has_annotations = true;
        }
        self.operations.push(json!({"op": "add", "path": annotation_path(key), "value": value}));
    }

    fn expect(&mut self, key: &str, value: &str) {
        self.operations.push(json!({"op": "test", "path": annotation_path(key), "value": value}));
    }

    fn remove(&mut self, path: &str) {
        self.operations.push(json!({"op": "remove", "path": path}));
    }

    fn decision(self) -> Decision {
        Decision::Patch(self.operations.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::recorded::one;

    const UID: &str = "695d87aa-7e28-4414-857e-05ea3d1c8ca1";

    /// A node with these annotations; cordoned or not.
    fn node(unschedulable: bool, annotations: Value) -> Node {
        let mut node = one("cordon-jsonpatch-200").response;
        node["spec"]["unschedulable"] = unschedulable.into();
        node["metadata"]["annotations"] = annotations;
        serde_json::from_value(node).unwrap()
    }

    fn cordoned(node: &Node, takes_over: &str) -> Decision {
        let request = CordonRequest {
            uid: UID.to_owned(),
            cordoned_by: "i/2".to_owned(),
            takes_over: takes_over.to_owned(),
            ..CordonRequest::default()
        };
        cordon(node, &request)
    }

    fn uncordoned(node: &Node, owner: &str) -> Decision {
        let request = UncordonRequest {
            uid: UID.to_owned(),
            cordoned_by: owner.to_owned(),
            ..UncordonRequest::default()
        };
        uncordon(node, &request)
    }

    /// The changes of a patch, without the test of the version: path and value.
    fn changes(decision: Decision) -> Vec<(String, Value)> {
        let Decision::Patch(Value::Array(operations)) = decision else { panic!("{decision:?}") };
        let (test, changes) = operations.split_first().unwrap();
        assert_eq!(
            test,
            &json!({"op": "test", "path": "/metadata/resourceVersion", "value": "229"})
        );
        changes
            .iter()
            .map(|change| {
                let op = change["op"].as_str().unwrap();
                let path = change["path"].as_str().unwrap().replace("~1", "/");
                (format!("{op} {path}"), change["value"].clone())
            })
            .collect()
    }

    fn paths(decision: Decision) -> Vec<String> {
        changes(decision).into_iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn cordon_protects_the_node_from_autoscalers() {
        let expected = [
            ("add /metadata/annotations", json!({})),
            ("add /metadata/annotations/commissaire.io/cordoned-by", json!("i/2")),
            (
                "add /metadata/annotations/cluster-autoscaler.kubernetes.io/scale-down-disabled",
                json!("true"),
            ),
            ("add /metadata/annotations/karpenter.sh/do-not-disrupt", json!("true")),
            (
                "add /metadata/annotations/commissaire.io/cordon-added",
                json!(
                    "cluster-autoscaler.kubernetes.io/scale-down-disabled,karpenter.sh/do-not-disrupt"
                ),
            ),
        ];
        let changes = changes(cordoned(&node(false, Value::Null), ""));
        assert_eq!(changes[0], ("add /spec/unschedulable".to_owned(), json!(true)));
        let expected = expected.map(|(path, value)| (path.to_owned(), value));
        assert_eq!(changes[1..], expected);
    }

    #[test]
    fn protections_of_others_are_left_by_the_uncordon() {
        let both = json!({PROTECTIONS[0]: "true", PROTECTIONS[1]: "true"});
        let patch = paths(cordoned(&node(false, both), ""));
        assert_eq!(patch.len(), 2, "{patch:?}");
        let one = json!({PROTECTIONS[0]: "true"});
        let patch = changes(cordoned(&node(false, one), ""));
        assert_eq!(patch.last().unwrap().1, PROTECTIONS[1]);
        let annotated = json!({CORDONED_BY: "i/2", ADDED: PROTECTIONS[1],
                               PROTECTIONS[0]: "true", PROTECTIONS[1]: "true"});
        assert_eq!(
            paths(uncordoned(&node(true, annotated), "i/2")),
            [
                "test /metadata/annotations/commissaire.io/cordoned-by",
                "remove /metadata/annotations/karpenter.sh/do-not-disrupt",
                "remove /metadata/annotations/commissaire.io/cordon-added",
                "remove /metadata/annotations/commissaire.io/cordoned-by",
                "remove /spec/unschedulable",
            ]
        );
    }

    #[test]
    fn cordons_of_other_owners_are_foreign() {
        let ours = json!({CORDONED_BY: "i/2"});
        assert_eq!(cordoned(&node(true, ours.clone()), ""), Decision::Done);
        let theirs = json!({CORDONED_BY: "i/1", ADDED: PROTECTIONS[1], PROTECTIONS[1]: "true"});
        assert_eq!(cordoned(&node(true, theirs.clone()), ""), Decision::Foreign);
        assert_eq!(cordoned(&node(true, theirs.clone()), "i/3"), Decision::Foreign);
        assert_eq!(cordoned(&node(true, Value::Null), ""), Decision::Foreign);
        // A cordon that is taken over keeps what was added with it.
        let patch = changes(cordoned(&node(true, theirs.clone()), "i/1"));
        assert_eq!(patch.last().unwrap().1, format!("{},{}", PROTECTIONS[0], PROTECTIONS[1]));
        // An annotation that a `kubectl uncordon` has left.
        assert!(matches!(cordoned(&node(false, theirs.clone()), ""), Decision::Patch(_)));

        assert_eq!(uncordoned(&node(true, theirs.clone()), "i/2"), Decision::Foreign);
        assert_eq!(uncordoned(&node(true, Value::Null), "i/2"), Decision::Foreign);
        assert_eq!(uncordoned(&node(false, Value::Null), "i/2"), Decision::Done);
        assert_eq!(uncordoned(&node(false, theirs), "i/2"), Decision::Done);
        let patch = paths(uncordoned(&node(false, ours), "i/2"));
        assert_eq!(
            patch.last().unwrap(),
            "remove /metadata/annotations/commissaire.io/cordoned-by"
        );
    }

    #[test]
    fn any_cordon_is_removed_for_an_empty_owner() {
        assert_eq!(paths(uncordoned(&node(true, Value::Null), "")), ["remove /spec/unschedulable"]);
        let patch = paths(uncordoned(&node(true, json!({CORDONED_BY: "i/1"})), ""));
        assert_eq!(patch.len(), 3, "{patch:?}");
        assert_eq!(uncordoned(&node(false, Value::Null), ""), Decision::Done);
    }

    #[test]
    fn other_node_of_the_same_name_is_missing() {
        let request = CordonRequest { uid: "other".to_owned(), ..CordonRequest::default() };
        assert_eq!(cordon(&node(true, Value::Null), &request), Decision::Missing);
        let request = UncordonRequest { uid: "other".to_owned(), ..UncordonRequest::default() };
        assert_eq!(uncordon(&node(true, Value::Null), &request), Decision::Missing);
    }
}
