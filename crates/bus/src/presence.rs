//! Which services are running: every replica answers `notify.ping`.

use std::time::Duration;

use model::Stamp;
use runtime::lifecycle::Lifecycle;
use runtime::{Clock, random};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Result, chain};
use crate::{Bus, Context, Subscription, topology};

/// Pause before the next attempt to subscribe.
const RETRY: Duration = Duration::from_secs(1);

/// The longest text of an answer that is taken.
const LONGEST_TEXT: usize = 256;

/// A replica of a service, as it answers a ping.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Presence {
    /// The name of the service, for instance `storage`.
    pub service: String,
    /// Distinguishes the replicas of a service: the machine's name and a random part for the process.
    pub replica: String,
    /// Its version.
    pub version: String,
    /// When it started.
    pub started_at: Stamp,
}

impl Presence {
    /// This process as a replica of `service`, started now.
    pub fn new(service: &str, clock: &Clock) -> Self {
        let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let random = random::uuid().simple().to_string();
        Self {
            service: service.to_owned(),
            replica: format!("{}-{}", machine.trim(), &random[..8]),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: clock.stamp(),
        }
    }

    /// Reads an answer; `None` where it is not one.
    pub fn read(answer: &Value) -> Option<Self> {
        let presence: Self = serde_json::from_value(answer.clone()).ok()?;
        let Self { service, replica, version, started_at } = &presence;
        let fits = |text: &str| !text.is_empty() && text.len() <= LONGEST_TEXT;
        let is_valid = [service, replica, version, started_at.as_str()].into_iter().all(fits);
        is_valid.then_some(presence)
    }
}

/// Answers pings for a service that has started, until the daemon stops.
pub fn answer_pings(bus: &Bus, service: &str, lifecycle: &Lifecycle) {
    let (bus, stopping) = (bus.clone(), lifecycle.stopping());
    let presence = json!(Presence::new(service, &Clock::System));
    lifecycle.spawn("presence", async move {
        tokio::select! {
            () = stopping => {}
            () = serve(&bus, &presence) => {}
        }
    });
}

async fn serve(bus: &Bus, presence: &Value) {
    loop {
        match bus.subscribe(topology::PING).await {
            Ok(subscription) => answer(subscription, presence).await,
            Err(error) => {
                tracing::debug!(error = chain(&error), "cannot subscribe to pings");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Answers pings until the subscription ends.
async fn answer(mut pings: Subscription, presence: &Value) {
    while let Some(ping) = pings.next().await {
        if let Err(error) = ping.answer(presence.clone()).await {
            tracing::debug!(error = chain(&error), "cannot answer a ping");
        }
    }
}

/// The replicas that answer a ping within `window`, sorted; returns earlier once they are `enough`.
///
/// # Errors
/// [`Kind::Unavailable`](crate::Kind::Unavailable) when there is no connection to the broker.
pub async fn ping(
    bus: &Bus,
    context: &Context,
    window: Duration,
    enough: impl Fn(&[Presence]) -> bool,
) -> Result<Vec<Presence>> {
    let read = |answers: &[Value]| answers.iter().filter_map(Presence::read).collect::<Vec<_>>();
    let answers =
        bus.gather(topology::PING, context, window, |answers| enough(&read(answers))).await?;
    let mut replicas = read(&answers);
    replicas.sort();
    replicas.dedup();
    Ok(replicas)
}
