//! The commands, one file per resource.

pub(crate) mod cluster;
pub(crate) mod container_manager;
pub(crate) mod enroll;
pub(crate) mod freeze;
pub(crate) mod host;
pub(crate) mod login;
pub(crate) mod network;
mod operation;
pub(crate) mod operations;
pub(crate) mod passhash;
pub(crate) mod shell;
pub(crate) mod user_data;

use std::cell::OnceCell;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use crate::cli::{Cli, Command};
use crate::client::Client;
use crate::config::{self, LoginSource};
use crate::error::Error;
use crate::output::{self, Format};

/// Runs the command that was asked for.
pub(crate) async fn run(cli: Cli) -> Result<ExitCode, Error> {
    let context = Context::of(&cli);
    dispatch(cli.command, &context).await.map_err(|error| context.explain(error))
}

async fn dispatch(command: Command, context: &Context) -> Result<ExitCode, Error> {
    match command {
        Command::Cluster(command) => command.run(context).await,
        Command::Host(command) => return command.run(context).await,
        Command::Network(command) => command.run(context).await,
        Command::ContainerManager(command) => command.run(context).await,
        Command::Operation(command) => command.run(context).await,
        Command::Freeze(command) => command.run(context).await,
        Command::Enroll(command) => command.run(context).await,
        Command::UserData(command) => command.run(context).await,
        Command::Login(command) => command.run(context).await,
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
    /// What has been read of the configuration, for messages.
    origin: OnceCell<Origin>,
}

#[derive(Debug)]
struct Origin {
    file: PathBuf,
    login: LoginSource,
}

impl Context {
    fn of(cli: &Cli) -> Self {
        Self { config: cli.config(), format: cli.output(), origin: OnceCell::new() }
    }

    /// Reads the configuration and prepares the connection.
    fn client(&self) -> Result<Client, Error> {
        let config = config::load(self.config.clone())?;
        self.origin
            .get_or_init(|| Origin { file: config.file.clone(), login: config.login_source() });
        Client::new(config)
    }

    /// Says what to look at, where the message alone does not.
    fn explain(&self, error: Error) -> Error {
        let Some(Origin { file, login }) = self.origin.get() else { return error };
        match error.help(file, login) {
            Some(help) => error.advise(help),
            None => error,
        }
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
        delete_each(names, async |name| client.delete(&[kind, name]).await.map(drop)).await
    }
}

/// Deletes one after the other, going on after a refusal.
async fn delete_each(
    names: &[String],
    delete: impl AsyncFn(&str) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut refused = 0;
    for name in names {
        match delete(name).await {
            Ok(()) => eprintln!("deleted {name}"),
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
