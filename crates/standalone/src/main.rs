//! The program `commissaire`, and, called by one of their names, each of the six daemons.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;
use daemons::Daemon;
use mimalloc::MiMalloc;
use standalone::Args;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let program = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    if let Some(daemon) = Daemon::called(&program) {
        return daemon.main();
    }
    let args = Args::parse();
    service_core::telemetry::init(args.debug, args.log_format);
    match standalone::start(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
