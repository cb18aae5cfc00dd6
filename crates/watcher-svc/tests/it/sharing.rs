//! Two watchers and their hosts.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{Lease, LeaseName, Status};
use storage_client::lease;
use tokio::time::{Instant, sleep};
use watcher_svc::Config;
use watcher_svc::schedule::owner;

use crate::fixture::{Fixture, addresses, eventually};

/// The names of the watchers' leases.
async fn members(fixture: &Fixture) -> Vec<LeaseName> {
    let leases = fixture.storage.list::<Lease>().await.unwrap();
    leases.into_iter().map(|lease| lease.record.name).collect()
}

#[tokio::test(start_paused = true)]
async fn watchers_share_the_hosts_and_one_takes_over_from_a_killed_one() {
    let (fixture, addresses) = (Fixture::start().await, addresses(20));
    fixture.register_all(&addresses, Status::Active).await;
    let interval = Config::default().interval.0;
    let _one = fixture.watch_as(0, Config::default()).await;
    let first =
        eventually("the first has its lease", async || members(&fixture).await.into_iter().next())
            .await;
    let two = fixture.watch_as(1, Config::default()).await;
    let both = eventually("both have their leases", async || {
        Some(members(&fixture).await).filter(|members| members.len() == 2)
    })
    .await;
    // The first round is irregular: all hosts are new.
    sleep(interval * 2).await;

    two.kill();
    let killed = Instant::now();
    eventually("the dead one's lease is removed", async || {
        (members(&fixture).await == [first.clone()]).then_some(())
    })
    .await;
    // The last sign of life was up to a third of its time before; the other one looks every third of it.
    let (third, removed) = (lease::TTL / 3, killed.elapsed());
    assert!(third * 2 <= removed && removed <= third * 5 + Duration::from_secs(1), "{removed:?}");
    let (kept, orphans): (BTreeSet<_>, BTreeSet<_>) =
        addresses.iter().partition(|address| owner(&both, address) == Some(&first));
    assert!(!kept.is_empty() && !orphans.is_empty(), "{kept:?} {orphans:?}");
    let checked: BTreeSet<_> = fixture.probes_since(killed).into_keys().collect();
    assert!(checked.iter().all(|address| kept.contains(address)), "{checked:?}, not {orphans:?}");

    let taken_over = Instant::now();
    sleep(interval).await;
    for (address, checks) in fixture.probes_since(taken_over) {
        assert!(checks.iter().all(|(_, watcher)| *watcher == 0), "{address}: {checks:?}");
    }
    let checked = fixture.probes_since(taken_over).len();
    assert_eq!(checked, addresses.len(), "all are checked again");
}
