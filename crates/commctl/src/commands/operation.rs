//! `commctl cluster restart`, `upgrade` and `deploy`: operations that roll over the hosts of a cluster.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Context;
use crate::cli::{One, duration, name};
use crate::client::Client;
use crate::error::Error;
use crate::progress::{Progress, Step};
use crate::wait::Wait;

/// What tells the operations apart.
#[derive(Debug)]
pub(crate) struct Kind {
    /// In paths, commands and messages.
    name: &'static str,
    /// What happens to a host under way.
    doing: &'static str,
    /// What happened to a finished one; also the record's member that lists these.
    done: &'static str,
}

pub(crate) const RESTART: Kind = Kind { name: "restart", doing: "restarting", done: "restarted" };

pub(crate) const UPGRADE: Kind = Kind { name: "upgrade", doing: "upgrading", done: "upgraded" };
pub(crate) const DEPLOY: Kind = Kind { name: "deploy", doing: "deploying", done: "deployed" };

#[derive(Debug, Subcommand)]
pub(crate) enum Command<S: Operation> {
    /// Start it, and with --wait see it through
    Start(S),
    /// Show the newest one: which hosts are done, which under way, what failed
    Status(One),
}

/// How one of them is started.
pub(crate) trait Operation: Args {
    fn start(&self) -> &Start;

    /// What is asked for.
    fn body(&self) -> Value {
        json!({})
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  commctl cluster restart start web
  commctl cluster restart start --wait --timeout 2h web

With --wait the exit status is that of the operation. Ctrl-C stops the waiting, not the operation.")]
pub(crate) struct Restart {
    #[command(flatten)]
    start: Start,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  commctl cluster upgrade start --wait web

With --wait the exit status is that of the operation. Ctrl-C stops the waiting, not the operation.")]
pub(crate) struct Upgrade {
    #[command(flatten)]
    start: Start,
    /// Accepted as the original does, and ignored: hosts are brought up to date
    #[arg(hide = true)]
    _version: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  commctl cluster deploy start --wait web 7.2.6

With --wait the exit status is that of the operation. Ctrl-C stops the waiting, not the operation.")]
pub(crate) struct Deploy {
    #[command(flatten)]
    start: Start,
    /// Version of the tree that the hosts are to boot
    version: String,
}

impl Operation for Restart {
    fn start(&self) -> &Start {
        &self.start
    }
}

impl Operation for Upgrade {
    fn start(&self) -> &Start {
        &self.start
    }
}

impl Operation for Deploy {
    fn start(&self) -> &Start {
        &self.start
    }

    fn body(&self) -> Value {
        json!({"version": self.version})
    }
}

#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Wait until it has ended, and show its progress
    #[arg(short, long)]
    wait: bool,
    /// Stop waiting after this long
    #[arg(long, value_name = "DURATION", requires = "wait", default_value = "24h", value_parser = duration)]
    timeout: Duration,
    /// Name of the cluster
    #[arg(value_parser = name)]
    name: String,
}

impl<S: Operation> Command<S> {
    pub(crate) async fn run(&self, kind: &Kind, context: &Context) -> Result<(), Error> {
        match self {
            Self::Start(operation) => operation.start().run(kind, &operation.body(), context).await,
            Self::Status(One { name }) => {
                context.show(&["cluster", name, kind.name], kind.name).await
            }
        }
    }
}

impl Start {
    async fn run(&self, kind: &Kind, body: &Value, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let path = ["cluster", self.name.as_str(), kind.name];
        let status = format!("commctl cluster {} status {}", kind.name, self.name);
        let record = client.put(&path, body).await.map_err(|error| {
            if error.outcome_unknown() {
                error.advise(format!("it may have started nevertheless; look with: {status}"))
            } else {
                error
            }
        })?;
        if !self.wait {
            return context.print(&record, kind.name);
        }
        let record = self.see_through(kind, &client, &path, record, status).await?;
        context.print(&record, kind.name)?;
        outcome(kind, &self.name, &record)
    }

    /// Shows the progress until the record says that the operation has ended.
    async fn see_through(
        &self,
        kind: &Kind,
        client: &Client,
        path: &[&str],
        started: Value,
        status: String,
    ) -> Result<Value, Error> {
        let what = format!("the {} of {}", kind.name, self.name);
        let mut wait = Wait::new(what, status, self.timeout)?;
        let progress = Progress::default();
        if started["status"] == "in_process"
            && let Ok(cluster) = client.poll(&path[..2]).await
            && let Some(hosts) = cluster["hostset"].as_array()
        {
            progress.expect(hosts.len());
        }
        let look = |record: &Value| {
            if record["started_at"] != started["started_at"] {
                return Err(Error::Failed(format!(
                    "another {} of {} has started since; how the awaited one ended is not known",
                    kind.name, self.name
                )));
            }
            for step in steps(kind, record) {
                progress.show(step);
            }
            Ok(record["status"] != "in_process")
        };
        if look(&started)? {
            return Ok(started);
        }
        wait.until(client, path, &progress, look).await
    }
}

/// What the record says about each host.
fn steps(kind: &Kind, record: &Value) -> Vec<Step> {
    let addresses = |member: &str| {
        let list = record[member].as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(|address| address.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let failures = failures(record);
    let done = addresses(kind.done).into_iter().map(|host| Step::last(host, kind.done.to_owned()));
    let under_way = addresses("in_process")
        .into_iter()
        .filter(|host| failures.iter().all(|(failed, _)| failed != host))
        .map(|host| Step::under_way(host, kind.doing.to_owned()));
    let failed =
        failures.iter().map(|(host, reason)| Step::last(host.clone(), format!("failed: {reason}")));
    done.chain(under_way).chain(failed).collect()
}

/// Which hosts failed, and why.
fn failures(record: &Value) -> Vec<(String, String)> {
    let list = record["failures"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .map(|failure| {
            let text = |member: &str| failure[member].as_str().unwrap_or_default();
            let reason = [text("step"), text("reason")].map(str::trim);
            let reason: Vec<&str> = reason.into_iter().filter(|part| !part.is_empty()).collect();
            (text("host").to_owned(), reason.join(": "))
        })
        .collect()
}

fn outcome(kind: &Kind, cluster: &str, record: &Value) -> Result<(), Error> {
    match record["status"].as_str() {
        Some("finished") => Ok(()),
        status => Err(Error::Failed(format!(
            "the {} of {cluster} {}",
            kind.name,
            status.map_or_else(|| "has no status".to_owned(), crate::output::printable)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_becomes_steps() {
        let record = json!({
            "in_process": ["10.0.0.3", "10.0.0.4"],
            "restarted": ["10.0.0.1"],
            "failures": [{"host": "10.0.0.3", "step": "verify", "reason": "no answer"}],
        });
        assert_eq!(
            steps(&RESTART, &record),
            [
                Step::last("10.0.0.1".to_owned(), "restarted".to_owned()),
                Step::under_way("10.0.0.4".to_owned(), "restarting".to_owned()),
                Step::last("10.0.0.3".to_owned(), "failed: verify: no answer".to_owned()),
            ]
        );
        assert_eq!(steps(&RESTART, &json!({"status": "in_process"})), []);
    }

    #[test]
    fn only_finished_is_success() {
        assert!(outcome(&RESTART, "c1", &json!({"status": "finished"})).is_ok());
        let error = outcome(&RESTART, "c1", &json!({"status": "failed"})).unwrap_err();
        assert_eq!(error.report(), "the restart of c1 failed");
        assert!(outcome(&RESTART, "c1", &json!({})).is_err());
    }
}
