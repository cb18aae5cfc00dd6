//! `commissaire dead-letters`: the jobs that no service could work on.

use std::path::PathBuf;

use anyhow::Context as _;
use bus::dead_letters::DeadLetters;
use bus::topology::{INVESTIGATOR, JOBS, Queue, WATCHER};
use clap::{Subcommand, ValueEnum};
use serde_json::json;

use crate::Daemon;
use crate::args::CommonArgs;
use crate::config::Common;

/// See the module. The broker is the one of the gateway's configuration.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The topic exchange [default: commissaire]
    #[arg(long, value_name = "NAME", global = true)]
    bus_exchange: Option<String>,

    /// The broker; one with a password belongs into the configuration (bus-uri)
    #[arg(long, value_name = "URI", global = true)]
    bus_uri: Option<String>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// How many there are: a line `QUEUE COUNT` each
    Count,
    /// Show the oldest ones, a JSON object a line; they stay where they are
    Read {
        /// The queue that they come from
        queue: Name,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Send them on their way again, oldest first
    Replay {
        /// The queue that they come from
        queue: Name,
        /// At most so many [default: all]
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Drop all of a queue
    Drop {
        /// The queue that they come from
        queue: Name,
    },
}

/// A job queue.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
    /// Hosts to look at
    Investigator,
    /// Hosts to keep an eye on
    Watcher,
}

impl Name {
    fn queue(self) -> Queue {
        match self {
            Self::Investigator => INVESTIGATOR,
            Self::Watcher => WATCHER,
        }
    }
}

impl Args {
    /// Carries it out, with the broker of that configuration unless a flag says otherwise.
    ///
    /// # Errors
    /// When the configuration is wrong, or the broker cannot be asked.
    pub async fn carry_out(&self, config_file: Option<PathBuf>) -> anyhow::Result<()> {
        let args = CommonArgs {
            config_file,
            bus_exchange: self.bus_exchange.clone(),
            bus_uri: self.bus_uri.clone(),
            ..CommonArgs::default()
        };
        let (common, _) = Common::load(Daemon::Server, &args).await?;
        let letters = DeadLetters::connect(&common.amqp(Daemon::Server)).await;
        let letters = letters.context("cannot reach the broker")?;
        let done = self.command.carry_out(&letters).await;
        letters.close().await;
        done
    }
}

#[expect(clippy::print_stdout, reason = "that is the answer")]
impl Command {
    async fn carry_out(&self, letters: &DeadLetters) -> anyhow::Result<()> {
        match self {
            Self::Count => {
                for queue in JOBS {
                    println!("{} {}", queue.name, letters.count(&queue).await?);
                }
            }
            Self::Read { queue, limit } => {
                for letter in letters.read(&queue.queue(), *limit).await? {
                    let time = letter.time.map(|time| time.to_string());
                    println!(
                        "{}",
                        json!({"queue": letter.queue, "routing_key": letter.routing_key,
                               "reason": letter.reason, "time": time, "body": letter.body})
                    );
                }
            }
            Self::Replay { queue, limit } => {
                let limit = limit.unwrap_or(usize::MAX);
                println!("{}", letters.replay(&queue.queue(), limit).await?);
            }
            Self::Drop { queue } => println!("{}", letters.drop_all(&queue.queue()).await?),
        }
        Ok(())
    }
}
