//! The program `commissaire`, and, called by one of their names, each of the six daemons.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;
use daemons::Daemon;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use standalone::Args;

fn main() -> ExitCode {
    // Keys are in its memory: no dump of it is written, and no other process of the same user may read it.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        eprintln!("error: cannot protect the memory of this process: {error}");
        return ExitCode::FAILURE;
    }
    let program = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    if let Some(daemon) = Daemon::called(&program) {
        return daemon.main();
    }
    let args = Args::parse();
    runtime::telemetry::init(args.debug, args.log_format);
    match standalone::start(&args) {
        Ok(code) => code,
        Err(error) => {
            runtime::telemetry::failed(&error);
            ExitCode::FAILURE
        }
    }
}
