//! `commctl operation`: operations by their ids, running and past.

mod id;

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::id::Id;
use crate::args::{count, duration, name};
use crate::client::After;
use crate::client::events::Said;
use crate::context::Context;
use crate::error::Error;
use crate::lists;
use crate::live::{self, Tail, sentence, text};
use crate::output::{self, Filters, Format, views};
use crate::text::printable;
use crate::wait::Wait;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the operations of a cluster, or of all clusters, the newest first
    #[command(after_help = "\
Examples:
  commctl operation list web
  commctl operation list --filter state=running")]
    List(List),
    /// Show an operation, host by host
    #[command(
        after_help = "Examples:\n  commctl operation get @last\n  commctl operation get 0b8a"
    )]
    Get(Id),
    /// Show what happened in an operation, step by step
    #[command(after_help = "\
Examples:
  commctl operation events 0b8ad2a0-6d5c-4d35-9f0c-3c1c0fd1e5d5
  commctl -o json operation events --follow 0b8ad2a0-6d5c-4d35-9f0c-3c1c0fd1e5d5")]
    Events(Events),
    /// Let an operation start no further host until it is resumed
    Pause(Id),
    /// Let an operation go on
    Resume(Id),
    /// End an operation: hosts under way end their turns, no further one is started
    Abort(Id),
    /// Start another operation of the same kind over the hosts that one has left undone
    #[command(after_help = "\
Examples:
  commctl operation continue 0b8ad2a0-6d5c-4d35-9f0c-3c1c0fd1e5d5
  commctl operation continue --retry-failed --wait 0b8ad2a0-6d5c-4d35-9f0c-3c1c0fd1e5d5

The operation must have ended without finishing. The new one has the same options. Hosts that are done or have
left the cluster are left out; those that failed, too, unless --retry-failed is given. With --wait the exit
status is that of the new operation.")]
    Continue(Continue),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    filters: Filters,
    /// Only the operations of this cluster
    #[arg(value_parser = name)]
    cluster: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Continue {
    /// Work on the hosts that failed, too
    #[arg(long)]
    retry_failed: bool,
    /// Start nothing, and show what would happen
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Wait until the new operation has ended, and show its progress
    #[arg(short, long)]
    wait: bool,
    /// Stop waiting after this long
    #[arg(long, value_name = "DURATION", requires = "wait", default_value = "24h", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    operation: Id,
}

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Show what happens, too, until it has ended
    #[arg(short, long)]
    follow: bool,
    /// Only events after the one with this number
    #[arg(long, value_name = "N", default_value = "0", value_parser = count, hide_default_value = true)]
    after: u32,
    #[command(flatten)]
    operation: Id,
}

impl Command {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), Error> {
        match self {
            Self::List(list) => list.run(context).await,
            Self::Get(id) => {
                let client = context.client()?;
                let id = id.resolve(&client).await?;
                context.print(&client.get(&["operation", &id]).await?, &views::OPERATION)
            }
            Self::Events(events) => events.run(context).await,
            Self::Pause(id) => tell(id, "pause", context).await,
            Self::Resume(id) => tell(id, "resume", context).await,
            Self::Abort(id) => tell(id, "abort", context).await,
            Self::Continue(continuation) => continuation.run(context).await,
        }
    }
}

async fn tell(id: &Id, verb: &str, context: &Context) -> Result<(), Error> {
    let client = context.client()?;
    let id = id.resolve(&client).await?;
    let summary = client.post(&["operation", &id, verb], &json!({})).await?;
    context.print(&summary, &views::OPERATION)
}

impl List {
    async fn run(&self, context: &Context) -> Result<(), Error> {
        if let Some(cluster) = &self.cluster {
            let path = ["cluster", cluster, "operations"];
            return lists::records(context, &path, &views::OPERATION, &self.filters).await;
        }
        self.filters.check(&views::OPERATION)?;
        let operations = lists::operations(&context.client()?).await?;
        let rows = operations.into_iter().map(|operation| (operation.clone(), operation));
        lists::print(context, &views::OPERATION, &self.filters, rows)
    }
}

impl Continue {
    async fn run(&self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let id = self.operation.resolve(&client).await?;
        let path = ["operation", &id, "continue"];
        let mut body = json!({"retry_failed": self.retry_failed});
        if self.dry_run {
            body["dry_run"] = true.into();
            return context.print(&client.post(&path, &body).await?, &views::PLAN);
        }
        let started = client.post(&path, &body).await.map_err(|error| {
            if error.outcome_unknown() {
                let look = format!("commctl operation get {id}");
                error.advise(format!("it may be continued nevertheless; look with: {look}"))
            } else {
                error
            }
        })?;
        if !self.wait {
            return context.print(&started, &views::OPERATION);
        }
        let (kind, id) = (text(&started, "kind"), text(&started, "id"));
        let come_back = format!("commctl operation events --follow {id}");
        let mut wait = Wait::new(format!("the {kind} {id}"), come_back, self.timeout)?;
        let operation = live::watch(&client, id, "done", &mut wait).await?;
        context.print(&operation, &views::OPERATION)?;
        match text(&operation, "status") {
            "finished" => Ok(()),
            status => {
                let ended = match text(&operation["explanation"], "sentence") {
                    "" => format!("the {kind} {id} {status}"),
                    sentence => sentence.to_owned(),
                };
                Err(Error::Failed(printable(&ended)))
            }
        }
    }
}

impl Events {
    async fn run(&self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let id = &self.operation.resolve(&client).await?;
        if self.follow {
            let tail = Tail::new(&client, id, self.after.into());
            let print = |event: &Value| print(context, event);
            return tail.follow(print, |note| eprintln!("{note}")).await;
        }
        let mut stream = client.events(id, After::Number(self.after.into()), false).await?;
        let mut events = Vec::new();
        while let Some(Said::Event(_, event)) = stream.next().await? {
            events.push(event);
        }
        context.print(&Value::Array(events), &views::EVENT)
    }
}

/// An event of many: what is printed is in the end the same as if they had been printed together, but
/// for JSON, of which each has a line.
fn print(context: &Context, event: &Value) -> Result<(), Error> {
    match context.format()? {
        Format::Yaml | Format::Name => context.print(&json!([event]), &views::EVENT),
        Format::Json => output::print_line(&event.to_string()),
        Format::Table | Format::Wide => {
            let host = printable(text(event, "host"));
            let host = if host.is_empty() { "-" } else { &host };
            let time = output::utc(text(event, "time"));
            let line = format!("{time}  {host}  {}", printable(&sentence(event)));
            output::print_fitted(&line, context.format()?, &context.screen())
        }
    }
}
