//! Alarms that last: the operation is paused, so that it does not go on by itself hours later.

use std::time::Duration;

use service_core::clock::{self, left};
use service_core::model::{Alarm, Outcome, ResumeAfterAlarm};
use service_core::{Error, Result};
use tokio::time::Instant;

use super::Execution;

/// The pause between two looks at the alarms.
const LOOK: Duration = Duration::from_secs(5);

/// An alarm during which the operation is to be paused.
struct Lasting {
    /// When it is paused.
    at: Instant,
    is_paused: bool,
}

impl Execution<'_> {
    /// Pauses the operation when alarms concern it for longer than `alarm_pause_after`, once in a row of them: an
    /// operator may resume it before they end. Never ends but with an error.
    pub(super) async fn pause_in_alarms(&self) -> Error {
        if self.operation.options.resume_after_alarm == Some(ResumeAfterAlarm::Auto) {
            return std::future::pending().await;
        }
        let limit = self.service.config.alarm_pause_after();
        let cluster = &self.operation.cluster;
        let mut lasting: Option<Lasting> = None;
        let mut is_first_look = true;
        loop {
            let alarm = match self.or_store_again(|| self.service.alarm(cluster)).await {
                Ok(alarm) => alarm,
                Err(error) => return error,
            };
            if let Some(alarm) = &alarm {
                // Its stamp counts only where another executor may have seen it begin.
                let left = if is_first_look { self.left_of(alarm, limit) } else { limit };
                let is_paused = false;
                let lasting =
                    lasting.get_or_insert_with(|| Lasting { at: Instant::now() + left, is_paused });
                if !lasting.is_paused && Instant::now() >= lasting.at {
                    if let Err(error) = self.pause_for(alarm, limit).await {
                        return error;
                    }
                    lasting.is_paused = true;
                }
            } else {
                lasting = None;
            }
            is_first_look = false;
            tokio::time::sleep(LOOK).await;
        }
    }

    fn left_of(&self, alarm: &Alarm, limit: Duration) -> Duration {
        let since = clock::parse(&alarm.since);
        since.map_or(limit, |since| left(self.service.deps.clock.wall(), since, limit))
    }

    async fn pause_for(&self, alarm: &Alarm, limit: Duration) -> Result<()> {
        let why = format!(
            "an alarm of {} has lasted for more than {} s since {} ({})",
            alarm.scope_name(),
            limit.as_secs(),
            alarm.since,
            alarm.reason
        );
        if self.or_store_again(|| self.pause(&why)).await? {
            self.log_operation(Outcome::Waiting, &format!("paused: {why}")).await?;
        }
        Ok(())
    }
}
