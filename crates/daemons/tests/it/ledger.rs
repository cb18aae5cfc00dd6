//! The ledger of refused log-ins, shared by services of several processes.

use std::time::Duration;

use host_access::ledger::{LIMIT, WINDOW};
use host_access::{AccessError, LogInLedger, Share};
use model::RefusedLogIns;
use runtime::Clock;

use crate::Store;

const HOST: &str = "10.0.0.1";

/// One log-in by a service; true when it was made.
async fn log_in(ledger: &LogInLedger, share: Share, accepts: bool) -> bool {
    let mut made = false;
    let attempt = async {
        made = true;
        if accepts {
            return Ok(());
        }
        let (address, user, detail) = (HOST.to_owned(), "root".to_owned(), String::new());
        Err(AccessError::AuthRefused { address, user, detail })
    };
    let outcome = ledger.log_in(HOST, share, attempt).await;
    match &outcome {
        Err(AccessError::HeldBack { refused, wait, .. }) => {
            assert!(!made && *refused > 0 && *wait <= WINDOW, "{outcome:?}");
        }
        outcome => assert_eq!(outcome.is_ok(), accepts),
    }
    made
}

/// Has time pass, by both clocks.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

fn clock() -> Clock {
    Clock::simulated("2026-11-21T12:00:00Z".parse().unwrap())
}

impl Store {
    fn ledger(&self, clock: &Clock) -> LogInLedger {
        LogInLedger::new(&self.bus, clock.clone())
    }

    async fn refused(&self) -> Option<RefusedLogIns> {
        let found = self.storage.find::<RefusedLogIns>(HOST).await.unwrap();
        found.map(|found| found.record)
    }
}

#[tokio::test]
async fn all_services_together_stay_within_the_limit() {
    let (store, clock) = (Store::start().await, clock());
    let (watcher, executor) = (store.ledger(&clock), store.ledger(&clock));
    let mut made = 0;
    for _ in 0..5 {
        for (ledger, share) in
            [(&watcher, Share::Check), (&executor, Share::Work), (&executor, Share::Trial)]
        {
            clock.advance(std::time::Duration::from_secs(1).try_into().unwrap());
            made += usize::from(log_in(ledger, share, false).await);
        }
    }
    assert_eq!(made, LIMIT);
    // A process that starts now knows of them.
    assert!(!log_in(&store.ledger(&clock), Share::Work, true).await);
}

#[tokio::test]
async fn a_check_leaves_one_log_in_to_the_operator_and_success_ends_the_restriction() {
    let (store, clock) = (Store::start().await, clock());
    let ledger = store.ledger(&clock);
    let mut made = 0;
    for _ in 0..5 {
        clock.advance(Duration::from_secs(1).try_into().unwrap());
        made += usize::from(log_in(&ledger, Share::Check, false).await);
    }
    assert_eq!(made, LIMIT - 1);
    assert!(log_in(&ledger, Share::Work, true).await, "the host was mended");
    for _ in 0..10 {
        assert!(log_in(&ledger, Share::Check, true).await);
    }
    let record = store.refused().await.unwrap();
    assert_eq!((record.stamps.len(), record.accepted_since), (LIMIT - 1, true));
    clock.advance(Duration::from_secs(1).try_into().unwrap());
    assert!(log_in(&ledger, Share::Check, false).await);
    assert!(!log_in(&ledger, Share::Work, true).await, "those of before still count");
}

#[tokio::test]
async fn a_refusal_expires_after_its_time() {
    let (store, clock) = (Store::start().await, clock());
    let ledger = store.ledger(&clock);
    for _ in 0..LIMIT {
        clock.advance(Duration::from_secs(1).try_into().unwrap());
        log_in(&ledger, Share::Work, false).await;
    }
    assert!(!log_in(&ledger, Share::Work, true).await);
    pass(WINDOW).await;
    assert!(log_in(&ledger, Share::Check, true).await);
    assert_eq!(store.refused().await, None);
}

#[tokio::test]
async fn a_log_in_that_fails_otherwise_does_not_count() {
    let (store, clock) = (Store::start().await, clock());
    let ledger = store.ledger(&clock);
    log_in(&ledger, Share::Work, false).await;
    for _ in 0..10 {
        clock.advance(Duration::from_secs(1).try_into().unwrap());
        let lost = async { Err::<(), _>(AccessError::Disconnected { address: HOST.to_owned() }) };
        let outcome = ledger.log_in(HOST, Share::Work, lost).await;
        assert!(matches!(outcome, Err(AccessError::Disconnected { .. })), "{outcome:?}");
    }
    assert_eq!(store.refused().await.unwrap().stamps.len(), 1);
}

#[tokio::test]
async fn without_the_store_a_process_counts_by_itself() {
    let clock = clock();
    let ledger = Store::not_started().ledger(&clock);
    let mut made = 0;
    for _ in 0..6 {
        clock.advance(Duration::from_secs(1).try_into().unwrap());
        made += usize::from(log_in(&ledger, Share::Work, false).await);
    }
    assert_eq!(made, LIMIT - 1);
}
