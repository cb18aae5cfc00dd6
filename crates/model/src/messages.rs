//! Messages on the bus that are no records: the parameters of requests and jobs, and their answers. Caller and service use
//! the same types; `docs/bus.md` describes them. Those of the storage service are in the crate `storage-client`.

mod kubernetes;

use serde::{Deserialize, Serialize, Serializer};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::{Address, AlarmView, ClusterName, OperationKind, Options};

pub use kubernetes::*;

/// The parameters of `jobs.clusterexec.restart`, `upgrade` and `deploy`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StartOperation {
    /// The name of the cluster.
    pub cluster_name: ClusterName,
    /// The version to deploy; empty for other kinds.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Makes the request idempotent: an operation with this id is not started twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
    /// The options; those that are missing have the executor's configured defaults.
    #[serde(default, skip_serializing_if = "is_default")]
    pub options: Options,
    /// Only plan the operation: the answer is an [`OperationPlan`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub dry_run: bool,
}

impl StartOperation {
    /// The order of parameters that are given by position.
    pub fn order(kind: OperationKind) -> &'static [&'static str] {
        if kind.facts().takes_version {
            &["cluster_name", "version", "operation_id", "options", "dry_run"]
        } else {
            &["cluster_name", "operation_id", "options", "dry_run"]
        }
    }
}

/// The parameters of `jobs.clusterexec.continue`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContinueOperation {
    /// The id of an operation that has ended.
    pub id: String,
    /// Also work on the hosts that have failed.
    #[serde(default)]
    pub retry_failed: bool,
    /// The id of the new operation; makes the request idempotent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
    /// Only plan the operation: the answer is an [`OperationPlan`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub dry_run: bool,
}

impl ContinueOperation {
    /// The order of parameters that are given by position.
    pub const ORDER: &[&str] = &["id", "retry_failed", "operation_id", "dry_run"];
}

/// The parameters of `jobs.clusterexec.cordon` and `jobs.clusterexec.uncordon`: the node of one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CordonHost {
    /// The address of the host.
    pub address: Address,
    /// Also remove a cordon of others.
    #[serde(default, skip_serializing_if = "is_default")]
    pub foreign: bool,
}

impl CordonHost {
    /// The order of parameters that are given by position.
    pub const ORDER: &[&str] = &["address", "foreign"];
}

/// The node of a host after it was cordoned or uncordoned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CordonedHost {
    /// The address of the host.
    #[schema(value_type = String)]
    pub address: Address,
    /// The name of its node.
    pub node: String,
    /// Whether the node is cordoned.
    pub cordoned: bool,
    /// What could not be done along, or is done as soon as the API server answers, in sentences.
    #[serde(default)]
    #[schema(required)]
    pub warnings: Vec<String>,
}

/// The plan of an operation, as a dry run answers it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Plan)]
pub struct OperationPlan {
    /// The name of the cluster.
    #[schema(value_type = String)]
    pub cluster: ClusterName,
    /// The kind of operation.
    pub kind: OperationKind,
    /// Whether the operation would start now.
    pub would_start: bool,
    /// Why it would be rejected, and what to do.
    #[serde(default)]
    #[schema(required)]
    pub refused: Option<String>,
    /// The same in one stable word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The number of hosts that may be unavailable at a time.
    pub max_unavailable: u64,
    /// The hosts that are unavailable now.
    pub unavailable: Vec<UnavailableHost>,
    /// The hosts, in the order of their turns.
    pub hosts: Vec<PlannedHost>,
    /// What may go wrong, in sentences.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The alarm that the operation would wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<AlarmView>,
}

/// A host that is unavailable before anything is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Unavailable)]
pub struct UnavailableHost {
    /// Its address.
    #[schema(value_type = String)]
    pub address: Address,
    /// Why it is unavailable.
    pub reason: String,
}

/// A host of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Planned)]
pub struct PlannedHost {
    /// Its address.
    #[schema(value_type = String)]
    pub address: Address,
    /// What would be done to it.
    pub action: PlannedAction,
    /// Why, where that is not obvious.
    #[serde(default)]
    #[schema(required)]
    pub reason: String,
    /// Its node, in a cluster with a Kubernetes or OpenShift container manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// What would be done to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum PlannedAction {
    /// The work of the operation.
    Work(OperationKind),
    /// Nothing.
    Skip,
}

impl PlannedAction {
    const SKIP: &str = "skip";

    fn word(self) -> &'static str {
        match self {
            Self::Work(kind) => kind.facts().word,
            Self::Skip => Self::SKIP,
        }
    }
}

impl Serialize for PlannedAction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl TryFrom<String> for PlannedAction {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        match OperationKind::from_word(&word) {
            Some(kind) => Ok(Self::Work(kind)),
            None if word == Self::SKIP => Ok(Self::Skip),
            None => Err(format!("unknown action {word:?}")),
        }
    }
}

impl PartialSchema for PlannedAction {
    fn schema() -> RefOr<Schema> {
        let words = OperationKind::ALL.iter().map(|kind| kind.facts().word);
        let words = words.chain([Self::SKIP]).collect::<Vec<_>>();
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).into()
    }
}

impl ToSchema for PlannedAction {
    fn name() -> std::borrow::Cow<'static, str> {
        "Action".into()
    }
}

/// The parameters of requests to a container manager about one node: `container.register_node` and so on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The name of the container manager.
    pub container_manager_name: String,
    /// The address of the host.
    pub address: Address,
}

impl Node {
    /// The order of parameters that are given by position.
    pub const ORDER: &[&str] = &["container_manager_name", "address"];
}

/// The parameters of `container.remove_all_nodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nodes {
    /// The name of the container manager.
    pub container_manager_name: String,
    /// The addresses of the hosts.
    pub addresses: Vec<Address>,
}

impl Nodes {
    /// The order of parameters that are given by position.
    pub const ORDER: &[&str] = &["container_manager_name", "addresses"];
}

/// The answer to `hosts.try_login`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogInTried {
    /// The keys that the host has shown, one public-key line each.
    pub ssh_host_key: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_that_are_defaults_are_left_out() {
        let start = StartOperation { cluster_name: "web".into(), ..StartOperation::default() };
        assert_eq!(serde_json::to_value(start).unwrap(), json!({"cluster_name": "web"}));
        let proceed = ContinueOperation { id: "7f".into(), ..ContinueOperation::default() };
        let expected = json!({"id": "7f", "retry_failed": false});
        assert_eq!(serde_json::to_value(proceed).unwrap(), expected);
    }

    /// The words in backquotes of the row of docs/bus.md about a method: its parameters, then its answer.
    fn documented(method: &str) -> [Vec<String>; 2] {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/bus.md");
        let page = std::fs::read_to_string(page).unwrap();
        let row = page.lines().find(|line| line.starts_with(&format!("| `{method}`"))).unwrap();
        let cells: Vec<_> = row.split('|').skip(2).collect();
        [cells[0], cells[1]].map(|cell| {
            let words = cell.split('`').skip(1).step_by(2);
            words
                .flat_map(|word| word.split([':', ',', '{', '}', '"', ' ']))
                .map(str::to_owned)
                .collect()
        })
    }

    /// The fields of a message are those of `order`, and the documentation names them in that order.
    fn is_documented(method: &str, message: &impl Serialize, order: &[&str]) {
        let message = serde_json::to_value(message).unwrap();
        let fields: BTreeSet<_> = message.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, order.iter().copied().collect(), "{method}");
        let [parameters, _] = documented(method);
        let places = order.iter().map(|field| parameters.iter().position(|word| word == field));
        let places: Option<Vec<_>> = places.collect();
        assert!(places.is_some_and(|places| places.is_sorted()), "{method}: {parameters:?}");
    }

    #[test]
    fn messages_are_those_of_the_documentation() {
        let options = Options { soak: Some(1), ..Options::default() };
        let (name, id) = ("web".to_owned(), Some("7f".to_owned()));
        let deploy = StartOperation {
            cluster_name: name.as_str().into(),
            version: "7.2".into(),
            operation_id: id.clone(),
            options,
            dry_run: true,
        };
        let order = StartOperation::order(OperationKind::Deploy);
        is_documented("jobs.clusterexec.restart", &deploy, order);
        let restart = StartOperation { version: String::new(), ..deploy };
        let order = StartOperation::order(OperationKind::Restart);
        is_documented("jobs.clusterexec.restart", &restart, order);
        let proceed = ContinueOperation {
            id: "7e".into(),
            retry_failed: true,
            operation_id: id,
            dry_run: true,
        };
        is_documented("jobs.clusterexec.continue", &proceed, ContinueOperation::ORDER);
        let node = Node { container_manager_name: name.clone(), address: "10.0.0.1".into() };
        is_documented("container.register_node", &node, Node::ORDER);
        let nodes = Nodes { container_manager_name: name, addresses: Vec::new() };
        is_documented("container.register_node", &nodes, Nodes::ORDER);
        let [_, answer] = documented("hosts.try_login");
        let tried = serde_json::to_value(LogInTried { ssh_host_key: String::new() }).unwrap();
        assert!(
            tried.as_object().unwrap().keys().all(|field| answer.contains(field)),
            "{answer:?}"
        );
    }

    #[test]
    fn plan_has_the_fields_of_the_documentation() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/bus.md");
        let page = std::fs::read_to_string(page).unwrap();
        let (_, plan) = page.split_once("The plan:").unwrap();
        let (plan, _) = plan.split_once("\n\n").unwrap();
        let alarm = AlarmView { since: "".into(), share: 0.5, reason: String::new() };
        let (address, reason) = (Address::from("10.0.0.1"), String::new());
        let whole = OperationPlan {
            cluster: ClusterName::default(),
            kind: OperationKind::Restart,
            would_start: false,
            refused: Some(String::new()),
            reason: Some(String::new()),
            max_unavailable: 1,
            unavailable: vec![UnavailableHost { address: address.clone(), reason: reason.clone() }],
            hosts: vec![PlannedHost {
                address,
                action: PlannedAction::Skip,
                reason,
                node: Some(String::new()),
            }],
            warnings: Vec::new(),
            alarm: Some(alarm),
        };
        let whole = serde_json::to_value(whole).unwrap();
        let objects = [&whole, &whole["unavailable"][0], &whole["hosts"][0], &whole["alarm"]];
        for field in objects.iter().flat_map(|object| object.as_object().unwrap().keys()) {
            let is_named =
                plan.contains(&format!("\"{field}\"")) || plan.contains(&format!("`{field}`"));
            assert!(is_named, "{field} in {plan}");
        }
    }

    #[test]
    fn action_of_a_plan_is_the_word_of_a_kind_or_skip() {
        for (word, action) in [
            ("restart", PlannedAction::Work(OperationKind::Restart)),
            ("deploy", PlannedAction::Work(OperationKind::Deploy)),
            ("skip", PlannedAction::Skip),
        ] {
            assert_eq!(serde_json::to_value(action).unwrap(), word);
            assert_eq!(serde_json::from_value::<PlannedAction>(json!(word)).unwrap(), action);
        }
        assert!(serde_json::from_value::<PlannedAction>(json!("remove")).is_err());
    }
}
