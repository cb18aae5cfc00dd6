//! `commctl health-check`: commands that operators choose by their names.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::args::{One, Several, name};
use crate::context::Context;
use crate::error::Error;
use crate::lists;
use crate::output::{Filters, views};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a health check, or replace it; operations show its command, so it must hold no secret
    #[command(after_help = "\
Examples:
  commctl health-check create web 'curl --fail --silent http://127.0.0.1/health'
  commctl cluster restart start --health web shop")]
    Create(Create),
    /// Show a health check
    #[command(after_help = "Example:\n  commctl health-check get web")]
    Get(One),
    /// List the health checks
    #[command(after_help = "Example:\n  commctl health-check list")]
    List(Filters),
    /// Delete health checks; operations in process keep their commands
    #[command(after_help = "Example:\n  commctl health-check delete web")]
    Delete(Several),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Name of the health check
    #[arg(value_parser = name)]
    name: String,
    /// Command that has to succeed on a host that is back; run there by a shell
    command: String,
}

impl Command {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), Error> {
        match self {
            Self::Create(Create { name, command }) => {
                let body = json!({"command": command});
                let record = context.client()?.put(&["healthcheck", name], &body).await?;
                context.print(&record, &views::HEALTH_CHECK)
            }
            Self::Get(One { name }) => {
                context.show(&["healthcheck", name], &views::HEALTH_CHECK).await
            }
            Self::List(filters) => {
                lists::objects(
                    context,
                    ["healthchecks", "healthcheck"],
                    &views::HEALTH_CHECK,
                    filters,
                )
                .await
            }
            Self::Delete(Several { names }) => context.delete("healthcheck", names).await,
        }
    }
}
