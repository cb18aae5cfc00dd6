//! Hosts that registered themselves and do not prove themselves.

use std::time::Duration;

use jiff::SignedDuration;
use model::{Host, HostCreds, HostState, Lease, Status};
use runtime::Clock;
use serde_json::json;

use crate::registration::{Fixture, eventually};

const SINCE: &str = "2026-11-21T00:00:00.000000";

/// A host in that state that registered itself at that time.
async fn enrolled(fixture: &Fixture, address: &str, status: Status, since: &str, proven: bool) {
    fixture.host(address, status).await;
    fixture.storage.save(&HostCreds::new(address)).await.unwrap();
    let enrolled = json!({"id": "e", "cluster": "c1", "since": since, "proven": proven});
    let state: HostState =
        serde_json::from_value(json!({"address": address, "enrolled": enrolled})).unwrap();
    fixture.storage.save(&state).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_does_not_prove_itself_in_time_is_removed() {
    let mut fixture = Fixture::new().await;
    fixture.clock = Clock::simulated("2026-11-21T00:14:00Z".parse().unwrap());
    // No password and no key leads there: what keeps them does not matter.
    enrolled(&fixture, "192.0.2.1", Status::Failed, SINCE, false).await;
    enrolled(&fixture, "192.0.2.2", Status::Failed, "2026-11-21T00:10:00.000000", false).await;
    enrolled(&fixture, "192.0.2.3", Status::Failed, SINCE, true).await;
    enrolled(&fixture, "192.0.2.4", Status::Active, SINCE, false).await;
    fixture.host("192.0.2.5", Status::Failed).await;
    fixture.start().await;
    let left = async || fixture.storage.list::<Host>().await.unwrap().len();
    // This one is overdue already: once it is gone, a round has come to its end.
    let early = "2026-11-20T00:00:00.000000";
    enrolled(&fixture, "192.0.2.6", Status::Failed, early, false).await;
    fixture.wake().await;
    eventually("the sixth is gone", async || left().await == 5).await;
    // A wall clock that is set neither removes a host nor keeps one.
    fixture.clock.advance(SignedDuration::from_hours(1));
    enrolled(&fixture, "192.0.2.6", Status::Failed, early, false).await;
    fixture.wake().await;
    eventually("the sixth is gone again", async || left().await == 5).await;
    fixture.clock.advance(SignedDuration::from_hours(-2));
    tokio::time::advance(Duration::from_mins(1)).await;
    fixture.wake().await;
    eventually("the first is gone", async || left().await == 4).await;
    assert!(fixture.storage.find::<Host>("192.0.2.1").await.unwrap().is_none());
    assert!(fixture.storage.find::<HostCreds>("192.0.2.1").await.unwrap().is_none());
    assert!(fixture.storage.find::<HostState>("192.0.2.1").await.unwrap().is_none());
    let leases = fixture.storage.list::<Lease>().await.unwrap();
    assert!(leases.is_empty(), "{leases:?}");
}
