//! Messages on the bus that are no records: the parameters of requests and jobs, and their answers. Caller and service use
//! the same types; `docs/bus.md` describes them. Those of the storage service are in [`crate::storage`].

use serde::{Deserialize, Serialize, Serializer};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::model::{AlarmView, OperationKind, Options};

/// The parameters of `jobs.clusterexec.restart`, `upgrade` and `deploy`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StartOperation {
    /// The name of the cluster.
    pub cluster_name: String,
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

/// The plan of an operation, as a dry run answers it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Plan)]
pub struct OperationPlan {
    /// The name of the cluster.
    pub cluster: String,
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
    /// The alarm that the operation would wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<AlarmView>,
}

/// A host that is unavailable before anything is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Unavailable)]
pub struct UnavailableHost {
    /// Its address.
    pub address: String,
    /// Why it is unavailable.
    pub reason: String,
}

/// A host of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Planned)]
pub struct PlannedHost {
    /// Its address.
    pub address: String,
    /// What would be done to it.
    pub action: PlannedAction,
    /// Why, where that is not obvious.
    #[serde(default)]
    #[schema(required)]
    pub reason: String,
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
    pub address: String,
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
    pub addresses: Vec<String>,
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
