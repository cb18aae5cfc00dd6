//! Enrollments: tokens with which hosts register themselves.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Address, ClusterName, Model, Stamp, ident};
use crate::networks::Networks;
use crate::stamp;

/// A token that hosts register themselves with; the token itself is not kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Enrollment {
    /// What identifies it; the token begins with it.
    pub id: String,
    /// SHA-256 of the token's secret part, in hexadecimal digits.
    pub token_hash: String,
    /// The cluster that its hosts join; empty for none.
    #[serde(default)]
    pub cluster: ClusterName,
    /// When it ends.
    pub expires: Stamp,
    /// How many hosts may register with it.
    pub uses: u32,
    /// Where they may come from; empty for anywhere.
    #[serde(default)]
    pub from: Networks,
    /// The hosts that did.
    #[serde(default)]
    pub hosts: Vec<Address>,
    /// Who made it.
    #[serde(default)]
    pub created_by: String,
    /// When it was made.
    pub created_at: Stamp,
    /// When a restore from a backup voided it, since it may have been deleted after the backup; empty otherwise.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub voided_at: Stamp,
}

impl Enrollment {
    /// Whether its time is over by the wall clock, by which it was chosen; a time that cannot be read is.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires.timestamp().is_none_or(|end| end <= now)
    }

    /// Notes a host; false when as many as may have registered already. One that registers again is not
    /// counted again.
    pub fn take(&mut self, address: &str) -> bool {
        if self.hosts.iter().any(|host| host == address) {
            return true;
        }
        let is_free = self.hosts.len() < self.uses as usize;
        if is_free {
            self.hosts.push(address.into());
        }
        is_free
    }
}

impl Model for Enrollment {
    const TYPE: &'static str = "Enrollment";
    const LIST_TYPE: &'static str = "Enrollments";
    const ID: &'static str = "id";
    const PREFIX: &'static str = "/commissaire/enrollments/";
    const HIDDEN: &'static [&'static str] = &["token_hash"];

    fn id(&self) -> &str {
        &self.id
    }

    fn validate(&self) -> Result<(), String> {
        ident::name(&self.id)?;
        if !self.cluster.is_empty() {
            ident::name(&self.cluster).map_err(|e| format!("cluster: {e}"))?;
        }
        for (member, time) in [("expires", &self.expires), ("created_at", &self.created_at)] {
            if !time.is_valid() {
                return Err(format!("{member} is no time: {time:?}"));
            }
        }
        self.hosts.iter().try_for_each(|address| ident::address(address))
    }
}

/// How a host came that registered itself. Until it is proven it is in no cluster, and is removed after
/// [`Enrolled::TIMEOUT`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The enrollment.
    pub id: String,
    /// The cluster that it joins once it is proven; empty for none.
    #[serde(default)]
    pub cluster: ClusterName,
    /// When it registered itself.
    pub since: Stamp,
    /// Its address has presented the host key that it announced, and accepted the log-in.
    #[serde(default)]
    pub proven: bool,
}

impl Enrolled {
    /// How long a host may take to prove itself.
    pub const TIMEOUT: Duration = Duration::from_mins(15);

    /// How much of [`Self::TIMEOUT`] is left; nothing where the time of its registration cannot be read.
    pub fn time_left(&self, now: Timestamp) -> Duration {
        let left = |since| stamp::left(now, since, Self::TIMEOUT);
        self.since.timestamp().map(left).unwrap_or_default()
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        if self.since.is_valid() {
            ident::name(&self.id).map_err(|e| format!("enrolled: {e}"))
        } else {
            Err(format!("enrolled.since is no time: {:?}", self.since))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_use_is_a_host_and_not_a_request() {
        let mut enrollment: Enrollment = serde_json::from_value(serde_json::json!({
            "id": "e", "token_hash": "", "expires": "2026-11-21T00:00:00.000000", "uses": 1,
            "created_at": "2026-11-20T00:00:00.000000",
        }))
        .unwrap();
        assert!(enrollment.take("10.0.0.1") && enrollment.take("10.0.0.1"));
        assert!(!enrollment.take("10.0.0.2"));
        assert_eq!(enrollment.hosts, ["10.0.0.1"]);
        assert!(!enrollment.is_over(at("2026-11-20T23:59:59Z")));
        assert!(enrollment.is_over(at("2026-11-21T00:00:00Z")));
    }

    #[test]
    fn a_host_has_a_quarter_of_an_hour_to_prove_itself() {
        let since = "2026-11-21T00:00:00.000000".into();
        let mut host =
            Enrolled { id: "e".into(), cluster: ClusterName::default(), since, proven: false };
        assert_eq!(host.time_left(at("2026-11-21T00:14:59Z")), Duration::from_secs(1));
        assert!(host.time_left(at("2026-11-21T00:15:00Z")).is_zero());
        assert_eq!(host.time_left(at("2026-11-20T00:00:00Z")), Enrolled::TIMEOUT);
        host.since = Stamp::default();
        assert!(host.time_left(at("2026-11-20T00:00:00Z")).is_zero());
    }
}
