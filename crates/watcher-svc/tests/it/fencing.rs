//! Hosts that another generation of the installation has taken over, or that this one may not take over.

use std::time::Duration;

use host_access::generation::signed_text;
use host_access::{Hosts as _, Mark};
use model::{Instance, Restored, ServerKeys, Status};
use simulated_hosts::{FINGERPRINT, OWN_KEY};
use storage_client::queries;
use tokio::time::sleep;
use watcher_svc::Config;

use crate::fixture::{Fixture, eventually, gaps};

const FIRST: &str = "10.0.0.1";
const SECOND: &str = "10.0.0.2";

/// The mark of a generation of this installation, signed with a key.
async fn mark(fixture: &Fixture, instance: &Instance, generation: u64, key: &str) -> String {
    let text = signed_text(&instance.id, generation, "other");
    let signature = fixture.hosts.sign(&key.into(), &text).await.unwrap();
    format!("{}\n", Mark { generation, id: "other".to_owned(), signature })
}

async fn has_mark(fixture: &Fixture, address: &str, instance: &Instance) -> bool {
    let marks = fixture.hosts.edit(address, |machine| machine.marks.clone());
    marks.get(&instance.id).is_some_and(|mark| mark.contains(&instance.generation_id))
}

#[tokio::test(start_paused = true)]
async fn host_that_is_taken_over_fails_at_once_and_is_looked_at_every_ten_minutes() {
    let fixture = Fixture::start().await;
    fixture.register_all(&[FIRST, SECOND], Status::Active).await;
    fixture.storage.save(&ServerKeys::of(FINGERPRINT)).await.unwrap();
    let instance = queries::instance(&fixture.storage).await.unwrap();
    let _watcher = fixture.watch(Config::default()).await;
    fixture.all_checked(&[FIRST, SECOND]).await;
    for address in [FIRST, SECOND] {
        eventually("it is marked", async || {
            has_mark(&fixture, address, &instance).await.then_some(())
        })
        .await;
        eventually("that is known", async || {
            (fixture.state(address).await.generation == 1).then_some(())
        })
        .await;
    }

    let newer = mark(&fixture, &instance, 2, OWN_KEY).await;
    fixture.hosts.edit(FIRST, |machine| machine.marks.insert(instance.id.clone(), newer.clone()));
    fixture.until(FIRST, Status::Failed).await;
    let state = fixture.state(FIRST).await;
    assert_eq!((state.reason.as_str(), state.previous_status), ("fenced", Status::Active));
    for part in ["generation 2 (other)", "has taken it over", "nothing was done", "--takeover"] {
        assert!(state.detail.contains(part), "{part}: {}", state.detail);
    }
    let before = fixture.probes(FIRST).len();
    sleep(Duration::from_hours(1)).await;
    let pauses = gaps(&fixture.probes(FIRST)[before - 1..]);
    assert!((5..=6).contains(&pauses.len()), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause >= 600.0), "{pauses:?}");
    assert_eq!(fixture.hosts.edit(FIRST, |machine| machine.marks[&instance.id].clone()), newer);
    assert_eq!(fixture.host(SECOND).await.status, Status::Active);

    // Its operator takes it over again: no host is refused for ever.
    let mut raised = fixture.storage.get::<Instance>(Instance::ALL).await.unwrap().record;
    raised.generation = 3;
    fixture.storage.save(&raised).await.unwrap();
    fixture.until(FIRST, Status::Active).await;
    let state = fixture.state(FIRST).await;
    assert_eq!((state.reason.as_str(), state.generation), ("", 3));
    assert!(has_mark(&fixture, FIRST, &raised).await);
}

#[tokio::test(start_paused = true)]
async fn forged_mark_is_no_other_generation() {
    let fixture = Fixture::start().await;
    fixture.register(FIRST, Status::Active).await;
    fixture.storage.save(&ServerKeys::of(FINGERPRINT)).await.unwrap();
    let instance = queries::instance(&fixture.storage).await.unwrap();
    let forged = mark(&fixture, &instance, 7, "the key of another").await;
    fixture.hosts.edit(FIRST, |machine| machine.marks.insert(instance.id.clone(), forged));
    let _watcher = fixture.watch(Config::default()).await;
    fixture.until(FIRST, Status::Failed).await;
    let state = fixture.state(FIRST).await;
    assert_eq!(state.reason, "fenced");
    assert!(state.detail.contains("forged or damaged"), "{}", state.detail);
    assert!(state.detail.contains("commctl host delete 10.0.0.1"), "{}", state.detail);
}

#[tokio::test(start_paused = true)]
async fn restored_installation_only_watches_until_it_takes_over() {
    let fixture = Fixture::start().await;
    fixture.register(FIRST, Status::Active).await;
    let before = queries::instance(&fixture.storage).await.unwrap();
    let old = mark(&fixture, &before, 1, OWN_KEY).await;
    fixture.hosts.edit(FIRST, |machine| machine.marks.insert(before.id.clone(), old.clone()));
    let at = "2026-11-28T12:00:00.000000";
    let restored = Restored { at: at.into(), taken_at: at.into(), takes_over: false };
    let mut instance = Instance {
        generation: 2,
        generation_id: "restored".to_owned(),
        restored: Some(restored.clone()),
        ..before
    };
    fixture.storage.save(&instance).await.unwrap();
    let _watcher = fixture.watch(Config::default()).await;
    sleep(Duration::from_hours(1)).await;
    assert_eq!(fixture.host(FIRST).await.status, Status::Active);
    assert_eq!(fixture.state(FIRST).await.generation, 0);
    assert_eq!(fixture.hosts.edit(FIRST, |machine| machine.marks[&instance.id].clone()), old);
    instance.restored = Some(Restored { takes_over: true, ..restored });
    fixture.storage.save(&instance).await.unwrap();
    eventually("it is taken over", async || {
        has_mark(&fixture, FIRST, &instance).await.then_some(())
    })
    .await;
    eventually("that is known", async || {
        (fixture.state(FIRST).await.generation == 2).then_some(())
    })
    .await;
}
