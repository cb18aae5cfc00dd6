//! The decision right before a command that makes a host unavailable.

use super::*;

fn said(wanted: Said) -> OperationControl {
    OperationControl { id: "o1".to_owned(), wanted, ..OperationControl::default() }
}

#[tokio::test]
async fn a_member_that_fails_at_the_last_moment_keeps_the_host_from_its_reboot() {
    let mut fixture = fixture(2).await;
    let (held, operation) = accepted(&fixture, "o1", json!({})).await;
    let service = Arc::clone(&fixture.service);
    let execution = Execution::new(&service, &held, operation);
    let index = at_reboot(&execution).await;
    execution.go_aheads.wait(index);
    // It answers in the first look, and does not any more in the second.
    let answering = execution.answering().await.unwrap();
    drop(fixture.listeners.pop());
    let Decision::Wait(Waiting::Room(why)) = execution.decide(index, &answering).await.unwrap()
    else {
        panic!("it has to wait")
    };
    assert!(why.contains(&address(1)), "{why}");
    assert_eq!(execution.host(index).step, Step::Reboot);
    assert!(execution.host(index).failure.is_none());
    // It is asked about in earnest when it is looked at next, although it was found open a moment ago.
    let Some(Waiting::Room(why)) = execution.no_room(index).await.unwrap() else {
        panic!("there is no room")
    };
    assert!(why.contains(&address(1)), "{why}");
}

#[tokio::test]
async fn a_host_that_reboots_again_by_itself_keeps_the_next_from_its_reboot() {
    let mut fixture = fixture(2).await;
    let (held, operation) = accepted(&fixture, "o1", json!({})).await;
    let service = Arc::clone(&fixture.service);
    let execution = Execution::new(&service, &held, operation);
    let first = at_reboot(&execution).await;
    assert!(matches!(decided(&execution, first).await, Decision::Go(_)));
    assert!(execution.host(first).rebooted_at.is_some(), "the intent is saved");
    execution.save(first, |host| host.step = Step::Done, &[]).await.unwrap();
    let second = at_reboot(&execution).await;
    let first_listener = fixture.listeners.swap_remove(first);
    let port = first_listener.local_addr().unwrap();
    drop(first_listener);
    let Decision::Wait(Waiting::Room(why)) = decided(&execution, second).await else {
        panic!("it has to wait")
    };
    assert!(why.contains(&address(first)), "{why}");
    assert!(execution.host(second).rebooted_at.is_none(), "nothing was done to it");
    let _back = TcpListener::bind(port).await.unwrap();
    assert!(matches!(decided(&execution, second).await, Decision::Go(_)));
}

#[tokio::test]
async fn hosts_that_wait_for_their_go_ahead_go_one_after_the_other() {
    let mut fixture = fixture(4).await;
    let (held, operation) = accepted(&fixture, "o1", json!({"max_unavailable": 2})).await;
    let service = Arc::clone(&fixture.service);
    let execution = Execution::new(&service, &held, operation);
    // The first goes alone.
    let first = at_reboot(&execution).await;
    execution.save(first, |host| host.step = Step::Done, &[]).await.unwrap();
    let (second, third) = (at_reboot(&execution).await, at_reboot(&execution).await);
    drop(fixture.listeners.pop());
    for index in [second, third] {
        execution.go_aheads.wait(index);
    }
    assert!(matches!(decided(&execution, second).await, Decision::Go(_)));
    assert!(matches!(decided(&execution, third).await, Decision::Wait(Waiting::Room(_))));
    execution.save(second, |host| host.step = Step::Done, &[]).await.unwrap();
    assert!(matches!(decided(&execution, third).await, Decision::Go(_)));
}

#[tokio::test]
async fn a_go_ahead_needs_the_permission_of_operators() {
    let fixture = fixture(1).await;
    let (held, operation) = accepted(&fixture, "o1", json!({})).await;
    let execution = Execution::new(&fixture.service, &held, operation);
    let index = at_reboot(&execution).await;
    fixture.storage.save(&said(Said::Pause)).await.unwrap();
    assert!(matches!(decided(&execution, index).await, Decision::Wait(Waiting::Gate(_))));
    fixture.storage.save(&said(Said::Abort)).await.unwrap();
    assert!(matches!(decided(&execution, index).await, Decision::Abort(_)));
    fixture.storage.save(&said(Said::Run)).await.unwrap();
    let name = Freeze::ALL.to_owned();
    let freeze = Freeze { name, by: String::new(), at: String::new(), reason: String::new() };
    fixture.storage.save(&freeze).await.unwrap();
    assert!(matches!(decided(&execution, index).await, Decision::Wait(Waiting::Gate(_))));
    fixture.storage.delete::<Freeze>(Freeze::ALL).await.unwrap();
    assert!(matches!(decided(&execution, index).await, Decision::Go(_)));
}

#[tokio::test]
async fn host_that_waits_for_its_go_ahead_records_why_until_it_is_given() {
    let fixture = fixture(1).await;
    let (held, operation) = accepted(&fixture, "o1", json!({})).await;
    let execution = Execution::new(&fixture.service, &held, operation);
    let index = at_reboot(&execution).await;
    fixture.storage.save(&said(Said::Pause)).await.unwrap();
    let Decision::Wait(refused) = decided(&execution, index).await else { panic!("it is paused") };
    let resume = async {
        while execution.host(index).waiting_for.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!execution.host(index).is_worked_on());
        fixture.storage.save(&said(Said::Run)).await.unwrap();
    };
    let (allowed, ()) = tokio::join!(execution.wait_for_permit(index, refused), resume);
    assert!(allowed.is_ok());
    assert!(execution.host(index).waiting_for.is_some(), "it is asked for again first");
    assert!(matches!(decided(&execution, index).await, Decision::Go(_)));
    assert!(execution.host(index).waiting_for.is_none() && execution.host(index).is_worked_on());
}
