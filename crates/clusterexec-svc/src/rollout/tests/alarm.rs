//! What alarms do to operations.

use jiff::{SignedDuration, Timestamp};
use model::Alarm;
use tokio::time::sleep;

use super::*;

/// Longer than the pause between two looks at alarms.
const LOOK: Duration = Duration::from_secs(6);

/// When the alarms of these tests are raised.
const SINCE: &str = "2026-11-28T12:00:00.000000";

async fn raise(fixture: &Fixture, scope: &str) {
    let reason = "4 of 10 hosts are unreachable".to_owned();
    let alarm = Alarm { scope: scope.to_owned(), since: SINCE.into(), share: 0.4, reason };
    fixture.storage.save(&alarm).await.unwrap();
}

/// So many minutes after an alarm was raised.
fn after(minutes: i64) -> Timestamp {
    let since: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
    since + SignedDuration::from_mins(minutes)
}

async fn control(fixture: &Fixture) -> Option<OperationControl> {
    fixture.storage.find::<OperationControl>("o1").await.unwrap().map(|found| found.record)
}

/// Does something while the operation looks at alarms.
async fn watched<T>(journal: &Journal<'_>, doing: impl Future<Output = T>) -> T {
    tokio::select! {
        error = pause_in_alarms(journal) => panic!("{error}"),
        done = doing => done,
    }
}

async fn is_paused(fixture: &Fixture) -> bool {
    control(fixture).await.is_some_and(|control| control.wanted == Wanted::Pause)
}

#[tokio::test(start_paused = true)]
async fn a_host_is_neither_started_nor_rebooted_during_an_alarm_that_concerns_its_cluster() {
    let fixture = fixture(1).await;
    let (held, operation) = accepted(&fixture, "o1", json!({})).await;
    let mut cluster = fixture.storage.get::<Cluster>("c1").await.unwrap();
    cluster.record.container_manager = "m1".to_owned();
    fixture.storage.transact(&Transaction::default().update(&cluster).unwrap()).await.unwrap();
    let journal = Journal::new(&fixture.context, &held, operation);
    let budget = Budget::new(&journal);
    for (scope, waits) in [
        ("cluster.c2", false),
        ("manager.m2", false),
        ("cluster.c1", true),
        ("manager.m1", true),
        ("fleet", true),
    ] {
        raise(&fixture, scope).await;
        let plan = plan(&fixture.context, &request(json!({}))).await.unwrap();
        let plan = serde_json::to_value(plan.answer(&request(json!({})))).unwrap();
        assert_eq!(plan["alarm"]["since"] == SINCE, waits, "{scope}: {plan}");
        match next_action(&journal, &budget).await.unwrap() {
            Action::Start(..) => assert!(!waits, "{scope}"),
            Action::Wait(Some(Waiting { message: why, .. })) => {
                assert!(waits && why.contains(SINCE) && why.contains("4 of 10"), "{scope}: {why}");
            }
            _ => panic!("{scope}"),
        }
        fixture.storage.delete::<Alarm>(scope).await.unwrap();
    }
    let index = at_reboot(&journal, &budget).await;
    raise(&fixture, "cluster.c1").await;
    assert!(matches!(
        decided(&budget, index).await,
        Decision::Wait(Waiting { reason: WaitReason::Alarm, .. })
    ));
    fixture.storage.delete::<Alarm>("cluster.c1").await.unwrap();
    assert!(matches!(decided(&budget, index).await, Decision::Go(_)));
}

#[tokio::test(start_paused = true)]
async fn an_operation_is_paused_by_an_alarm_of_ten_minutes_unless_it_resumes_by_itself() {
    for (minutes, options, paused) in [
        (9, json!({}), false),
        (10, json!({}), true),
        (10, json!({"resume_after_alarm": "manual"}), true),
        (60, json!({"resume_after_alarm": "auto"}), false),
        // A clock that was set back: the ten minutes begin once more.
        (-300, json!({}), false),
    ] {
        let fixture = fixture_at(1, after(minutes)).await;
        let (held, operation) = accepted(&fixture, "o1", options.clone()).await;
        raise(&fixture, Alarm::FLEET).await;
        // Another executor has seen the alarm begin.
        let journal = Journal::new(&fixture.context, &held, operation);
        watched(&journal, sleep(LOOK)).await;
        let control = control(&fixture).await;
        let reason = control.map(|control| (control.wanted, control.reason));
        match reason {
            Some((Wanted::Pause, reason)) if paused => {
                assert!(reason.contains("the fleet") && reason.contains("600 s"), "{reason}");
            }
            None if !paused => {}
            other => panic!("{minutes} min, {options}: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_operation_resumed_during_an_alarm_is_paused_by_the_next_one_only() {
    let fixture = fixture(1).await;
    let (held, operation) = accepted(&fixture, "o1", json!({})).await;
    let journal = Journal::new(&fixture.context, &held, operation);
    let limit = fixture.context.config.alarm_pause_after();
    let doing = async {
        for _ in 0..2 {
            // Its stamp is of no use: the executor saw it begin.
            sleep(LOOK).await;
            raise(&fixture, "cluster.c1").await;
            sleep(limit.saturating_sub(LOOK)).await;
            assert!(!is_paused(&fixture).await, "the ten minutes are not over");
            sleep(2 * LOOK).await;
            assert!(is_paused(&fixture).await, "they are");
            let resumed = OperationControl { id: "o1".to_owned(), ..OperationControl::default() };
            fixture.storage.save(&resumed).await.unwrap();
            sleep(2 * limit).await;
            assert!(!is_paused(&fixture).await, "an operator has resumed it");
            fixture.storage.delete::<Alarm>("cluster.c1").await.unwrap();
            sleep(LOOK).await;
        }
    };
    watched(&journal, doing).await;
}

#[tokio::test(start_paused = true)]
async fn what_operators_say_about_an_operation_outlasts_an_alarm() {
    let fixture = fixture_at(1, after(11)).await;
    let (held, operation) = accepted(&fixture, "o1", json!({})).await;
    let journal = Journal::new(&fixture.context, &held, operation);
    raise(&fixture, "cluster.c1").await;
    let said = |wanted| OperationControl {
        id: "o1".to_owned(),
        wanted,
        by: "ann".to_owned(),
        ..OperationControl::default()
    };
    for wanted in [Wanted::Pause, Wanted::Abort] {
        fixture.storage.save(&said(wanted)).await.unwrap();
        watched(&journal, sleep(LOOK)).await;
        assert_eq!(control(&fixture).await, Some(said(wanted)));
    }
}
