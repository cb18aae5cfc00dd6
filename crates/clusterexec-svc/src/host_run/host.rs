//! The state of the work on one host.

use bus::Result;
use host_access::{Session, Target};
use model::{OperationHost, Wait, WaitReason};

use super::drain::Evictions;
use super::ready::Readiness;
use crate::budget::Budget;
use crate::context::Context;
use crate::journal::{Journal, LogLine};

/// The work on one host.
pub(super) struct HostRun<'a> {
    pub(super) journal: &'a Journal<'a>,
    pub(super) budget: &'a Budget<'a>,
    pub(super) index: usize,
    pub(super) target: Target,
    /// A connection that the next step may use.
    pub(super) session: Option<Box<dyn Session>>,
    /// The boot id with which the host was verified, until it has settled or rebooted.
    pub(super) verified: Option<String>,
    /// The evictions of the drain of its node.
    pub(super) evictions: Evictions,
    /// Whether its node is ready again, once it is verified.
    pub(super) readiness: Option<Readiness>,
}

impl<'a> HostRun<'a> {
    pub(super) fn new(
        journal: &'a Journal<'a>,
        budget: &'a Budget<'a>,
        index: usize,
        target: Target,
    ) -> Self {
        Self {
            journal,
            budget,
            index,
            target,
            session: None,
            verified: None,
            evictions: Evictions::default(),
            readiness: None,
        }
    }

    pub(super) fn context(&self) -> &'a Context {
        self.journal.context
    }

    pub(super) fn address(&self) -> &str {
        &self.target.address
    }

    pub(super) fn part(&self) -> OperationHost {
        self.journal.part(self.index)
    }

    /// A wait of the host, which goes on if it has waited for the same reason before.
    pub(super) fn wait(&self, reason: WaitReason, detail: &str) -> Wait {
        self.journal.wait(self.part().wait.as_ref(), reason, detail)
    }

    /// Whether the host has to settle. Without a settle time, this only compares failed units, if they count.
    pub(super) fn settles(&self) -> bool {
        let options = &self.journal.operation.options;
        !options.settle().is_zero() || options.strict_units == Some(true)
    }

    pub(super) async fn save(
        &self,
        change: impl Fn(&mut OperationHost) + Send + Sync,
        lines: &[LogLine<'_>],
    ) -> Result<()> {
        self.journal.save(self.index, change, lines).await
    }

    pub(super) async fn log(&self, lines: &[LogLine<'_>]) -> Result<()> {
        self.journal.log(self.index, lines).await
    }
}
