//! Members that leave the cluster during an operation, and hosts that an abort leaves untouched.

use service_core::model::{HostProgress, Outcome};

use super::*;
use crate::host_run;

pub(super) async fn events(fixture: &Fixture, id: &str) -> Vec<Event> {
    let all = fixture.storage.list::<Event>().await.unwrap().into_iter();
    let prefix = format!("{id}.");
    all.map(|event| event.record).filter(|event| event.id.starts_with(&prefix)).collect()
}

async fn remove(fixture: &Fixture, number: usize) {
    let change = |cluster: &mut Cluster| Ok(cluster.remove(&address(number)));
    fixture.storage.update::<Cluster>("c1", change).await.unwrap();
}

#[tokio::test]
async fn removed_members_are_skipped_and_use_no_place_in_the_budget() {
    let fixture = fixture(3).await;
    let (held, operation) = accepted(&fixture, "o1", json!({})).await;
    let execution = Execution::new(&fixture.service, &held, operation);
    let dead = Host { address: address(1), status: Status::Failed, ..Host::default() };
    fixture.storage.save(&dead).await.unwrap();
    let Turn::Wait(Some(Waiting::Room(why))) = execution.turn().await.unwrap() else {
        panic!("a dead member uses the budget up")
    };
    assert!(why.contains(&address(1)), "{why}");

    remove(&fixture, 1).await;
    let Turn::Start(0, pass) = execution.turn().await.unwrap() else {
        panic!("the removed host does not count any more")
    };
    assert_eq!(execution.steps(), [Step::Pending, Step::Skipped, Step::Pending]);
    let id = HostProgress::id_of("o1", &address(1));
    let stored = fixture.storage.get::<HostProgress>(&id).await.unwrap().record;
    assert_eq!(stored.skipped.as_deref(), Some("removed from the cluster"));
    let last = events(&fixture, "o1").await.pop().unwrap();
    assert_eq!((last.host, last.outcome), (address(1), Outcome::Skipped));
    assert_eq!(last.detail, "removed from the cluster");

    // It leaves between the decision and the write that starts it.
    remove(&fixture, 0).await;
    assert!(!execution.start(0, &pass).await.unwrap());
    let Turn::Start(2, _) = execution.turn().await.unwrap() else { panic!("the third one's turn") };
    remove(&fixture, 2).await;
    let Turn::End(status, reason) = execution.turn().await.unwrap() else { panic!("the end") };
    assert_eq!((status, reason.as_str()), (OperationStatus::Finished, ""));
}

#[tokio::test]
async fn an_operation_ends_when_all_its_hosts_were_removed_and_the_cluster_deleted() {
    let fixture = fixture(2).await;
    let (held, operation) = accepted(&fixture, "o1", json!({})).await;
    fixture.storage.delete::<Cluster>("c1").await.unwrap();
    super::super::run(&fixture.service, &held, operation, true).await;
    let ended = fixture.storage.get::<Operation>("o1").await.unwrap().record;
    assert_eq!(ended.status, OperationStatus::Finished);
    assert!(fixture.storage.find::<Lease>("operation.c1").await.unwrap().is_none());
}

#[tokio::test]
async fn a_host_that_is_deleted_while_it_is_under_way_fails_plainly() {
    let fixture = fixture(1).await;
    let (held, operation) = accepted(&fixture, "o1", json!({})).await;
    let refused = HostCreds { ssh_port: 1, ..HostCreds::new(&address(0)) };
    let execution = Execution::new(&fixture.service, &held, operation);
    let Turn::Start(0, pass) = execution.turn().await.unwrap() else { panic!("its turn") };
    assert!(execution.start(0, &pass).await.unwrap());
    let rebooted = |host: &mut HostProgress| {
        host.step = Step::Verify;
        host.boot_id_before = Some("before".to_owned());
        host.rebooted_at = Some(fixture.service.deps.clock.stamp());
    };
    execution.save(0, rebooted, &[]).await.unwrap();
    fixture.storage.save(&refused).await.unwrap();
    let deletion = async {
        // It is waited for by now.
        while !events(&fixture, "o1").await.iter().any(|e| e.outcome == Outcome::Resumed) {
            tokio::task::yield_now().await;
        }
        remove(&fixture, 0).await;
        let gone = Transaction::default().delete::<Host>(&address(0));
        let gone = gone.delete::<HostCreds>(&address(0)).delete::<HostState>(&address(0));
        fixture.storage.transact(&gone).await.unwrap();
    };
    let work = async {
        let hang_guard = Duration::from_mins(2);
        tokio::time::timeout(hang_guard, host_run::host(&execution, 0, true)).await.unwrap()
    };
    let (result, ()) = tokio::join!(work, deletion);
    result.unwrap();
    let host = execution.host(0);
    assert_eq!(host.step, Step::Failed);
    let reason = host.failure.unwrap().reason;
    assert!(reason.starts_with("deleted: ") && reason.contains(&address(0)), "{reason}");
    assert!(fixture.storage.find::<Host>(&address(0)).await.unwrap().is_none());
    let Turn::End(status, _) = execution.turn().await.unwrap() else { panic!("the end") };
    assert_eq!(status, OperationStatus::Failed);
}

#[tokio::test]
async fn after_an_abort_untouched_hosts_are_skipped_and_only_failed_ones_in_process() {
    let fixture = fixture(3).await;
    for (id, failed) in [("o1", false), ("o2", true)] {
        let (held, operation) = accepted(&fixture, id, json!({})).await;
        let execution = Execution::new(&fixture.service, &held, operation);
        let Turn::Start(0, pass) = execution.turn().await.unwrap() else { panic!("its turn") };
        assert!(execution.start(0, &pass).await.unwrap());
        let control = OperationControl {
            id: id.to_owned(),
            wanted: Said::Abort,
            by: "ann".to_owned(),
            ..OperationControl::default()
        };
        fixture.storage.save(&control).await.unwrap();
        if failed {
            let given_up = crate::executor::GiveUp::new("not-back", "gone".to_owned());
            execution.give_up(0, &given_up).await.unwrap();
        } else {
            execution.save(0, |host| host.step = Step::Done, &[]).await.unwrap();
        }
        let Turn::End(status, reason) = execution.turn().await.unwrap() else { panic!("the end") };
        assert_eq!((status, reason.as_str()), (OperationStatus::Failed, "aborted by ann"));
        execution.end(status, &reason).await.unwrap();
        for number in [1, 2] {
            let id = HostProgress::id_of(id, &address(number));
            let host = fixture.storage.get::<HostProgress>(&id).await.unwrap().record;
            assert_eq!(
                (host.step, host.skipped.as_deref()),
                (Step::Skipped, Some("aborted by ann"))
            );
        }
        let skipped = events(&fixture, id).await;
        assert_eq!(skipped.iter().filter(|e| e.outcome == Outcome::Skipped).count(), 2);
        let record = fixture.storage.get::<service_core::model::ClusterRestart>("c1").await;
        let in_process = record.unwrap().record.in_process;
        assert_eq!(in_process, if failed { vec![address(0)] } else { vec![] });
    }
}

#[tokio::test]
async fn after_a_stop_by_failures_no_other_host_has_a_record_and_only_failed_ones_are_in_process() {
    let fixture = fixture(3).await;
    let (held, operation) = accepted(&fixture, "o1", json!({})).await;
    let execution = Execution::new(&fixture.service, &held, operation);
    let Turn::Start(0, pass) = execution.turn().await.unwrap() else { panic!("its turn") };
    assert!(execution.start(0, &pass).await.unwrap());
    let given_up = crate::executor::GiveUp::new("not-back", "gone".to_owned());
    execution.give_up(0, &given_up).await.unwrap();
    let Turn::End(status, reason) = execution.turn().await.unwrap() else { panic!("the end") };
    execution.end(status, &reason).await.unwrap();
    let hosts = fixture.storage.list::<HostProgress>().await.unwrap().into_iter();
    let hosts: Vec<_> = hosts.map(|host| (host.record.address, host.record.step)).collect();
    assert_eq!(hosts, [(address(0), Step::Failed)]);
    let record = fixture.storage.get::<service_core::model::ClusterRestart>("c1").await.unwrap();
    assert_eq!(record.record.in_process, [address(0)]);
}
