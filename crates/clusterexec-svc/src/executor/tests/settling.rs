//! Hosts that are back and healthy, and have to stay so.

use service_core::lease::Held;
use service_core::model::Outcome;

use super::removed::events;
use super::stand_in::StandIn;
use super::*;
use crate::host_run::{self, note_failed_units, reach, returned, target_of};

pub(super) const BEFORE: &str = "00000000-0000-4000-8000-000000000000";
pub(super) const FIRST: &str = "00000000-0000-4000-8000-000000000001";
const SECOND: &str = "00000000-0000-4000-8000-000000000002";

/// Longer than any of these takes.
pub(super) const HANG: Duration = Duration::from_mins(2);

/// Hosts have a second to be back, and as long again to settle.
fn short() -> Setup {
    let config = Config { verify_timeout: 1, ..Config::default() };
    Setup { config, ..Setup::default() }
}

/// Has the host at the step `verify` of a restart, from the boot [`BEFORE`].
pub(super) async fn at_verify(execution: &Execution<'_>) {
    at_verify_from(execution, BEFORE).await;
}

pub(super) async fn at_verify_from(execution: &Execution<'_>, boot_id: &str) {
    let Turn::Start(0, pass) = execution.turn().await.unwrap() else { panic!("its turn") };
    assert!(execution.start(0, &pass).await.unwrap());
    let now = execution.service.deps.clock.stamp();
    let rebooted = |host: &mut HostProgress| {
        host.step = Step::Verify;
        host.boot_id_before = Some(boot_id.to_owned());
        host.rebooted_at = Some(now.clone());
    };
    execution.save(0, rebooted, &[]).await.unwrap();
}

/// Notes which units have failed on the host before anything is done to it.
pub(super) async fn noted(execution: &Execution<'_>) {
    let noted = async {
        let session = reach(execution, &target_of(execution, 0).await?).await?;
        note_failed_units(execution, 0, session.as_ref()).await
    };
    assert!(noted.await.is_ok());
}

/// Works on the host to its end.
pub(super) async fn settled(execution: &Execution<'_>) -> HostProgress {
    let work = host_run::host(execution, 0, true);
    tokio::time::timeout(HANG, work).await.unwrap().unwrap();
    execution.host(0)
}

pub(super) async fn until(what: impl Fn() -> bool) {
    let wait = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HANG, wait).await.unwrap();
}

/// What the log says about a step, in order.
pub(super) async fn logged(fixture: &Fixture, step: Step) -> Vec<(Outcome, String)> {
    let events = events(fixture, "o1").await.into_iter();
    let events = events.filter(|event| event.step == step.to_string());
    events.map(|event| (event.outcome, event.detail)).collect()
}

async fn begun(fixture: &Fixture, settle: u64) -> (Held, Operation) {
    accepted(fixture, "o1", json!({"settle": settle})).await
}

#[tokio::test]
async fn a_host_that_reboots_while_it_settles_is_verified_and_settles_again() {
    let host = StandIn::start(FIRST);
    let fixture = host.fixture(Setup::default()).await;
    let (held, operation) = begun(&fixture, 2).await;
    let execution = Execution::new(&fixture.service, &held, operation);
    at_verify(&execution).await;
    let reboot = async {
        until(|| execution.host(0).step == Step::Settle).await;
        host.reboots(SECOND);
        until(|| host.was_cut()).await;
        Instant::now()
    };
    let (progress, rebooted) = tokio::join!(settled(&execution), reboot);
    assert_eq!((progress.step, progress.boot_id_after.as_deref()), (Step::Done, Some(SECOND)));
    assert!(rebooted.elapsed() >= Duration::from_secs(2), "it has stayed up that long since");
    let log = logged(&fixture, Step::Settle).await;
    let outcomes: Vec<_> = log.iter().map(|(outcome, _)| *outcome).collect();
    assert_eq!(outcomes, [Outcome::Started, Outcome::Failed, Outcome::Started, Outcome::Ok]);
    assert!(log[0].1.contains(FIRST) && log[2].1.contains(SECOND), "{log:?}");
    assert!(log[1].1.contains("rebooted by itself") && log[1].1.contains(SECOND), "{log:?}");
    let state = fixture.storage.get::<HostState>(&host.address()).await.unwrap().record;
    assert_eq!(state.boot_id, SECOND);
}

#[tokio::test]
async fn a_lost_connection_alone_does_not_begin_it_again() {
    let host = StandIn::start(FIRST);
    let fixture = host.fixture(Setup::default()).await;
    let (held, operation) = begun(&fixture, 2).await;
    let execution = Execution::new(&fixture.service, &held, operation);
    at_verify(&execution).await;
    let cut = async {
        until(|| execution.host(0).step == Step::Settle).await;
        host.cut();
    };
    let (progress, ()) = tokio::join!(settled(&execution), cut);
    assert!(host.was_cut());
    assert_eq!((progress.step, progress.boot_id_after.as_deref()), (Step::Done, Some(FIRST)));
    let log = logged(&fixture, Step::Settle).await;
    let expected = [(Outcome::Started, FIRST), (Outcome::Ok, FIRST)];
    assert_eq!(log.len(), expected.len(), "{log:?}");
    for ((outcome, detail), (expected, id)) in log.iter().zip(expected) {
        assert!(*outcome == expected && detail.contains(id), "{log:?}");
    }
}

#[tokio::test]
async fn a_host_that_keeps_rebooting_is_failed_at_the_limit() {
    let host = StandIn::start(FIRST);
    let fixture = host.fixture(short()).await;
    let (held, operation) = begun(&fixture, 1).await;
    let execution = Execution::new(&fixture.service, &held, operation);
    at_verify(&execution).await;
    let begun = Instant::now();
    let reboots = async {
        for boot in 2.. {
            if execution.host(0).step == Step::Failed {
                break;
            }
            host.boots(&format!("00000000-0000-4000-8000-{boot:012}"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let (progress, ()) = tokio::join!(settled(&execution), reboots);
    assert!(begun.elapsed() >= Duration::from_secs(2), "a second to settle, and one more");
    assert_eq!((progress.step, progress.reason.as_str()), (Step::Failed, "not-settled"));
    let reason = progress.failure.unwrap().reason;
    assert!(reason.contains("keeps rebooting") && reason.contains(&host.address()), "{reason}");
    assert_eq!(progress.boot_id_after, None, "no boot was proven");
}

#[tokio::test]
async fn a_host_whose_system_never_completes_its_start_is_failed_at_the_limit() {
    let host = StandIn::start(FIRST);
    host.systemd_is("starting");
    let fixture = host.fixture(short()).await;
    let (held, operation) = begun(&fixture, 1).await;
    let execution = Execution::new(&fixture.service, &held, operation);
    at_verify(&execution).await;
    let begun = Instant::now();
    let progress = settled(&execution).await;
    assert!(begun.elapsed() >= Duration::from_secs(2), "a second to settle, and one more");
    assert_eq!((progress.step, progress.reason.as_str()), (Step::Failed, "not-settled"));
    let reason = progress.failure.unwrap().reason;
    assert!(reason.contains("systemd says starting"), "{reason}");
    assert_eq!(progress.boot_id_after, None);
}

#[tokio::test]
async fn a_host_is_done_once_its_system_has_started_also_where_that_takes_longer() {
    let host = StandIn::start(FIRST);
    host.systemd_is("starting");
    let fixture = host.fixture(Setup::default()).await;
    let (held, operation) = begun(&fixture, 1).await;
    let execution = Execution::new(&fixture.service, &held, operation);
    at_verify(&execution).await;
    let starts = async {
        until(|| execution.host(0).step == Step::Settle).await;
        // Longer than it has to stay up.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(execution.host(0).step, Step::Settle);
        host.systemd_is("degraded");
    };
    let (progress, ()) = tokio::join!(settled(&execution), starts);
    assert_eq!((progress.step, progress.boot_id_after.as_deref()), (Step::Done, Some(FIRST)));
}

#[tokio::test]
async fn a_host_without_systemd_only_has_to_stay_up() {
    let host = StandIn::start(FIRST);
    host.has_no_systemd();
    let fixture = host.fixture(Setup::default()).await;
    let (held, operation) = begun(&fixture, 1).await;
    let execution = Execution::new(&fixture.service, &held, operation);
    at_verify(&execution).await;
    let begun = Instant::now();
    assert_eq!(settled(&execution).await.step, Step::Done);
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn units_that_have_failed_since_are_recorded_and_fail_the_host_only_where_that_is_asked_for()
{
    for (settle, strict) in [(1, false), (1, true), (0, true)] {
        let host = StandIn::start(BEFORE);
        host.has_failed_units(&["old.service"]);
        let fixture = host.fixture(Setup::default()).await;
        let options = json!({"settle": settle, "strict_units": strict});
        let (held, operation) = accepted(&fixture, "o1", options).await;
        let execution = Execution::new(&fixture.service, &held, operation);
        noted(&execution).await;
        host.reboots(FIRST);
        host.has_failed_units(&["old.service", "new.service"]);
        at_verify(&execution).await;
        let progress = settled(&execution).await;
        if strict {
            assert_eq!((progress.step, progress.reason.as_str()), (Step::Failed, "units-failed"));
            let reason = progress.failure.unwrap().reason;
            assert!(reason.contains("new.service") && !reason.contains("old.service"), "{reason}");
            continue;
        }
        assert_eq!(progress.step, Step::Done);
        assert_eq!(progress.result.unwrap().failed_units, ["new.service"]);
        let (_, last) = logged(&fixture, Step::Settle).await.pop().unwrap();
        assert!(last.contains("new.service") && !last.contains("old.service"), "{last}");
    }
}

#[tokio::test]
async fn another_executor_has_the_host_settle_again() {
    let host = StandIn::start(FIRST);
    let fixture = host.fixture(Setup::default()).await;
    let (held, operation) = begun(&fixture, 1).await;
    let execution = Execution::new(&fixture.service, &held, operation.clone());
    at_verify(&execution).await;
    tokio::select! {
        _ = settled(&execution) => panic!("it was left before its end"),
        () = until(|| execution.host(0).step == Step::Settle) => {}
    }
    let mut next = Execution::new(&fixture.service, &held, operation);
    next.load().await.unwrap();
    let taken_over = Instant::now();
    assert_eq!(settled(&next).await.step, Step::Done);
    assert!(taken_over.elapsed() >= Duration::from_secs(1), "the whole time again");
}

#[tokio::test]
async fn a_host_that_returns_late_has_to_settle_too() {
    let host = StandIn::start(FIRST);
    let fixture = host.fixture(Setup::default()).await;
    let (held, operation) = begun(&fixture, 30).await;
    let execution = Execution::new(&fixture.service, &held, operation);
    at_verify(&execution).await;
    let given_up = GiveUp::new(NOT_BACK, "no answer".to_owned());
    execution.give_up(0, &given_up).await.unwrap();
    let Turn::End(status, reason) = execution.turn().await.unwrap() else { panic!("the end") };
    execution.end(status, &reason).await.unwrap();
    let held = fixture.service.take("late.o1").await.unwrap().expect("it is due").1;
    let operation = fixture.storage.get::<Operation>("o1").await.unwrap().record;
    let mut execution = Execution::new(&fixture.service, &held, operation);
    execution.load().await.unwrap();
    let look = async || returned(&execution, 0).await.unwrap_or_else(|_| panic!("it answers"));
    host.has_been_up(29);
    assert_eq!(look().await, Returned::NotYet);
    host.has_been_up(30);
    host.systemd_is("starting");
    assert_eq!(look().await, Returned::NotYet);
    host.systemd_is("running");
    assert_eq!(look().await, Returned::Done);
    let progress = execution.host(0);
    assert_eq!((progress.late, progress.boot_id_after.as_deref()), (true, Some(FIRST)));
}

/// A host that was done in the boot [`FIRST`], with nothing left to do.
async fn done(execution: &Execution<'_>) {
    at_verify(execution).await;
    let change = |host: &mut HostProgress| {
        host.step = Step::Done;
        host.boot_id_after = Some(FIRST.to_owned());
    };
    execution.save(0, change, &[]).await.unwrap();
}

#[tokio::test]
async fn a_done_host_that_is_up_in_another_boot_at_the_end_is_recorded() {
    let host = StandIn::start(FIRST);
    let fixture = host.fixture(Setup::default()).await;
    let (held, operation) = begun(&fixture, 0).await;
    let execution = Execution::new(&fixture.service, &held, operation);
    done(&execution).await;
    host.reboots(SECOND);
    execution.roll().await.unwrap();
    assert!(host.was_cut(), "a connection that is lost once makes no host a lost one");
    let ended = fixture.storage.get::<Operation>("o1").await.unwrap().record;
    assert_eq!((ended.status, ended.reason.as_str()), (OperationStatus::Finished, ""));
    assert_eq!(execution.host(0).boot_id_after.as_deref(), Some(SECOND));
    let (_, last) = logged(&fixture, Step::Done).await.pop().unwrap();
    assert!(last.contains("rebooted by itself") && last.contains(SECOND), "{last}");
}
