//! The wall clock is set while an operation runs.

use std::fs;

use super::settling::{BEFORE, FIRST, HANG, at_verify, settled, until};
use super::stand_in::StandIn;
use super::*;

/// As they were set where operations went wrong: forward, back, and forward by more than any deadline.
const STEPS: [i64; 3] = [2, -5, 6];

/// The clock, and how far it is set.
fn clocks() -> impl Iterator<Item = (Clock, SignedDuration)> {
    STEPS.into_iter().map(|hours| {
        let clock = Clock::simulated("2026-11-28T12:00:00Z".parse().unwrap());
        (clock, SignedDuration::from_hours(hours))
    })
}

/// Has this much time pass on the monotonic clock alone.
pub(super) async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

async fn is_paused(fixture: &Fixture) -> bool {
    let control = fixture.storage.find::<OperationControl>("o1").await.unwrap();
    control.is_some_and(|control| control.record.wanted == Said::Pause)
}

#[tokio::test]
async fn a_step_of_the_wall_clock_ends_no_wait_and_lengthens_none() {
    for (clock, step) in clocks() {
        let fixture = fixture_at(2, clock.clone()).await;
        let (held, operation) = accepted(&fixture, "o1", json!({"soak": 600})).await;
        let execution = Execution::new(&fixture.service, &held, operation.clone());
        let index = at_reboot(&execution).await;
        assert!(matches!(decided(&execution, index).await, Decision::Go(_)));
        let allowed = fixture.service.config.verify_timeout();
        let left = |execution: &Execution<'_>| {
            execution.moments.verify_end(index).saturating_duration_since(Instant::now())
        };
        clock.advance(step);
        assert!(!left(&execution).is_zero() && left(&execution) <= allowed, "{step}");
        let stamp = fixture.service.deps.clock.stamp();
        let done = |host: &mut HostProgress| {
            host.step = Step::Done;
            host.finished_at = Some(stamp.clone());
        };
        execution.save(index, done, &[]).await.unwrap();
        clock.advance(step);
        let Turn::Wait(Some(Waiting::Soak(_))) = execution.turn().await.unwrap() else {
            panic!("{step}: the time between two hosts is not over")
        };
        let soak = Duration::from_mins(10);
        assert!(execution.moments.soak_left().unwrap() <= soak, "{step}");
        // A take-over has only the stamps: no more than the whole time is left.
        let mut next = Execution::new(&fixture.service, &held, operation);
        next.load().await.unwrap();
        assert!(left(&next) <= allowed, "{step}");
        let left = next.moments.soak_left();
        assert_eq!(left.is_some(), step.is_negative(), "{step}");
        assert!(left.is_none_or(|left| left <= soak), "{step}");
    }
}

#[tokio::test]
async fn the_next_host_starts_when_its_time_has_passed_whatever_the_wall_clock_says() {
    for (clock, step) in clocks() {
        let fixture = fixture_at(2, clock.clone()).await;
        let (held, operation) = accepted(&fixture, "o1", json!({"soak": 600})).await;
        let execution = Execution::new(&fixture.service, &held, operation);
        let first = at_reboot(&execution).await;
        execution.save(first, |host| host.step = Step::Done, &[]).await.unwrap();
        clock.advance(step);
        pass(Duration::from_secs(599)).await;
        let turn = execution.turn().await.unwrap();
        assert!(matches!(turn, Turn::Wait(Some(Waiting::Soak(_)))), "{step}");
        pass(Duration::from_secs(1)).await;
        assert!(matches!(execution.turn().await.unwrap(), Turn::Start(1, _)), "{step}");
    }
}

/// An executor that waits for so many seconds for hosts that are down.
fn patient(clock: &Clock, seconds: u64) -> Setup {
    let config = Config { room_timeout: seconds, ..Config::default() };
    Setup { clock: clock.clone(), config, ..Setup::default() }
}

#[tokio::test]
async fn the_next_host_waits_for_the_budget_as_long_as_configured() {
    for (clock, step) in clocks() {
        let mut fixture = fixture_with(2, patient(&clock, 30)).await;
        let (held, operation) = accepted(&fixture, "o1", json!({})).await;
        drop(fixture.listeners.pop());
        let execution = Execution::new(&fixture.service, &held, operation);
        // Until then a port that was open counts as open.
        pass(crate::members::FRESH).await;
        let mut waiting = None;
        let mut look = async || {
            let Turn::Wait(what @ Some(Waiting::Room(_))) = execution.turn().await.unwrap() else {
                panic!("{step}: a member is down")
            };
            execution.note(&mut waiting, what).await.unwrap();
        };
        look().await;
        clock.advance(step);
        pass(Duration::from_secs(25)).await;
        look().await;
        assert!(!is_paused(&fixture).await, "{step}");
        pass(Duration::from_secs(6)).await;
        look().await;
        assert!(is_paused(&fixture).await, "{step}");
    }
}

#[tokio::test]
async fn a_host_under_way_waits_for_the_budget_as_long_as_configured() {
    for (clock, step) in clocks() {
        let mut fixture = fixture_with(2, patient(&clock, 2)).await;
        let (held, operation) = accepted(&fixture, "o1", json!({})).await;
        let service = Arc::clone(&fixture.service);
        let execution = Execution::new(&service, &held, operation);
        let index = at_reboot(&execution).await;
        drop(fixture.listeners.pop());
        let Decision::Wait(refused) = decided(&execution, index).await else {
            panic!("{step}: a member is down")
        };
        let begun = Instant::now();
        let paused = async {
            clock.advance(step);
            while !is_paused(&fixture).await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            _ = execution.wait_for_permit(index, refused) => panic!("{step}: a member is down"),
            paused = tokio::time::timeout(HANG, paused) => paused.unwrap(),
        }
        assert!(begun.elapsed() >= Duration::from_secs(2), "{step}");
    }
}

#[tokio::test]
async fn a_host_that_reboots_while_the_clock_is_set_is_done() {
    for (clock, step) in clocks() {
        let host = StandIn::start(BEFORE);
        let fixture = host.fixture(Setup { clock: clock.clone(), ..Setup::default() }).await;
        let (held, operation) = accepted(&fixture, "o1", json!({"settle": 1})).await;
        let execution = Execution::new(&fixture.service, &held, operation);
        at_verify(&execution).await;
        let set = async {
            // Its log-in, at least, lies between.
            tokio::task::yield_now().await;
            clock.advance(step);
            host.boots(FIRST);
            until(|| execution.host(0).step == Step::Settle).await;
            clock.advance(step);
        };
        let (progress, ()) = tokio::join!(settled(&execution), set);
        assert_eq!((progress.step, progress.failure), (Step::Done, None), "{step}");
    }
}

#[tokio::test]
async fn a_host_that_does_not_come_back_is_failed_although_the_clock_is_set_back() {
    for (clock, step) in clocks() {
        let config = Config { verify_timeout: 1, ..Config::default() };
        let setup = Setup { clock: clock.clone(), config, ..Setup::default() };
        let mut fixture = fixture_with(1, setup).await;
        let (held, operation) = accepted(&fixture, "o1", json!({})).await;
        let service = Arc::clone(&fixture.service);
        let execution = Execution::new(&service, &held, operation);
        at_verify(&execution).await;
        fixture.listeners.clear();
        clock.advance(step);
        let begun = Instant::now();
        assert_eq!(settled(&execution).await.reason, NOT_BACK, "{step}");
        assert!(begun.elapsed() >= Duration::from_millis(900), "{step}");
    }
}

/// Waits on the host until the test goes on, then needs the connection once more.
const UPGRADE: &str = "\
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.raw: touch BEGUN; while [ ! -e GO ]; do sleep 0.05; done
    - ansible.builtin.raw: \"true\"
";

#[tokio::test]
async fn an_upgrade_that_loses_its_connection_after_the_clock_was_set_goes_on() {
    let (clock, step) = clocks().last().unwrap();
    let host = StandIn::start(BEFORE);
    let playbooks = tempfile::tempdir().unwrap();
    let [begun, go] = [host.file("begun"), host.file("go")];
    let text = UPGRADE.replace("BEGUN", begun.to_str().unwrap());
    let text = text.replace("GO", go.to_str().unwrap());
    fs::write(playbooks.path().join("upgrade.yaml"), text).unwrap();
    let own = Some(playbooks.path().to_owned());
    let setup = Setup { clock: clock.clone(), playbooks: own, ..Setup::default() };
    let fixture = host.fixture(setup).await;
    let (held, operation) = accepted(&fixture, "o1", json!({"settle": 0})).await;
    let operation = Operation { kind: OperationKind::Upgrade, ..operation };
    let execution = Execution::new(&fixture.service, &held, operation);
    let Turn::Start(0, pass) = execution.turn().await.unwrap() else { panic!("its turn") };
    assert!(execution.start(0, &pass).await.unwrap());
    let set = async {
        until(|| begun.exists()).await;
        let step_time = Duration::try_from(step).unwrap();
        assert!(fixture.service.config.apply_timeout() < step_time);
        clock.advance(step);
        host.cut();
        fs::write(&go, "").unwrap();
    };
    let (progress, ()) = tokio::join!(settled(&execution), set);
    assert!(host.was_cut());
    assert_eq!((progress.step, progress.failure), (Step::Done, None));
}
