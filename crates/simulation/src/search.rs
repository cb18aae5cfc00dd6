//! Many runs on as many threads as are wanted, and the smallest scenario that fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::Context as _;
use model::OperationKind;
use storage_svc::secrets::Sealer;

use crate::fate::{Fault, Point};
use crate::run::{Outcome, run};
use crate::scenario::{Replica, Scenario, Service, Shape};

/// A scenario with what it is called in reports.
#[derive(Debug)]
pub struct Case {
    /// Such as `seed 7`.
    pub name: String,
    scenario: Scenario,
}

/// The file of the sealing key, which all runs share; it is deleted when this is dropped.
#[derive(Debug)]
pub struct KeyFile(tempfile::TempDir);

impl KeyFile {
    /// Makes it before the first run, whose random choices would otherwise differ from those of later runs.
    ///
    /// # Errors
    /// When files cannot be written.
    pub fn new() -> anyhow::Result<Self> {
        let file = Self(tempfile::tempdir().context("no temporary directory")?);
        Sealer::open(&file.path(), false).context("no sealing key")?;
        Ok(file)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("secret.key")
    }
}

/// The scenarios of these seeds.
pub fn seeds<I>(seeds: I, shape: Shape) -> impl Iterator<Item = Case> + Send
where
    I: IntoIterator<Item = u64, IntoIter: Send>,
{
    seeds.into_iter().map(move |seed| seed_case(seed, shape))
}

fn seed_case(seed: u64, shape: Shape) -> Case {
    Case { name: format!("seed {seed}"), scenario: Scenario::new(seed, shape) }
}

/// The scenarios in the files of a folder.
///
/// # Errors
/// When one cannot be read.
pub fn corpus(folder: &Path) -> anyhow::Result<Vec<Case>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("no folder {}", folder.display()))?;
    let mut paths: Vec<_> =
        entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort_unstable();
    paths.iter().map(|path| from_file(path)).collect()
}

/// The scenario in a file.
///
/// # Errors
/// When it cannot be read.
pub fn from_file(path: &Path) -> anyhow::Result<Case> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let scenario = serde_json::from_str(&text).with_context(|| format!("{name} is no scenario"))?;
    Ok(Case { name, scenario })
}

/// Each fault at each step of the executor, for each kind of operation, with and without a second executor; and for a
/// restart of nodes of a Kubernetes, also each fault at each step of the container manager.
///
/// # Errors
/// When the simulation itself fails, or an operation without a fault does.
pub fn matrix(key_file: &KeyFile) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    for kind in [OperationKind::Restart, OperationKind::Upgrade, OperationKind::Deploy] {
        for has_second in [false, true] {
            let single = Scenario::single(kind, has_second);
            add_faults(&mut cases, &kind.to_string(), &single, Service::Executor, key_file)?;
        }
    }
    for has_second in [false, true] {
        let single = Scenario::single(OperationKind::Restart, has_second).on_nodes();
        for service in [Service::Executor, Service::ContainerManager] {
            add_faults(&mut cases, "restart of nodes", &single, service, key_file)?;
        }
    }
    Ok(cases)
}

/// Adds each fault at each step of the first replica of a service.
fn add_faults(
    cases: &mut Vec<Case>,
    name: &str,
    scenario: &Scenario,
    service: Service,
    key_file: &KeyFile,
) -> anyhow::Result<()> {
    let executors = if scenario.has_second_executor { "two executors" } else { "one executor" };
    let without = run(scenario, &key_file.path(), false)?;
    anyhow::ensure!(without.violations.is_empty(), "{name}: {:?}", without.violations);
    let replica = Replica { service, number: 1 };
    for step in 0..without.steps.get(&replica).copied().unwrap_or_default() {
        cases.extend(Fault::ALL.into_iter().map(|fault| Case {
            name: format!("{name}, {fault:?} at step {step} of {replica}, {executors}"),
            scenario: scenario.with_point(replica, Point { step, fault }),
        }));
    }
    Ok(())
}

/// Runs all cases on so many threads; `report` gets each outcome with the name of its case. With `is_repeated`, each is
/// run twice and must give the same run. Ends early when `report` returns false.
///
/// # Errors
/// When the simulation itself fails.
pub fn run_all(
    cases: impl Iterator<Item = Case> + Send,
    threads: usize,
    is_repeated: bool,
    key_file: &KeyFile,
    report: impl FnMut(&str, Outcome) -> bool + Send,
) -> anyhow::Result<()> {
    let shared = Mutex::new((cases, report, true));
    let work = || -> anyhow::Result<()> {
        let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
        let next = || {
            let (cases, _, goes_on) = &mut *lock();
            if *goes_on { cases.next() } else { None }
        };
        while let Some(Case { name, scenario }) = next() {
            let mut outcome = run(&scenario, &key_file.path(), false)?;
            if is_repeated && run(&scenario, &key_file.path(), false)? != outcome {
                outcome.violations.push("a second run was another one".to_owned());
            }
            let (_, report, goes_on) = &mut *lock();
            *goes_on &= report(&name, outcome);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a run has panicked")))?;
        }
        Ok(())
    })
}

/// The story of a seed.
///
/// # Errors
/// When the simulation itself fails.
pub fn story(seed: u64, shape: Shape, key_file: &KeyFile) -> anyhow::Result<Outcome> {
    replay(&seed_case(seed, shape), key_file)
}

/// The story of a case.
///
/// # Errors
/// When the simulation itself fails.
pub fn replay(case: &Case, key_file: &KeyFile) -> anyhow::Result<Outcome> {
    run(&case.scenario, &key_file.path(), true)
}

/// The smallest scenario, by removing hosts, happenings and faults of the seed, that still fails, as JSON for the
/// corpus. `None` if the seed does not fail.
///
/// # Errors
/// When the simulation itself fails.
pub fn shrink(seed: u64, shape: Shape, key_file: &KeyFile) -> anyhow::Result<Option<String>> {
    let fails = |scenario: &Scenario| -> anyhow::Result<bool> {
        Ok(!run(scenario, &key_file.path(), false)?.violations.is_empty())
    };
    let mut smallest = Scenario::new(seed, shape);
    if !fails(&smallest)? {
        return Ok(None);
    }
    loop {
        let mut is_smaller = false;
        for candidate in smallest.smaller() {
            if fails(&candidate)? {
                smallest = candidate;
                is_smaller = true;
                break;
            }
        }
        if !is_smaller {
            return Ok(Some(serde_json::to_string(&smallest)?));
        }
    }
}
