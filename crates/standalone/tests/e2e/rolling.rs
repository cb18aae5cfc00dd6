//! Rolls with options: how many at a time, in which order, which hosts; what operators say while they run.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testbed::Testbed;
use tokio::net::TcpStream;

use crate::processes::Form;
use crate::receiver::Receiver;
use crate::server::{Server, eventually};

/// A port on which nobody listens: a host that is there says so at once, one that is not says nothing.
const CLOSED: u16 = 9;

/// Looks at all hosts every 100 ms until it is told to stop; returns the most that were away at a time.
async fn monitor(testbed: &Testbed, stop: &AtomicBool) -> usize {
    let hosts: Vec<SocketAddr> = (0..testbed.hosts().len())
        .map(|host| SocketAddr::new(testbed.address(host).0.parse().unwrap(), CLOSED))
        .collect();
    let most = AtomicUsize::new(0);
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    while !stop.load(Ordering::SeqCst) {
        ticks.tick().await;
        let looks = hosts.iter().map(|host| async move {
            let connect = tokio::time::timeout(Duration::from_millis(90), TcpStream::connect(host));
            matches!(connect.await, Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused)
        });
        let away = join_all(looks).await.into_iter().filter(|there| !there).count();
        most.fetch_max(away, Ordering::SeqCst);
    }
    most.into_inner()
}

/// A roll under the eyes of the monitor: its record, and the most hosts that were away.
async fn watched(server: &Server, testbed: &Testbed, options: Value) -> (Value, usize) {
    let stop = AtomicBool::new(false);
    tokio::join!(
        async {
            server.put("/cluster/c1/restart", options).await;
            let record = server.restarted().await;
            stop.store(true, Ordering::SeqCst);
            record
        },
        monitor(testbed, &stop)
    )
}

async fn never_more_are_away_than_allowed_the_dead_one_counted(form: Form) {
    const HOSTS: usize = 10;
    let test = "never_more_are_away_than_allowed";
    let Some(testbed) = Testbed::up_booted(test, &["debian"; HOSTS]) else { return };
    let server = Server::start(form, json!({"clusterexec": {"connect-timeout": 3}})).await;
    server.cluster(&testbed).await;
    let dead = HOSTS - 1;
    let address = testbed.address(dead).0.to_owned();
    testbed.run(&["kill", &testbed.hosts()[dead]]);
    let before: Vec<_> = (0..dead).map(|host| testbed.boot_id(host)).collect();

    // The watcher has not noticed yet, and it is refused all the same.
    let (status, refusal) = server.call(Method::PUT, "/cluster/c1/restart", json!({})).await;
    let detail = refusal["detail"].as_str().unwrap();
    assert_eq!(status, StatusCode::CONFLICT, "{refusal}");
    for word in [address.as_str(), "max_unavailable", "skip_unreachable"] {
        assert!(detail.contains(word), "{refusal}");
    }
    assert!(server.get("/cluster/c1/operations").await.as_array().unwrap().is_empty());

    let options = json!({"max_unavailable": 3, "skip_unreachable": true});
    let (record, most) = watched(&server, &testbed, options).await;
    assert_eq!(record["status"], "finished", "{record}");
    assert_eq!(record["restarted"].as_array().unwrap().len(), dead);
    assert!((2..=3).contains(&most), "{most} were away at once, the dead one among them");
    let operation = server.operation().await;
    let left = operation["hosts"].as_array().unwrap().iter().find(|h| h["address"] == address);
    assert_eq!(left.unwrap()["step"], "skipped", "{operation}");
    for (host, before) in before.iter().enumerate() {
        assert_ne!(testbed.boot_id(host), *before);
    }

    // Not left out, it has the last turn, and fails.
    let (record, most) = watched(&server, &testbed, json!({"max_unavailable": "30%"})).await;
    assert_eq!((&record["status"], &record["in_process"]), (&json!("failed"), &json!([address])));
    let reason = record["failures"][0]["reason"].as_str().unwrap();
    assert!(reason.contains(&address), "{record}");
    assert!((2..=3).contains(&most), "{most} were away at once");
    assert_eq!(record["restarted"].as_array().unwrap().len(), dead);
    let downs = testbed.events().into_iter().filter(|event| !event.up).count();
    assert_eq!(downs, 1 + dead * 2, "the dead one, and each of the others once in each roll");
}

async fn a_member_that_dies_meanwhile_is_waited_for_and_then_the_roll_pauses(form: Form) {
    let test = "a_member_that_dies_meanwhile";
    let Some(testbed) = Testbed::up_booted(test, &["debian"; 3]) else { return };
    let config = json!({"clusterexec": {"room-timeout": 2}});
    let server = Server::start(form, config).await;
    server.cluster(&testbed).await;
    let mut order: Vec<_> = (0..3).collect();
    order.sort_unstable_by_key(|host| testbed.address(*host).0.to_owned());
    let (first, second, third) = (order[0], order[1], order[2]);
    let before = testbed.boot_id(second);
    server.put("/cluster/c1/restart", json!({"soak": 2})).await;
    // Until the first has its go-ahead, it would wait, too.
    let downs = || testbed.events().iter().filter(|event| !event.up).count();
    eventually("the first is away", || async { (downs() > 0).then_some(()) }).await;
    testbed.run(&["kill", &testbed.hosts()[third]]);
    let operation = server.state("paused").await;
    let reason = operation["control"]["reason"].as_str().unwrap();
    assert!(reason.contains(testbed.address(third).0), "{operation}");
    assert_eq!(operation["hosts"][0]["step"], "done", "{operation}");
    assert_eq!(testbed.boot_id(second), before, "there was no room for it");
    assert_ne!(testbed.boot_id(first), before);
    testbed.run(&["start", &testbed.hosts()[third]]);
    server.tell("resume").await;
    let record = server.restarted().await;
    assert_eq!(record["status"], "finished", "{record}");
    assert_ne!(testbed.boot_id(second), before);
}

async fn paused_resumed_frozen_and_aborted(form: Form) {
    let testbed = Testbed::up(&["debian", "debian", "debian"]);
    let server = Server::start(form, json!({})).await;
    server.cluster(&testbed).await;
    let boots = || (0..3).map(|host| testbed.boot_id(host)).collect::<Vec<_>>();
    let changed = |before: &[String]| {
        boots().iter().zip(before).filter(|(now, before)| now != before).count()
    };

    let before = boots();
    server.put("/freeze", json!({"reason": "storage maintenance"})).await;
    server.put("/cluster/c1/restart", json!({})).await;
    let event = server.event("waiting").await;
    assert!(event["detail"].as_str().unwrap().contains("storage maintenance"), "{event}");
    assert_eq!(server.operation().await["state"], "frozen");
    assert_eq!(changed(&before), 0);
    server.call(Method::DELETE, "/freeze", json!({})).await;

    // As soon as something happens: nothing further is started.
    let downs = || testbed.events().iter().filter(|event| !event.up).count();
    eventually("a host is away", || async { (downs() > 0).then_some(()) }).await;
    server.tell("pause").await;
    let paused = server.state("paused").await;
    assert_eq!((&paused["counts"]["done"], &paused["counts"]["pending"]), (&json!(1), &json!(2)));
    assert_eq!(changed(&before), 1);
    server.tell("resume").await;
    assert_eq!(server.restarted().await["status"], "finished");
    assert_eq!(changed(&before), 3);

    let before = boots();
    server.put("/cluster/c1/restart", json!({})).await;
    eventually("a host is away", || async { (downs() > 3).then_some(()) }).await;
    server.tell("abort").await;
    let record = server.restarted().await;
    assert_eq!(record["status"], "failed");
    let reason = record["failures"][0]["reason"].as_str().unwrap();
    assert_eq!(reason, "aborted by admin", "{record}");
    assert_eq!(server.operation().await["state"], "aborted");
    assert!(changed(&before) < 3);
    // It is over: what has ended cannot be resumed, and the cluster is free.
    let id = server.operation().await["id"].as_str().unwrap().to_owned();
    let path = format!("/operation/{id}/resume");
    assert_eq!(server.call(Method::POST, &path, json!({})).await.0, StatusCode::CONFLICT);
    let (status, _) = server.call(Method::DELETE, "/cluster/c1", json!({})).await;
    assert_eq!(status, StatusCode::OK);
}

async fn some_hosts_in_the_order_of_their_last_restart_where_they_need_it(form: Form) {
    let test = "some_hosts_in_the_order";
    let Some(testbed) = Testbed::up_booted(test, &["debian"; 3]) else { return };
    let server = Server::start(form, json!({})).await;
    server.cluster(&testbed).await;
    let mut order: Vec<_> = (0..3).map(|host| testbed.address(host).0.to_owned()).collect();
    order.sort_unstable();
    let host = |address: &str| (0..3).find(|host| testbed.address(*host).0 == address).unwrap();
    let (status, refusal) =
        server.call(Method::PUT, "/cluster/c1/restart", json!({"hosts": ["10.9.9.9"]})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{refusal}");

    let dry = json!({"dry_run": true, "hosts": [order[1]]});
    let (status, plan) = server.call(Method::PUT, "/cluster/c1/restart", dry).await;
    assert_eq!((status, &plan["would_start"]), (StatusCode::OK, &json!(true)), "{plan}");
    assert_eq!(plan["hosts"][0]["address"], order[1].as_str());
    assert!(server.get("/cluster/c1/operations").await.as_array().unwrap().is_empty());

    server.put("/cluster/c1/restart", json!({"hosts": [order[0]]})).await;
    assert_eq!(server.restarted().await["restarted"], json!([order[0]]));
    for address in &order[..2] {
        testbed.exec(host(address), "touch /run/reboot-required");
    }
    let before = testbed.boot_id(host(&order[2]));
    server.put("/cluster/c1/restart", json!({"order": "least_recent", "if_needed": true})).await;
    let record = server.restarted().await;
    assert_eq!(record["restarted"], json!([order[1], order[0]]), "the least recent first");
    assert_eq!(record["status"], "finished");
    let operation = server.operation().await;
    assert_eq!(operation["counts"]["skipped"], 1, "{operation}");
    assert_eq!(testbed.boot_id(host(&order[2])), before, "it did not say that it needs it");
}

async fn an_unhealthy_host_stops_the_roll_and_somebody_is_told(form: Form) {
    let test = "an_unhealthy_host_stops_the_roll";
    let Some(testbed) = Testbed::up_booted(test, &["debian"; 2]) else { return };
    let receiver = Receiver::start("/hook?token=s3cret").await;
    let config = json!({"clusterexec": {"webhook-url": receiver.url}});
    let server = Server::start(form, config).await;
    server.cluster(&testbed).await;
    let mut addresses: Vec<_> = (0..2).map(|host| testbed.address(host).0.to_owned()).collect();
    addresses.sort_unstable();
    let options = json!({
        "health_command": "test -e /etc/healthy || { echo 'no database' >&2; exit 3; }",
        "health_timeout": 2,
    });
    server.put("/cluster/c1/restart", options.clone()).await;
    let record = server.restarted().await;
    let failure = &record["failures"][0];
    assert_eq!((&record["status"], &failure["step"]), (&json!("failed"), &json!("verify")));
    assert_eq!(failure["host"], addresses[0].as_str());
    for word in [addresses[0].as_str(), "no database", "commctl host investigate"] {
        assert!(failure["reason"].as_str().unwrap().contains(word), "{record}");
    }
    let body = receiver.next(|_| true).await.body;
    assert_eq!((&body["event"], &body["operation"]["cluster"]), (&json!("failed"), &json!("c1")));
    assert_eq!(body["operation"]["failures"][0]["host"], addresses[0].as_str());

    for host in 0..2 {
        testbed.exec(host, "touch /etc/healthy");
    }
    let path = format!("/host/{}/investigate", addresses[0]);
    server.call(Method::POST, &path, json!({})).await;
    assert_eq!(server.settled(&addresses[0]).await["host"]["status"], "disassociated");
    server.put("/cluster/c1/restart", options).await;
    assert_eq!(server.restarted().await["status"], "finished");
    assert_eq!(receiver.next(|_| true).await.body["event"], "finished");
    assert!(!server.log().contains("s3cret"), "the webhook's address may hold a secret");
}

/// The server runs on the first host of two: it ends with each reboot of it, and systemd would start it again.
#[tokio::test(flavor = "multi_thread")]
async fn the_controllers_own_machine_goes_last_and_the_operation_ends_after_it_is_back() {
    let testbed = Testbed::up_light(2);
    let server = Server::prepare(Form::OneProcess, None, &json!({"lease-ttl": 8}));
    let start = format!("setsid -f {} </dev/null >/dev/null 2>&1", server.processes.command_line());
    testbed.exec(0, &start);
    server.answers().await;
    server.cluster(&testbed).await;
    let own = testbed.address(0).0.to_owned();
    let before = [testbed.boot_id(0), testbed.boot_id(1)];
    let (status, refusal) = server.call(Method::PUT, "/cluster/c1/restart", json!({})).await;
    let detail = refusal["detail"].as_str().unwrap();
    assert_eq!(status, StatusCode::CONFLICT, "{refusal}");
    assert!(detail.contains(&own) && detail.contains("include_self"), "{refusal}");

    server.put("/cluster/c1/restart", json!({"include_self": true})).await;
    eventually("both have been away, and are back", || async {
        let seen = testbed.events();
        let up = seen.iter().filter(|event| event.up).count();
        (up == 2 * testbed.hosts().len()).then_some(())
    })
    .await;
    assert_ne!([testbed.boot_id(0), testbed.boot_id(1)], before);
    std::fs::remove_file(server.data_dir().join("address")).unwrap();
    testbed.exec(0, &start);
    server.answers().await;
    let record = server.restarted().await;
    assert_eq!(record["status"], "finished", "{record}");
    assert_eq!(record["restarted"].as_array().unwrap().last().unwrap(), own.as_str());
    assert_eq!(testbed.events().iter().filter(|event| !event.up).count(), 2, "each once");
}

forms!(
    both: [],
    one_process: [an_unhealthy_host_stops_the_roll_and_somebody_is_told],
    distributed: [some_hosts_in_the_order_of_their_last_restart_where_they_need_it],
    full: [
        never_more_are_away_than_allowed_the_dead_one_counted,
        a_member_that_dies_meanwhile_is_waited_for_and_then_the_roll_pauses,
        paused_resumed_frozen_and_aborted
    ],
);
