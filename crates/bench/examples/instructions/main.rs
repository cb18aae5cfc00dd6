//! Counts the instructions of some operations under callgrind, and compares them with the committed baseline: the
//! count depends on the program only, and not on the load of the machine.
//!
//! Each operation runs in a process of its own, in one thread, without sockets, on the in-process bus and the in-memory
//! store, in paused time. An example and not a part of `bench`: it is built as the tests are, with their features, and
//! no release contains it.
//!
//! - [`operations`][]: the operations
//! - [`callgrind`][]: running a process under it, and what it reports

mod callgrind;
mod operations;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use bench::instructions::{Baseline, Build, Comparison};
use clap::{Parser, ValueEnum as _};

use operations::{Operation, STEPS_OF_10_000, STEPS_OF_100};

/// Counts instructions under callgrind and compares them with a baseline.
#[derive(Debug, Parser)]
#[command(
    after_help = "Exit status: 0 no operation takes 5 % more than in the baseline, nor a step in a cluster of 10,000 20 % more or less than in one of \
                        100; 1 one does; 2 nothing could \
                        be counted or compared."
)]
struct Args {
    /// The baseline
    #[arg(value_name = "FILE")]
    baseline: PathBuf,

    /// Write the baseline instead of comparing with it
    #[arg(long)]
    update: bool,

    /// Carry out this operation, to be counted, and print how often that was done
    #[arg(long, value_enum, hide = true)]
    carry_out: Option<Operation>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(operation) = args.carry_out {
        println!("{}", operations::carry_out(operation)?);
        return Ok(ExitCode::SUCCESS);
    }
    let build = Build::current()?;
    let mut counted = Baseline::new(build);
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let mut profiles = Vec::new();
    for operation in Operation::value_variants() {
        let profile = callgrind::profile(*operation, folder.path())?;
        counted.insert(operation.name(), profile.instructions);
        profiles.push((operation.name(), profile));
    }
    counted.ensure_alike(STEPS_OF_100, STEPS_OF_10_000)?;
    if args.update {
        counted.write(&args.baseline)?;
        println!("{counted}written to {}", args.baseline.display());
        return Ok(ExitCode::SUCCESS);
    }
    let comparison = Comparison::new(&Baseline::read(&args.baseline)?, &counted)?;
    print!("{comparison}");
    for (name, profile) in profiles.iter().filter(|(name, _)| comparison.is_exceeded(name)) {
        println!("\nwhat takes most instructions in {name}:\n{}", profile.top()?);
    }
    Ok(if comparison.is_kept() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
