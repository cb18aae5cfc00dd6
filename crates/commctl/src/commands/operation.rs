//! `commctl cluster restart`, `upgrade` and `deploy`: operations that roll over the hosts of a cluster.

mod node_options;
mod options;
mod running;

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::args::{One, duration, name};
use crate::client::Client;
use crate::context::Context;
use crate::error::Error;
use crate::live;
use crate::output::views;
use crate::progress::{Progress, Step};
use crate::text::printable;
use crate::wait::Wait;
pub(crate) use node_options::NodeOptions;
use options::Options;
use running::{Shown, Status, steer};

/// The heading of the options in the help.
const ROLL: &str = "Options of the roll";

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
    Status(Status),
    /// Let the one in process start no further host until it is resumed
    Pause(One),
    /// Let the one in process go on
    Resume(One),
    /// End the one in process: hosts under way end their turns, no further one is started
    Abort(One),
}

/// How one of them is started.
pub(crate) trait Operation: Args {
    fn start(&self) -> &Start;

    /// What is asked for beside the options that all of them have.
    fn body(&self) -> Value {
        json!({})
    }

    /// The argument that may have been swapped with the name of the cluster.
    fn swapped(&self) -> Option<&str> {
        None
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  commctl cluster restart start web
  commctl cluster restart start --wait --timeout 2h web
  commctl cluster restart start --max-unavailable 30% --if-needed --dry-run web

With --wait the exit status is that of the operation. Ctrl-C stops the waiting, not the operation.")]
pub(crate) struct Restart {
    #[command(flatten)]
    start: Start,
    /// Restart only hosts that say that they need it
    #[arg(long, help_heading = ROLL)]
    if_needed: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  commctl cluster upgrade start --wait web
  commctl cluster upgrade start --soak 5m --reboot if-needed web

With --wait the exit status is that of the operation. Ctrl-C stops the waiting, not the operation.")]
pub(crate) struct Upgrade {
    #[command(flatten)]
    start: Start,
    /// Whether it ends with a reboot [default: if-needed on OSTree hosts, never on others]
    #[arg(long, value_enum, help_heading = ROLL)]
    reboot: Option<Reboot>,
    /// On Kubernetes nodes, also upgrade the packages of Kubernetes and the container runtime
    #[arg(long, help_heading = ROLL)]
    with_kubernetes_packages: bool,
    /// Accepted as the original does, and ignored: hosts are brought up to date
    #[arg(hide = true)]
    _version: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Reboot {
    Never,
    IfNeeded,
    Always,
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

    fn body(&self) -> Value {
        if self.if_needed { json!({"if_needed": true}) } else { json!({}) }
    }
}

impl Operation for Upgrade {
    fn start(&self) -> &Start {
        &self.start
    }

    fn body(&self) -> Value {
        let mut body = match self.reboot {
            None => json!({}),
            Some(Reboot::Never) => json!({"reboot": "never"}),
            Some(Reboot::IfNeeded) => json!({"reboot": "if-needed"}),
            Some(Reboot::Always) => json!({"reboot": "always"}),
        };
        if self.with_kubernetes_packages {
            body["packages"] = json!({"kubernetes": true});
        }
        body
    }
}

impl Operation for Deploy {
    fn start(&self) -> &Start {
        &self.start
    }

    fn body(&self) -> Value {
        json!({"version": self.version})
    }

    fn swapped(&self) -> Option<&str> {
        Some(&self.version)
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
    /// Start nothing, and show what would happen; the exit status says whether it would start
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    #[command(flatten)]
    options: Options,
    /// Name of the cluster
    #[arg(value_parser = name)]
    name: String,
}

impl<S: Operation> Command<S> {
    pub(crate) async fn run(&self, kind: &Kind, context: &Context) -> Result<(), Error> {
        match self {
            Self::Start(operation) => {
                let (start, body) = (operation.start(), operation.body());
                match start.run(kind, body, context).await {
                    Err(error @ Error::Refused { status: 404, .. }) => {
                        Err(start.unless_swapped(kind, operation.swapped(), context, error).await)
                    }
                    ended => ended,
                }
            }
            Self::Status(status) => status.run(kind, context).await,
            Self::Pause(One { name }) => steer(kind, name, "pause", context).await,
            Self::Resume(One { name }) => steer(kind, name, "resume", context).await,
            Self::Abort(One { name }) => steer(kind, name, "abort", context).await,
        }
    }
}

impl Start {
    /// The error about a cluster that does not exist; with advice if the other argument is the name of one.
    async fn unless_swapped(
        &self,
        kind: &Kind,
        other: Option<&str>,
        context: &Context,
        error: Error,
    ) -> Error {
        let Some(other) = other else { return error };
        let found = async { context.client()?.find(&["cluster", other]).await }.await;
        if !matches!(found, Ok(Some(_))) {
            return error;
        }
        let (kind, name) = (kind.name, &self.name);
        error.advise(format!(
            "there is a cluster {other}, and the name of the cluster comes first: commctl cluster {kind} start \
             {other} {name}"
        ))
    }

    async fn run(&self, kind: &Kind, mut body: Value, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let path = ["cluster", self.name.as_str(), kind.name];
        if let Some(members) = body.as_object_mut() {
            members.extend(self.options.body());
            if self.dry_run {
                members.insert("dry_run".to_owned(), true.into());
                return foresee(kind, &self.name, context, &client.put(&path, &body).await?);
            }
        }
        let status = format!("commctl cluster {} status {}", kind.name, self.name);
        let (record, id) = client.start(&path, &body).await.map_err(|error| {
            if error.outcome_unknown() {
                error.advise(format!("it may have started nevertheless; look with: {status}"))
            } else {
                error
            }
        })?;
        if !self.wait {
            return context.print(&record, &views::ROLLOUT);
        }
        if let Some(id) = id {
            let shown = Shown { kind, cluster: &self.name, id: &id, timeout: self.timeout };
            return shown.until_it_ends(&client, &record["started_at"], context).await;
        }
        // A server that is older than its operations' ids.
        let record = self.see_through(kind, &client, &path, record, status).await?;
        context.print(&record, &views::ROLLOUT)?;
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

/// Shows what would happen; the outcome says whether anything would.
fn foresee(kind: &Kind, cluster: &str, context: &Context, plan: &Value) -> Result<(), Error> {
    context.print(plan, &views::PLAN)?;
    if plan["would_start"] == true {
        return Ok(());
    }
    let why = printable(live::text(plan, "refused"));
    Err(Error::Failed(format!("the {} of {cluster} would not start: {why}", kind.name)))
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

/// How it ended, by the documented record or by what is said in its place.
fn outcome(kind: &Kind, cluster: &str, record: &Value) -> Result<(), Error> {
    let status = match record["status"].as_str() {
        Some("finished") => return Ok(()),
        Some(status) => printable(status),
        None => "has no status".to_owned(),
    };
    // An operation that was aborted has the status failed, too.
    let sentence = live::text(&record["explanation"], "sentence");
    if !sentence.is_empty() {
        return Err(Error::Failed(printable(sentence)));
    }
    let ended = format!("the {} of {cluster} {status}", kind.name);
    Err(Error::Failed(match live::text(record, "reason") {
        "" => ended,
        reason => format!("{ended}: {}", printable(reason)),
    }))
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
        let sentence =
            "the restart 7f of the cluster c1 was aborted by an operator: aborted by ann";
        let aborted = json!({"status": "failed", "explanation": {"sentence": sentence}});
        assert_eq!(outcome(&RESTART, "c1", &aborted).unwrap_err().report(), sentence);
    }
}
