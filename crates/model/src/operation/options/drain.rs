//! The options of an operation about the nodes of a Kubernetes: how a node is drained, and when it is ready again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::seconds;
use crate::json::message;

/// Default timeout of a drain.
const DRAIN_TIMEOUT: Duration = Duration::from_mins(10);

/// Default timeout for the volumes of a drained node.
const VOLUME_TIMEOUT: Duration = Duration::from_mins(5);

/// Default number of drains of a node before its operation ends or pauses.
const ATTEMPTS: u32 = 3;

/// The most drains of a node.
const ATTEMPTS_MAX: u32 = 100;

/// Default time for which a node has to be ready.
const READY_SETTLE: Duration = Duration::from_secs(30);

/// Default timeout for a node to become ready.
const READY_TIMEOUT: Duration = Duration::from_mins(10);

/// The longest label selector, in bytes.
const SELECTOR_MAX: usize = 1024;

/// How the node of a host is drained before its reboot: `false` for not at all, `true` or an object for a drain.
#[derive(Debug, Clone, PartialEq)]
pub enum Drain {
    /// The node is neither cordoned nor drained; only its return is awaited.
    Off,
    /// It is cordoned and drained.
    On(DrainOptions),
}

/// What happens to a node whose drain does not end in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnDrainTimeout {
    /// It is uncordoned, and its turn comes again after the other hosts.
    #[default]
    Postpone,
    /// The operation starts no further host and ends as failed.
    Stop,
    /// It is rebooted although pods run on it. Requires the role `admin`.
    Reboot,
}

/// When pods that block a drain reject the operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DrainCheck {
    /// Before the operation starts.
    #[default]
    Start,
    /// At the turn of each host, which is postponed then.
    Later,
}

/// How a node is drained.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct DrainOptions {
    /// Seconds that a drain may take; 600 by default. A pod with a longer grace period extends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 86400)]
    pub timeout: Option<u64>,
    /// Seconds that the volumes of a drained node may take to be detached; 300 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 86400)]
    pub volume_timeout: Option<u64>,
    /// How often a node is drained before the operation pauses; 3 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100)]
    pub attempts: Option<u32>,
    /// What happens to a node whose drain does not end in time. `postpone` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<OnDrainTimeout>,
    /// When pods that block a drain reject the operation. `start` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<DrainCheck>,
    /// Evict pods that have no controller, too: nothing replaces them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force: Option<bool>,
    /// Do not evict pods with an emptyDir volume, whose contents an eviction deletes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_local_data: Option<bool>,
    /// A label selector of pods that stay on the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_selector: Option<String>,
    /// Also work on hosts whose nodes are cordoned by others, as the last ones; their cordons stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_cordoned: Option<bool>,
    /// Options of later versions, in records that these have written.
    #[serde(flatten)]
    #[schema(ignore)]
    pub unknown: BTreeMap<String, Value>,
}

/// When a node counts as ready after its reboot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ReadyOptions {
    /// Seconds that a node may take to become ready; 600 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 86400)]
    pub timeout: Option<u64>,
    /// Seconds for which a node has to be ready; 30 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 86400)]
    pub settle: Option<u64>,
    /// Wait until the controllers of evicted pods have as many ready pods as before, for ten minutes at most. `true` by
    /// default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workloads: Option<bool>,
    /// Options of later versions, in records that these have written.
    #[serde(flatten)]
    #[schema(ignore)]
    pub unknown: BTreeMap<String, Value>,
}

/// Which packages an upgrade of a node leaves out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct PackageOptions {
    /// Also upgrade the packages of Kubernetes and the container runtime. `false` by default: a kubelet is upgraded in step
    /// with its control plane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<bool>,
    /// Options of later versions, in records that these have written.
    #[serde(flatten)]
    #[schema(ignore)]
    pub unknown: BTreeMap<String, Value>,
}

impl PackageOptions {
    /// The names of all of them.
    pub const NAMES: [&str; 1] = ["kubernetes"];
}

impl Drain {
    /// This, with `defaults` for the options of a drain that are missing.
    pub(super) fn or(self, defaults: Option<&Self>) -> Self {
        match (self, defaults) {
            (Self::On(options), Some(Self::On(defaults))) => Self::On(options.or(defaults)),
            (given, _) => given,
        }
    }

    /// The options of the drain, if there is one.
    pub fn options(&self) -> Option<&DrainOptions> {
        match self {
            Self::Off => None,
            Self::On(options) => Some(options),
        }
    }
}

impl DrainOptions {
    /// The names of all of them.
    pub const NAMES: [&str; 9] = [
        "timeout",
        "volume_timeout",
        "attempts",
        "on_timeout",
        "check",
        "force",
        "keep_local_data",
        "skip_selector",
        "include_cordoned",
    ];

    fn or(self, defaults: &Self) -> Self {
        let defaults = defaults.clone();
        Self {
            timeout: self.timeout.or(defaults.timeout),
            volume_timeout: self.volume_timeout.or(defaults.volume_timeout),
            attempts: self.attempts.or(defaults.attempts),
            on_timeout: self.on_timeout.or(defaults.on_timeout),
            check: self.check.or(defaults.check),
            force: self.force.or(defaults.force),
            keep_local_data: self.keep_local_data.or(defaults.keep_local_data),
            skip_selector: self.skip_selector.or(defaults.skip_selector),
            include_cordoned: self.include_cordoned.or(defaults.include_cordoned),
            unknown: self.unknown,
        }
    }

    /// How long a drain may take, unless a pod has a longer grace period.
    pub fn timeout(&self) -> Duration {
        self.timeout.map_or(DRAIN_TIMEOUT, Duration::from_secs)
    }

    /// How long the volumes of a drained node may take to be detached.
    pub fn volume_timeout(&self) -> Duration {
        self.volume_timeout.map_or(VOLUME_TIMEOUT, Duration::from_secs)
    }

    /// How often a node is drained before the operation pauses.
    pub fn attempts(&self) -> u32 {
        self.attempts.unwrap_or(ATTEMPTS)
    }

    /// What happens to a node whose drain does not end in time.
    pub fn on_timeout(&self) -> OnDrainTimeout {
        self.on_timeout.unwrap_or_default()
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        seconds("drain.timeout", self.timeout, 1)?;
        seconds("drain.volume_timeout", self.volume_timeout, 1)?;
        if let Some(attempts) = self.attempts
            && !(1..=ATTEMPTS_MAX).contains(&attempts)
        {
            return Err(format!("drain.attempts: 1 to {ATTEMPTS_MAX}, not {attempts}"));
        }
        match &self.skip_selector {
            Some(selector)
                if selector.trim().is_empty()
                    || selector.len() > SELECTOR_MAX
                    || selector.contains(char::is_control) =>
            {
                Err(format!(
                    "drain.skip_selector: a label selector of 1 to {SELECTOR_MAX} bytes is expected"
                ))
            }
            _ => Ok(()),
        }
    }
}

impl ReadyOptions {
    /// The names of all of them.
    pub const NAMES: [&str; 3] = ["timeout", "settle", "workloads"];

    pub(super) fn or(self, defaults: Option<&Self>) -> Self {
        let Some(defaults) = defaults else { return self };
        Self {
            timeout: self.timeout.or(defaults.timeout),
            settle: self.settle.or(defaults.settle),
            workloads: self.workloads.or(defaults.workloads),
            unknown: self.unknown,
        }
    }

    /// How long a node may take to become ready.
    pub fn timeout(&self) -> Duration {
        self.timeout.map_or(READY_TIMEOUT, Duration::from_secs)
    }

    /// For how long a node has to be ready.
    pub fn settle(&self) -> Duration {
        self.settle.map_or(READY_SETTLE, Duration::from_secs)
    }

    /// Whether the controllers of evicted pods are waited for.
    pub fn awaits_workloads(&self) -> bool {
        self.workloads != Some(false)
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        seconds("ready.timeout", self.timeout, 1)?;
        seconds("ready.settle", self.settle, 0)
    }

    /// Checks that a node can become ready in time, by all options together.
    ///
    /// # Errors
    /// Names the options.
    pub fn check_timeout(&self) -> Result<(), String> {
        let (settle, timeout) = (self.settle().as_secs(), self.timeout().as_secs());
        if settle < timeout {
            return Ok(());
        }
        Err(format!(
            "ready.timeout has to exceed ready.settle: they are {timeout} s and {settle} s"
        ))
    }
}

impl Serialize for Drain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_bool(false),
            Self::On(options) => options.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Drain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Bool(false) => Ok(Self::Off),
            Value::Bool(true) => Ok(Self::On(DrainOptions::default())),
            given @ Value::Object(_) => serde_path_to_error::deserialize(given)
                .map(Self::On)
                .map_err(|e| de::Error::custom(format!("{}: {}", e.path(), message(e.inner())))),
            _ => Err(de::Error::custom("true, false or an object of options is expected")),
        }
    }
}

impl PartialSchema for Drain {
    fn schema() -> RefOr<Schema> {
        let switch = ObjectBuilder::new().schema_type(Type::Boolean);
        OneOfBuilder::new().item(switch).item(DrainOptions::schema()).into()
    }
}

impl ToSchema for Drain {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn drain(given: Value) -> Drain {
        serde_json::from_value(given).unwrap()
    }

    #[test]
    fn drain_is_a_switch_or_an_object() {
        assert_eq!(drain(json!(false)), Drain::Off);
        assert_eq!(drain(json!(true)), Drain::On(DrainOptions::default()));
        assert_eq!(drain(json!({"force": true})).options().unwrap().force, Some(true));
        assert_eq!(serde_json::to_value(Drain::Off).unwrap(), json!(false));
        for wrong in [json!(1), json!("no"), json!(null), json!([]), json!({"timeout": "1m"})] {
            assert!(serde_json::from_value::<Drain>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn defaults_fill_single_options_unless_the_drain_is_off() {
        let defaults = drain(json!({"timeout": 900, "force": true}));
        let merged = drain(json!({"force": false})).or(Some(&defaults));
        assert_eq!(merged, drain(json!({"timeout": 900, "force": false})));
        assert_eq!(Drain::Off.or(Some(&defaults)), Drain::Off);
        assert_eq!(drain(json!(true)).or(Some(&Drain::Off)), drain(json!({})));
        let ready = |given: Value| serde_json::from_value::<ReadyOptions>(given).unwrap();
        let merged =
            ready(json!({"settle": 0})).or(Some(&ready(json!({"settle": 5, "timeout": 7}))));
        assert_eq!(merged, ready(json!({"settle": 0, "timeout": 7})));
    }

    #[test]
    fn every_option_has_its_name_in_the_list() {
        let all = json!({
            "timeout": 1, "volume_timeout": 2, "attempts": 3, "on_timeout": "stop", "check": "later",
            "force": true, "keep_local_data": true, "skip_selector": "a=b", "include_cordoned": true,
        });
        let options: DrainOptions = serde_json::from_value(all.clone()).unwrap();
        assert_eq!(serde_json::to_value(&options).unwrap(), all);
        assert_eq!((options.validate(), options.unknown.len()), (Ok(()), 0));
        let names: Vec<_> = all.as_object().unwrap().keys().map(String::as_str).collect();
        let mut listed = DrainOptions::NAMES.to_vec();
        listed.sort_unstable();
        assert_eq!(names, listed);
        let all = json!({"timeout": 1, "settle": 2, "workloads": false});
        let options: ReadyOptions = serde_json::from_value(all.clone()).unwrap();
        assert_eq!((serde_json::to_value(&options).unwrap(), options.unknown.len()), (all, 0));
    }
}
