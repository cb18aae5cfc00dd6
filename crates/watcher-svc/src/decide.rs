//! What a check makes of a host. Pure: from its records to its records.

use bus::error::chain;
use host_access::AccessError;
use model::{Failing, FailureReason, Host, HostState, Stamp, Status};

/// A key that is not the pinned one is certain the first time.
const KEY_CHANGED: &str = FailureReason::HostKeyChanged.word();

/// Failures for which a host is not checked until the operator has given other credentials: without those
/// no log-in can succeed.
const UNUSABLE: [&str; 2] = [FailureReason::BadKey.word(), FailureReason::InvalidTarget.word()];

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It let us in and told its boot id.
    Well(String),
    /// Its `sshd` turns connections away for the moment: nothing is known.
    Throttled,
    /// The check failed.
    Failed(Failure),
}

/// Why a check failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In one stable word.
    pub reason: &'static str,
    /// As a sentence for the operator.
    pub detail: String,
    /// The key that the host showed instead of the pinned one.
    pub seen_key: String,
}

impl Finding {
    /// What an error says about the host; `None` when the fault is on this machine.
    pub fn of(error: &AccessError) -> Option<Self> {
        let reason = match error {
            AccessError::Io { .. } => return None,
            AccessError::Throttled { .. } => return Some(Self::Throttled),
            AccessError::KeyChanged { .. } => KEY_CHANGED,
            AccessError::AuthRefused { .. }
            | AccessError::BadKey { .. }
            | AccessError::InvalidTarget(_) => error.reason().word(),
            // It does not do what a host does that is well; whether it is the network or the host that
            // hangs cannot be told from here.
            _ => HostState::UNREACHABLE,
        };
        let seen_key = error.seen_key().unwrap_or_default().to_owned();
        Some(Self::Failed(Failure { reason, detail: chain(error), seen_key }))
    }
}

/// How the host's scopes are doing: the fleet, its cluster and its container manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// An alarm lasts that concerns the host, or is about to be raised: the fault is probably not the host's.
    Frozen,
    /// That cannot be told yet.
    Unsure,
    /// Those that are away are the exception.
    Clear,
}

/// What becomes of a host's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It stays.
    None,
    /// It is `failed` now, or so for another reason.
    Failed,
    /// It is what it was before it could not be reached.
    Restored,
    /// It was never set up, and is investigated again.
    Investigate,
}

/// Whether the watcher keeps off a host: it is the investigator's, or waits for its operator.
pub fn is_left_alone(status: Status, reason: &str) -> bool {
    status.is_under_investigation() || (status == Status::Failed && UNUSABLE.contains(&reason))
}

/// Whether a check that fails for this reason is a log-in that the host refuses.
pub fn is_refused(reason: &str) -> bool {
    reason == HostState::AUTH_REFUSED || UNUSABLE.contains(&reason)
}

/// Whether a host that failed this often in a row fails soon enough to be retried before its place comes
/// round. A refused log-in is not tried again in a hurry.
pub fn is_retried_soon(reason: &str, status: Status) -> bool {
    reason == HostState::UNREACHABLE && status != Status::Failed
}

/// Writes into the records what was found at `now`. `limit` failures in a row make a host `failed`,
/// unless the outlook is against it; when that stays unsure, twice as many do.
pub fn decide(
    finding: &Finding,
    host: &mut Host,
    state: &mut HostState,
    now: &Stamp,
    limit: u32,
    outlook: Outlook,
) -> Change {
    host.last_check = now.clone();
    let heals = host.status == Status::Failed && HostState::heals(&state.reason);
    match finding {
        Finding::Throttled => {
            // Somebody is there. Whether it would let us in is not known better than before.
            if state.failing.reason == HostState::UNREACHABLE {
                state.failing = Failing::default();
            }
            Change::None
        }
        Finding::Well(boot_id) => {
            state.saw_boot(now, boot_id);
            // A fenced host is well only if it has accepted the claim again.
            let is_fenced = host.status == Status::Failed && state.reason == HostState::FENCED;
            if heals || is_fenced { restore(host, state) } else { Change::None }
        }
        Finding::Failed(failure) => {
            let known = host.status == Status::Failed
                && (!heals
                    || failure.reason == HostState::UNREACHABLE
                    || failure.reason == state.reason);
            if known || !is_enough(failure, state, limit, outlook) {
                return Change::None;
            }
            state.fail(host, failure.reason, failure.detail.clone(), &failure.seen_key);
            Change::Failed
        }
    }
}

/// Counts a failure; true when it is one too many.
fn is_enough(failure: &Failure, state: &mut HostState, limit: u32, outlook: Outlook) -> bool {
    let limit = limit.max(1);
    let patience = limit.saturating_mul(2);
    // No further: a host that stays away must not cost a second record with each check.
    if state.failing.reason != failure.reason || state.failing.count < patience {
        state.failing.note(failure.reason);
    }
    // The host itself has answered: that needs no other hosts to be certain.
    if failure.reason == HostState::FENCED {
        return true;
    }
    let count = state.failing.count;
    let heals = HostState::heals(failure.reason);
    (count >= limit || failure.reason == KEY_CHANGED)
        && match outlook {
            Outlook::Frozen => false,
            Outlook::Unsure => !heals || count >= patience,
            Outlook::Clear => true,
        }
}

fn restore(host: &mut Host, state: &mut HostState) -> Change {
    state.clear_failure();
    if state.previous_status.is_ready() {
        host.status = state.previous_status;
        Change::Restored
    } else {
        host.status = Status::Investigating;
        Change::Investigate
    }
}

#[cfg(test)]
mod tests;
