//! When alarms are raised and ended. Pure.
//!
//! An alarm has hysteresis: it is raised when more than `freeze_share` of a scope's hosts are unavailable, and ended
//! once no more than a third of that share, or fewer than two hosts, have been unavailable for `alarm_end_after`.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Alarm, Stamp};
use tokio::time::Instant;

use crate::config::Config;

/// Fewer hosts than this never make an alarm.
const TOO_MANY: usize = 2;

/// How many of the hosts that stand for a scope are unavailable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// The hosts that stand for the scope.
    pub hosts: usize,
    /// Those of them that are unavailable.
    pub unavailable: usize,
}

/// What happens to an alarm.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It is raised.
    Raise(Alarm),
    /// The alarm of this scope is ended.
    End(String),
}

impl Share {
    /// Whether an alarm is raised where `limit` is the share from which on that happens.
    pub fn is_too_high(self, limit: f64) -> bool {
        self.unavailable >= TOO_MANY && number(self.unavailable) > limit * number(self.hosts)
    }

    /// Whether it is at most a third of `limit`.
    fn is_low(self, limit: f64) -> bool {
        self.unavailable < TOO_MANY || number(3 * self.unavailable) <= limit * number(self.hosts)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of hosts are small")]
fn number(count: usize) -> f64 {
    count as f64
}

/// Decides about alarms, from the shares of scopes over time.
#[derive(Debug)]
pub struct Alarms {
    limit: f64,
    end_after: Duration,
    /// Since when the share of a scope with an alarm is low.
    low_since: BTreeMap<String, Instant>,
}

impl Alarms {
    /// As the configuration has it.
    pub fn new(config: &Config) -> Self {
        let (limit, end_after) = (config.freeze_share, config.alarm_end_after.0);
        Self { limit, end_after, low_since: BTreeMap::new() }
    }

    /// The alarms to raise and to end now, at `stamp`. `raised` are the scopes with an alarm; a scope without a share has no
    /// unavailable host.
    pub fn changes(
        &mut self,
        raised: &[String],
        shares: &BTreeMap<String, Share>,
        stamp: &Stamp,
    ) -> Vec<Change> {
        let now = Instant::now();
        let mut changes = Vec::new();
        for (scope, share) in shares {
            if share.is_too_high(self.limit) && !raised.contains(scope) {
                changes.push(Change::Raise(raise(scope, *share, stamp)));
            }
        }
        self.low_since.retain(|scope, _| raised.contains(scope));
        for scope in raised {
            let share = shares.get(scope).copied().unwrap_or_default();
            if !share.is_low(self.limit) {
                self.low_since.remove(scope);
                continue;
            }
            let since = *self.low_since.entry(scope.clone()).or_insert(now);
            if now.duration_since(since) >= self.end_after {
                changes.push(Change::End(scope.clone()));
            }
        }
        changes
    }
}

fn raise(scope: &str, share: Share, stamp: &Stamp) -> Alarm {
    let Share { hosts, unavailable } = share;
    let mut alarm = Alarm {
        scope: scope.to_owned(),
        since: stamp.clone(),
        share: (number(unavailable) / number(hosts.max(1)) * 1000.0).round() / 1000.0,
        reason: String::new(),
    };
    alarm.reason = format!(
        "{unavailable} of {hosts} hosts of {} became unreachable or refuse log-ins at once",
        alarm.scope_name()
    );
    alarm
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn look(alarms: &mut Alarms, raised: &[String], unavailable: usize) -> Vec<Change> {
        let share = Share { hosts: 40, unavailable };
        alarms.changes(raised, &BTreeMap::from([("fleet".to_owned(), share)]), &"now".into())
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_is_raised_above_30_percent_and_ended_after_five_minutes_at_10() {
        let mut alarms = Alarms::new(&Config::default());
        assert_eq!(look(&mut alarms, &[], 12), []);
        let [Change::Raise(alarm)] = &look(&mut alarms, &[], 13)[..] else { panic!("no alarm") };
        assert_eq!(
            (alarm.scope.as_str(), alarm.since.as_str(), alarm.share),
            ("fleet", "now", 0.325)
        );
        assert!(alarm.reason.starts_with("13 of 40 hosts of the fleet"), "{}", alarm.reason);
        let raised = ["fleet".to_owned()];
        assert_eq!(look(&mut alarms, &raised, 13), [], "it is raised once");
        // Between the two limits it lasts for ever.
        for _ in 0..60 {
            tokio::time::advance(MINUTE).await;
            assert_eq!(look(&mut alarms, &raised, 5), []);
        }
        assert_eq!(look(&mut alarms, &raised, 4), []);
        tokio::time::advance(4 * MINUTE).await;
        assert_eq!(look(&mut alarms, &raised, 4), []);
        // Once more above 10 %: the five minutes begin again.
        assert_eq!(look(&mut alarms, &raised, 5), []);
        assert_eq!(look(&mut alarms, &raised, 4), []);
        tokio::time::advance(4 * MINUTE).await;
        assert_eq!(look(&mut alarms, &raised, 0), []);
        tokio::time::advance(MINUTE).await;
        assert_eq!(look(&mut alarms, &raised, 0), [Change::End("fleet".to_owned())]);
        assert_eq!(look(&mut alarms, &[], 0), []);
    }

    #[tokio::test(start_paused = true)]
    async fn one_host_alone_neither_raises_an_alarm_nor_keeps_it() {
        let mut alarms = Alarms::new(&Config::default());
        let shares =
            |unavailable| BTreeMap::from([("fleet".to_owned(), Share { hosts: 2, unavailable })]);
        assert_eq!(alarms.changes(&[], &shares(1), &Stamp::default()), []);
        assert_eq!(alarms.changes(&[], &shares(2), &Stamp::default()).len(), 1);
        let raised = ["fleet".to_owned()];
        assert_eq!(alarms.changes(&raised, &shares(1), &Stamp::default()), []);
        tokio::time::advance(5 * MINUTE).await;
        assert_eq!(
            alarms.changes(&raised, &shares(1), &Stamp::default()),
            [Change::End("fleet".to_owned())]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_alarm_of_a_scope_that_is_no_more_ends() {
        let mut alarms = Alarms::new(&Config::default());
        let raised = ["cluster.gone".to_owned()];
        assert_eq!(alarms.changes(&raised, &BTreeMap::new(), &Stamp::default()), []);
        tokio::time::advance(5 * MINUTE).await;
        let changes = alarms.changes(&raised, &BTreeMap::new(), &Stamp::default());
        assert_eq!(changes, [Change::End("cluster.gone".to_owned())]);
    }
}
