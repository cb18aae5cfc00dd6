//! Alarms that last: the operation is paused, so that it does not resume by itself hours later.

use std::time::Duration;

use bus::{Error, Result};
use model::{Alarm, ResumeAfterAlarm, WaitReason, stamp};
use tokio::time::Instant;

use crate::control::pause;
use crate::journal::Journal;

/// The pause between two reads of the alarms.
const INTERVAL: Duration = Duration::from_secs(5);

/// An alarm during which the operation is to be paused.
struct Lasting {
    /// When it is paused.
    at: Instant,
    is_paused: bool,
}

/// Pauses the operation when alarms have concerned it without interruption for `alarm_pause_after`, once: an operator
/// may resume it before they end. Returns only with an error.
pub(crate) async fn pause_in_alarms(journal: &Journal<'_>) -> Error {
    if journal.operation.options.resume_after_alarm == Some(ResumeAfterAlarm::Auto) {
        return std::future::pending().await;
    }
    let context = journal.context;
    let limit = context.config.alarm_pause_after();
    let cluster = &journal.operation.cluster;
    let mut lasting: Option<Lasting> = None;
    let mut is_first = true;
    loop {
        let alarm = match journal.retry(|| context.alarm(cluster)).await {
            Ok(alarm) => alarm,
            Err(error) => return error,
        };
        if let Some(alarm) = &alarm {
            // Its time stamp matters only if another executor may have seen it begin.
            let left = if is_first { time_left(journal, alarm, limit) } else { limit };
            let lasting = lasting
                .get_or_insert_with(|| Lasting { at: Instant::now() + left, is_paused: false });
            if !lasting.is_paused && Instant::now() >= lasting.at {
                if let Err(error) = pause_for(journal, alarm, limit).await {
                    return error;
                }
                lasting.is_paused = true;
            }
        } else {
            lasting = None;
        }
        is_first = false;
        tokio::time::sleep(INTERVAL).await;
    }
}

fn time_left(journal: &Journal<'_>, alarm: &Alarm, limit: Duration) -> Duration {
    let wall = journal.context.deps.clock.wall();
    alarm.since.timestamp().map_or(limit, |since| stamp::left(wall, since, limit))
}

async fn pause_for(journal: &Journal<'_>, alarm: &Alarm, limit: Duration) -> Result<()> {
    let reason = format!(
        "an alarm of {} has lasted for more than {} s since {} ({})",
        alarm.scope_name(),
        limit.as_secs(),
        alarm.since,
        alarm.reason
    );
    if journal.retry(|| pause(journal, WaitReason::AlarmTimeout, &reason)).await? {
        journal.log_wait(WaitReason::AlarmTimeout, &format!("paused: {reason}")).await?;
    }
    Ok(())
}
