//! Measures commissaire against its raw parts: see the library of this crate.

use std::process::ExitCode;

use bench::Args;
use clap::Parser as _;

fn main() -> ExitCode {
    match bench::start(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
