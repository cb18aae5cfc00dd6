//! Many hosts gone at once: the fault is probably ours.

use model::{Alarm, PendingWebhook, Status};
use watcher_svc::Config;

use crate::fixture::{Fixture, addresses, eventually};

fn alarms(fixture: &Fixture) -> usize {
    fixture.log().matches("alarm raised").count()
}

async fn webhooks(fixture: &Fixture) -> Vec<PendingWebhook> {
    let pending = fixture.storage.list::<PendingWebhook>().await.unwrap();
    pending.into_iter().map(|pending| pending.record).collect()
}

#[tokio::test(start_paused = true)]
async fn half_of_the_hosts_gone_at_once_fails_none_and_raises_one_alarm() {
    let (fixture, addresses) = (Fixture::start().await, addresses(6));
    fixture.register_all(&addresses, Status::Disassociated).await;
    let _one = fixture.watch_as(0, Config::default()).await;
    let _two = fixture.watch_as(1, Config::default()).await;
    fixture.all_checked(&addresses).await;
    let (gone, _) = addresses.split_at(3);
    for address in gone {
        fixture.hosts.power_off(address);
    }
    // Far beyond the third failure.
    for address in gone {
        eventually("six failures in a row", async || {
            (fixture.state(address).await.failing.count == 6).then_some(())
        })
        .await;
    }
    fixture.all_checked(&addresses).await;
    for address in &addresses {
        assert_eq!(fixture.host(address).await.status, Status::Disassociated, "{address}");
        assert_eq!(fixture.state(address).await.reason, "");
    }
    assert_eq!(alarms(&fixture), 1, "{}", fixture.log());
    let alarm = fixture.storage.get::<Alarm>(Alarm::FLEET).await.unwrap().record;
    // The second host to be missed makes a third of them.
    assert!(alarm.share > 0.3 && alarm.reason.contains("of 6 hosts of the fleet"), "{alarm:?}");
    assert_eq!(webhooks(&fixture).await, [PendingWebhook::alarm(alarm.clone(), false)]);

    for address in &gone[1..] {
        fixture.hosts.power_on(address);
    }
    // One of them stays away, and is the exception now.
    fixture.until(&gone[0], Status::Failed).await;
    assert_eq!(fixture.state(&gone[0]).await.reason, "unreachable");
    fixture.all_checked(&addresses[1..]).await;
    for address in &addresses[1..] {
        assert_eq!(fixture.host(address).await.status, Status::Disassociated, "{address}");
        assert_eq!(fixture.state(address).await.failing.count, 0);
    }
    assert!(fixture.storage.list::<Alarm>().await.unwrap().is_empty());
    assert_eq!(alarms(&fixture), 1, "{}", fixture.log());
    assert_eq!(fixture.log().matches("alarm ended").count(), 1, "{}", fixture.log());
    // Without an executor that delivers it, the end replaces the beginning.
    assert_eq!(webhooks(&fixture).await, [PendingWebhook::alarm(alarm, true)]);
}

#[tokio::test(start_paused = true)]
async fn when_a_frozen_watcher_dies_another_goes_on_without_a_second_alarm() {
    let (fixture, addresses) = (Fixture::start().await, addresses(2));
    fixture.register_all(&addresses, Status::Active).await;
    let one = fixture.watch_as(0, Config::default()).await;
    fixture.all_checked(&addresses).await;
    for address in &addresses {
        fixture.hosts.power_off(address);
    }
    let alarm = async || fixture.storage.find::<Alarm>(Alarm::FLEET).await.unwrap();
    let raised = eventually("an alarm is raised", alarm).await;
    one.kill();

    let _two = fixture.watch_as(1, Config::default()).await;
    fixture.all_checked(&addresses).await;
    assert_eq!(alarm().await.map(|alarm| alarm.revision), Some(raised.revision), "the same alarm");
    for address in &addresses {
        assert_eq!(fixture.host(address).await.status, Status::Active, "{address}");
        fixture.hosts.power_on(address);
    }
    eventually("the alarm ends", async || alarm().await.is_none().then_some(())).await;
    assert_eq!(alarms(&fixture), 1, "{}", fixture.log());
}
