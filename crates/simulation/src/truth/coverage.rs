//! What a run has reached, by the records of its operations: a check that is never reached proves nothing.

use std::collections::BTreeSet;

use model::{OperationControl, OperationHost, Step, Wanted};

/// The waits, failures and pauses of a run, such as `wait drain-blocked`.
#[derive(Debug, Default)]
pub(super) struct Coverage(pub(super) BTreeSet<String>);

impl Coverage {
    /// Takes the part of a host as it is saved.
    pub(super) fn part(&mut self, part: &OperationHost) {
        if let Some(wait) = &part.wait {
            self.0.insert(format!("wait {}", wait.reason));
        }
        if part.step == Step::Failed {
            self.0.insert(format!("failure {}", part.reason));
        }
        if part.postponed.is_some() {
            self.0.insert("postponed".to_owned());
        }
        if part.late {
            self.0.insert("late".to_owned());
        }
        let is_forced = part.node.as_ref().is_some_and(|node| node.is_forced);
        if is_forced && part.step == Step::Verify {
            self.0.insert("reboot after a drain that has timed out".to_owned());
        }
    }

    /// Takes what is wanted of an operation.
    pub(super) fn control(&mut self, control: &OperationControl) {
        if control.wanted == Wanted::Pause && !control.code.is_empty() {
            self.0.insert(format!("pause {}", control.code));
        }
    }
}
