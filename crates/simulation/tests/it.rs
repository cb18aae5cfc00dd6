//! Runs of the simulation within the tests. Without `--cfg tokio_unstable` no run is like another, which searches more.

use std::path::Path;

use simulation::search::{self, Case, KeyFile};
use simulation::{Outcome, Shape};

/// The cases that fail.
fn failures(cases: impl IntoIterator<Item = Case, IntoIter: Send>) -> anyhow::Result<Vec<String>> {
    let mut failed = Vec::new();
    let report = |name: &str, outcome: Outcome| {
        if !outcome.violations.is_empty() {
            failed.push(format!("{name}: {:?}", outcome.violations));
        }
        true
    };
    search::run_all(cases.into_iter(), 2, false, &KeyFile::new()?, report)?;
    Ok(failed)
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
fn seeds_with_kubernetes_hold() {
    let shape = Shape { hosts: 8, always_kubernetes: true };
    assert_eq!(failures(search::seeds(0..4, shape)).unwrap(), [""; 0]);
}

#[test]
fn single_faults_hold() {
    let cases = search::matrix(&KeyFile::new().unwrap()).unwrap();
    // Each fault at other steps.
    assert_eq!(failures(cases.into_iter().step_by(1009)).unwrap(), [""; 0]);
}
