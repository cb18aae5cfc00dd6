//! Real sshds: reached, gone, back again, with another key.

use std::sync::{Arc, Mutex};

use host_access::fingerprint;
use serde_json::{Value, json};
use service_core::bus::{Call, topology};
use service_core::model::{Failing, HostCreds, HostState, Status};
use testbed::Testbed;

use crate::fixture::{Fixture, eventually, every};

#[tokio::test(flavor = "multi_thread")]
async fn a_host_fails_at_the_third_failure_in_a_row_and_is_itself_again_when_it_is_back() {
    let (testbed, fixture) = (Testbed::up_light(2), Fixture::start().await);
    let _life = fixture.watch(&every(2.0)).await;
    // New hosts are seen at once, not only with the next list.
    fixture.register(&testbed, 0, Status::Disassociated).await;
    fixture.register(&testbed, 1, Status::Active).await;
    let [first, second] = [0, 1].map(|host| testbed.address(host).0);
    for (host, address) in [first, second].into_iter().enumerate() {
        fixture.checked(address).await;
        let state = fixture.state(address).await;
        assert_eq!(state.boot_id, testbed.boot_id(host));
        assert_eq!(fixture.host(address).await.last_check.len(), 26);
    }

    let mut states = fixture.bus.subscribe("notify.storage.HostState.*").await.unwrap();
    testbed.run(&["kill", &testbed.hosts()[0]]);
    fixture.until(first, Status::Failed).await;
    for count in [1, 2, 3] {
        let change = states.next().await.unwrap().params;
        assert_eq!(change["model"]["address"], first);
        assert_eq!(change["model"]["failing"], json!({"reason": "unreachable", "count": count}));
    }
    let state = fixture.state(first).await;
    assert_eq!(
        (state.reason.as_str(), state.previous_status),
        ("unreachable", Status::Disassociated)
    );
    assert!(state.detail.contains("cannot be reached"), "{}", state.detail);
    // It is still checked, and so is the other one.
    fixture.checked(first).await;
    fixture.checked(second).await;
    assert_eq!(fixture.host(second).await.status, Status::Active);

    testbed.run(&["start", &testbed.hosts()[0]]);
    fixture.until(first, Status::Disassociated).await;
    let state = fixture.state(first).await;
    assert_eq!((state.reason.as_str(), state.detail.as_str()), ("", ""));
    assert_eq!((state.failing, state.reboots.len()), (Failing::default(), 1));
    assert_eq!(state.boot_id, testbed.boot_id(0), "it had another boot meanwhile");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_never_set_up_is_investigated_when_it_is_there() {
    let (testbed, fixture) = (Testbed::up_light(1), Fixture::start().await);
    let calls = Arc::new(Mutex::new(Vec::<Call>::new()));
    let (recorded, life) = (Arc::clone(&calls), service_core::Lifecycle::new());
    let handler = move |call| {
        recorded.lock().unwrap().push(call);
        std::future::ready(Ok(Value::Null))
    };
    fixture.bus.serve(topology::INVESTIGATOR, 1, &life, handler).await.unwrap();

    // As the investigator leaves it: no key has been seen.
    let address = testbed.address(0).0;
    fixture.register(&testbed, 0, Status::Investigating).await;
    let mut creds = fixture.storage.get::<HostCreds>(address).await.unwrap().record;
    creds.ssh_host_key = String::new();
    fixture.storage.save(&creds).await.unwrap();
    let mut host = fixture.host(address).await;
    let mut state = HostState { address: address.to_owned(), ..HostState::default() };
    state.fail(&mut host, "unreachable", "nobody there".to_owned(), "");
    fixture.storage.save(&state).await.unwrap();
    fixture.storage.save(&host).await.unwrap();

    let _life = fixture.watch(&every(2.0)).await;
    fixture.until(address, Status::Investigating).await;
    let call = eventually("the investigator is woken", || async {
        calls.lock().unwrap().first().map(|call| call.params.0.clone())
    })
    .await;
    assert_eq!(call, json!({"address": address, "cluster_data": {}}));
    let pinned = fixture.storage.get::<HostCreds>(address).await.unwrap().record.ssh_host_key;
    let shown = testbed.run(&["host-key", &testbed.hosts()[0]]);
    assert!(!pinned.is_empty() && shown.contains(&pinned), "{pinned}");
    assert_eq!(fixture.state(address).await.boot_id, testbed.boot_id(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_is_told_with_both_fingerprints_and_waits_for_the_operator() {
    let (testbed, fixture) = (Testbed::up_light(1), Fixture::start().await);
    let address = testbed.address(0).0;
    fixture.register(&testbed, 0, Status::Active).await;
    let print = |key: &str| fingerprint(key).unwrap();
    let pinned = testbed.run(&["host-key", &testbed.hosts()[0]]);
    testbed.run(&["rekey", &testbed.hosts()[0]]);
    let seen = testbed.run(&["host-key", &testbed.hosts()[0]]);
    let _life = fixture.watch(&every(2.0)).await;
    fixture.until(address, Status::Failed).await;
    let state = fixture.state(address).await;
    assert_eq!(state.reason, "host-key-changed");
    let accept = format!("commctl host accept-key {address}");
    for part in [print(&pinned), print(&seen), accept] {
        assert!(state.detail.contains(&part), "{part}: {}", state.detail);
    }
    assert!(seen.contains(&state.seen_host_key) && !state.seen_host_key.is_empty());
    assert_eq!((state.previous_status, state.boot_id.as_str()), (Status::Active, ""));
    // It is looked at again, to no effect: not even when the right key is back.
    fixture.checked(address).await;
    let mut creds = fixture.storage.get::<HostCreds>(address).await.unwrap().record;
    creds.ssh_host_key = seen;
    fixture.storage.save(&creds).await.unwrap();
    fixture.checked(address).await;
    fixture.checked(address).await;
    assert_eq!(fixture.host(address).await.status, Status::Failed);
    assert_eq!(fixture.state(address).await.reason, "host-key-changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_log_in_is_not_repeated_in_a_hurry_nor_after_the_host_has_failed() {
    let (testbed, fixture) = (Testbed::up_light(2), Fixture::start().await);
    let [address, other] = [0, 1].map(|host| testbed.address(host).0);
    fixture.register(&testbed, 0, Status::Active).await;
    fixture.register(&testbed, 1, Status::Active).await;
    let mut creds = fixture.storage.get::<HostCreds>(address).await.unwrap().record;
    // Somebody that nobody lets in.
    creds.remote_user = "nobody".to_owned();
    fixture.storage.save(&creds).await.unwrap();
    let mut all_checks = fixture.checks().await;
    let _life = fixture.watch(&every(4.0)).await;
    fixture.until(address, Status::Failed).await;
    assert_eq!(fixture.state(address).await.reason, "auth-refused");
    let failed = fixture.host(address).await;
    for _ in 0..3 {
        fixture.checked(other).await;
    }
    assert_eq!(fixture.host(address).await, failed, "it is left alone");
    let mut checks = Vec::new();
    while checks.len() < 3 {
        let (host, time) = all_checks.next().await;
        if host == address {
            checks.push(time);
        }
    }
    // The first is out of turn, to make up for what was missed; from the second on it has its place.
    let pause = checks[2].duration_since(checks[1]);
    assert!(pause.as_millis() > 2500, "an interval of 4 s, not a retry after 1.25 s: {pause}");
}
