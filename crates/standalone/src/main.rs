//! Commissaire in one process: see the library of this crate.

use std::process::ExitCode;

use clap::Parser as _;
use standalone::Args;

fn main() -> ExitCode {
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
