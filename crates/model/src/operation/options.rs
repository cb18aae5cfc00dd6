//! What an operation may be asked for beyond what it does: how many hosts at a time, in which order, when
//! to stop.

mod drain;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::super::ident;

pub use drain::{Drain, DrainCheck, DrainOptions, OnDrainTimeout, PackageOptions, ReadyOptions};

/// The longest health command or URL, in bytes.
const TEXT_MAX: usize = 4096;

/// How long a host must stay up before it counts as done, unless the operation says so.
const SETTLE: Duration = Duration::from_secs(30);

/// The longest soak time, settle time and health timeout: a day, in seconds.
const SECONDS_MAX: u64 = 24 * 60 * 60;

/// What stands for the host's address in a health URL.
pub const ADDRESS: &str = "{address}";

/// A number of hosts: a count, or a percentage of all that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// That many.
    Count(u32),
    /// That many of a hundred, rounded down, but at least one.
    Percent(u8),
}

impl Limit {
    /// How many that is where there are `total`.
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Self::Percent(percent) => (total * usize::from(percent) / 100).max(1),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is neither a count of 1 or more nor 1% to 100%");
        match text.strip_suffix('%') {
            Some(percent) => match percent.parse() {
                Ok(percent @ 1..=100) => Ok(Self::Percent(percent)),
                _ => Err(wrong()),
            },
            None => match text.parse() {
                Ok(count @ 1..) => Ok(Self::Count(count)),
                _ => Err(wrong()),
            },
        }
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::Percent(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a count, or a percentage such as \"30%\", is expected")]
        enum Given<'a> {
            Number(u32),
            #[serde(borrow)]
            Text(Cow<'a, str>),
        }
        let text = match Given::deserialize(deserializer)? {
            Given::Number(number) => number.to_string().into(),
            Given::Text(text) => text,
        };
        text.parse().map_err(de::Error::custom)
    }
}

impl PartialSchema for Limit {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
        let number = number.maximum(Some(u32::MAX));
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^([1-9][0-9]{0,8}|([1-9][0-9]?|100)%)$"));
        OneOfBuilder::new().item(number).item(text).into()
    }
}

impl ToSchema for Limit {}

/// Which host's turn comes first, among those that are well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// By address.
    #[default]
    Name,
    /// That to which the same was done the longest ago, or never.
    LeastRecent,
}

/// Whether an upgrade ends with a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RebootWhen {
    /// It does not: the default of a host with packages.
    Never,
    /// Where what was done takes effect with a reboot only: the default of an OSTree host.
    #[serde(alias = "if_needed")]
    IfNeeded,
    /// Whatever was done.
    Always,
}

/// Whether an operation goes on by itself after a long alarm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResumeAfterAlarm {
    /// No: it is paused once the alarm has lasted for ten minutes, and an operator resumes it.
    #[default]
    Manual,
    /// Yes, as soon as the alarm has ended.
    Auto,
}

/// The options of an operation as they are asked for, or configured as defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Options {
    /// How many hosts of the cluster may be unavailable at a time, those included that are so for other
    /// reasons: a count, or a percentage of all members, rounded down but at least one. One by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<Limit>,
    /// How many hosts may fail without stopping the roll. None by default: the first failure stops it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_failures: Option<u32>,
    /// Leave hosts out that cannot be reached at the start. They count as unavailable all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_unreachable: Option<bool>,
    /// Work on the machine that runs the executor, too: as the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_self: Option<bool>,
    /// Seconds that pass after a host is done, before another is started.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 86400)]
    pub soak: Option<u64>,
    /// Seconds that a host must stay up, with one boot id and the start of its system complete, before it
    /// counts as done. 30 by default; 0: it is done once it is verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 86400)]
    pub settle: Option<u64>,
    /// Fail a host on which systemd units have failed that had not failed before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_units: Option<bool>,
    /// Run by a shell on a host that is back: until it succeeds, or `health_timeout` is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_command: Option<String>,
    /// Asked for by the server when a host is back, `{address}` being the host's: until it answers with
    /// a 2xx status, or `health_timeout` is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_url: Option<String>,
    /// Seconds that a host may take from being back until it is healthy. 300 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 86400)]
    pub health_timeout: Option<u64>,
    /// Which host's turn comes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// Only these members of the cluster; all by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
    /// Whether an upgrade ends with a reboot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reboot: Option<RebootWhen>,
    /// Restart only hosts that say that they need it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_needed: Option<bool>,
    /// Whether the operation goes on by itself after an alarm of more than ten minutes. `manual` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume_after_alarm: Option<ResumeAfterAlarm>,
    /// How the nodes of hosts are drained, where the cluster has a Kubernetes or OpenShift container manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// When these nodes count as ready after their reboot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<ReadyOptions>,
    /// Which packages an upgrade of a node leaves out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packages: Option<PackageOptions>,
    /// Options of later versions, in records that these have written: kept, but unknown to this version.
    #[serde(flatten)]
    #[schema(ignore)]
    pub unknown: BTreeMap<String, Value>,
}

impl Options {
    /// The names of all of them.
    pub const NAMES: [&str; 18] = [
        "max_unavailable",
        "max_failures",
        "skip_unreachable",
        "include_self",
        "soak",
        "settle",
        "strict_units",
        "health_command",
        "health_url",
        "health_timeout",
        "order",
        "hosts",
        "reboot",
        "if_needed",
        "resume_after_alarm",
        "drain",
        "ready",
        "packages",
    ];

    /// These, and `defaults` where nothing is said.
    #[must_use]
    pub fn or(self, defaults: &Self) -> Self {
        let defaults = defaults.clone();
        Self {
            max_unavailable: self.max_unavailable.or(defaults.max_unavailable),
            max_failures: self.max_failures.or(defaults.max_failures),
            skip_unreachable: self.skip_unreachable.or(defaults.skip_unreachable),
            include_self: self.include_self.or(defaults.include_self),
            soak: self.soak.or(defaults.soak),
            settle: self.settle.or(defaults.settle),
            strict_units: self.strict_units.or(defaults.strict_units),
            health_command: self.health_command.or(defaults.health_command),
            health_url: self.health_url.or(defaults.health_url),
            health_timeout: self.health_timeout.or(defaults.health_timeout),
            order: self.order.or(defaults.order),
            hosts: self.hosts.or(defaults.hosts),
            reboot: self.reboot.or(defaults.reboot),
            if_needed: self.if_needed.or(defaults.if_needed),
            resume_after_alarm: self.resume_after_alarm.or(defaults.resume_after_alarm),
            drain: match self.drain {
                Some(drain) => Some(drain.or(defaults.drain.as_ref())),
                None => defaults.drain,
            },
            ready: match self.ready {
                Some(ready) => Some(ready.or(defaults.ready.as_ref())),
                None => defaults.ready,
            },
            packages: self.packages.or(defaults.packages),
            unknown: self.unknown,
        }
    }

    /// How many hosts may be unavailable at a time in a cluster of `total`.
    pub fn budget(&self, total: usize) -> usize {
        self.max_unavailable.unwrap_or(Limit::Count(1)).of(total)
    }

    /// How long a host must stay up before it counts as done.
    pub fn settle(&self) -> Duration {
        self.settle.map_or(SETTLE, Duration::from_secs)
    }

    /// How many hosts may fail without stopping the roll.
    pub fn tolerated(&self) -> usize {
        self.max_failures.and_then(|n| usize::try_from(n).ok()).unwrap_or(0)
    }

    /// Checks that there are none but those of this version: for requests and configurations.
    ///
    /// # Errors
    /// A sentence that names the option.
    pub fn known(&self) -> Result<(), String> {
        let check = |unknown: &BTreeMap<String, Value>, prefix: &str, names: &[&str]| match unknown
            .keys()
            .next()
        {
            None => Ok(()),
            Some(name) => {
                Err(format!("unknown option `{prefix}{name}`: there are {}", names.join(", ")))
            }
        };
        check(&self.unknown, "", &Self::NAMES)?;
        if let Some(drain) = self.drain_options() {
            check(&drain.unknown, "drain.", &DrainOptions::NAMES)?;
        }
        if let Some(ready) = &self.ready {
            check(&ready.unknown, "ready.", &ReadyOptions::NAMES)?;
        }
        let packages = self.packages.as_ref();
        packages.map_or(Ok(()), |packages| {
            check(&packages.unknown, "packages.", &PackageOptions::NAMES)
        })
    }

    /// Whether an upgrade of a node also upgrades the packages of Kubernetes.
    pub fn upgrades_kubernetes(&self) -> bool {
        self.packages.as_ref().is_some_and(|packages| packages.kubernetes == Some(true))
    }

    /// How nodes are drained; `None` if they are not.
    pub fn drain_options(&self) -> Option<&DrainOptions> {
        self.drain.as_ref().and_then(Drain::options)
    }

    /// How often a host is started whose node cannot be drained, before the operation pauses for it.
    pub fn drain_attempts(&self) -> u32 {
        self.drain_options().cloned().unwrap_or_default().attempts()
    }

    /// Whether nodes are cordoned and drained.
    pub fn drains(&self) -> bool {
        self.drain != Some(Drain::Off)
    }

    /// Checks what the types do not say.
    ///
    /// # Errors
    /// A sentence that names the option.
    pub fn validate(&self) -> Result<(), String> {
        seconds("soak", self.soak, 0)?;
        seconds("settle", self.settle, 0)?;
        seconds("health_timeout", self.health_timeout, 1)?;
        if let Some(command) = &self.health_command {
            let fits = !command.trim().is_empty() && !command.contains('\0');
            if !fits || command.len() > TEXT_MAX {
                return Err(format!("health_command: 1 to {TEXT_MAX} bytes for a shell"));
            }
        }
        if let Some(url) = &self.health_url {
            health_url(url).map_err(|e| format!("health_url: {e}"))?;
        }
        self.drain_options().map_or(Ok(()), DrainOptions::validate)?;
        self.ready.as_ref().map_or(Ok(()), ReadyOptions::validate)?;
        match &self.hosts {
            Some(hosts) if hosts.is_empty() => Err("hosts: names no host".to_owned()),
            Some(hosts) => hosts
                .iter()
                .try_for_each(|host| ident::address(host))
                .map_err(|e| format!("hosts: {e}")),
            None => Ok(()),
        }
    }
}

fn seconds(name: &str, seconds: Option<u64>, least: u64) -> Result<(), String> {
    match seconds {
        Some(n) if !(least..=SECONDS_MAX).contains(&n) => {
            Err(format!("{name}: {least} to {SECONDS_MAX} seconds, not {n}"))
        }
        _ => Ok(()),
    }
}

fn health_url(url: &str) -> Result<(), String> {
    let plain = ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
    if !plain || url.len() > TEXT_MAX || url.contains(char::is_control) {
        return Err(format!("an http or https URL, {ADDRESS} being the host's, is expected"));
    }
    if url.split('/').nth(2).is_some_and(|authority| authority.contains('@')) {
        return Err("it must not hold a user or a password".to_owned());
    }
    if url.contains(ADDRESS) {
        Ok(())
    } else {
        Err(format!("it does not say {ADDRESS}: every host would be asked about at the same place"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_option_has_its_name_in_the_list() {
        let all = json!({
            "max_unavailable": "30%", "max_failures": 1, "skip_unreachable": true,
            "include_self": true, "soak": 1, "settle": 0, "strict_units": true, "health_command": "true",
            "health_url": "http://{address}/", "health_timeout": 5, "order": "least_recent",
            "hosts": ["a"], "reboot": "if-needed", "if_needed": true, "resume_after_alarm": "auto",
            "drain": {"force": true}, "ready": {"settle": 5}, "packages": {"kubernetes": true},
        });
        let options: Options = serde_json::from_value(all.clone()).unwrap();
        assert_eq!(serde_json::to_value(&options).unwrap(), all);
        assert!(options.validate().is_ok());
        let mut names: Vec<_> = all.as_object().unwrap().keys().map(String::as_str).collect();
        let mut listed = Options::NAMES.to_vec();
        names.sort_unstable();
        listed.sort_unstable();
        assert_eq!(names, listed);
        assert_eq!(serde_json::to_value(Options::default()).unwrap(), json!({}));
        // Nothing said: all of the defaults; something said: that.
        assert_eq!(Options::default().or(&options), options);
        assert_eq!(options.clone().or(&Options::default()), options);
    }

    #[test]
    fn a_limit_is_a_count_or_a_percentage() {
        for (given, total, allowed) in [
            (json!(1), 10, 1),
            (json!(3), 10, 3),
            (json!("3"), 10, 3),
            (json!("30%"), 10, 3),
            (json!("25%"), 10, 2),
            (json!("1%"), 10, 1),
            (json!("100%"), 10, 10),
        ] {
            let limit: Limit = serde_json::from_value(given.clone()).unwrap();
            assert_eq!(limit.of(total), allowed, "{given}");
        }
        for wrong in
            [json!(0), json!("0%"), json!("101%"), json!(-1), json!(1.5), json!(""), json!(null)]
        {
            assert!(serde_json::from_value::<Limit>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_does_not_make_sense_is_named() {
        let refused = |given: serde_json::Value| {
            let options: Options = serde_json::from_value(given).unwrap();
            options.validate().unwrap_err()
        };
        let unknown = json!({"teleport": true});
        let options: Options = serde_json::from_value(unknown.clone()).unwrap();
        assert_eq!(options.validate(), Ok(()), "a record of a later version");
        assert!(options.known().unwrap_err().starts_with("unknown option `teleport`"));
        assert_eq!(serde_json::to_value(&options).unwrap(), unknown);
        for (given, named) in [
            (json!({"drain": {"forse": true}}), "unknown option `drain.forse`"),
            (json!({"ready": {"setle": 1}}), "unknown option `ready.setle`"),
        ] {
            let options: Options = serde_json::from_value(given.clone()).unwrap();
            assert_eq!(options.validate(), Ok(()), "a record of a later version");
            assert!(options.known().unwrap_err().starts_with(named));
            assert_eq!(serde_json::to_value(&options).unwrap(), given);
        }
        assert!(refused(json!({"drain": {"timeout": 0}})).starts_with("drain.timeout"));
        assert!(refused(json!({"drain": {"attempts": 0}})).starts_with("drain.attempts"));
        assert!(
            refused(json!({"drain": {"skip_selector": " "}})).starts_with("drain.skip_selector")
        );
        assert!(refused(json!({"ready": {"timeout": 86_401}})).starts_with("ready.timeout"));
        assert!(refused(json!({"soak": 100_000})).starts_with("soak"));
        assert!(refused(json!({"settle": 86_401})).starts_with("settle"));
        assert!(refused(json!({"health_timeout": 0})).starts_with("health_timeout"));
        assert!(refused(json!({"health_command": " "})).starts_with("health_command"));
        assert!(refused(json!({"hosts": []})).starts_with("hosts"));
        assert!(refused(json!({"hosts": ["-x"]})).starts_with("hosts"));
        for url in ["file:///{address}", "http://a/", "http://u:p@{address}/", "{address}"] {
            assert!(refused(json!({"health_url": url})).starts_with("health_url"), "{url}");
        }
    }

    proptest! {
        #[test]
        fn a_percentage_never_allows_more_than_it_says(percent in 1u8..=100, total in 1usize..20_000) {
            let allowed = Limit::Percent(percent).of(total);
            prop_assert!(allowed >= 1 && allowed <= total);
            prop_assert!(allowed == 1 || allowed * 100 <= total * usize::from(percent));
        }
    }
}
