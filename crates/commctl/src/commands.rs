//! The commands, one file per resource.

pub(crate) mod cluster;
pub(crate) mod container_manager;
pub(crate) mod enroll;
pub(crate) mod host;
pub(crate) mod network;
mod operation;
pub(crate) mod passhash;
pub(crate) mod shell;
pub(crate) mod user_data;

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use crate::cli::{Cli, Command};
use crate::client::Client;
use crate::config;
use crate::error::Error;
use crate::output::{self, Format};

/// Runs the command that was asked for.
pub(crate) async fn run(cli: Cli) -> Result<ExitCode, Error> {
    let context = Context { config: cli.config(), format: cli.output() };
    match cli.command {
        Command::Cluster(command) => command.run(&context).await,
        Command::Host(command) => return command.run(&context).await,
        Command::Network(command) => command.run(&context).await,
        Command::ContainerManager(command) => command.run(&context).await,
        Command::Enroll(command) => command.run(&context).await,
        Command::UserData(command) => command.run(&context).await,
        Command::Passhash(command) => command.run(),
        Command::Completion(command) => command.run(),
        Command::Man(command) => command.run(),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// What every command gets.
#[derive(Debug)]
pub(crate) struct Context {
    config: Option<PathBuf>,
    format: Option<Format>,
}

impl Context {
    /// Reads the configuration and prepares the connection.
    fn client(&self) -> Result<Client, Error> {
        Client::new(config::load(self.config.clone())?)
    }

    /// Prints data; `item` says what a plain list is a list of.
    fn print(&self, value: &Value, item: &str) -> Result<(), Error> {
        output::print(self.format, value, item)
    }

    /// Fetches and prints.
    async fn show(&self, path: &[&str], item: &str) -> Result<(), Error> {
        self.print(&self.client()?.get(path).await?, item)
    }

    /// Deletes one after the other, going on after a refusal.
    async fn delete(&self, kind: &str, names: &[String]) -> Result<(), Error> {
        let client = self.client()?;
        let mut refused = 0;
        for name in names {
            match client.delete(&[kind, name]).await {
                Ok(_) => eprintln!("deleted {name}"),
                // Every further name would only wait for the same time-outs.
                Err(error @ Error::Unreachable { .. }) => return Err(error),
                Err(error) if names.len() == 1 => return Err(error),
                Err(error) => {
                    eprintln!("error: {name}: {}", error.report());
                    refused += 1;
                }
            }
        }
        match refused {
            0 => Ok(()),
            _ => Err(Error::Failed(format!("{refused} of {} were not deleted", names.len()))),
        }
    }
}
