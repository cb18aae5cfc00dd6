//! What one client may take from the others.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// See the module. Times are configured as numbers of seconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// How long a TLS handshake may take.
    #[serde(deserialize_with = "seconds")]
    pub handshake: Duration,
    /// Timeout for the first byte of a connection, and for the head of a request from its first byte on.
    #[serde(deserialize_with = "seconds")]
    pub head: Duration,
    /// How long the body of a request may take.
    #[serde(deserialize_with = "seconds")]
    pub body: Duration,
    /// How long a connection may wait for a request, and an answer for its reader.
    #[serde(deserialize_with = "seconds")]
    pub idle: Duration,
    /// How long a request may take, its body included.
    #[serde(deserialize_with = "seconds")]
    pub request: Duration,
    /// How many bytes the head of a request may have, at least 8192.
    pub head_size: usize,
    /// The most connections at a time: a new one replaces the one that has been idle the longest, and waits while all are
    /// busy.
    pub connections: usize,
    /// The most connections of one source, an IPv4 address or an IPv6 /64 network; default a quarter of `connections`.
    /// Loopback addresses and trusted proxies are exempt.
    pub connections_per_source: Option<usize>,
    /// How many streams of events there may be at a time; others are told to come again.
    pub streams: usize,
    /// The most streams of events of one user at a time; more are 429.
    pub streams_per_user: usize,
}

impl Limits {
    /// The least that `head_size` can be.
    pub const HEAD_SIZE_MIN: usize = 8 * 1024;

    pub(super) fn connections_per_source(&self) -> usize {
        self.connections_per_source.unwrap_or(self.connections.div_ceil(4))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            idle: Duration::from_secs(75),
            request: Duration::from_mins(2),
            head_size: 128 * 1024,
            connections: 4096,
            connections_per_source: None,
            streams: 256,
            streams_per_user: 32,
        }
    }
}

/// From a millisecond to a day.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let count = f64::deserialize(deserializer)?;
    if (0.001..=86_400.0).contains(&count) {
        return Ok(Duration::from_secs_f64(count));
    }
    Err(serde::de::Error::custom("a limit of time is a number of seconds, from 0.001 to 86400"))
}
