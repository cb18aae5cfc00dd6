//! `commctl operation`: operations by their ids, running and past.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Context;
use crate::cli::{One, name};
use crate::client::events::Said;
use crate::error::Error;
use crate::live::{Tail, sentence, text};
use crate::output::{self, Format, printable};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the operations of a cluster, the newest first
    #[command(after_help = "Example:\n  commctl -o table operation list web")]
    List(One),
    /// Show an operation, host by host
    #[command(
        after_help = "Example:\n  commctl operation get 0b8ad2a0-6d5c-4d35-9f0c-3c1c0fd1e5d5"
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
}

/// An operation.
#[derive(Debug, Args)]
pub(crate) struct Id {
    /// Its id, as `operation list` shows it
    #[arg(value_parser = name)]
    id: String,
}

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Show what happens, too, until it has ended
    #[arg(short, long)]
    follow: bool,
    /// Only events after the one with this number
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    after: u32,
    #[command(flatten)]
    operation: Id,
}

impl Command {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), Error> {
        match self {
            Self::List(One { name }) => {
                context.show(&["cluster", name, "operations"], "operation").await
            }
            Self::Get(Id { id }) => context.show(&["operation", id], "operation").await,
            Self::Events(events) => events.run(context).await,
            Self::Pause(Id { id }) => tell(id, "pause", context).await,
            Self::Resume(Id { id }) => tell(id, "resume", context).await,
            Self::Abort(Id { id }) => tell(id, "abort", context).await,
        }
    }
}

async fn tell(id: &str, verb: &str, context: &Context) -> Result<(), Error> {
    let summary = context.client()?.post(&["operation", id, verb], &json!({})).await?;
    context.print(&summary, "operation")
}

impl Events {
    async fn run(&self, context: &Context) -> Result<(), Error> {
        let (client, id) = (context.client()?, &self.operation.id);
        if self.follow {
            let tail = Tail::new(&client, id, self.after.into());
            let print = |event: &Value| print(context.format, event);
            return tail.follow(print, |note| eprintln!("{note}")).await;
        }
        let mut stream = client.events(id, self.after.into(), false).await?;
        let mut events = Vec::new();
        while let Some(Said::Event(_, event)) = stream.next().await? {
            events.push(event);
        }
        context.print(&Value::Array(events), "event")
    }
}

/// An event of many: what is printed is in the end the same as if they had been printed together, but
/// for JSON, of which each has a line.
fn print(format: Option<Format>, event: &Value) -> Result<(), Error> {
    match format {
        None | Some(Format::Yaml) => output::print(format, &json!([event]), "event"),
        Some(Format::Json) => output::print_line(&event.to_string()),
        Some(Format::Table) => {
            let [time, host] = ["time", "host"].map(|member| printable(text(event, member)));
            let host = if host.is_empty() { "-".to_owned() } else { host };
            output::print_line(&format!("{time}  {host}  {}", printable(&sentence(event))))
        }
    }
}
