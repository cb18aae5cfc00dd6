//! Leases over the storage service with records in memory, in paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bus::{Bus, Call, Context, Error, Kind, topology};
use model::{Cluster, Lease};
use runtime::Lifecycle;
use storage_client::lease::{Leases, MARGIN, TTL as USUAL_TTL};
use storage_client::{StorageClient, Transaction};
use tokio::time::sleep;

use storage_svc::Handler;
use storage_svc::store::Memory;

use crate::service::{Fixture, start_with};

const TTL: Duration = Duration::from_secs(8);
const NAME: &str = "operation.c1";

async fn start() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let config = storage_svc::Config::new(folder.path().join("secret.key"));
    start_with(folder, &config.or_handler(Handler::memory(Memory::default()))).await
}

fn leases(fixture: &Fixture, life: &Lifecycle, owner: &str) -> Leases {
    Leases::new(fixture.storage.clone(), life.clone(), owner.to_owned(), TTL)
}

/// Faults of a connection to the storage service: it loses the answer to the next transaction, or all requests.
#[derive(Debug, Clone, Default)]
struct Faults {
    loses_answer: Arc<AtomicBool>,
    is_down: Arc<AtomicBool>,
}

impl Faults {
    async fn storage(&self, fixture: &Fixture, life: &Lifecycle) -> StorageClient {
        let (faults, hub, bus) = (self.clone(), fixture.bus.clone(), Bus::memory());
        let forward = move |call: Call| {
            let (faults, hub) = (faults.clone(), hub.clone());
            async move {
                // Latency, so that requests overlap.
                sleep(Duration::from_millis(1)).await;
                let lost = || Err(Error::unavailable("the connection is lost"));
                if faults.is_down.load(Ordering::SeqCst) {
                    return lost();
                }
                let answer = hub.ask(&call.key, &call.params.value(), &call.context).await;
                let is_transaction = call.key == topology::STORAGE_TRANSACT;
                if is_transaction && faults.loses_answer.swap(false, Ordering::SeqCst) {
                    return lost();
                }
                answer
            }
        };
        bus.serve(topology::STORAGE, 10, life, forward).await.unwrap();
        StorageClient::new(bus, Context::default())
    }
}

fn cluster(status: &str) -> Cluster {
    let (name, network) = ("c1".into(), "n".to_owned());
    Cluster { name, network, status: status.to_owned(), ..Cluster::default() }
}

#[tokio::test(start_paused = true)]
async fn one_holder_at_a_time() {
    let fixture = start().await;
    let life = Lifecycle::new();
    let (one, two) = (leases(&fixture, &life, "one"), leases(&fixture, &life, "two"));
    let held = one.try_acquire(&NAME.into()).await.unwrap().expect("it is free");
    held.check().unwrap();
    assert_eq!(fixture.storage.get::<Lease>(NAME).await.unwrap().record.owner, "one");
    assert!(two.try_acquire(&NAME.into()).await.unwrap().is_none());
    held.transact(Transaction::default().save(&cluster("working")).unwrap()).await.unwrap();
    held.release(Transaction::default().save(&cluster("done")).unwrap()).await.unwrap();
    assert!(held.check().is_err(), "what is released is not held");
    assert_eq!(fixture.storage.get::<Cluster>("c1").await.unwrap().record.status, "done");
    assert!(two.try_acquire(&NAME.into()).await.unwrap().is_some());
}

/// The holder's process dies (here: its runtime's life ends, so nothing renews): another takes over
/// after the time to live, and not before.
#[tokio::test(start_paused = true)]
async fn an_abandoned_lease_is_taken_over_after_its_time() {
    let fixture = start().await;
    let (dead, alive) = (Lifecycle::new(), Lifecycle::new());
    let leases_of_dead = leases(&fixture, &dead, "dead");
    let lease = Lease { operation: "o1".to_owned(), ..leases_of_dead.fresh(&NAME.into()) };
    let created = Transaction::default().create(&lease).unwrap();
    let revision = fixture.storage.transact(&created).await.unwrap();
    let held = leases_of_dead.adopt(lease, revision, tokio::time::Instant::now());
    dead.shutdown(Duration::ZERO).await;
    let observer = leases(&fixture, &alive, "alive");
    let begin = tokio::time::Instant::now();
    let taken = loop {
        if let Some(taken) = observer.try_acquire(&NAME.into()).await.unwrap() {
            break taken;
        }
        sleep(Duration::from_millis(200)).await;
    };
    assert!(begin.elapsed() > TTL, "not before its time: {:?}", begin.elapsed());
    assert!(begin.elapsed() <= TTL + Duration::from_millis(200), "{:?}", begin.elapsed());
    taken.check().unwrap();
    let Lease { owner, counter, operation, .. } =
        fixture.storage.get::<Lease>(NAME).await.unwrap().record;
    assert_eq!((owner.as_str(), counter, operation.as_str()), ("alive", 1, "o1"));
    // The old holder goes on, as after SIGSTOP and SIGCONT: it may do nothing any more.
    assert!(held.check().is_err());
    let late = held.transact(Transaction::default().save(&cluster("late")).unwrap()).await;
    assert_eq!(late.unwrap_err().kind(), Kind::Conflict);
    assert!(fixture.storage.find::<Cluster>("c1").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_lives_keeps_its_lease() {
    let fixture = start().await;
    let life = Lifecycle::new();
    let held = leases(&fixture, &life, "one").try_acquire(&NAME.into()).await.unwrap().unwrap();
    let observer = leases(&fixture, &life, "two");
    let begin = tokio::time::Instant::now();
    while begin.elapsed() < 10 * TTL {
        assert!(observer.try_acquire(&NAME.into()).await.unwrap().is_none());
        held.check().unwrap();
        let pause = Duration::from_millis(500);
        assert!(tokio::time::timeout(pause, held.lost()).await.is_err(), "it is not lost");
    }
    assert!(fixture.storage.get::<Lease>(NAME).await.unwrap().record.counter >= 29);
    held.transact(Transaction::default().save(&cluster("fine")).unwrap()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lease_taken_by_force_is_noticed_at_the_next_write() {
    let fixture = start().await;
    let life = Lifecycle::new();
    let held = leases(&fixture, &life, "one").try_acquire(&NAME.into()).await.unwrap().unwrap();
    fixture.storage.delete::<Lease>(NAME).await.unwrap();
    let refused = held.transact(Transaction::default().save(&cluster("x")).unwrap()).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::Conflict);
    held.lost().await;
    assert!(held.check().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_lease_handed_over_is_free_at_once() {
    let fixture = start().await;
    let life = Lifecycle::new();
    let (one, two) = (leases(&fixture, &life, "one"), leases(&fixture, &life, "two"));
    let held = one.try_acquire(&NAME.into()).await.unwrap().unwrap();
    held.hand_over().await.unwrap();
    assert!(held.check().is_err());
    let handed_over = fixture.storage.get::<Lease>(NAME).await.unwrap().record;
    assert_eq!((handed_over.counter, handed_over.ttl_ms), (1, 0));
    let taken = two.try_acquire(&NAME.into()).await.unwrap().expect("it was handed over");
    assert!(one.try_acquire(&NAME.into()).await.unwrap().is_none());
    taken.check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_of_two_that_try_at_once_gets_the_lease() {
    let fixture = start().await;
    let life = Lifecycle::new();
    // Both find no lease before one writes it.
    let storage = Faults::default().storage(&fixture, &life).await;
    let leases = |owner: &str| Leases::new(storage.clone(), life.clone(), owner.to_owned(), TTL);
    let (one, two) = (leases("one"), leases("two"));
    let name = NAME.into();
    let (first, second) = tokio::join!(one.try_acquire(&name), two.try_acquire(&name));
    let held: Vec<_> = [first.unwrap(), second.unwrap()].into_iter().flatten().collect();
    assert_eq!(held.len(), 1);
    held[0].check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_holder_may_be_alive_until_its_lease_has_stood_still_for_its_time() {
    let fixture = start().await;
    let (dead, alive) = (Lifecycle::new(), Lifecycle::new());
    let held = leases(&fixture, &dead, "dead").try_acquire(&NAME.into()).await.unwrap().unwrap();
    dead.shutdown(Duration::ZERO).await;
    let observer = leases(&fixture, &alive, "alive");
    let lease = fixture.storage.get::<Lease>(NAME).await.unwrap();
    assert!(observer.may_be_alive(&lease));
    sleep(TTL).await;
    assert!(observer.may_be_alive(&lease));
    sleep(Duration::from_millis(1)).await;
    assert!(!observer.may_be_alive(&lease));
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_holder_stops_the_margin_before_its_lease_could_be_lost() {
    let fixture = start().await;
    let life = Lifecycle::new();
    let leases = leases(&fixture, &life, "one");
    let lease = leases.fresh(&NAME.into());
    let created = Transaction::default().create(&lease).unwrap();
    let revision = fixture.storage.transact(&created).await.unwrap();
    life.shutdown(Duration::ZERO).await;
    let held = leases.adopt(lease, revision, tokio::time::Instant::now());
    tokio::time::advance(TTL.saturating_sub(MARGIN + Duration::from_millis(1))).await;
    held.check().unwrap();
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(held.check().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_kept_over_a_renewal_that_is_not_answered_or_not_carried_out() {
    for is_carried_out in [true, false] {
        let (fixture, faults, life) = (start().await, Faults::default(), Lifecycle::new());
        let storage = faults.storage(&fixture, &life).await;
        let leases = Leases::new(storage, life.clone(), "one".to_owned(), USUAL_TTL);
        let held = leases.try_acquire(&NAME.into()).await.unwrap().unwrap();
        let fault = if is_carried_out { &faults.loses_answer } else { &faults.is_down };
        fault.store(true, Ordering::SeqCst);
        // Until after the first renewal.
        sleep(USUAL_TTL * 2 / 5).await;
        fault.store(false, Ordering::SeqCst);
        let counter = fixture.storage.get::<Lease>(NAME).await.unwrap().record.counter;
        assert_eq!(counter, u64::from(is_carried_out));
        sleep(USUAL_TTL).await;
        held.check().unwrap();
        held.transact(Transaction::default().save(&cluster("fine")).unwrap()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_whose_acquisition_is_not_answered_is_an_error() {
    let (fixture, faults, life) = (start().await, Faults::default(), Lifecycle::new());
    let storage = faults.storage(&fixture, &life).await;
    let leases = Leases::new(storage, life, "one".to_owned(), TTL);
    faults.loses_answer.store(true, Ordering::SeqCst);
    assert_eq!(leases.try_acquire(&NAME.into()).await.unwrap_err().kind(), Kind::Unavailable);
}
