//! The operator's command line of Commissaire.
//!
//! It speaks the REST API and nothing else, and shares no code with the server. Its licence is
//! therefore its own, LGPL-2.0-or-later: see `LICENSE` beside this crate's `Cargo.toml`.
//!
//! # Layout
//! * `cli`: what stands on the command line before and around the commands, and which of them runs
//! * `commands`: one file per resource: its arguments, then what they do
//! * `args` and `context`: arguments that several commands take, and what each command gets
//! * `config`: `~/.commissaire.json`, a kubeconfig it names, and asking for what is missing
//! * `login`, `pem` and `plugin`: who the operator is, also by certificates and credential plugins
//! * `oidc`: log-ins at identity providers
//! * `trust`: whether a server is the one that is meant, before the first log-in
//! * `client`: requests, falling over to another endpoint, refusals
//! * `wait` and `progress`: `--wait`
//! * `lists`: lists, with what people need to know about each object
//! * `live`: an operation as it happens
//! * `output`: YAML, JSON and tables on standard output
//! * `usage`: tips in messages about a wrong command line
//! * `error`: what can go wrong, and the exit status of each
//! * `text`, `endpoint`, `files`, `random`, `clock`: small things that the others share
//!
//! Data goes to standard output, everything else to standard error.

mod args;
mod cli;
mod client;
mod clock;
mod commands;
mod config;
mod context;
mod endpoint;
mod error;
mod files;
mod lists;
mod live;
mod login;
mod oidc;
mod output;
mod pem;
mod plugin;
mod progress;
mod random;
mod text;
mod trust;
mod usage;
mod wait;

use std::process::ExitCode;

pub use cli::Cli;

/// Runs one command and reports how it ended.
pub async fn run(cli: Cli) -> ExitCode {
    match cli.run().await {
        Ok(status) => status,
        Err(error) => {
            eprintln!("{}", error.message());
            error.exit_code()
        }
    }
}

/// Prints what the command line's parser has to say: help, the version, or what is wrong.
pub fn explain(message: clap::Error) -> ExitCode {
    let message = usage::with_tip(message);
    // A closed pipe (`commctl --help | head -1`) is no reason to complain.
    let _closed = message.print();
    u8::try_from(message.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}
