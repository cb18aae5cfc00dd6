//! The flags of operations that roll over the hosts of a cluster.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::node_options::NodeOptions;
use crate::args::{count, duration, name};

/// What all of them take.
#[derive(Debug, Args)]
#[command(next_help_heading = super::ROLL)]
pub(crate) struct Options {
    /// So many hosts, or that percentage of all, may be unavailable at a time, those included that are
    /// so for other reasons [default: 1]
    #[arg(long, value_name = "N|P%", value_parser = limit, allow_negative_numbers = true)]
    max_unavailable: Option<Value>,
    /// So many hosts may fail without stopping the roll [default: 0]
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    max_failures: Option<u32>,
    /// Leave hosts out that cannot be reached at the start; they count as unavailable all the same
    #[arg(long)]
    skip_unreachable: bool,
    /// Work on the machine that the server runs on, too: as the last one
    #[arg(long)]
    include_self: bool,
    /// Pause so long after a host is done before another is started
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    soak: Option<u64>,
    /// How long a host must stay up, with one boot id and its system started, before it counts as done;
    /// 0s: it is done once it is back and healthy [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    settle: Option<u64>,
    /// Fail a host on which systemd units have failed that had not failed before
    #[arg(long)]
    strict_units: bool,
    /// Health check, by its name, that has to succeed on a host that is back
    #[arg(long, value_name = "NAME", value_parser = name, conflicts_with = "health_command")]
    health: Option<String>,
    /// Command that has to succeed on a host that is back, run there by a shell; needs the permission
    /// run-commands, which administrators have
    #[arg(long, value_name = "COMMAND")]
    health_command: Option<String>,
    /// URL that has to answer 2xx when a host is back; {address} stands for the host's address
    #[arg(long, value_name = "URL")]
    health_url: Option<String>,
    /// How long a host may take from being back until it is healthy [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    health_timeout: Option<u64>,
    /// Whose turn comes first: by address, or that to which this was done the longest ago
    #[arg(long, value_enum)]
    order: Option<Order>,
    /// Whether the operation goes on by itself after an alarm of more than ten minutes, or is paused
    /// until you resume it [default: manual]
    #[arg(long, value_enum)]
    resume_after_alarm: Option<ResumeAfterAlarm>,
    /// Only this host; may be given several times
    #[arg(long = "host", value_name = "ADDRESS", value_parser = name)]
    hosts: Vec<String>,
    #[command(flatten)]
    nodes: NodeOptions,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Order {
    Name,
    LeastRecent,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ResumeAfterAlarm {
    Manual,
    Auto,
}

impl Options {
    /// What is asked for; nothing where no flag is given.
    pub(super) fn body(&self) -> Map<String, Value> {
        let order = self.order.map(|order| match order {
            Order::Name => "name",
            Order::LeastRecent => "least_recent",
        });
        let resume_after_alarm = self.resume_after_alarm.map(|resume| match resume {
            ResumeAfterAlarm::Manual => "manual",
            ResumeAfterAlarm::Auto => "auto",
        });
        let hosts = (!self.hosts.is_empty()).then_some(&self.hosts);
        let members = [
            ("max_unavailable", json!(self.max_unavailable)),
            ("max_failures", json!(self.max_failures)),
            ("skip_unreachable", json!(self.skip_unreachable.then_some(true))),
            ("include_self", json!(self.include_self.then_some(true))),
            ("soak", json!(self.soak)),
            ("settle", json!(self.settle)),
            ("strict_units", json!(self.strict_units.then_some(true))),
            ("health", json!(self.health)),
            ("health_command", json!(self.health_command)),
            ("health_url", json!(self.health_url)),
            ("health_timeout", json!(self.health_timeout)),
            ("order", json!(order)),
            ("resume_after_alarm", json!(resume_after_alarm)),
            ("hosts", json!(hosts)),
        ];
        let given = members.into_iter().filter(|(_, value)| !value.is_null());
        given.map(|(name, value)| (name.to_owned(), value)).chain(self.nodes.body()).collect()
    }
}

/// `3` or `30%`.
fn limit(text: &str) -> Result<Value, String> {
    let wrong = || format!("{text:?} is neither a count of 1 or more nor 1% to 100%");
    match text.strip_suffix('%').map(str::parse) {
        Some(Ok(percent @ 1..=100_u32)) => Ok(json!(format!("{percent}%"))),
        Some(_) => Err(wrong()),
        None => match text.parse() {
            Ok(count @ 1..=u32::MAX) => Ok(json!(count)),
            _ => Err(wrong()),
        },
    }
}

/// Whole seconds: a part of one counts as one.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    duration(text).map(|given| {
        let part = given.subsec_nanos() > 0;
        given.saturating_add(Duration::from_secs(part.into())).as_secs()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        assert_eq!(limit("3"), Ok(json!(3)));
        assert_eq!(limit("30%"), Ok(json!("30%")));
        for wrong in ["", "0", "-1", "0%", "101%", "%", "a", "1.5"] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn seconds_are_whole() {
        assert_eq!((seconds("90"), seconds("2m"), seconds("1500ms")), (Ok(90), Ok(120), Ok(2)));
    }
}
