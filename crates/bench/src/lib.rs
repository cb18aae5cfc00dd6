//! Measures commissaire against its raw parts: what it adds to them is what it costs.
//!
//! Both are measured in the same run on the same cores, in turns, so that whatever else the machine is
//! doing falls on both. Bounds are ratios wherever there is something raw to compare with.
//!
//! - [`args`][]: the command line
//! - [`auth`][], [`access`][], [`tls`][], [`get`][], [`start`](mod@start), [`restart`][], [`distributed`][], [`watch`][],
//!   [`registrations`][], [`steps`][], [`window`][], [`nodes`][], [`strangers`][],
//!   [`etcd`][]: what is measured
//! - [`bare_server`][], [`bare_restart`][], [`bare_playbook`][]: the raw parts
//! - [`client`][]: the HTTP client, the same for both
//! - [`process`][]: the servers, as processes
//! - [`load`][], [`awake`][]: whether the machine is calm, and its processors kept awake
//! - [`stats`][], [`report`][]: what becomes of the figures
//! - [`cluster`][]: a cluster with any number of members
//! - [`executor`][]: parts of the executor, driven step by step
//! - [`instructions`][]: counts of instructions, for `examples/instructions`

pub mod access;
pub mod args;
pub mod auth;
pub mod awake;
pub mod bare_playbook;
pub mod bare_restart;
pub mod bare_server;
pub mod client;
pub mod cluster;
pub mod distributed;
pub mod etcd;
pub mod executor;
pub mod get;
pub mod instructions;
pub mod load;
pub mod nodes;
pub mod process;
pub mod registrations;
pub mod report;
pub mod restart;
pub mod start;
pub mod stats;
pub mod steps;
pub mod strangers;
pub mod tls;
pub mod watch;
pub mod window;

use std::any::Any;
use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use futures_util::FutureExt as _;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

pub use args::Args;
use args::What;
use awake::Awake;
use report::Report;

/// What every measurement needs.
#[derive(Debug)]
pub struct Setup {
    /// The `commissaire` that is measured.
    pub commissaire: PathBuf,
    /// This very program, which is the bare server too.
    pub own: PathBuf,
    /// Where everything is kept that a run leaves behind: removed with this.
    pub folder: TempDir,
    /// How many requests of each server are measured.
    pub requests: usize,
    /// How often the hosts are restarted, either way.
    pub rounds: usize,
    /// How many hosts are registered at once.
    pub hosts: usize,
    /// How long the growth of etcd is watched.
    pub seconds: Duration,
}

/// Does what the command line says.
///
/// # Errors
/// When nothing can be measured. A bound that is missed, or a measurement that fails, is no error.
pub fn start(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(body) = &args.serve_bare {
        bare_server::run(body, args.port)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(queue) = &args.serve_echo {
        distributed::echo::run(queue)?;
        return Ok(ExitCode::SUCCESS);
    }
    // One thread: the client takes as little as it can from the servers.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let report = runtime.context("cannot start the runtime")?.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            report = measure(args) => report,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    })?;
    show(&report);
    if let Some(path) = &args.json {
        fs::write(path, format!("{:#}\n", report.to_json()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(report.status(args.check).into())
}

async fn measure(args: &Args) -> anyhow::Result<Report> {
    let own = std::env::current_exe().context("cannot find this program")?;
    let setup = Setup {
        // Absolute: the daemons are links to it.
        commissaire: match &args.commissaire {
            Some(path) => std::path::absolute(path).context("no program to measure")?,
            None => own.with_file_name("commissaire"),
        },
        own,
        // A short path: control sockets are made below it.
        folder: tempfile::Builder::new().prefix("cb").tempdir().context("no temporary folder")?,
        requests: args.requests,
        rounds: args.rounds,
        hosts: args.hosts,
        seconds: Duration::from_secs(args.seconds),
    };
    if !setup.commissaire.exists() {
        bail!("there is no {}: build it, or use tools/bench", setup.commissaire.display());
    }
    let awake = Awake::keep();
    let mut report = measure_each(args.what(), async |what, report| {
        eprintln!("measuring {what} …");
        if let Some(busy) = load::not_calm().await {
            report.note(format!("the machine was not calm before {what}: {busy:.0} % busy"));
        }
        match what {
            What::Get => get::measure(&setup, report).await,
            What::Auth => auth::measure(&setup, report).await,
            What::Access => access::measure(&setup, report).await,
            What::Tls => tls::measure(&setup, report).await,
            What::Start => start::measure(&setup, report).await,
            What::Restart => restart::measure(&setup, report).await,
            What::Distributed => distributed::measure(&setup, report).await,
            What::Watch => watch::measure(&setup, report).await,
            What::Steps => steps::measure(&setup, report).await,
            What::Window => window::measure(&setup, report).await,
            What::Nodes => nodes::measure(&setup, report).await,
            What::Strangers => strangers::measure(&setup, report).await,
            What::Etcd => etcd::measure(&setup, report).await,
            What::Registrations => registrations::measure(&setup, report).await,
        }
    })
    .await;
    if let Err(error) = awake {
        report.note(format!(
            "processors may have been in a sleep state during measurements, which adds to latencies: {error}; run it as \
             root"
        ));
    }
    Ok(report)
}

/// Measures one after the other. One that fails, or panics as the test bed does, does not prevent the others.
async fn measure_each(
    all: Vec<What>,
    measure: impl AsyncFn(What, &mut Report) -> anyhow::Result<()>,
) -> Report {
    let mut report = Report::default();
    for what in all {
        let measured = AssertUnwindSafe(measure(what, &mut report)).catch_unwind().await;
        if let Err(error) = measured.unwrap_or_else(|panic| Err(panicked(&*panic))) {
            report.failure(what, &error);
        }
    }
    report
}

fn panicked(panic: &(dyn Any + Send)) -> anyhow::Error {
    let literal = panic.downcast_ref::<&str>().copied();
    let message = literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    anyhow!("it panicked: {}", message.unwrap_or("without a message"))
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn show(report: &Report) {
    print!("{report}");
}

#[cfg(test)]
mod tests {
    use report::{Figure, Row};

    use super::*;

    async fn measured(failing: &[What], panicking: &[What]) -> Report {
        measure_each(vec![What::Get, What::Auth, What::Tls], async |what, report| {
            if failing.contains(&what) {
                return Err(anyhow!("refused").context("no answer"));
            }
            assert!(!panicking.contains(&what), "no broker for {what}");
            let ours = Figure::Count(1);
            report.row(Row { what: what.to_string(), ours, bare: None, bound: None });
            Ok(())
        })
        .await
    }

    #[tokio::test]
    async fn failed_measurement_does_not_prevent_the_others() {
        let report = measured(&[What::Get], &[What::Auth]).await;
        let table = report.to_string();
        let failures = "\
FAILED: get: no answer: refused
FAILED: auth: it panicked: no broker for auth
";
        assert!(table.ends_with(failures), "{table}");
        let document = report.to_json();
        assert_eq!(document["figures"][0]["what"], "tls");
        assert_eq!(document["failures"][0]["what"], "get");
        assert_eq!(document["failures"][0]["error"], "no answer: refused");
    }

    #[tokio::test]
    async fn exit_status_is_2_when_any_measurement_failed() {
        assert_eq!(measured(&[], &[]).await.status(true), 0);
        assert_eq!(measured(&[What::Tls], &[]).await.status(false), 2);
        assert_eq!(measured(&[], &[What::Get]).await.status(true), 2);
    }
}
