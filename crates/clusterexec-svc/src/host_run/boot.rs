//! The wait for a host that reboots.

use std::time::Duration;

use bus::error::chain;
use host_access::{AccessError, Session};
use model::FailureReason;
use tokio::time::Instant;

use super::host::HostRun;
use crate::host_error::{HostError, HostFailure};
use crate::log_in::{listens, log_in_once};

/// How long a host may keep its connection after the reboot command, before it is looked at with a new log-in.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// The bounds of the pause between connections to a host that reboots: some hosts are back within a second.
const PAUSE_MIN: Duration = Duration::from_millis(25);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// The timeouts of a connection to the SSH port: short at first, since most hosts are near and back soon; then long
/// enough for any network.
const CONNECT: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(3)];

/// For how long the short timeout applies.
const SHORT_CONNECT_FOR: Duration = Duration::from_secs(20);

/// How often the record of the host is read in the meantime: it may be deleted.
const STILL_REGISTERED: Duration = Duration::from_secs(2);

/// The pauses after refused log-ins while a host boots: it may refuse everyone at first (`pam_nologin`). Later the
/// ledger of refused log-ins limits them.
const REFUSED_PAUSES: [Duration; 3] =
    [Duration::from_secs(5), Duration::from_secs(20), Duration::from_mins(1)];

/// Waits until the host answers over SSH with a boot id for which `wanted` is true; at most until the deadline, which
/// counts from the reboot.
pub(super) async fn wait_until_up(
    run: &HostRun<'_>,
    wanted: impl Fn(&str) -> bool,
) -> Result<(Box<dyn Session>, String), HostError> {
    let context = run.context();
    let deadline = run.journal.deadlines.verify_end(run.index);
    let begun = Instant::now();
    let mut last = "it did not answer".to_owned();
    let mut has_answered = false;
    let mut refused = 0;
    let mut log_in_from = begun;
    let mut registered = begun;
    loop {
        if registered.elapsed() > STILL_REGISTERED {
            run.journal.record_of(run.index).await?;
            registered = Instant::now();
        }
        let timeout = CONNECT[usize::from(begun.elapsed() > SHORT_CONNECT_FOR)];
        if Instant::now() >= log_in_from && listens(context, &run.target, timeout).await {
            match log_in_once(context, &run.target).await {
                Ok((session, id)) if wanted(&id) => return Ok((session, id)),
                Ok((session, _)) => {
                    "it still runs the boot from before: the reboot had no effect"
                        .clone_into(&mut last);
                    has_answered = true;
                    shutdown(session.as_ref()).await;
                }
                Err(error @ AccessError::KeyChanged { .. }) => return Err(error.into()),
                // Also refused log-ins: a host may refuse everyone while it boots.
                Err(error) => {
                    log_in_from = Instant::now() + pause_after(&error, &mut refused);
                    last = chain(&error);
                }
            }
        }
        if Instant::now() >= deadline {
            let address = run.address();
            let code =
                if has_answered { FailureReason::NotRestarted } else { FailureReason::NotBack };
            let message = format!(
                "{address} was not back {} s after its reboot: {last}; look at its console, then \
                 have it looked at again with `commctl host investigate {address}`",
                context.config.verify_timeout().as_secs()
            );
            return Err(HostFailure::new(code, message).into());
        }
        tokio::time::sleep((begun.elapsed() / 20).clamp(PAUSE_MIN, PAUSE_MAX)).await;
    }
}

/// The pause after a failed log-in; `refused` counts the refused ones before.
fn pause_after(error: &AccessError, refused: &mut usize) -> Duration {
    match error {
        AccessError::AuthRefused { .. } => {
            let pause = REFUSED_PAUSES[(*refused).min(REFUSED_PAUSES.len() - 1)];
            *refused += 1;
            pause
        }
        AccessError::HeldBack { wait, .. } => (*wait).max(PAUSE_MAX),
        _ => PAUSE_MAX,
    }
}

/// Waits until a host that shuts down has closed the connection, for [`SHUTDOWN`] at most. The existing connection is
/// checked, which costs the host nothing.
pub(super) async fn shutdown(session: &dyn Session) {
    let closed = async {
        while session.is_alive().await {
            tokio::time::sleep(PAUSE_MAX).await;
        }
    };
    // After a timeout, too, the caller connects to the host next.
    drop(tokio::time::timeout(SHUTDOWN, closed).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_log_ins_of_a_host_that_boots_are_spaced() {
        let (address, user, detail) = ("h".to_owned(), "ops".to_owned(), String::new());
        let error = AccessError::AuthRefused { address: address.clone(), user, detail };
        let mut refused = 0;
        let pauses: Vec<_> = (0..4).map(|_| pause_after(&error, &mut refused).as_secs()).collect();
        assert_eq!(pauses, [5, 20, 60, 60]);
        let wait = Duration::from_secs(500);
        let held = AccessError::HeldBack { address: address.clone(), refused: 4, wait };
        assert_eq!(pause_after(&held, &mut refused), wait);
        let lost = AccessError::Disconnected { address };
        assert_eq!(pause_after(&lost, &mut refused), PAUSE_MAX);
    }
}
