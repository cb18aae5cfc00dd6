//! Hosts that are reached, gone, back again, or show another key.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::{Call, topology};
use model::host_keys::fingerprint;
use model::{Failing, HostCreds, HostState, Status};
use serde_json::{Value, json};
use simulated_hosts::LogIn;
use tokio::time::{Instant, sleep};
use watcher_svc::Config;

use crate::fixture::{Fixture, eventually, gaps};

const FIRST: &str = "10.0.0.1";
const SECOND: &str = "10.0.0.2";

/// Another key than the one that simulated hosts have.
const OTHER_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";

#[tokio::test(start_paused = true)]
async fn a_host_fails_at_the_third_failure_in_a_row_and_is_itself_again_when_it_is_back() {
    let fixture = Fixture::start().await;
    let _watcher = fixture.watch(Config::default()).await;
    // New hosts are seen at once, not only with the next list.
    fixture.register(FIRST, Status::Disassociated).await;
    fixture.register(SECOND, Status::Active).await;
    let registered = Instant::now();
    fixture.all_checked(&[FIRST, SECOND]).await;
    assert!(registered.elapsed() < Duration::from_secs(31), "within half an interval");
    for address in [FIRST, SECOND] {
        assert_eq!(fixture.state(address).await.boot_id, fixture.hosts.boot_id(address));
        assert_eq!(fixture.host(address).await.last_check.len(), 26);
    }

    let mut states = fixture.bus.subscribe("notify.storage.HostState.*").await.unwrap();
    fixture.hosts.power_off(FIRST);
    fixture.until(FIRST, Status::Failed).await;
    for count in [1, 2, 3] {
        let change = states.next().await.unwrap().params;
        assert_eq!(change["model"]["address"], FIRST);
        assert_eq!(change["model"]["failing"], json!({"reason": "unreachable", "count": count}));
    }
    // Each takes the timeout of 10 s; the pauses are 5 and 15 s, a quarter shorter or longer.
    let pauses = gaps(&fixture.probes(FIRST));
    let [.., first, second] = pauses[..] else { panic!("{pauses:?}") };
    assert!((13.7..16.5).contains(&first) && (21.2..29.0).contains(&second), "{pauses:?}");
    let state = fixture.state(FIRST).await;
    assert_eq!(
        (state.reason.as_str(), state.previous_status),
        ("unreachable", Status::Disassociated)
    );
    assert!(state.detail.contains("cannot be reached"), "{}", state.detail);
    // It is still checked, and so is the other one.
    fixture.all_checked(&[FIRST, SECOND]).await;
    assert_eq!(fixture.host(SECOND).await.status, Status::Active);

    fixture.hosts.power_on(FIRST);
    fixture.until(FIRST, Status::Disassociated).await;
    let state = fixture.state(FIRST).await;
    assert_eq!((state.reason.as_str(), state.detail.as_str()), ("", ""));
    assert_eq!((state.failing, state.reboots.len()), (Failing::default(), 1));
    assert_eq!(state.boot_id, fixture.hosts.boot_id(FIRST), "it had another boot meanwhile");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_never_set_up_is_investigated_when_it_is_there() {
    let fixture = Fixture::start().await;
    // As the investigator leaves it: no key has been seen.
    fixture.register(FIRST, Status::Investigating).await;
    let creds = HostCreds { ssh_host_key: String::new(), ..fixture.creds(FIRST).await };
    fixture.storage.save(&creds).await.unwrap();
    let mut host = fixture.host(FIRST).await;
    let mut state = HostState { address: FIRST.into(), ..HostState::default() };
    state.fail(&mut host, "unreachable", "nobody there".to_owned(), "");
    fixture.storage.save(&state).await.unwrap();
    fixture.storage.save(&host).await.unwrap();

    let watcher = fixture.watch(Config::default()).await;
    let calls = Arc::new(Mutex::new(Vec::<Call>::new()));
    let recorded = Arc::clone(&calls);
    let handler = move |call| {
        recorded.lock().unwrap().push(call);
        std::future::ready(Ok(Value::Null))
    };
    watcher.bus.serve(topology::INVESTIGATOR, 1, &watcher.life, handler).await.unwrap();
    fixture.until(FIRST, Status::Investigating).await;
    let call = eventually("the investigator is woken", async || {
        calls.lock().unwrap().first().map(|call| call.params.value())
    })
    .await;
    assert_eq!(call, json!({"address": FIRST, "cluster_data": {}}));
    let shown = fixture.hosts.edit(FIRST, |machine| machine.host_key.clone());
    assert_eq!(fixture.creds(FIRST).await.ssh_host_key, shown);
    assert_eq!(fixture.state(FIRST).await.boot_id, fixture.hosts.boot_id(FIRST));
}

#[tokio::test(start_paused = true)]
async fn a_changed_key_is_told_with_both_fingerprints_and_waits_for_the_operator() {
    let fixture = Fixture::start().await;
    fixture.register(FIRST, Status::Active).await;
    let print = |key: &str| fingerprint(key).unwrap();
    let pinned = fixture.creds(FIRST).await.ssh_host_key;
    fixture.hosts.edit(FIRST, |machine| OTHER_KEY.clone_into(&mut machine.host_key));
    let _watcher = fixture.watch(Config::default()).await;
    fixture.until(FIRST, Status::Failed).await;
    assert_eq!(fixture.probes(FIRST).len(), 1, "one failure is enough");
    let state = fixture.state(FIRST).await;
    assert_eq!(state.reason, "host-key-changed");
    let accept = format!("commctl host accept-key {FIRST}");
    for part in [print(&pinned), print(OTHER_KEY), accept] {
        assert!(state.detail.contains(&part), "{part}: {}", state.detail);
    }
    assert_eq!(state.seen_host_key, OTHER_KEY);
    assert_eq!((state.previous_status, state.boot_id.as_str()), (Status::Active, ""));
    // It is looked at again, to no effect: not even when the right key is back.
    fixture.checked(FIRST).await;
    let creds = HostCreds { ssh_host_key: OTHER_KEY.to_owned(), ..fixture.creds(FIRST).await };
    fixture.storage.save(&creds).await.unwrap();
    fixture.checked(FIRST).await;
    fixture.checked(FIRST).await;
    assert_eq!(fixture.host(FIRST).await.status, Status::Failed);
    assert_eq!(fixture.state(FIRST).await.reason, "host-key-changed");
}

#[tokio::test(start_paused = true)]
async fn a_refused_log_in_is_not_repeated_in_a_hurry_nor_after_the_host_has_failed() {
    let fixture = Fixture::start().await;
    fixture.register_all(&[FIRST, SECOND], Status::Active).await;
    fixture.hosts.edit(FIRST, |machine| machine.log_in = LogIn::Refused);
    let _watcher = fixture.watch(Config::default()).await;
    fixture.until(FIRST, Status::Failed).await;
    assert_eq!(fixture.state(FIRST).await.reason, "auth-refused");
    let failed = fixture.host(FIRST).await;
    // The first is out of turn, to make up for what was missed; from the second on it has its place.
    let pauses = gaps(&fixture.probes(FIRST));
    assert!(pauses.len() == 2 && (59.9..60.1).contains(&pauses[1]), "{pauses:?}");
    sleep(Duration::from_mins(9)).await;
    assert_eq!(fixture.host(FIRST).await, failed, "it is left alone");
    assert_eq!(fixture.probes(FIRST).len(), 3);
    assert!(fixture.probes(SECOND).len() >= 9);
    let pauses = gaps(&fixture.probed(FIRST, 4).await);
    assert!((600.0..660.1).contains(&pauses[2]), "after ten minutes, at its place: {pauses:?}");
}
