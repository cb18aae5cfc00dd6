//! Runs of the simulation within the tests. Without `--cfg tokio_unstable` no run is like another, which searches more.

use std::collections::BTreeSet;
use std::path::Path;

use simulation::search::{self, Case, KeyFile};
use simulation::{Outcome, Shape};

/// Seeds whose scenarios with Kubernetes, together, reach [`REACHED`].
const KUBERNETES: [u64; 5] = [1, 6, 10, 26, 29];

/// What the checks of Kubernetes need to have been reached, each by more than one of the seeds.
const REACHED: [&str; 6] = [
    "failure drain-timeout",
    "pause budget-timeout",
    "postponed",
    "reboot after a drain that has timed out",
    "wait drain-blocked",
    "wait kubernetes-away",
];

/// The cases that fail.
fn failures(cases: impl IntoIterator<Item = Case, IntoIter: Send>) -> anyhow::Result<Vec<String>> {
    Ok(run(cases)?.0)
}

/// The cases that fail, and what all of them together have reached.
fn run(
    cases: impl IntoIterator<Item = Case, IntoIter: Send>,
) -> anyhow::Result<(Vec<String>, BTreeSet<String>)> {
    let (mut failed, mut reached) = (Vec::new(), BTreeSet::new());
    let report = |name: &str, outcome: Outcome| {
        reached.extend(outcome.reached);
        if !outcome.violations.is_empty() {
            failed.push(format!("{name}: {:?}", outcome.violations));
        }
        true
    };
    search::run_all(cases.into_iter(), 2, false, &KeyFile::new()?, report)?;
    Ok((failed, reached))
}

#[test]
fn scenarios_of_the_corpus_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let cases = search::corpus(&folder).unwrap();
    assert!(!cases.is_empty());
    assert_eq!(failures(cases).unwrap(), [""; 0]);
}

#[test]
fn seeds_hold() {
    let shape = Shape { hosts: 6, always_kubernetes: false };
    assert_eq!(failures(search::seeds(0..8, shape)).unwrap(), [""; 0]);
}

#[test]
fn seeds_with_kubernetes_hold_and_reach_what_is_checked() {
    let shape = Shape { hosts: 8, always_kubernetes: true };
    let (failed, reached) = run(search::seeds(KUBERNETES, shape)).unwrap();
    assert_eq!(failed, [""; 0]);
    let missing: Vec<_> = REACHED.iter().filter(|what| !reached.contains(**what)).collect();
    assert!(
        missing.is_empty(),
        "{missing:?} were not reached: choose other seeds with `--coverage`"
    );
}

#[test]
fn single_faults_hold() {
    let cases = search::matrix(&KeyFile::new().unwrap()).unwrap();
    // Each fault at other steps.
    assert_eq!(failures(cases.into_iter().step_by(1009)).unwrap(), [""; 0]);
}
