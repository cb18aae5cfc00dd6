//! Reaching a host that should be there, and waiting for one that reboots.

use std::time::Duration;

use host_access::backoff::Backoff;
use host_access::{AccessError, Session, Share, Target, boot_id};
use service_core::error::chain;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Trouble;
use crate::executor::{Execution, GiveUp};

/// The pauses before another try at reaching a host that should be there.
const RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// The reason of a host that did not answer in time after its reboot, and of one that was not rebooted by then.
pub(crate) const NOT_BACK: &str = "not-back";
pub(crate) const NOT_RESTARTED: &str = "not-restarted";

/// How long a host may go on answering after it was told to reboot, before it is asked in earnest.
const GOING_DOWN: Duration = Duration::from_secs(5);

/// The pause between looks at a host that is away.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long a look may take: short at first, since most hosts are near and back soon; then long enough
/// for any network.
const LOOKS: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(3)];

/// How often it is made sure that a host that is waited for still has its record.
const STILL_REGISTERED: Duration = Duration::from_secs(2);

/// How long looks are short.
const SOON: Duration = Duration::from_secs(20);

/// How long a log-in may take on a host that is coming up, or going down, and may hang at any moment.
const LOG_IN_WHILE_BOOTING: Duration = Duration::from_secs(5);

/// The pauses after refused log-ins of a host that boots: it may let in nobody at first. After these the
/// ledger of refused log-ins says when the next one is possible.
const REFUSED_PAUSES: [Duration; 3] =
    [Duration::from_secs(5), Duration::from_secs(20), Duration::from_mins(1)];

/// Logs in to a host that should be there. One that only turns connections away for the moment gets as
/// long as one that reboots.
pub(crate) async fn reach(
    execution: &Execution<'_>,
    target: &Target,
) -> Result<Session, AccessError> {
    let service = execution.service;
    let deadline = Instant::now() + service.config.verify_timeout();
    let mut pauses = RETRIES.into_iter();
    let mut throttled = Backoff::default();
    loop {
        let timeout = service.config.connect_timeout();
        let log_in = Session::connect(&service.deps.run_dir, target, timeout);
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

/// Waits, until the deadline that counts from the reboot, for a host that answers over SSH with a boot
/// id that is `wanted`.
pub(super) async fn wait_until_up(
    execution: &Execution<'_>,
    index: usize,
    target: &Target,
    wanted: impl Fn(&str) -> bool,
) -> Result<(Session, String), Trouble> {
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
        if Instant::now() >= log_in_from && listens(target, look).await {
            match look_at(execution, target).await {
                Ok((session, id)) if wanted(&id) => return Ok((session, id)),
                Ok((session, _)) => {
                    "it still runs the boot from before: the reboot had no effect"
                        .clone_into(&mut last);
                    answered = true;
                    goes_down(&session).await;
                }
                Err(error @ AccessError::KeyChanged { .. }) => return Err(error.into()),
                // Refused log-ins included: while it boots a host may let in nobody.
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
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// How long to wait after a log-in that failed, `refused` times of which because it was refused.
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
) -> Result<(Session, String), AccessError> {
    let deps = &execution.service.deps;
    let log_in = Session::connect(&deps.run_dir, target, LOG_IN_WHILE_BOOTING);
    let session = deps.ledger.log_in(&target.address, Share::Work, log_in).await?;
    let id = boot_id(&session).await?;
    Ok((session, id))
}

/// Whether something listens on the host's SSH port: far cheaper than a log-in, and asked anew each
/// time, so that no back-off of TCP hides the moment when it comes back.
pub(super) async fn listens(target: &Target, within: Duration) -> bool {
    let connect = TcpStream::connect((target.address.as_str(), target.port));
    matches!(tokio::time::timeout(within, connect).await, Ok(Ok(_)))
}

/// Waits until a host on its way down has cut our connection, but not for ever: asked through the
/// connection that there is, which costs the host nothing.
pub(super) async fn goes_down(session: &Session) {
    let down = async {
        while session.is_alive().await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    // Either way it is looked at next.
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
