//! `commctl freeze`

use clap::{Args, Subcommand};
use serde_json::json;

use crate::context::Context;
use crate::error::Error;
use crate::output::views;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Let no operation start a further host; hosts under way end their turns
    #[command(
        after_help = "Example:\n  commctl freeze on --reason 'network maintenance until 14:00'"
    )]
    On(On),
    /// Let operations go on
    #[command(after_help = "Example:\n  commctl freeze off")]
    Off,
    /// Show whether there is a freeze, by whom, since when and why
    #[command(after_help = "Example:\n  commctl freeze status")]
    Status,
}

#[derive(Debug, Args)]
pub(crate) struct On {
    /// Why; shown to whoever wonders
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Command {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), Error> {
        match self {
            Self::On(On { reason }) => {
                let body = reason.as_ref().map_or_else(|| json!({}), |why| json!({"reason": why}));
                context.print(&context.client()?.put(&["freeze"], &body).await?, &views::FREEZE)
            }
            Self::Off => {
                context.client()?.delete(&["freeze"]).await?;
                eprintln!("operations go on");
                Ok(())
            }
            Self::Status => context.show(&["freeze"], &views::FREEZE).await,
        }
    }
}
