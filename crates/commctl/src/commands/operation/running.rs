//! Operations that are in process: followed until they end, and told what to do.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::{DEPLOY, Kind, RESTART, UPGRADE, outcome};
use crate::args::{duration, name};
use crate::client::Client;
use crate::context::Context;
use crate::error::Error;
use crate::live;
use crate::output::views;
use crate::wait::Wait;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  commctl cluster restart status web
  commctl cluster restart status --follow web

With --follow the exit status is that of the operation. Ctrl-C stops the following, not the operation.")]
pub(crate) struct Status {
    /// Show its progress until it has ended
    #[arg(short, long)]
    follow: bool,
    /// Stop following after this long
    #[arg(long, value_name = "DURATION", requires = "follow", default_value = "24h", value_parser = duration)]
    timeout: Duration,
    /// Name of the cluster
    #[arg(value_parser = name)]
    name: String,
}

impl Status {
    pub(super) async fn run(&self, kind: &Kind, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let path = ["cluster", self.name.as_str(), kind.name];
        let record = client.get(&path).await?;
        if !self.follow {
            return context.print(&record, &views::ROLLOUT);
        }
        let operations = client.get(&["cluster", &self.name, "operations"]).await?;
        let all = operations.as_array().map(Vec::as_slice).unwrap_or_default();
        // Two of a kind do not start at the same moment.
        let newest = all.iter().find(|operation| {
            operation["kind"] == kind.name && operation["started_at"] == record["started_at"]
        });
        let Some(id) = newest.and_then(|newest| newest["id"].as_str()) else {
            context.print(&record, &views::ROLLOUT)?;
            return outcome(kind, &self.name, &record);
        };
        let shown = Shown { kind, cluster: &self.name, id, timeout: self.timeout };
        shown.until_it_ends(&client, &record["started_at"], context).await
    }
}

/// An operation whose progress is shown.
pub(super) struct Shown<'a> {
    pub(super) kind: &'a Kind,
    pub(super) cluster: &'a str,
    pub(super) id: &'a str,
    pub(super) timeout: Duration,
}

impl Shown<'_> {
    /// Shows the progress, then the documented record; the outcome is the operation's.
    pub(super) async fn until_it_ends(
        &self,
        client: &Client,
        started_at: &Value,
        context: &Context,
    ) -> Result<(), Error> {
        let Self { kind, cluster, id, timeout } = *self;
        let what = format!("the {} of {cluster}", kind.name);
        let come_back = format!("commctl cluster {} status --follow {cluster}", kind.name);
        let mut wait = Wait::new(what, come_back, timeout)?;
        let operation = live::watch(client, id, kind.done, &mut wait).await?;
        let record = client.get(&["cluster", cluster, kind.name]).await?;
        // Another may have started since: then this one is in the history only.
        if record["started_at"] == *started_at {
            context.print(&record, &views::ROLLOUT)?;
        } else {
            context.print(&operation, &views::OPERATION)?;
        }
        outcome(kind, cluster, &operation)
    }
}

/// Tells the operation of a cluster that is in process, if it is of this kind.
pub(super) async fn steer(
    kind: &Kind,
    cluster: &str,
    verb: &str,
    context: &Context,
) -> Result<(), Error> {
    let client = context.client()?;
    let operations = client.get(&["cluster", cluster, "operations"]).await?;
    let all = operations.as_array().map(Vec::as_slice).unwrap_or_default();
    let running = all.iter().find(|operation| operation["status"] == "in_process");
    match running.map(|running| (live::text(running, "kind"), live::text(running, "id"))) {
        Some((running, id)) if running == kind.name => {
            let summary = client.post(&["operation", id, verb], &json!({})).await?;
            context.print(&summary, &views::OPERATION)
        }
        Some((running, _))
            if [RESTART, UPGRADE, DEPLOY].iter().any(|kind| kind.name == running) =>
        {
            Err(Error::Failed(format!(
                "what is in process on {cluster} is no {}; you may mean: \
                 commctl cluster {running} {verb} {cluster}",
                kind.name
            )))
        }
        _ => Err(Error::Failed(format!("no {} of {cluster} is in process", kind.name))),
    }
}
