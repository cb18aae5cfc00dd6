//! The command line.

use std::fmt;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measures commissaire against its raw parts, in turns, and prints one table.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "bench",
    version,
    after_help = "Exit status: 0 measured, also when a bound is missed; 1 with --check when one is; \
                  2 something could not be measured: the others are printed all the same.\n\n\
                  Needs a calm machine, root for hosts with a systemd of their own, and RabbitMQ and etcd for \
                  distributed and etcd."
)]
pub struct Args {
    /// What to measure [default: all of it]
    #[arg(value_enum)]
    what: Vec<What>,

    /// Write the figures into this file too, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Exit with 1 when a bound is missed
    #[arg(long)]
    pub check: bool,

    /// The requests that `get`, `auth` and `tls` send to each server; `distributed` sends a tenth of them
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = at_least_one)]
    pub requests: usize,

    /// How often `restart` restarts the hosts, either way
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = at_least_one)]
    pub rounds: usize,

    /// The hosts that `registrations` registers at once
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = at_least_one)]
    pub hosts: usize,

    /// How long `etcd` watches, in seconds; less than an hour, when history is compacted
    #[arg(long, value_name = "N", default_value_t = 900, value_parser = clap::value_parser!(u64).range(30..=3000))]
    pub seconds: u64,

    /// The program to measure [default: the `commissaire` beside this program]
    #[arg(long, value_name = "PATH")]
    pub commissaire: Option<PathBuf>,

    /// Be the bare server, which answers the content of this file
    #[arg(long, value_name = "FILE", hide = true)]
    pub serve_bare: Option<PathBuf>,

    /// Be the bare service, which answers whatever comes into this queue with itself; the URI of the broker
    /// is the first line of the standard input
    #[arg(long, value_name = "QUEUE", hide = true)]
    pub serve_echo: Option<String>,

    /// The port of the bare server
    #[arg(long, value_name = "PORT", hide = true, default_value_t = 0)]
    pub port: u16,
}

/// Something to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// `GET /api/v0/host/X`, against a bare axum handler
    Get,
    /// The same with HTTP Basic, against a path that nobody authenticates for
    Auth,
    /// The same with a token of OpenID Connect, and with 10,000 bindings, against a password without any
    Access,
    /// The same over TLS, against the same in clear
    Tls,
    /// From exec until the first 200
    Start,
    /// Restarting a cluster of ten hosts, one at a time, against bare reboots and playbooks
    Restart,
    /// The six daemons, against bare reads of etcd and requests over AMQP
    Distributed,
    /// Checks of the watcher, against bare `ssh HOST true`
    Watch,
    /// What a step of an operation costs in clusters of 10 to 10,000 hosts
    Steps,
    /// From the last look at 100 members, one of them silent, until a command runs on a host
    Window,
    /// What a look at 1,000 nodes of a Kubernetes costs
    Nodes,
    /// Log-ins beside 300 clients that guess passwords, and beside 5,000 silent connections
    Strangers,
    /// How much an etcd grows by the checks of 2,500 hosts
    Etcd,
    /// Many hosts registered at once, against the Ansible work in it alone
    Registrations,
}

impl Args {
    /// What to measure, each once.
    pub fn what(&self) -> Vec<What> {
        let asked = |what: &What| self.what.is_empty() || self.what.contains(what);
        What::value_variants().iter().copied().filter(asked).collect()
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get",
            Self::Auth => "auth",
            Self::Access => "access",
            Self::Tls => "tls",
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Distributed => "distributed",
            Self::Watch => "watch",
            Self::Steps => "steps",
            Self::Window => "window",
            Self::Nodes => "nodes",
            Self::Strangers => "strangers",
            Self::Etcd => "etcd",
            Self::Registrations => "registrations",
        })
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_usage_of_the_script_lists_all_that_is_measured() {
        let script = include_str!("../../../tools/bench");
        for what in What::value_variants() {
            assert!(script.contains(&format!("[{what}]")), "not in the usage: {what}");
            assert!(script.contains(&format!("\n#   {what} ")), "not described: {what}");
        }
    }

    #[test]
    fn all_is_measured_unless_some_is_chosen() {
        let what = |words: &[&str]| Args::parse_from([&["bench"], words].concat()).what();
        assert_eq!(what(&[]), What::value_variants());
        assert_eq!(what(&["restart", "get", "get"]), [What::Get, What::Restart]);
    }
}
