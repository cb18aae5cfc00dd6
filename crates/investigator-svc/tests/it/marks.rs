//! The generation marks of hosts that are investigated.

use std::time::Duration;

use host_access::generation::signed_text;
use host_access::{Hosts as _, Mark};
use model::{
    Bootstrap, HostCreds, HostState, Instance, Network, Restored, ServerKeys, Stamp, Status,
};
use serde_json::json;
use simulated_hosts::{FINGERPRINT, OWN_KEY};
use storage_client::queries;
use tokio::time::{Instant, advance};

use crate::registration::{Fixture, eventually};

const BEFORE: &str = "2026-11-27T12:00:00.000000";
const RESTORED: &str = "2026-11-28T12:00:00.000000";
/// After the marks of the hosts were confirmed.
const AFTER: &str = "2026-11-28T12:30:00.000000";
const AN_HOUR: Duration = Duration::from_hours(1);

/// A network that is none, or one that hosts are set up for.
async fn network(fixture: &Fixture, kind: &str) {
    let options = json!({"address": "10.0.0.9:8888"});
    let network = json!({"name": Network::DEFAULT, "type": kind, "options": options});
    let network: Network = serde_json::from_value(network).unwrap();
    fixture.storage.save(&network).await.unwrap();
}

/// Registers a host at this time, with the mark of another installation, which was confirmed now.
async fn register(fixture: &Fixture, address: &str, at: &str, mark: &str, bootstrap: Bootstrap) {
    let instance = queries::instance(&fixture.storage).await.unwrap();
    fixture.hosts.add(address);
    fixture.hosts.edit(address, |machine| {
        machine.confirmed.insert(instance.id.clone(), Instant::now());
        machine.marks.insert(instance.id, mark.to_owned());
    });
    fixture.storage.save(&HostCreds::new(address)).await.unwrap();
    let registered_at = Stamp::from(at);
    let state =
        HostState { address: address.into(), bootstrap, registered_at, ..HostState::default() };
    fixture.storage.save(&state).await.unwrap();
    fixture.host(address, Status::Investigating).await;
}

async fn mark(fixture: &Fixture, generation: u64) -> String {
    let instance = queries::instance(&fixture.storage).await.unwrap();
    let text = signed_text(&instance.id, generation, "other");
    let signature = fixture.hosts.sign(&OWN_KEY.into(), &text).await.unwrap();
    format!("{}\n", Mark { generation, id: "other".to_owned(), signature })
}

async fn ended(fixture: &Fixture, address: &str) -> (Status, HostState) {
    eventually("it is investigated", async || {
        !fixture.status(address).await.is_under_investigation()
    })
    .await;
    (fixture.status(address).await, fixture.state(address).await)
}

fn mark_of(fixture: &Fixture, address: &str, instance: &Instance) -> String {
    fixture.hosts.edit(address, |machine| machine.marks[&instance.id].clone())
}

#[tokio::test(start_paused = true)]
async fn new_host_gets_the_mark_of_this_installation_and_a_known_one_keeps_that_of_a_newer_one() {
    let fixture = Fixture::new().await;
    fixture.storage.save(&ServerKeys::of(FINGERPRINT)).await.unwrap();
    network(&fixture, "none").await;
    let newer = mark(&fixture, 2).await;
    register(&fixture, "10.0.0.1", AFTER, &newer, Bootstrap::Auto).await;
    register(&fixture, "10.0.0.2", "", &newer, Bootstrap::Auto).await;
    register(&fixture, "10.0.0.3", AFTER, "garbage", Bootstrap::Auto).await;
    // The newer installation has it in its records, too, and has marked it since.
    register(&fixture, "10.0.0.4", BEFORE, &newer, Bootstrap::Auto).await;
    advance(AN_HOUR).await;
    fixture.start().await;
    let instance = queries::instance(&fixture.storage).await.unwrap();
    for address in ["10.0.0.1", "10.0.0.3"] {
        let (status, state) = ended(&fixture, address).await;
        assert_eq!((status, state.generation), (Status::Disassociated, 1), "{address}");
        assert!(mark_of(&fixture, address, &instance).contains(&instance.generation_id));
    }
    for address in ["10.0.0.2", "10.0.0.4"] {
        let (status, state) = ended(&fixture, address).await;
        assert_eq!(
            (status, state.reason.as_str(), state.generation),
            (Status::Failed, "fenced", 0),
            "{address}"
        );
        assert!(state.detail.contains("has taken it over"), "{}", state.detail);
        assert_eq!(mark_of(&fixture, address, &instance), newer);
    }
}

#[tokio::test(start_paused = true)]
async fn restored_installation_sets_up_only_hosts_that_were_registered_with_it() {
    let fixture = Fixture::new().await;
    network(&fixture, "flannel_server").await;
    let restored = Restored { at: RESTORED.into(), taken_at: BEFORE.into(), takes_over: false };
    let instance = Instance {
        generation: 2,
        generation_id: "restored".to_owned(),
        restored: Some(restored),
        ..queries::instance(&fixture.storage).await.unwrap()
    };
    fixture.storage.save(&instance).await.unwrap();
    let old = mark(&fixture, 1).await;
    register(&fixture, "10.0.0.1", AFTER, &old, Bootstrap::Full).await;
    register(&fixture, "10.0.0.2", BEFORE, &old, Bootstrap::Full).await;
    register(&fixture, "10.0.0.3", BEFORE, &old, Bootstrap::None).await;
    advance(AN_HOUR).await;
    fixture.start().await;
    let (status, state) = ended(&fixture, "10.0.0.1").await;
    assert_eq!((status, state.generation), (Status::Disassociated, 2), "{}", state.detail);
    assert!(mark_of(&fixture, "10.0.0.1", &instance).contains("2 restored"));
    let (status, state) = ended(&fixture, "10.0.0.2").await;
    assert_eq!((status, state.reason.as_str()), (Status::Failed, "fenced"));
    assert!(state.detail.contains("has not taken over its hosts"), "{}", state.detail);
    // To look at a host changes nothing on it.
    let (status, state) = ended(&fixture, "10.0.0.3").await;
    assert_eq!((status, state.generation), (Status::Disassociated, 0));
    for address in ["10.0.0.2", "10.0.0.3"] {
        assert_eq!(mark_of(&fixture, address, &instance), old);
    }
}
