//! The flags of operations about the nodes of a Kubernetes.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::options::seconds;
use crate::args::count;

const NODES: &str = "Options for hosts that are Kubernetes nodes";

/// How nodes are drained, and when they count as ready.
#[derive(Debug, Args)]
#[command(next_help_heading = NODES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct NodeOptions {
    /// Reboot the nodes without a cordon and a drain; they have to become ready all the same
    #[arg(long, conflicts_with_all = DRAIN)]
    no_drain: bool,
    /// How long a drain may take; pods with a longer grace period extend it [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    drain_timeout: Option<u64>,
    /// How long the volumes of a drained node may take to be detached [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    drain_volume_timeout: Option<u64>,
    /// How often a node is drained before the operation pauses [default: 3]
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    drain_attempts: Option<u32>,
    /// What happens to a node whose drain does not end in time; reboot needs the role admin [default: postpone]
    #[arg(long, value_enum)]
    drain_on_timeout: Option<OnTimeout>,
    /// Start although pods block a drain; their hosts are postponed
    #[arg(long)]
    drain_check_later: bool,
    /// Evict pods that have no controller, too: nothing replaces them
    #[arg(long)]
    drain_force: bool,
    /// Do not evict pods with an emptyDir volume, whose contents an eviction deletes
    #[arg(long)]
    drain_keep_local_data: bool,
    /// Label selector of pods that stay on their node
    #[arg(long, value_name = "SELECTOR")]
    drain_skip_selector: Option<String>,
    /// Also work on nodes that others have cordoned, as the last ones; their cordons stay
    #[arg(long)]
    drain_include_cordoned: bool,
    /// How long a node may take to become ready after its reboot [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    ready_timeout: Option<u64>,
    /// How long a node must be ready before it is uncordoned [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    ready_settle: Option<u64>,
    /// Do not wait for the controllers of evicted pods before the next host
    #[arg(long)]
    no_ready_workloads: bool,
}

/// The flags that a drain needs.
const DRAIN: [&str; 9] = [
    "drain_timeout",
    "drain_volume_timeout",
    "drain_attempts",
    "drain_on_timeout",
    "drain_check_later",
    "drain_force",
    "drain_keep_local_data",
    "drain_skip_selector",
    "drain_include_cordoned",
];

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OnTimeout {
    Postpone,
    Stop,
    Reboot,
}

impl NodeOptions {
    /// The fields of the body; none where no flag is given.
    pub(crate) fn body(&self) -> Map<String, Value> {
        let on_timeout = self.drain_on_timeout.map(|what| match what {
            OnTimeout::Postpone => "postpone",
            OnTimeout::Stop => "stop",
            OnTimeout::Reboot => "reboot",
        });
        let if_set = |flag: bool| flag.then_some(true);
        let drain = given([
            ("timeout", json!(self.drain_timeout)),
            ("volume_timeout", json!(self.drain_volume_timeout)),
            ("attempts", json!(self.drain_attempts)),
            ("on_timeout", json!(on_timeout)),
            ("check", json!(self.drain_check_later.then_some("later"))),
            ("force", json!(if_set(self.drain_force))),
            ("keep_local_data", json!(if_set(self.drain_keep_local_data))),
            ("skip_selector", json!(self.drain_skip_selector)),
            ("include_cordoned", json!(if_set(self.drain_include_cordoned))),
        ]);
        let ready = given([
            ("timeout", json!(self.ready_timeout)),
            ("settle", json!(self.ready_settle)),
            ("workloads", json!(self.no_ready_workloads.then_some(false))),
        ]);
        let unless_empty = |object: Map<String, Value>| {
            if object.is_empty() { Value::Null } else { Value::Object(object) }
        };
        let drain = if self.no_drain { json!(false) } else { unless_empty(drain) };
        given([("drain", drain), ("ready", unless_empty(ready))])
    }
}

fn given<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    let given = fields.into_iter().filter(|(_, value)| !value.is_null());
    given.map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        nodes: NodeOptions,
    }

    fn body(flags: &[&str]) -> Value {
        let all = ["commctl"].iter().chain(flags);
        Value::Object(Flags::try_parse_from(all).unwrap().nodes.body())
    }

    #[test]
    fn flags_are_the_fields_of_two_objects() {
        assert_eq!(body(&[]), json!({}));
        assert_eq!(body(&["--no-drain"]), json!({"drain": false}));
        assert_eq!(
            body(&["--drain-timeout", "20m", "--drain-force", "--drain-check-later"]),
            json!({"drain": {"timeout": 1200, "force": true, "check": "later"}})
        );
        assert_eq!(
            body(&["--drain-on-timeout", "stop", "--ready-settle", "0", "--no-ready-workloads"]),
            json!({"drain": {"on_timeout": "stop"}, "ready": {"settle": 0, "workloads": false}})
        );
        for flag in DRAIN {
            let flag = format!("--{}", flag.replace('_', "-"));
            let takes_value =
                ["timeout", "attempts", "selector"].iter().any(|end| flag.ends_with(end));
            let value = if flag.contains("on-timeout") { "stop" } else { "3" };
            let mut flags = vec!["commctl", "--no-drain", &flag];
            flags.extend(takes_value.then_some(value));
            assert!(Flags::try_parse_from(flags).is_err(), "{flag}");
        }
    }
}
