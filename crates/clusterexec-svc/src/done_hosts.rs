//! Hosts that are done, while others are left and at the end: whether they are still up, in the boot in which they were
//! verified.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bus::Result;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use host_access::AccessError;
use model::{
    Address, FailureReason, Host, HostState, OperationHost, OperationStatus, Outcome, Step,
    WaitReason, abridged,
};
use tokio::sync::Mutex as AsyncMutex;

use crate::control;
use crate::host_error::{HostError, HostFailure};
use crate::journal::{Journal, LogLine};
use crate::log_in::{log_in, target_of};
use crate::members::SILENT;
use crate::schedule::{Availability, Member};
use crate::waiting::Waiting;

/// Limit of concurrent log-ins at the end.
const CONCURRENT: usize = 32;

/// Prefix of the reason of an operation that has lost a host which was done.
const LOST_AFTER: &str = FailureReason::LostAfter.word();

/// Prefix of the reason of a pause for a reboot that the operation did not cause.
const UNEXPECTED_REBOOT: &str = WaitReason::UnexpectedReboot.word();

/// The done hosts of an operation.
#[derive(Debug)]
pub(crate) struct DoneHosts<'a> {
    journal: &'a Journal<'a>,
    /// Addresses that did not answer. When such a host answers again, its boot id shows whether it has rebooted, a
    /// minute before the watcher reports it.
    suspects: Mutex<HashSet<Address>>,
    /// One report at a time: several checks may find the same reboot.
    reporting: AsyncMutex<()>,
}

/// A done host that has rebooted by itself.
struct Rebooted {
    index: usize,
    boot_id: String,
}

impl<'a> DoneHosts<'a> {
    pub(crate) fn new(journal: &'a Journal<'a>) -> Self {
        Self { journal, suspects: Mutex::default(), reporting: AsyncMutex::default() }
    }

    fn suspects(&self) -> MutexGuard<'_, HashSet<Address>> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The parts of done hosts, each with its index.
    fn parts(&self) -> Vec<(usize, OperationHost)> {
        let steps = self.journal.steps().into_iter().enumerate();
        let done = steps.filter(|(_, step)| *step == Step::Done);
        done.map(|(index, _)| (index, self.journal.part(index))).collect()
    }

    /// Remembers the done hosts among members that do not answer.
    pub(crate) fn suspect(&self, members: &[Member]) {
        let silent = members.iter().filter(|member| member.reason == SILENT);
        let silent: HashSet<_> = silent.map(|member| member.address.as_str()).collect();
        let done = self.parts().into_iter().map(|(_, part)| part.address);
        self.suspects().extend(done.filter(|address| silent.contains(address.as_str())));
    }

    /// Whether the watcher has seen a done host in another boot.
    pub(crate) fn has_rebooted(&self, members: &[Member]) -> bool {
        self.seen_by_watcher(members).is_some()
    }

    /// The index of a done host that the watcher has seen in another boot.
    fn seen_by_watcher(&self, members: &[Member]) -> Option<usize> {
        let mut done = self.parts().into_iter();
        done.find_map(|(index, part)| {
            let after = part.boot_id_after?;
            let member = members.iter().find(|member| member.address == part.address)?;
            (!member.boot_id.is_empty() && member.boot_id != after).then_some(index)
        })
    }

    /// Pauses the operation when a done host has rebooted by itself. Returns the reason to wait then.
    pub(crate) async fn pause_for_reboots(&self, members: &[Member]) -> Result<Option<Waiting>> {
        self.suspect(members);
        let confirmed = match self.seen_by_watcher(members) {
            Some(index) => self.confirmed(index).await?,
            None => None,
        };
        let rebooted = match confirmed {
            Some(rebooted) => Some(rebooted),
            None => match self.rebooted_suspect(members).await? {
                Ok(rebooted) => rebooted,
                Err(unclear) => return Ok(Some(Waiting::for_budget(unclear))),
            },
        };
        let Some(Rebooted { index, boot_id }) = rebooted else { return Ok(None) };
        let _exclusive = self.reporting.lock().await;
        let OperationHost { address, boot_id_after, .. } = self.journal.part(index);
        if boot_id_after.as_ref() == Some(&boot_id) {
            // Another check has reported it in the meantime.
            return Ok(None);
        }
        let reason = format!(
            "{UNEXPECTED_REBOOT}: {address} has rebooted by itself after it was done (boot id {boot_id} in \
             place of {})",
            boot_id_after.unwrap_or_default()
        );
        control::pause(self.journal, WaitReason::UnexpectedReboot, &reason).await?;
        self.save_boot(index, &boot_id, &reason).await?;
        Ok(Some(Waiting::new(WaitReason::UnexpectedReboot, reason)))
    }

    /// The reboot of a done host by the current records: `members` may have been read before it was done.
    async fn confirmed(&self, index: usize) -> Result<Option<Rebooted>> {
        let part = self.journal.part(index);
        let state = self.journal.context.storage.find::<HostState>(&part.address).await?;
        let boot_id = state.map(|state| state.record.boot_id).filter(|id| !id.is_empty());
        let other = boot_id.filter(|id| part.boot_id_after.is_some_and(|after| after != *id));
        Ok(other.map(|boot_id| Rebooted { index, boot_id }))
    }

    /// Reads the boot ids of suspects that answer again. Returns one that has rebooted, if any, or a message about one
    /// whose boot id cannot be read.
    async fn rebooted_suspect(
        &self,
        members: &[Member],
    ) -> Result<std::result::Result<Option<Rebooted>, String>> {
        let suspects = self.suspects().clone();
        let is_available = |address: &str| {
            let member = members.iter().find(|member| member.address == address);
            member.is_some_and(|member| member.availability != Availability::Unavailable)
        };
        for (index, part) in self.parts() {
            let address = part.address;
            if !suspects.contains(&address) || !is_available(&address) {
                continue;
            }
            match self.boot_id(index).await {
                Ok(boot_id) => {
                    self.suspects().remove(&address);
                    if part.boot_id_after.is_some_and(|after| after != boot_id) {
                        return Ok(Ok(Some(Rebooted { index, boot_id })));
                    }
                }
                Err(HostError::Internal(error)) => return Err(error),
                Err(HostError::Skipped(reason) | HostError::Postponed(reason)) => {
                    return Ok(Err(reason));
                }
                Err(HostError::Failed(HostFailure { message, .. })) => {
                    return Ok(Err(format!(
                        "{address} answers again, but not with its boot id: {message}"
                    )));
                }
            }
        }
        Ok(Ok(None))
    }

    /// The boot id of a host, read once more if the connection is lost.
    async fn boot_id(&self, index: usize) -> Result<String, HostError> {
        let target = target_of(self.journal, index).await?;
        let is_lost =
            |error: &AccessError| error.heals() || matches!(error, AccessError::Remote { .. });
        let mut again = true;
        loop {
            // Boxed, as the future is large.
            let session = Box::pin(log_in(self.journal.context, &target)).await?;
            match session.boot_id().await {
                Err(error) if again && is_lost(&error) => again = false,
                answer => return Ok(answer?),
            }
        }
    }

    /// Checks all done hosts once more at the end of the operation, which fails if one of them is down. Hosts that have
    /// left the cluster do not count.
    pub(crate) async fn check_at_end(
        &self,
        status: OperationStatus,
        reason: String,
    ) -> Result<(OperationStatus, String)> {
        let cluster = &self.journal.operation.cluster;
        let members: HashSet<_> =
            self.journal.context.members_of(cluster).await?.into_iter().collect();
        let done = self.parts().into_iter().filter(|(_, part)| members.contains(&part.address));
        let checks = done.map(|(index, part)| self.is_lost(index, part));
        let lost: Vec<Option<Address>> =
            stream::iter(checks).buffer_unordered(CONCURRENT).try_collect().await?;
        let mut lost: Vec<_> = lost.into_iter().flatten().collect();
        lost.sort_unstable();
        if lost.is_empty() {
            return Ok((status, reason));
        }
        if !reason.is_empty() {
            return Ok((OperationStatus::Failed, reason));
        }
        let lost = abridged(&lost, ", ");
        let reason = format!("{LOST_AFTER}: {lost} was done, and is down at the end");
        Ok((OperationStatus::Failed, reason))
    }

    /// The address of the host if it is down; then its failure is recorded.
    async fn is_lost(&self, index: usize, part: OperationHost) -> Result<Option<Address>> {
        match self.boot_id(index).await {
            Ok(boot_id) => {
                if let Some(after) = part.boot_id_after.filter(|after| *after != boot_id) {
                    let detail = format!(
                        "it has rebooted by itself after it was done: boot id {boot_id} in place of {after}"
                    );
                    self.save_boot(index, &boot_id, &detail).await?;
                }
                Ok(None)
            }
            Err(HostError::Internal(error)) => Err(error),
            Err(HostError::Skipped(_) | HostError::Postponed(_)) => Ok(None),
            Err(HostError::Failed(failure)) => {
                let message = format!(
                    "{LOST_AFTER}: it was done, and is down at the end: {}",
                    failure.message
                );
                self.journal.fail(index, &HostFailure { message, ..failure }).await?;
                Ok(Some(part.address))
            }
        }
    }

    /// Records the current boot of a done host.
    async fn save_boot(&self, index: usize, boot_id: &str, detail: &str) -> Result<()> {
        let now = self.journal.context.deps.clock.stamp();
        let change = |host: &mut OperationHost| host.boot_id_after = Some(boot_id.to_owned());
        let status = |_: &mut Host, state: &mut HostState| state.saw_boot(&now, boot_id);
        let lines = [LogLine(Step::Done, Outcome::Ok, detail)];
        self.journal.save_with_host(index, change, &lines, status).await
    }
}
