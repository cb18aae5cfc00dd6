//! `commissaire doctor`: checks an installation of either form, without a change to it, and says what to do about what it
//! finds.
//!
//! It needs no lock on the data directory and reads database files only, so the server may run or not.
//!
//! - `subject`: what there is to check, as the configuration has it
//! - `user`: the user that the server runs as
//! - `report`: findings, and how they are printed
//! - `programs`: running a program for what it prints
//! - a module for each check: `configuration`, `permissions`, `store` (with `versions`), `keys`, `broker`, `clock`,
//!   `ansible`, `certificates`, `backup`, `disk`

mod ansible;
mod backup;
mod broker;
mod certificates;
mod clock;
mod configuration;
mod disk;
mod keys;
mod permissions;
mod programs;
mod report;
mod store;
mod subject;
mod user;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;
use runtime::Clock;
use runtime::telemetry;
use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::NoSubscriber;

use crate::data_dir;
use report::{Check, Report};
use subject::Subject;

/// Where the configuration files of daemons are.
const CONFIG_DIR: &str = "/etc/commissaire";

/// The exit status of wrong usage, as clap has it.
const USAGE: u8 = 2;

/// The options of `commissaire doctor`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Args {
    /// Check the daemons whose configuration files (`commissaire.conf`, `storage.conf`, …) are in this directory [default: the one process; the daemons in /etc/commissaire where that has no data]
    #[arg(long, value_name = "DIR")]
    config_dir: Option<PathBuf>,

    /// Show what is as it should be, too
    #[arg(short, long)]
    verbose: bool,

    /// What to print: text, or all findings as a JSON list of objects with `check`, `severity`, `finding` and `remedy`
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// What is printed.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Output {
    /// Text for people
    #[default]
    Text,
    /// JSON for scripts
    Json,
}

/// Checks the installation, prints the findings, and returns 0 where nothing is an error, 1 where something is, or 2
/// for wrong usage.
///
/// # Errors
/// When the findings cannot be printed.
#[expect(clippy::print_stdout, reason = "the findings are what the command is for")]
pub async fn run(args: &crate::Args, command: &Args) -> anyhow::Result<ExitCode> {
    if command.config_dir.is_some() && !args.is_of_default_installation() {
        telemetry::failed(
            &"--config-dir is for the daemons, and --data-dir and --config-file are for the one process",
        );
        return Ok(ExitCode::from(USAGE));
    }
    let mut report = Report::default();
    let found = async {
        let files = daemon_files(args, command);
        if files.is_empty()
            && let Some(folder) = &command.config_dir
        {
            telemetry::failed(&format!(
                "there is no configuration file of a daemon in {}",
                folder.display()
            ));
            return Ok(false);
        }
        let installation = if files.is_empty() {
            configuration::one_process(args, &mut report)?
        } else {
            configuration::daemons(&files, &mut report).await
        };
        check(&installation, &mut report).await;
        anyhow::Ok(true)
    };
    // The findings say what the log would.
    let is_checked = if args.debug {
        found.await?
    } else {
        found.with_subscriber(NoSubscriber::default()).await?
    };
    if !is_checked {
        return Ok(ExitCode::from(USAGE));
    }
    match command.output {
        Output::Text => print!("{}", report.text(command.verbose)?),
        Output::Json => {
            let json = serde_json::to_string_pretty(&report.0);
            println!("{}", json.context("cannot write the findings as JSON")?);
        }
    }
    Ok(if report.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The configuration files of the daemons to check; none where the one process is checked.
fn daemon_files(args: &crate::Args, command: &Args) -> Vec<(daemons::Daemon, PathBuf)> {
    if let Some(folder) = &command.config_dir {
        return configuration::daemon_files(folder);
    }
    if !args.is_of_default_installation() || has_one_process(&args.data_dir()) {
        return Vec::new();
    }
    configuration::daemon_files(Path::new(CONFIG_DIR))
}

/// Whether a data directory is, or was, that of the one process.
fn has_one_process(folder: &Path) -> bool {
    data_dir::database_in(folder).exists() || data_dir::first_start_in(folder).exists()
}

async fn check(installation: &Subject, report: &mut Report) {
    let now = Clock::System.wall();
    configuration::check(installation, report).await;
    let mut inspection = None;
    if installation.user.is_visible() {
        permissions::check(installation, report);
        inspection = store::check(installation, report).await;
        keys::check(installation, inspection.as_ref(), report).await;
    } else {
        let finding = format!(
            "this user cannot read the files of the server, which belong to the user id {}: the store and the keys are \
             not checked",
            installation.user.uid()
        );
        report.error(Check::Permissions, finding, "sudo commissaire doctor");
    }
    broker::check(installation, report).await;
    clock::check(now, inspection.as_ref(), report).await;
    ansible::check(installation, report).await;
    certificates::check(installation, now, inspection.as_ref(), report).await;
    backup::check(now, inspection.as_ref(), report).await;
    disk::check(installation, report);
}

#[cfg(test)]
mod tests;
