//! One watcher and one host, which need not even be there.

use std::time::Duration;

use serde_json::json;
use service_core::bus::{Context, topology};
use service_core::model::{
    Cluster, ClusterRestart, Failing, Host, HostCreds, HostProgress, HostState, Lease,
    OperationStatus, Status, Step,
};
use service_core::storage::Transaction;
use tokio::net::TcpListener;
use watcher_svc::Config;

use crate::fixture::{Fixture, creds, eventually, every, log};

const ADDRESS: &str = "127.0.0.1";

/// A listener that never says anything.
async fn silent() -> TcpListener {
    TcpListener::bind((ADDRESS, 0)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_says_nothing_is_unreachable_and_waited_for_no_longer_than_told() {
    let (fixture, silent) = (Fixture::start().await, silent().await);
    fixture.add(&creds(ADDRESS, &silent), Status::Active).await;
    let quick = json!({"interval": 2, "retry_pauses": [0.1], "connect_timeout": 0.5, "report_interval": 0.1});
    let config: Config = serde_json::from_value(quick).unwrap();
    let _life = fixture.watch(&config).await;
    fixture.until(ADDRESS, Status::Failed).await;
    let state = fixture.state(ADDRESS).await;
    assert_eq!((state.reason.as_str(), state.previous_status), ("unreachable", Status::Active));
    assert!(state.detail.contains("no answer within 500ms"), "{}", state.detail);
    assert_eq!(state.failing, Failing { reason: "unreachable".to_owned(), count: 3 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_turns_connections_away_keeps_its_status() {
    let fixture = Fixture::start().await;
    let busy = silent().await;
    fixture.add(&creds(ADDRESS, &busy), Status::Active).await;
    // As sshd does when MaxStartups is reached.
    let _life = fixture.watch(&every(1.0)).await;
    for _ in 0..4 {
        drop(busy.accept().await.unwrap());
    }
    let host = fixture.host(ADDRESS).await;
    assert_eq!((host.status, host.last_check.len()), (Status::Active, 26));
    assert_eq!(fixture.state(ADDRESS).await, HostState::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_deleted_during_its_check_is_not_made_again() {
    let (fixture, silent) = (Fixture::start().await, silent().await);
    let quick = json!({"interval": 3600, "connect_timeout": 1, "report_interval": 0.1});
    let _life = fixture.watch(&serde_json::from_value(quick).unwrap()).await;
    fixture.add(&creds(ADDRESS, &silent), Status::Active).await;
    fixture.ask(ADDRESS, "").await;
    let (_connection, _) = silent.accept().await.unwrap();
    fixture.delete::<Host>(ADDRESS).await;
    fixture.delete::<HostCreds>(ADDRESS).await;
    // A check that begins later, and takes as long, ends later.
    let other = TcpListener::bind("127.0.0.2:0").await.unwrap();
    fixture.add(&creds("127.0.0.2", &other), Status::Active).await;
    fixture.ask("127.0.0.2", "").await;
    fixture.checked("127.0.0.2").await;
    assert!(fixture.storage.find::<Host>(ADDRESS).await.unwrap().is_none());
    assert!(fixture.storage.find::<HostState>(ADDRESS).await.unwrap().is_none());
}

/// An operation `o1` of the cluster `c1` in which the host is at this step.
async fn at_step(fixture: &Fixture, step: Step) {
    let progress = HostProgress { step, ..HostProgress::pending("o1", ADDRESS) };
    let under_way = step.is_under_way();
    let record = ClusterRestart {
        name: "c1".to_owned(),
        status: OperationStatus::InProcess,
        in_process: under_way.then(|| ADDRESS.to_owned()).into_iter().collect(),
        ..ClusterRestart::default()
    };
    let both = Transaction::default().save(&progress).unwrap().save(&record).unwrap();
    fixture.storage.transact(&both).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_hosts_under_way_in_an_operation_are_left_alone() {
    let (fixture, silent) = (Fixture::start().await, silent().await);
    let other = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let (name, network) = ("c1".to_owned(), "default".to_owned());
    let hostset = vec![ADDRESS.to_owned(), "127.0.0.2".to_owned()];
    let cluster = Cluster { name, network, hostset, ..Cluster::default() };
    fixture.storage.save(&cluster).await.unwrap();
    let (name, owner, operation) = ("operation.c1".into(), "executor".into(), "o1".into());
    let lease = Lease { name, owner, counter: 1, ttl_ms: 60_000, operation };
    fixture.storage.save(&lease).await.unwrap();
    at_step(&fixture, Step::Reboot).await;
    fixture.add(&creds(ADDRESS, &silent), Status::Active).await;
    fixture.add(&creds("127.0.0.2", &other), Status::Active).await;
    let quick = json!({
        "interval": 0.5, "retry_pauses": [0.1], "connect_timeout": 0.2, "report_interval": 0.1,
    });
    let _life = fixture.watch(&serde_json::from_value(quick).unwrap()).await;
    // A member whose turn has not come is watched: it fails, and is checked again and again.
    fixture.until("127.0.0.2", Status::Failed).await;
    for _ in 0..4 {
        fixture.checked("127.0.0.2").await;
    }
    assert_eq!(fixture.host(ADDRESS).await.last_check, "", "it is not checked");
    // Its turn is over, the operation goes on.
    at_step(&fixture, Step::Done).await;
    fixture.checked(ADDRESS).await;
    // Its next one is noticed at once.
    at_step(&fixture, Step::Probe).await;
    fixture.checked("127.0.0.2").await;
    fixture.checked("127.0.0.2").await;
    let before = fixture.host(ADDRESS).await;
    for _ in 0..4 {
        fixture.checked("127.0.0.2").await;
    }
    assert_eq!(fixture.host(ADDRESS).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_under_investigation_is_left_to_the_investigator() {
    let (fixture, silent) = (Fixture::start().await, silent().await);
    fixture.add(&creds(ADDRESS, &silent), Status::Investigating).await;
    let quick = json!({"interval": 0.5, "retry_pauses": [0.1], "connect_timeout": 0.2, "report_interval": 0.1});
    let _life = fixture.watch(&serde_json::from_value(quick).unwrap()).await;
    let other = TcpListener::bind("127.0.0.2:0").await.unwrap();
    fixture.add(&creds("127.0.0.2", &other), Status::Active).await;
    fixture.ask(ADDRESS, "").await;
    for _ in 0..4 {
        fixture.checked("127.0.0.2").await;
    }
    assert_eq!(fixture.host(ADDRESS).await.last_check, "");
    // Set up: from now on it is watched.
    let ready = Host { status: Status::Active, ..fixture.host(ADDRESS).await };
    fixture.storage.save(&ready).await.unwrap();
    fixture.checked(ADDRESS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_is_heard_and_nonsense_is_not() {
    let (fixture, silent) = (Fixture::start().await, silent().await);
    let quick = json!({"interval": 3600, "connect_timeout": 0.2, "report_interval": 0.1});
    let _life = fixture.watch(&serde_json::from_value(quick).unwrap()).await;
    fixture.add(&creds(ADDRESS, &silent), Status::Active).await;
    for nonsense in [json!({}), json!(null), json!({"address": "-x"}), json!({"address": 7})] {
        let asked = fixture.bus.request(topology::WATCH, &nonsense, &Context::default()).await;
        assert_eq!(asked.unwrap_err().kind(), service_core::Kind::InvalidParams, "{nonsense}");
    }
    fixture.ask("10.255.255.255", "").await;
    fixture.ask(ADDRESS, "").await;
    let first = eventually("it is checked", || async {
        Some(fixture.host(ADDRESS).await.last_check).filter(|last| !last.is_empty())
    })
    .await;
    // It has been checked since then.
    let stale = json!({"address": ADDRESS, "last_check": "2026-11-21T23:40:21.397282"});
    fixture.bus.request(topology::WATCH, &stale, &Context::default()).await.unwrap();
    assert_eq!(fixture.host(ADDRESS).await.last_check, first);
    // What the sender knows is the newest.
    fixture.ask(ADDRESS, &first).await;
    fixture.checked(ADDRESS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_stops_during_a_check_leaves_no_trace() {
    let (fixture, silent) = (Fixture::start().await, silent().await);
    let patient = json!({"interval": 3600, "connect_timeout": 60});
    let life = fixture.watch(&serde_json::from_value(patient).unwrap()).await;
    fixture.add(&creds(ADDRESS, &silent), Status::Active).await;
    fixture.ask(ADDRESS, "").await;
    let (_connection, _) = silent.accept().await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), life.shutdown(Duration::from_secs(20)))
        .await
        .expect("it does not wait for the host");
    assert_eq!(fixture.host(ADDRESS).await.last_check, "", "still due");
    assert_eq!(fixture.storage.list::<Lease>().await.unwrap(), [], "the others need not wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_waits_for_the_storage_service() {
    let (fixture, silent) = (Fixture::without_storage(), silent().await);
    let quick = json!({"interval": 0.5, "connect_timeout": 0.2, "report_interval": 0.1});
    let _life = fixture.watch(&serde_json::from_value(quick).unwrap()).await;
    eventually("it has asked", || async { log().contains("takes storage.list").then_some(()) })
        .await;
    fixture.start_storage().await;
    fixture.add(&creds(ADDRESS, &silent), Status::Active).await;
    fixture.checked(ADDRESS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_was_taken_for_dead_comes_back() {
    let (fixture, silent) = (Fixture::start().await, silent().await);
    let quick = json!({"interval": 0.5, "retry_pauses": [0.1], "connect_timeout": 0.2, "report_interval": 0.1});
    let _life = fixture.watch(&serde_json::from_value(quick).unwrap()).await;
    fixture.add(&creds(ADDRESS, &silent), Status::Active).await;
    fixture.checked(ADDRESS).await;
    let lease = fixture.storage.list::<Lease>().await.unwrap().remove(0);
    fixture.delete::<Lease>(&lease.record.name).await;
    eventually("it holds its lease again", || async {
        let again = fixture.storage.find::<Lease>(&lease.record.name).await.unwrap();
        again.filter(|again| again.revision > lease.revision)
    })
    .await;
    fixture.checked(ADDRESS).await;
}
