//! Operations that ended before all of their hosts were done: continued, or with hosts that come back late.

use model::messages::CordonHost;

use super::*;
use crate::manual_cordon;

/// Ends an operation of three hosts: the first done, the second failed for this reason, the third untouched.
async fn failed_operation(fixture: &Fixture, reason: FailureReason) {
    let (held, operation) = accepted(fixture, "o1", json!({"soak": 5})).await;
    let journal = Journal::new(&fixture.context, &held, operation);
    let budget = Budget::new(&journal);
    for index in [0, 1] {
        let change = |host: &mut OperationHost| host.step = Step::Verify;
        journal.save(index, change, &[]).await.unwrap();
    }
    journal.save(0, |host| host.step = Step::Done, &[]).await.unwrap();
    journal.fail(1, &HostFailure::new(reason, "no answer".to_owned())).await.unwrap();
    let Action::End(status, reason) = next_action(&journal, &budget).await.unwrap() else {
        panic!("the end")
    };
    journal.end(status, &reason).await.unwrap();
}

async fn continued(
    fixture: &Fixture,
    id: &str,
    retry_failed: bool,
) -> std::result::Result<OperationRequest, String> {
    let request = crate::continuation::request(&fixture.storage, id, retry_failed).await;
    request.map_err(|error| error.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_continued_operation_works_on_the_hosts_that_are_not_done() {
    let fixture = fixture(4).await;
    failed_operation(&fixture, FailureReason::Unhealthy).await;
    let hosts = |request: &OperationRequest| {
        let hosts = request.options.hosts.clone().unwrap().into_iter();
        hosts.map(Address::from).collect::<Vec<_>>()
    };
    let request = continued(&fixture, "o1", true).await.unwrap();
    assert_eq!(hosts(&request), [address(1), address(2), address(3)]);
    assert_eq!(request.options.soak, Some(5), "the same options");
    set_members(&fixture, vec![address(0), address(1), address(2)]).await;
    let request = continued(&fixture, "o1", false).await.unwrap();
    assert_eq!(hosts(&request), [address(2)]);

    let planned = plan(&fixture.context, &request).await.unwrap();
    let next = planned.operation("o2", &request, &bus::Context::service("test"), "t".into());
    let before = request.continues.as_ref();
    let held = begin(&fixture.context, planned, &next, before).await.unwrap();
    let [first, second] = [
        fixture.storage.get::<Operation>("o1").await.unwrap().record,
        fixture.storage.get::<Operation>("o2").await.unwrap().record,
    ];
    assert_eq!(
        (first.continued_by.as_deref(), second.continues.as_deref()),
        (Some("o2"), Some("o1"))
    );
    // The same again, from before the first was written down, makes no second one.
    held.release(Transaction::default()).await.unwrap();
    let planned = plan(&fixture.context, &request).await.unwrap();
    let again = planned.operation("o3", &request, &bus::Context::service("test"), "t".into());
    let refused = begin(&fixture.context, planned, &again, before).await.unwrap_err();
    assert!(refused.is_conflict(), "{refused}");
    for (id, why) in [("o1", "continued by o2"), ("o2", "in process"), ("o9", "no operation o9")] {
        let refused = continued(&fixture, id, true).await.unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_continued_where_nothing_is_left() {
    let fixture = fixture(2).await;
    failed_operation(&fixture, FailureReason::Unhealthy).await;
    let refused = continued(&fixture, "o1", false).await.unwrap_err();
    assert!(refused.contains("no host left") && refused.contains("retry_failed"), "{refused}");
    set_members(&fixture, vec![address(0)]).await;
    let refused = continued(&fixture, "o1", true).await.unwrap_err();
    assert!(refused.contains("no host left"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn an_ended_operation_has_only_failed_hosts_in_process_and_the_untouched_are_skipped() {
    let fixture = fixture(3).await;
    failed_operation(&fixture, FailureReason::Unhealthy).await;
    let record = fixture.storage.get::<ClusterRestart>("c1").await.unwrap().record;
    assert_eq!((record.in_process, record.done), (vec![address(1)], vec![address(0)]));
    let operation = fixture.storage.get::<Operation>("o1").await.unwrap().record;
    let untouched = &operation.untouched()[2];
    assert_eq!((untouched.step, untouched.address.clone()), (Step::Skipped, address(2)));
}

/// Records that the second host has come back.
async fn late(journal: &Journal<'_>) -> Returned {
    done_late(journal, 1, "b2").await.unwrap_or_else(|_| panic!("the store answers"))
}

#[tokio::test(start_paused = true)]
async fn a_host_that_returns_late_is_done_and_the_operation_stays_failed() {
    let fixture = fixture(2).await;
    failed_operation(&fixture, FailureReason::NotBack).await;
    // The lease that marks it was written with the end.
    assert!(fixture.storage.find::<Lease>("late.o1").await.unwrap().is_some());
    let held =
        fixture.context.leases.try_acquire(&"late.o1".into()).await.unwrap().expect("it is due");
    let operation = fixture.storage.get::<Operation>("o1").await.unwrap().record;
    let journal = Journal::load(&fixture.context, &held, operation).await.unwrap();
    assert!(may_come_back(&journal.part(1)) && !may_come_back(&journal.part(0)));
    // Not while another operation of the cluster is in process.
    let lock = Lease { name: "operation.c1".into(), ..Unfinished::LateHosts("x").lease() };
    fixture.storage.save(&lock).await.unwrap();
    assert_eq!(late(&journal).await, Returned::NotYet);
    fixture.storage.delete::<Lease>("operation.c1").await.unwrap();
    assert_eq!(late(&journal).await, Returned::Done);

    let id = OperationHost::id_of("o1", &address(1));
    let host = fixture.storage.get::<OperationHost>(&id).await.unwrap().record;
    assert_eq!((host.step, host.late, host.failure), (Step::Done, true, None));
    let record = fixture.storage.get::<ClusterRestart>("c1").await.unwrap().record;
    assert_eq!((record.in_process, record.done.len()), (vec![], 2));
    assert_eq!((record.status, record.failures), (OperationStatus::Failed, vec![]));
    let status = fixture.storage.get::<Host>(&address(1)).await.unwrap().record.status;
    assert_eq!(status, Status::Disassociated, "the status from before");
}

#[tokio::test(start_paused = true)]
async fn cordon_by_an_operator_leaves_the_abandoned_lease_of_an_operation() {
    let fixture = fixture(1).await;
    let mut cluster = fixture.storage.get::<Cluster>("c1").await.unwrap().record;
    "k".clone_into(&mut cluster.container_manager);
    fixture.storage.save(&cluster).await.unwrap();
    // Due at once, as that of an executor that has stopped.
    let abandoned = Lease { name: "operation.c1".into(), ..Unfinished::LateHosts("x").lease() };
    fixture.storage.save(&abandoned).await.unwrap();
    let request = CordonHost { address: address(0), foreign: false };
    let caller = bus::Context::service("test");
    for error in [
        manual_cordon::cordon(&fixture.context, &request, &caller).await.unwrap_err(),
        manual_cordon::uncordon(&fixture.context, &request, &caller).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("an operation is in process"), "{error}");
    }
    let lease = fixture.storage.get::<Lease>("operation.c1").await.unwrap().record;
    assert_eq!(lease, abandoned);
}
