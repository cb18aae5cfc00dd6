//! Two watchers and their hosts.

use std::collections::BTreeMap;
use std::time::Duration;

use service_core::lease::TTL_MIN;
use service_core::model::{Lease, Status};
use testbed::Testbed;
use tokio::time::Instant;
use watcher_svc::schedule::owner;

use crate::fixture::{Checks, Fixture, eventually, every};

const HOSTS: usize = 6;
const INTERVAL: Duration = Duration::from_secs(3);

/// The names of the watchers' leases.
async fn members(fixture: &Fixture) -> Vec<String> {
    let leases = fixture.storage.list::<Lease>().await.unwrap();
    leases.into_iter().map(|lease| lease.record.name).collect()
}

/// How often each host is checked from now on, for so long.
async fn count(changes: &mut Checks, span: Duration) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let end = tokio::time::Instant::now() + span;
    while let Ok((host, _)) = tokio::time::timeout_at(end, changes.next()).await {
        *counts.entry(host).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_share_the_hosts_and_one_takes_over_from_a_killed_one() {
    let (testbed, fixture) = (Testbed::up_light(HOSTS), Fixture::start().await);
    let addresses: Vec<_> = (0..HOSTS).map(|host| testbed.address(host).0.to_owned()).collect();
    for host in 0..HOSTS {
        fixture.register(&testbed, host, Status::Active).await;
    }
    let config = every(INTERVAL.as_secs_f64());
    let _one = fixture.watch(&config).await;
    let first = eventually("the first has its lease", || async {
        members(&fixture).await.into_iter().next()
    })
    .await;
    // A runtime of its own, to be killed with all its tasks.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (deps, life) = (fixture.deps("w2"), service_core::Lifecycle::new());
    let started = runtime.spawn(async move { watcher_svc::run(deps, config, &life).await });
    started.await.unwrap().unwrap();
    let both = eventually("both have their leases", || async {
        Some(members(&fixture).await).filter(|members| members.len() == 2)
    })
    .await;

    let mut changes = fixture.checks().await;
    // The first round is irregular: everybody has just come.
    count(&mut changes, INTERVAL * 2).await;
    let counts = count(&mut changes, INTERVAL * 3).await;
    assert_eq!(counts.keys().collect::<Vec<_>>(), addresses.iter().collect::<Vec<_>>());
    assert!(counts.values().all(|count| (2..=4).contains(count)), "once an interval: {counts:?}");

    runtime.shutdown_background();
    let killed = Instant::now();
    let orphans: Vec<_> =
        addresses.iter().filter(|address| owner(&both, address) != Some(&first)).collect();
    let kept = HOSTS - orphans.len();
    // What was begun before it was killed may still arrive.
    count(&mut changes, Duration::from_secs(1)).await;
    let counts = count(&mut changes, Duration::from_secs(4)).await;
    assert_eq!(counts.len(), kept, "each checked only its own: {counts:?}, not {orphans:?}");
    assert!(orphans.iter().all(|orphan| !counts.contains_key(*orphan)));

    eventually("the dead one's lease is removed", || async {
        (members(&fixture).await == [first.clone()]).then_some(())
    })
    .await;
    // The last sign of life was up to a third of that before.
    assert!(killed.elapsed() > TTL_MIN * 2 / 3, "not before its time: {:?}", killed.elapsed());
    let counts = count(&mut changes, INTERVAL * 3 / 2).await;
    assert_eq!(counts.len(), HOSTS, "all are checked again: {counts:?}");
}
