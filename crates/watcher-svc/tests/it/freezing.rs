//! Many hosts gone at once: the fault is probably ours.

use service_core::Lifecycle;
use service_core::model::{Alarm, Status};
use testbed::Testbed;

use crate::fixture::{Fixture, eventually, every, log};

const HOSTS: usize = 6;

fn alarms(log: &str) -> usize {
    log.matches("alarm raised").count()
}

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
    assert_eq!(alarms(&log()), 1, "{}", log());
    let alarm = fixture.storage.get::<Alarm>(Alarm::FLEET).await.unwrap().record;
    // The second host to be missed makes a third of them.
    assert!(alarm.share > 0.3 && alarm.reason.contains("of 6 hosts of the fleet"), "{alarm:?}");

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
    assert!(fixture.storage.list::<Alarm>().await.unwrap().is_empty());
    let log = log();
    assert_eq!(alarms(&log), 1, "{log}");
    assert_eq!(log.matches("alarm ended").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_frozen_watcher_dies_another_goes_on_without_a_second_alarm() {
    let (testbed, fixture) = (Testbed::up_light(2), Fixture::start().await);
    let addresses = [0, 1].map(|host| testbed.address(host).0);
    for host in 0..2 {
        fixture.register(&testbed, host, Status::Active).await;
    }
    // A runtime of its own, to be killed with all its tasks.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (deps, life) = (fixture.deps("w1"), Lifecycle::new());
    let started = runtime.spawn(async move { watcher_svc::run(deps, every(2.0), &life).await });
    started.await.unwrap().unwrap();
    fixture.all_checked(&addresses).await;
    for host in testbed.hosts() {
        testbed.run(&["kill", host]);
    }
    let alarm = || async { fixture.storage.find::<Alarm>(Alarm::FLEET).await.unwrap() };
    let raised = eventually("an alarm is raised", alarm).await;
    runtime.shutdown_background();

    let _two = fixture.watch(&every(2.0)).await;
    fixture.all_checked(&addresses).await;
    assert_eq!(alarm().await.map(|alarm| alarm.revision), Some(raised.revision), "the same alarm");
    for (host, address) in addresses.iter().enumerate() {
        assert_eq!(fixture.host(address).await.status, Status::Active, "{address}");
        testbed.run(&["start", &testbed.hosts()[host]]);
    }
    eventually("the alarm ends", || async { alarm().await.is_none().then_some(()) }).await;
    assert_eq!(alarms(&log()), 1, "{}", log());
}
