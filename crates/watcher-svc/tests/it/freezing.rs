//! Many hosts gone at once: the fault is probably ours.

use service_core::Lifecycle;
use service_core::model::Status;
use testbed::Testbed;

use crate::fixture::{Fixture, eventually, every, log};

const HOSTS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn half_of_the_hosts_gone_at_once_fails_none_and_raises_one_alarm() {
    let (testbed, fixture) = (Testbed::up_light(HOSTS), Fixture::start().await);
    let addresses: Vec<_> = (0..HOSTS).map(|host| testbed.address(host).0).collect();
    for host in 0..HOSTS {
        fixture.register(&testbed, host, Status::Disassociated).await;
    }
    let (_one, two) = (fixture.watch(&every(3.0)).await, Lifecycle::new());
    watcher_svc::run(fixture.deps("w2"), every(3.0), &two).await.unwrap();
    fixture.all_checked(&addresses).await;
    for host in &testbed.hosts()[..HOSTS / 2] {
        testbed.run(&["kill", host]);
    }
    // Far beyond the third failure.
    for address in &addresses[..HOSTS / 2] {
        eventually("six failures in a row", || async {
            (fixture.state(address).await.failing.count == 6).then_some(())
        })
        .await;
    }
    fixture.all_checked(&addresses).await;
    for address in &addresses {
        assert_eq!(fixture.host(address).await.status, Status::Disassociated, "{address}");
        assert_eq!(fixture.state(address).await.reason, "");
    }
    let alarms = |log: &str| log.matches("became unreachable at once").count();
    assert_eq!(alarms(&log()), 1, "{}", log());

    for host in &testbed.hosts()[1..HOSTS / 2] {
        testbed.run(&["start", host]);
    }
    // One of them stays away, and is the exception now.
    fixture.until(addresses[0], Status::Failed).await;
    assert_eq!(fixture.state(addresses[0]).await.reason, "unreachable");
    fixture.all_checked(&addresses[1..]).await;
    for address in &addresses[1..] {
        assert_eq!(fixture.host(address).await.status, Status::Disassociated, "{address}");
        assert_eq!(fixture.state(address).await.failing.count, 0);
    }
    let log = log();
    assert_eq!(alarms(&log), 1, "{log}");
    assert_eq!(log.matches("hosts can be reached again").count(), 1, "{log}");
}
