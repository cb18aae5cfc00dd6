//! Hosts that are done, while others are left to do and at the end.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_done_host_that_reboots_by_itself_pauses_the_operation() {
    let fixture = fixture(2).await;
    let (held, operation) = accepted(&fixture, "o1", json!({})).await;
    let journal = Journal::new(&fixture.context, &held, operation);
    let budget = Budget::new(&journal);
    let first = at_reboot(&journal, &budget).await;
    let boot = |boot_id: &str| HostState {
        address: address(first),
        boot_id: boot_id.to_owned(),
        ..HostState::default()
    };
    fixture.storage.save(&boot("verified")).await.unwrap();
    let done = |host: &mut OperationHost| {
        host.step = Step::Done;
        host.boot_id_after = Some("verified".to_owned());
    };
    journal.save(first, done, &[]).await.unwrap();
    assert!(matches!(next_action(&journal, &budget).await.unwrap(), Action::Start(..)));
    // Members that were read before it was done show the boot from before.
    let (kind, all) = (OperationKind::Restart, [address(first)]);
    let mut earlier = crate::members::recorded(&fixture.context, &all, kind).await.unwrap();
    earlier[0].boot_id = "before".to_owned();
    assert!(budget.done_hosts.pause_for_reboots(&earlier).await.unwrap().is_none());
    // As the watcher writes it down.
    fixture.storage.save(&boot("another")).await.unwrap();
    // The planner and a host that waits for its go-ahead look at the same time.
    let now = crate::members::recorded(&fixture.context, &all, kind).await.unwrap();
    let looks =
        [budget.done_hosts.pause_for_reboots(&now), budget.done_hosts.pause_for_reboots(&now)];
    let seen = futures_util::future::try_join_all(looks).await.unwrap();
    let [Some(Waiting { reason: WaitReason::UnexpectedReboot, message: why, .. }), None] =
        &seen[..]
    else {
        panic!("reported once: {seen:?}")
    };
    assert!(matches!(
        next_action(&journal, &budget).await.unwrap(),
        Action::Wait(Some(Waiting { reason: WaitReason::UnexpectedReboot, .. }))
    ));
    assert!(
        why.starts_with("unexpected-reboot: ") && why.contains(address(first).as_str()),
        "{why}"
    );
    let control = fixture.storage.get::<OperationControl>("o1").await.unwrap().record;
    assert_eq!((control.wanted, &control.reason), (Wanted::Pause, why));
    assert_eq!(journal.part(first).boot_id_after.as_deref(), Some("another"));
    // Resumed, it goes on.
    fixture.storage.save(&OperationControl { wanted: Wanted::Run, ..control }).await.unwrap();
    assert!(matches!(next_action(&journal, &budget).await.unwrap(), Action::Start(..)));
}
