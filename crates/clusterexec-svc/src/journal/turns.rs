//! The ends of turns: a host has failed, is skipped, or comes again after the other hosts.

use bus::Result;
use model::{Failure, Host, HostState, OperationHost, Outcome, Step};

use super::{Along, Journal, LogLine};
use crate::host_error::HostFailure;

impl Journal<'_> {
    /// Records the failure of a host: its part, its event and its own status in one transaction.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(crate) async fn fail(&self, index: usize, failure: &HostFailure) -> Result<()> {
        let HostFailure { code, message, seen_key } = failure;
        let before = self.part(index);
        let failure = Failure {
            host: before.address.clone(),
            step: before.step.to_string(),
            reason: message.clone(),
        };
        let now = self.context.deps.clock.stamp();
        let change = |host: &mut OperationHost| {
            host.step = Step::Failed;
            host.finished_at = Some(now.clone());
            host.failure = Some(failure.clone());
            code.word().clone_into(&mut host.reason);
        };
        let status = |host: &mut Host, state: &mut HostState| {
            state.fail(host, code.word(), message.clone(), seen_key);
        };
        let lines = [LogLine(before.step, Outcome::Failed, message)];
        self.save_with_host(index, change, &lines, status).await
    }

    /// Skips a host; its own status is unchanged.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(crate) async fn skip(&self, index: usize, reason: &str) -> Result<()> {
        let (step, now) = (self.part(index).step, self.context.deps.clock.stamp());
        let change = |host: &mut OperationHost| {
            host.step = Step::Skipped;
            host.finished_at = Some(now.clone());
            host.skipped = Some(reason.to_owned());
        };
        self.save_end(index, change, &[LogLine(step, Outcome::Skipped, reason)]).await
    }

    /// Ends the turn of a host on which nothing was done: it comes again after the other hosts.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(crate) async fn postpone(&self, index: usize, reason: &str) -> Result<()> {
        let step = self.part(index).step;
        let change = |host: &mut OperationHost| {
            host.step = Step::Pending;
            host.postponed = Some(reason.to_owned());
            host.postponements += 1;
        };
        self.save_end(index, change, &[LogLine(step, Outcome::Postponed, reason)]).await
    }

    /// Saves the end of a host's turn. After a conflict, the claims of all operations are read again.
    async fn save_end(
        &self,
        index: usize,
        change: impl Fn(&mut OperationHost) + Send + Sync,
        lines: &[LogLine<'_>],
    ) -> Result<()> {
        while !self.unless_stale(self.write(index, &change, lines, &Along::Nothing).await)? {}
        Ok(())
    }

    /// Lets the hosts have further turns that were postponed too often. Returns why each was.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(crate) async fn retry_exhausted(&self) -> Result<Vec<String>> {
        let exhausted = self.by_steps(|steps| steps.exhausted().to_vec());
        let mut reasons = Vec::new();
        for index in exhausted {
            let part = self.part(index);
            reasons.push(format!("{}: {}", part.address, part.postponed.unwrap_or_default()));
            self.save(index, |host| host.postponements = 0, &[]).await?;
        }
        Ok(reasons)
    }
}
