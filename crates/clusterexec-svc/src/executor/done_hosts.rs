//! Hosts that are done, while others are left to do and at the end: whether they are still up, in the boot in which they
//! were verified.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use host_access::AccessError;
use service_core::model::{Host, HostProgress, HostState, OperationStatus, Outcome, Step};
use service_core::{Result, abridged};
use tokio::sync::Mutex as AsyncMutex;

use super::{Execution, GiveUp, Line, Waiting};
use crate::host_run::{Trouble, reach, target_of};
use crate::members::SILENT;
use crate::rollout::{Fitness, Member};

/// Hosts that are looked at a time at the end.
const AT_A_TIME: usize = 32;

/// Begins the reason of an operation that has lost a host which was done.
const LOST_AFTER: &str = "lost-after";

/// Begins the reason why an operation is paused for a reboot that it did not ask for.
const UNEXPECTED_REBOOT: &str = "unexpected-reboot";

/// Addresses of done hosts that did not answer: once they do, their boot id says whether they have rebooted. The watcher
/// would notice that a minute later.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    addresses: Mutex<HashSet<String>>,
    /// One report at a time: several looks may see the same reboot.
    reporting: AsyncMutex<()>,
}

impl Suspects {
    fn addresses(&self) -> MutexGuard<'_, HashSet<String>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Execution<'_> {
    /// Notes done hosts that do not answer.
    pub(super) fn suspect(&self, members: &[Member]) {
        let silent = members.iter().filter(|member| member.reason == SILENT);
        let silent: HashSet<_> = silent.map(|member| member.address.as_str()).collect();
        let done = self.done().into_iter().map(|(_, host)| host.address);
        let suspects = done.filter(|address| silent.contains(address.as_str()));
        self.suspects.addresses().extend(suspects);
    }

    /// Those that are done, each with its index.
    fn done(&self) -> Vec<(usize, HostProgress)> {
        let done = self.steps().into_iter().enumerate().filter(|(_, step)| *step == Step::Done);
        done.map(|(index, _)| (index, self.host(index))).collect()
    }

    /// A done host that the watcher has seen in another boot, and the id of that.
    pub(super) fn rebooted_by_itself(&self, members: &[Member]) -> Option<(usize, String)> {
        let done = self.done().into_iter();
        let mut other = done.filter_map(|(index, host)| {
            let after = host.boot_id_after?;
            let member = members.iter().find(|member| member.address == host.address)?;
            let differs = !member.boot_id.is_empty() && member.boot_id != after;
            differs.then(|| (index, member.boot_id.clone()))
        });
        other.next()
    }

    /// Pauses the operation when a done host has rebooted by itself; what it waits for then.
    pub(super) async fn pause_for_reboots(&self, members: &[Member]) -> Result<Option<Waiting>> {
        self.suspect(members);
        let seen = match self.rebooted_by_itself(members) {
            Some((index, _)) => self.still_rebooted(index).await?,
            None => None,
        };
        let rebooted = match seen {
            Some(rebooted) => Some(rebooted),
            None => match self.ask_suspects(members).await? {
                Ok(rebooted) => rebooted,
                Err(waiting) => return Ok(Some(waiting)),
            },
        };
        let Some((index, boot_id)) = rebooted else { return Ok(None) };
        let _one_at_a_time = self.suspects.reporting.lock().await;
        let HostProgress { address, boot_id_after, .. } = self.host(index);
        if boot_id_after.as_ref() == Some(&boot_id) {
            // Another look has reported it in the meantime.
            return Ok(None);
        }
        let why = format!(
            "{UNEXPECTED_REBOOT}: {address} has rebooted by itself after it was done (boot id {boot_id} in \
             place of {})",
            boot_id_after.unwrap_or_default()
        );
        self.pause(&why).await?;
        self.save_boot(index, &boot_id, &why).await?;
        Ok(Some(Waiting::Gate(why)))
    }

    /// The boot id that a done host has by the records as they are now: `members` may be older than the moment when it
    /// was done.
    async fn still_rebooted(&self, index: usize) -> Result<Option<(usize, String)>> {
        let host = self.host(index);
        let state = self.service.storage.find::<HostState>(&host.address).await?;
        let boot_id = state.map(|state| state.record.boot_id).filter(|id| !id.is_empty());
        let other = boot_id.filter(|id| host.boot_id_after.is_some_and(|after| after != *id));
        Ok(other.map(|boot_id| (index, boot_id)))
    }

    /// Reads the boot ids of suspects that answer again: one that has rebooted, if any, or what is to be waited for.
    async fn ask_suspects(
        &self,
        members: &[Member],
    ) -> Result<std::result::Result<Option<(usize, String)>, Waiting>> {
        let suspects = self.suspects.addresses().clone();
        let available = |address: &str| {
            let member = members.iter().find(|member| member.address == address);
            member.is_some_and(|member| member.fitness != Fitness::Unavailable)
        };
        for (index, host) in self.done() {
            let address = host.address;
            if !suspects.contains(&address) || !available(&address) {
                continue;
            }
            match self.boot_of(index).await {
                Ok(boot_id) => {
                    self.suspects.addresses().remove(&address);
                    if host.boot_id_after.is_some_and(|after| after != boot_id) {
                        return Ok(Ok(Some((index, boot_id))));
                    }
                }
                Err(Trouble::Ours(error)) => return Err(error),
                Err(Trouble::Left(why)) => return Ok(Err(Waiting::Room(why))),
                Err(Trouble::Host(GiveUp { reason, .. })) => {
                    let why =
                        format!("{address} answers again, but not with its boot id: {reason}");
                    return Ok(Err(Waiting::Room(why)));
                }
            }
        }
        Ok(Ok(None))
    }

    /// The boot id of a host, asked for once more where the connection is lost over it.
    async fn boot_of(&self, index: usize) -> Result<String, Trouble> {
        let target = target_of(self, index).await?;
        let is_lost =
            |error: &AccessError| error.heals() || matches!(error, AccessError::Remote { .. });
        let mut again = true;
        loop {
            // It is large.
            let session = Box::pin(reach(self, &target)).await?;
            match session.boot_id().await {
                Err(error) if again && is_lost(&error) => again = false,
                answer => return Ok(answer?),
            }
        }
    }

    /// Looks once more at all hosts that are done, at the end of the operation: it fails where one is down. Those that
    /// have left the cluster since do not count.
    pub(super) async fn look_at_done(
        &self,
        status: OperationStatus,
        reason: String,
    ) -> Result<(OperationStatus, String)> {
        let members: HashSet<_> =
            self.service.members_of(&self.operation).await?.into_iter().collect();
        let done = self.done().into_iter().filter(|(_, host)| members.contains(&host.address));
        let looks = done.map(|(index, host)| self.look_once_more(index, host));
        let lost: Vec<Option<String>> =
            stream::iter(looks).buffer_unordered(AT_A_TIME).try_collect().await?;
        let mut lost: Vec<_> = lost.into_iter().flatten().collect();
        lost.sort_unstable();
        if lost.is_empty() || !reason.is_empty() {
            return Ok((if lost.is_empty() { status } else { OperationStatus::Failed }, reason));
        }
        let lost = abridged(&lost, ", ");
        let reason = format!("{LOST_AFTER}: {lost} was done, and is down at the end");
        Ok((OperationStatus::Failed, reason))
    }

    /// The address of a host that is down.
    async fn look_once_more(&self, index: usize, host: HostProgress) -> Result<Option<String>> {
        let address = host.address;
        match self.boot_of(index).await {
            Ok(boot_id) => {
                if let Some(after) = host.boot_id_after.filter(|after| *after != boot_id) {
                    let seen = format!(
                        "it has rebooted by itself after it was done: boot id {boot_id} in place of {after}"
                    );
                    self.save_boot(index, &boot_id, &seen).await?;
                }
                Ok(None)
            }
            Err(Trouble::Ours(error)) => Err(error),
            Err(Trouble::Left(_)) => Ok(None),
            Err(Trouble::Host(given_up)) => {
                let reason = format!(
                    "{LOST_AFTER}: it was done, and is down at the end: {}",
                    given_up.reason
                );
                self.give_up(index, &GiveUp { reason, ..given_up }).await?;
                Ok(Some(address))
            }
        }
    }

    /// Writes down the boot in which a done host is by now.
    async fn save_boot(&self, index: usize, boot_id: &str, detail: &str) -> Result<()> {
        let now = self.service.deps.clock.stamp();
        let change = |host: &mut HostProgress| host.boot_id_after = Some(boot_id.to_owned());
        let status = |_: &mut Host, state: &mut HostState| state.saw_boot(&now, boot_id);
        let lines = [Line(Step::Done, Outcome::Ok, detail)];
        self.save_with_host(index, change, &lines, status).await
    }
}
