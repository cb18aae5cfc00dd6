//! What the cluster executor is told: the members of `clusterexec.conf`.

use std::path::PathBuf;
use std::time::Duration;

use model::Options;
use serde::{Deserialize, Deserializer, de};
use url::Url;

/// See the module.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Seconds that a log-in may take.
    pub connect_timeout: u64,
    /// Seconds from the reboot until a host must be proven back.
    pub verify_timeout: u64,
    /// Seconds that an upgrade or a deployment may take on a host, before its reboot.
    pub apply_timeout: u64,
    /// Seconds that a roll waits for hosts that are unavailable for other reasons, before it is paused.
    pub room_timeout: u64,
    /// Seconds that an alarm may last before the operations that it concerns are paused.
    pub alarm_pause_after: u64,
    /// How many hosts an operation works on at a time, however many may be unavailable.
    pub parallel: usize,
    /// How many ended operations are kept for each cluster.
    pub keep_operations: usize,
    /// What operations are asked for where a request says nothing.
    #[serde(deserialize_with = "sensible")]
    pub defaults: Options,
    /// The URL to which events of operations and alarms are posted.
    #[serde(deserialize_with = "web_address")]
    pub webhook_url: Option<Url>,
    /// The file with the secret that signs them.
    pub webhook_secret_file: Option<PathBuf>,
    /// Seconds that a rollout waits for the disruption budget, a freeze or an alarm before the event `waiting`.
    pub webhook_waiting_after: u64,
    /// Playbooks that replace the bundled ones.
    pub playbook_path: Option<PathBuf>,
    /// The memory that each process of `ansible-playbook` may use, in MiB.
    pub playbook_memory: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_timeout: 10,
            verify_timeout: 15 * 60,
            apply_timeout: 60 * 60,
            room_timeout: 15 * 60,
            alarm_pause_after: 10 * 60,
            parallel: 16,
            keep_operations: 20,
            defaults: Options::default(),
            webhook_url: None,
            webhook_secret_file: None,
            webhook_waiting_after: 5 * 60,
            playbook_path: None,
            playbook_memory: host_access::playbook::MEMORY,
        }
    }
}

impl Config {
    /// How long a log-in may take.
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout)
    }

    /// How long after its reboot a host must be proven back.
    pub fn verify_timeout(&self) -> Duration {
        Duration::from_secs(self.verify_timeout)
    }

    /// How long an upgrade or a deployment may take on a host.
    pub fn apply_timeout(&self) -> Duration {
        Duration::from_secs(self.apply_timeout)
    }

    /// How long a roll waits for hosts that are unavailable for other reasons.
    pub fn room_timeout(&self) -> Duration {
        Duration::from_secs(self.room_timeout)
    }

    /// How long an alarm may last before the operations that it concerns are paused.
    pub fn alarm_pause_after(&self) -> Duration {
        Duration::from_secs(self.alarm_pause_after)
    }

    /// How long a rollout waits before that is reported to the webhook.
    pub fn webhook_waiting_after(&self) -> Duration {
        Duration::from_secs(self.webhook_waiting_after)
    }
}

fn sensible<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Options, D::Error> {
    let options = Options::deserialize(deserializer)?;
    options.known().and_then(|()| options.validate()).map_err(de::Error::custom)?;
    if options.hosts.is_some() {
        return Err(de::Error::custom("hosts: belongs to one operation, and is no default"));
    }
    Ok(options)
}

fn web_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let url = Url::parse(&text).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
    // The address itself may hold a secret.
    url.map(Some).ok_or_else(|| de::Error::custom("webhook_url: an http or https URL is expected"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn defaults_and_addresses_are_checked_at_the_start() {
        let parse =
            |value: Value| serde_json::from_value::<Config>(value).map_err(|e| e.to_string());
        let config =
            parse(json!({"defaults": {"max_unavailable": "30%"}, "webhook_url": "http://h/x"}));
        assert_eq!(config.unwrap().defaults.budget(10), 3);
        for (wrong, named) in [
            (json!({"defaults": {"max_unavailable": 0}}), "1 or more"),
            (json!({"defaults": {"hosts": ["a"]}}), "hosts"),
            (json!({"defaults": {"soack": 1}}), "unknown option `soack`"),
            (json!({"defaults": {"soak": 1_000_000}}), "soak"),
            (json!({"webhook_url": "ftp://secret/"}), "webhook_url"),
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(error.contains(named) && !error.contains("secret"), "{error}");
        }
    }
}
