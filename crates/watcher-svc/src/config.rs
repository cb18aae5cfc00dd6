//! What the watcher is told: the members of `watcher.conf`.

use std::time::Duration;

use serde::Deserialize;

/// See the module.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often each host is checked.
    pub interval: Seconds,
    /// Hosts that are checked at a time.
    pub concurrency: usize,
    /// How long a check may take: the log-in and the answer.
    pub connect_timeout: Seconds,
    /// Failed checks in a row that make a host `failed`.
    pub failures: u32,
    /// The pauses after the first of them, the second, …; the last one stands for all further ones.
    pub retry_pauses: Vec<Seconds>,
    /// Seconds between two reports of last checks: so much later others see a check that changed nothing,
    /// and so much earlier than due a host may be checked when another watcher takes it over.
    pub report_interval: Seconds,
    /// When more than this share of all hosts, or of a large cluster's or a container manager's, is unavailable at
    /// once, an alarm is raised: no status of these hosts changes, and no operation on them goes on.
    pub freeze_share: f64,
    /// Seconds for which no more than a third of `freeze_share` must be unavailable before an alarm ends.
    pub alarm_end_after: Seconds,
}

impl Default for Config {
    fn default() -> Self {
        let seconds = |count| Seconds(Duration::from_secs(count));
        Self {
            interval: seconds(60),
            concurrency: 32,
            connect_timeout: seconds(10),
            failures: 3,
            retry_pauses: vec![seconds(5), seconds(15)],
            report_interval: seconds(30),
            freeze_share: 0.3,
            alarm_end_after: seconds(5 * 60),
        }
    }
}

/// A span of time that can be waited for: a number of seconds, from 0.001 to a year of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Seconds(pub Duration);

impl TryFrom<f64> for Seconds {
    type Error = &'static str;

    fn try_from(count: f64) -> Result<Self, Self::Error> {
        if (0.001..=31_536_000.0).contains(&count) {
            Ok(Self(Duration::from_secs_f64(count)))
        } else {
            Err("a span of time is a number of seconds, from 0.001 to 31536000")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(members: Value) -> Result<Config, String> {
        serde_json::from_value(members).map_err(|error| error.to_string())
    }

    #[test]
    fn spans_of_time_are_numbers_of_seconds() {
        let config = read(json!({"interval": 0.5, "retry_pauses": [1, 2]})).unwrap();
        assert_eq!(config.interval.0, Duration::from_millis(500));
        assert_eq!(config.retry_pauses[1].0, Duration::from_secs(2));
        assert_eq!(config.failures, 3);
    }

    #[test]
    fn what_is_no_span_of_time_is_refused() {
        for wrong in [json!(0), json!(-1), json!(1e300), json!("1")] {
            assert!(read(json!({"interval": wrong})).is_err(), "{wrong}");
        }
        assert!(read(json!({"intervall": 1})).unwrap_err().contains("unknown field"));
    }
}
