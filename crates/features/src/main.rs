//! The features of Commissaire, as scenarios in `features/`: `tools/features` runs this program.
//!
//! - [`world`]: what a scenario knows
//! - [`fleet`]: all services, with simulated hosts
//! - [`api`], [`command`]: requests, and `commctl`
//! - [`steps`]: the sentences of scenarios
//! - [`coverage`]: which requests and commands they use

#![expect(
    clippy::unwrap_used,
    reason = "a step that fails should end its scenario, as an assertion does"
)]
#![expect(clippy::print_stdout, reason = "it is what the program is for")]

mod api;
mod command;
mod coverage;
mod fleet;
mod steps;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use cucumber::event::ScenarioFinished;
use cucumber::writer::Stats as _;
use cucumber::{World as _, WriterExt as _, writer};

use fleet::Form;
use world::{FORM, PLANTED, World};

/// Runs the scenarios of features/, on simulated hosts in simulated time or on real ones. Its last line counts them.
///
/// Exit status: 0 all have passed; 1 some have not, or a request or a command has no scenario; 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "features")]
struct Args {
    /// What they run on
    #[arg(long, value_enum, default_value_t)]
    form: Form,

    /// Answers a request with another status, to see that a scenario notices: 'PUT /api/v0/cluster/web=200'
    #[arg(long, value_name = "REQUEST=STATUS", value_parser = planted)]
    plant: Option<(String, u16)>,

    /// Only scenarios with this in their names
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,

    /// A file or a directory of features [default: all]
    path: Option<PathBuf>,
}

fn planted(text: &str) -> Result<(String, u16), String> {
    let (request, status) = text.rsplit_once('=').ok_or("there is no = in it")?;
    let status = status.parse().map_err(|error| format!("{status:?} is no status: {error}"))?;
    Ok((request.to_owned(), status))
}

static PASSED: AtomicUsize = AtomicUsize::new(0);
static FAILED: AtomicUsize = AtomicUsize::new(0);

fn main() -> ExitCode {
    let args = Args::parse();
    FORM.set(args.form).unwrap();
    if let Some(planted) = args.plant.clone() {
        PLANTED.set(planted).unwrap();
    }
    let is_real = args.form == Form::Real;
    if is_real && !fleet::real::can_boot() {
        println!("no hosts can be booted here\n0 passed, 0 failed");
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(!is_real)
        .build()
        .unwrap();
    // Some scenarios run in this form only.
    let is_all = args.path.is_none() && args.name.is_none() && args.form == Form::Single;
    let has_failed = runtime.block_on(run(&args));
    let missing = if is_all { coverage::missing() } else { Vec::new() };
    for what in &missing {
        println!("no scenario uses {what}");
    }
    let (passed, failed) = (PASSED.load(Ordering::Relaxed), FAILED.load(Ordering::Relaxed));
    println!("{passed} passed, {} failed", failed + missing.len());
    ExitCode::from(u8::from(has_failed || failed + missing.len() > 0))
}

/// Runs them one after the other; whether something has failed.
async fn run(args: &Args) -> bool {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../features");
    let path = args.path.clone().unwrap_or(all);
    let (name, form) = (args.name.clone().unwrap_or_default(), args.form);
    let writer = writer::Basic::stdout().summarized();
    let done = World::cucumber()
        .max_concurrent_scenarios(1)
        .fail_on_skipped()
        .with_writer(writer)
        .with_cli(cucumber::cli::Opts::<_, _, _, cucumber::cli::Empty>::default())
        .after(|_, _, _, ended, world| {
            if matches!(ended, ScenarioFinished::StepPassed) {
                PASSED.fetch_add(1, Ordering::Relaxed);
            } else {
                FAILED.fetch_add(1, Ordering::Relaxed);
                print!("{}", world.map(|world| world.fleet.log()).unwrap_or_default());
            }
            Box::pin(async {})
        })
        .filter_run(path, move |feature, _, scenario| {
            let has =
                |tag: &str| feature.tags.iter().chain(&scenario.tags).any(|other| other == tag);
            let is_of_form = match form {
                Form::Single => true,
                // A store in memory reads a moment in one replica only, as SQLite does, which has one.
                Form::Replicated => !has("single"),
                Form::Real => has("real"),
            };
            scenario.name.contains(&name) && is_of_form
        })
        .await;
    done.execution_has_failed()
}
