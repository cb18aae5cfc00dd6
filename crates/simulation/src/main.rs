//! `tools/simulate` runs this program: it searches schedules of faults.

use std::collections::BTreeMap;
use std::num::ParseIntError;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use simulation::search::{self, Case, KeyFile};
use simulation::{Outcome, Shape};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Without arguments.
const SEEDS: Range<u64> = 0..300;

/// Searches schedules of faults for violations of the invariants of operations. Without arguments: the seeds 0 to 299,
/// and the corpus.
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Args {
    /// Runs these seeds, the last one excluded.
    #[arg(long, value_name = "A..B", value_parser = range, group = "what")]
    seeds: Option<Range<u64>>,
    /// Runs the scenarios of the corpus.
    #[arg(long, group = "what")]
    corpus: bool,
    /// Runs each fault at each step of the executor, for each kind of operation, with and without a second executor; on
    /// nodes of a Kubernetes also at each step of the container manager.
    #[arg(long, group = "what")]
    matrix: bool,
    /// Prints the story of one seed: time, actor, event.
    #[arg(long, value_name = "SEED", group = "what")]
    trace: Option<u64>,
    /// Prints the story of a scenario, such as one of the corpus.
    #[arg(long, value_name = "FILE", group = "what")]
    replay: Option<PathBuf>,
    /// Prints the smallest scenario of one seed that still fails, as a file for the corpus.
    #[arg(long, value_name = "SEED", group = "what")]
    shrink: Option<u64>,
    /// The number of hosts.
    #[arg(long, default_value_t = 20)]
    hosts: usize,
    /// Has each seed with Kubernetes, which otherwise the seed decides.
    #[arg(long)]
    kubernetes: bool,
    /// The number of threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Stops at the first failure.
    #[arg(long)]
    first: bool,
    /// Runs everything twice: both runs must be the same.
    #[arg(long)]
    twice: bool,
    /// Prints in how many runs each wait, failure and pause was reached.
    #[arg(long)]
    coverage: bool,
    /// The folder of the corpus.
    #[arg(long, value_name = "FOLDER", default_value = "crates/simulation/corpus", hide = true)]
    corpus_folder: PathBuf,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let wrong = |error: ParseIntError| error.to_string();
    let (from, to) = text.split_once("..").ok_or("a range such as 0..1000 is expected")?;
    Ok(from.parse().map_err(wrong)?..to.parse().map_err(wrong)?)
}

#[expect(clippy::print_stdout, reason = "the output is what the program is for")]
fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let key_file = KeyFile::new()?;
    let shape = Shape { hosts: args.hosts, always_kubernetes: args.kubernetes };
    if let Some(seed) = args.shrink {
        let smallest = search::shrink(seed, shape, &key_file)?;
        println!("{}", smallest.as_deref().unwrap_or("the seed does not fail"));
        return Ok(exit_code(smallest.is_none()));
    }
    let story = match (args.trace, &args.replay) {
        (Some(seed), _) => Some(search::story(seed, shape, &key_file)?),
        (None, Some(file)) => Some(search::replay(&search::from_file(file)?, &key_file)?),
        (None, None) => None,
    };
    if let Some(outcome) = story {
        print!("{}", outcome.story);
        return Ok(exit_code(outcome.violations.is_empty()));
    }
    let cases: Box<dyn Iterator<Item = Case> + Send> = match &args.seeds {
        Some(seeds) => Box::new(search::seeds(seeds.clone(), shape)),
        None if args.corpus => Box::new(search::corpus(&args.corpus_folder)?.into_iter()),
        None if args.matrix => Box::new(search::matrix(&key_file)?.into_iter()),
        None => {
            let corpus = search::corpus(&args.corpus_folder)?;
            Box::new(corpus.into_iter().chain(search::seeds(SEEDS, shape)))
        }
    };
    search(&args, cases, &key_file)
}

#[expect(clippy::print_stdout, reason = "the output is what the program is for")]
#[expect(
    clippy::disallowed_methods,
    reason = "the real time of the search, which nothing simulates"
)]
fn search(
    args: &Args,
    cases: impl Iterator<Item = Case> + Send,
    key_file: &KeyFile,
) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let (mut runs, mut failed) = (0, 0);
    let mut reached = BTreeMap::<String, usize>::new();
    let report = |name: &str, outcome: Outcome| {
        runs += 1;
        for what in outcome.reached {
            *reached.entry(what).or_default() += 1;
        }
        if outcome.violations.is_empty() {
            return true;
        }
        failed += 1;
        println!("{name} fails:");
        for violation in &outcome.violations {
            println!("  {violation}");
        }
        !args.first
    };
    search::run_all(cases, args.threads, args.twice, key_file, report)?;
    for (what, count) in reached.iter().filter(|_| args.coverage) {
        println!("{count:>6} {what}");
    }
    println!("{runs} runs, {failed} failed, in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(exit_code(failed == 0))
}

fn exit_code(is_ok: bool) -> ExitCode {
    if is_ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
