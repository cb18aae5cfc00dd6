//! Log-ins to a host that is expected to be up, and the wait for one that reboots.

use std::time::Duration;

use host_access::backoff::Backoff;
use host_access::{AccessError, Session, Share, Target};
use service_core::error::chain;
use tokio::time::Instant;

use super::Trouble;
use crate::executor::{Execution, GiveUp};

/// The pauses before a log-in to a host that is expected to be up is retried.
const RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// The reasons of failed hosts: one did not answer in time after its reboot, the other was not rebooted by then.
pub(crate) const NOT_BACK: &str = "not-back";
pub(crate) const NOT_RESTARTED: &str = "not-restarted";

/// How long a host may keep its connection after the reboot command, before it is looked at with a new log-in.
const GOING_DOWN: Duration = Duration::from_secs(5);

/// The longest pause between looks at a host that reboots.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The shortest one, at first: some hosts are back within a second.
const LOOK_SOON: Duration = Duration::from_millis(25);

/// The timeout of a connection to the SSH port: short at first, since most hosts are near and back soon; then long
/// enough for any network.
const LOOKS: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(3)];

/// How often the record of a host is read while it is waited for: the host may be deleted in the meantime.
const STILL_REGISTERED: Duration = Duration::from_secs(2);

/// For how long the short timeout applies.
const SOON: Duration = Duration::from_secs(20);

/// The timeout of a log-in to a host that boots or shuts down, which may stop answering at any moment.
const LOG_IN_WHILE_BOOTING: Duration = Duration::from_secs(5);

/// The pauses after refused log-ins while a host boots: it may refuse everyone at first (`pam_nologin`). Later the
/// ledger of refused log-ins limits them.
const REFUSED_PAUSES: [Duration; 3] =
    [Duration::from_secs(5), Duration::from_secs(20), Duration::from_mins(1)];

/// Logs in to a host that is expected to be up. While the host only throttles connections, this is retried for as long
/// as a reboot may take.
pub(crate) async fn reach(
    execution: &Execution<'_>,
    target: &Target,
) -> Result<Box<dyn Session>, AccessError> {
    let service = execution.service;
    let deadline = Instant::now() + service.config.verify_timeout();
    let mut pauses = RETRIES.into_iter();
    let mut throttled = Backoff::default();
    loop {
        let timeout = service.config.connect_timeout();
        let log_in = service.deps.hosts.connect(target, timeout);
        let error = match service.deps.ledger.log_in(&target.address, Share::Work, log_in).await {
            Ok(session) => return Ok(session),
            Err(error) => error,
        };
        let pause = match &error {
            AccessError::Throttled { .. } => {
                Some(throttled.next_pause()).filter(|_| Instant::now() < deadline)
            }
            error => pauses.next().filter(|_| error.heals()),
        };
        match pause {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Err(error),
        }
    }
}

/// Waits until the host answers over SSH with a boot id for which `wanted` is true; at most until the deadline, which
/// counts from the reboot.
pub(super) async fn wait_until_up(
    execution: &Execution<'_>,
    index: usize,
    target: &Target,
    wanted: impl Fn(&str) -> bool,
) -> Result<(Box<dyn Session>, String), Trouble> {
    let allowed = execution.service.config.verify_timeout();
    let deadline = execution.moments.verify_end(index);
    let begun = Instant::now();
    let mut last = "it did not answer".to_owned();
    let mut answered = false;
    let mut refused = 0;
    let mut log_in_from = begun;
    let mut registered = begun;
    loop {
        if registered.elapsed() > STILL_REGISTERED {
            execution.record_of(index).await?;
            registered = Instant::now();
        }
        let look = LOOKS[usize::from(begun.elapsed() > SOON)];
        if Instant::now() >= log_in_from && listens(execution, target, look).await {
            match look_at(execution, target).await {
                Ok((session, id)) if wanted(&id) => return Ok((session, id)),
                Ok((session, _)) => {
                    "it still runs the boot from before: the reboot had no effect"
                        .clone_into(&mut last);
                    answered = true;
                    goes_down(session.as_ref()).await;
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
            let address = &target.address;
            let word = if answered { NOT_RESTARTED } else { NOT_BACK };
            let reason = format!(
                "{address} was not back {} s after its reboot: {last}; look at its console, then \
                 have it looked at again with `commctl host investigate {address}`",
                allowed.as_secs()
            );
            return Err(GiveUp::new(word, reason).into());
        }
        let twentieth = begun.elapsed() / 20;
        tokio::time::sleep(twentieth.clamp(LOOK_SOON, LOOK_AGAIN)).await;
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
        AccessError::HeldBack { wait, .. } => (*wait).max(LOOK_AGAIN),
        _ => LOOK_AGAIN,
    }
}

pub(super) async fn look_at(
    execution: &Execution<'_>,
    target: &Target,
) -> Result<(Box<dyn Session>, String), AccessError> {
    let deps = &execution.service.deps;
    let log_in = deps.hosts.connect(target, LOG_IN_WHILE_BOOTING);
    let session = deps.ledger.log_in(&target.address, Share::Work, log_in).await?;
    let id = session.boot_id().await?;
    Ok((session, id))
}

/// Whether something listens on the host's SSH port: far cheaper than a log-in. Each time a new connection is tried, so
/// that the back-off of TCP does not delay the moment when the host is found up.
pub(super) async fn listens(execution: &Execution<'_>, target: &Target, within: Duration) -> bool {
    let hosts = &execution.service.deps.hosts;
    hosts.is_port_open(&target.address, target.port, within).await
}

/// Waits until a host that shuts down has closed the connection, for [`GOING_DOWN`] at most. The existing connection is
/// checked, which costs the host nothing.
pub(super) async fn goes_down(session: &dyn Session) {
    let down = async {
        while session.is_alive().await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    // After a timeout, too, the caller looks at the host next.
    drop(tokio::time::timeout(GOING_DOWN, down).await);
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
        assert_eq!(pause_after(&lost, &mut refused), LOOK_AGAIN);
    }
}
