//! The store in etcd when etcd is not at its best.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bus::error::chain;
use etcd_access::{GIVE_UP, Options};
use etcd_client::Client;
use storage_svc::store::{Commit, CommitError, Entry, Store, StoreError};
use testbed::etcd::{ALL, Etcd, LEADER};
use tokio::time::Instant;

/// Hang guard: ten times the timeout of a request.
const HANG: Duration = GIVE_UP.saturating_mul(10);

/// Commits that go on at the same time.
const WRITERS: u64 = 4;

async fn store(etcd: &Etcd) -> Store {
    Store::etcd(&Options::at(etcd.endpoints())).await.unwrap()
}

fn put(key: &str, value: &str) -> Commit {
    Commit { puts: vec![(key.into(), value.into())], ..Commit::default() }
}

async fn one(store: &Store, key: &str) -> Option<Entry> {
    store.get(vec![key.into()]).await.unwrap().pop().unwrap()
}

/// Waits until something is so; a minute is for machines that are busy with something else.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_mins(1), "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A stream of commits, each of a key of its own and each answered or failed.
#[derive(Default)]
struct Stream {
    end: AtomicBool,
    acknowledged: AtomicU64,
    failed: AtomicU64,
}

impl Stream {
    /// Writes until the end; returns what was acknowledged, and what failed and may be there.
    async fn write(&self, store: &Store, writer: u64) -> (Vec<Entry>, Vec<String>) {
        let (mut done, mut doubtful) = (Vec::new(), Vec::new());
        for number in 0_u64.. {
            if self.end.load(Ordering::SeqCst) {
                break;
            }
            let key = format!("/stream/{writer}/{number:06}");
            let before = Instant::now();
            // What is sent twice fails its check, if it was made the first time.
            let checks = vec![(key.clone(), None)];
            let result = store.commit(Commit { checks, ..put(&key, "x") }).await;
            let took = before.elapsed();
            assert!(took < HANG, "a commit took {took:?}");
            match result {
                Ok(committed) => {
                    self.acknowledged.fetch_add(1, Ordering::SeqCst);
                    done.push(Entry { key, value: "x".into(), revision: committed.revision });
                }
                Err(CommitError::Store(StoreError::Unconfirmed(_))) => {
                    self.failed.fetch_add(1, Ordering::SeqCst);
                    doubtful.push(key);
                }
                // Nothing was changed, so it must not be there.
                Err(CommitError::Store(StoreError::Etcd { .. })) => {
                    self.failed.fetch_add(1, Ordering::SeqCst);
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        (done, doubtful)
    }

    async fn goes_on(&self, commits: u64) {
        let before = self.acknowledged.load(Ordering::SeqCst);
        until("commits", || self.acknowledged.load(Ordering::SeqCst) >= before + commits).await;
    }
}

/// Runs `outage` during a stream of commits; afterwards every acknowledged commit must be there, once,
/// with its revision, and nothing that certainly failed.
async fn during_commits<F: Future<Output = ()>>(
    store: &Store,
    outage: impl FnOnce(Arc<Stream>) -> F,
) {
    let stream = Arc::new(Stream::default());
    let writers = (0..WRITERS).map(|writer| stream.write(store, writer));
    let outage = async {
        stream.goes_on(20).await;
        outage(Arc::clone(&stream)).await;
        stream.goes_on(20).await;
        stream.end.store(true, Ordering::SeqCst);
    };
    let (written, ()) = tokio::join!(futures_util::future::join_all(writers), outage);
    let (done, doubtful): (Vec<_>, Vec<_>) = written.into_iter().unzip();
    let (mut done, doubtful) = (done.concat(), doubtful.concat());
    done.sort_by(|a, b| a.key.cmp(&b.key));
    let mut listed = store.list("/stream/").await.unwrap().to_vec();
    listed.retain(|entry| !doubtful.contains(&entry.key));
    assert_eq!(listed, done);
}

/// With the first endpoint the leader, and with it another.
async fn a_dead_leader(first: bool) {
    let etcd = Etcd::cluster(3);
    let leader: usize = etcd.leader().parse().unwrap();
    let mut endpoints: Vec<_> = etcd.endpoints().split(',').collect();
    endpoints.rotate_left(if first { leader - 1 } else { leader % 3 });
    let store = Store::etcd(&Options::at(&endpoints.join(","))).await.unwrap();
    during_commits(&store, async |stream| {
        etcd.kill(&leader.to_string());
        stream.goes_on(1).await;
    })
    .await;
    etcd.start(&leader.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_go_on_when_the_leader_they_go_to_dies() {
    a_dead_leader(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_go_on_when_another_leader_dies() {
    a_dead_leader(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_go_on_when_the_leader_hangs() {
    let etcd = Etcd::cluster(3);
    let store = store(&etcd).await;
    during_commits(&store, async |stream| {
        etcd.pause(LEADER);
        stream.goes_on(1).await;
        etcd.resume(ALL);
    })
    .await;
}

/// All the members that are left come and go: nothing is answered without a majority.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_go_on_when_there_is_a_majority_again() {
    let etcd = Etcd::cluster(3);
    let store = store(&etcd).await;
    during_commits(&store, async |stream| {
        etcd.kill("1");
        etcd.stop("2");
        until("a failure", || stream.failed.load(Ordering::SeqCst) >= WRITERS).await;
        etcd.start("2");
        stream.goes_on(1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_go_on_when_the_only_member_was_paused() {
    let etcd = Etcd::up();
    let store = store(&etcd).await;
    during_commits(&store, async |stream| {
        etcd.pause(ALL);
        until("a failure", || stream.failed.load(Ordering::SeqCst) >= 2 * WRITERS).await;
        etcd.resume(ALL);
        stream.goes_on(1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_go_on_when_the_only_member_is_restarted() {
    let etcd = Etcd::up();
    let store = store(&etcd).await;
    during_commits(&store, async |stream| {
        etcd.kill(ALL);
        etcd.start(ALL);
        stream.goes_on(1).await;
    })
    .await;
}

/// A read waits for a short outage to end, and says so when it does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_outlast_a_short_outage() {
    let etcd = Etcd::up();
    let store = store(&etcd).await;
    store.commit(put("/a", "1")).await.unwrap();
    etcd.pause(ALL);
    let resuming = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        etcd.resume(ALL);
    };
    let (found, ()) = tokio::join!(one(&store, "/a"), resuming);
    assert_eq!(found.unwrap().value, "1");

    etcd.kill(ALL);
    let before = Instant::now();
    let error = store.list("/").await.unwrap_err();
    assert!(before.elapsed() < HANG, "{:?}", before.elapsed());
    let text = chain(&error);
    assert!(text.contains(etcd.endpoints()) && text.contains("refused"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_may_come_after_the_store() {
    let etcd = Etcd::up();
    etcd.stop(ALL);
    let store = store(&etcd).await;
    let error = store.commit(put("/a", "1")).await.unwrap_err();
    assert!(matches!(error, CommitError::Store(StoreError::Etcd { .. })), "{error:?}");
    etcd.start(ALL);
    store.commit(put("/a", "1")).await.unwrap();
    assert_eq!(one(&store, "/a").await.unwrap().value, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_text_is_damaged_and_hides_nobody() {
    let etcd = Etcd::up();
    let store = store(&etcd).await;
    let mut client = Client::connect([etcd.endpoints()], None).await.unwrap();
    let damaged = b"{\"address\": \"10.0.0.2\xFF\"}";
    client.put("/h/2", &damaged[..], None).await.unwrap();
    for key in ["/h/1", "/h/3"] {
        store.commit(put(key, "{}")).await.unwrap();
    }
    let listed = store.list("/h/").await.unwrap();
    let keys: Vec<_> = listed.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["/h/1", "/h/2", "/h/3"]);
    serde_json::from_str::<serde_json::Value>(&listed[1].value).unwrap_err();
    serde_json::from_str::<serde_json::Value>(&listed[2].value).unwrap();
    assert_eq!(one(&store, "/h/2").await.unwrap(), listed[1]);
    // And it can be repaired.
    let repair =
        Commit { checks: vec![("/h/2".into(), Some(listed[1].revision))], ..put("/h/2", "{}") };
    store.commit(repair).await.unwrap();
    assert_eq!(etcd.ctl(&["get", "--print-value-only", "/h/2"]), "{}");
}

/// The hosts of a large fleet, all in one moment, while others write and old revisions are dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_list_shows_one_moment() {
    const HOSTS: usize = 10_000;
    let etcd = Etcd::up();
    let store = store(&etcd).await;
    let key = |n: usize| format!("/h/{n:05}");
    for from in (0..HOSTS).step_by(100) {
        let puts = (from..from + 100).map(|n| (key(n), format!("0 {}", "x".repeat(400))));
        store.commit(Commit { puts: puts.collect(), ..Commit::default() }).await.unwrap();
    }
    let writing = AtomicBool::new(true);
    let writer = async {
        for number in 1.. {
            if !writing.load(Ordering::SeqCst) {
                break;
            }
            // The first and the last always say the same.
            let puts = [0, HOSTS / 2, HOSTS - 1].map(|n| (key(n), number.to_string())).to_vec();
            let done = store.commit(Commit { puts, ..Commit::default() }).await.unwrap();
            if [50, 100, 150].contains(&number) {
                etcd.ctl(&["compact", &done.revision.to_string()]);
            }
        }
    };
    let reader = async {
        let mut newest = 0;
        while newest < 200 {
            let listed = store.list("/h/").await.unwrap();
            assert_eq!(listed.len(), HOSTS);
            assert!(listed.is_sorted_by(|a, b| a.key < b.key));
            assert_eq!(listed[0].value, listed[HOSTS - 1].value);
            assert_eq!(listed[0].value, listed[HOSTS / 2].value);
            newest = listed[0].value.split(' ').next().unwrap().parse().unwrap();
        }
        writing.store(false, Ordering::SeqCst);
    };
    tokio::join!(writer, reader);
}

/// More than one answer may hold: 40 MB in a list, and in a read of many keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_records_are_read_in_parts() {
    let etcd = Etcd::up();
    let store = store(&etcd).await;
    let large = "x".repeat(1 << 20);
    let keys: Vec<_> = (0..40).map(|n| format!("/l/{n:02}")).collect();
    for key in &keys {
        store.commit(put(key, &large)).await.unwrap();
    }
    let listed = store.list("/l/").await.unwrap();
    assert!(listed.iter().map(|entry| &entry.key).eq(&keys));
    assert!(listed.iter().all(|entry| entry.value == large));
    let found = store.get(keys).await.unwrap();
    assert!(found.into_iter().map(Option::unwrap).eq(listed.iter().cloned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_more_than_etcd_takes_is_refused_whole() {
    let etcd = Etcd::up();
    let store = store(&etcd).await;
    let many = (0..200).map(|n| (format!("/m/{n}"), String::new())).collect();
    let many = Commit { puts: many, ..Commit::default() };
    for (commit, option) in [
        (many, "--max-txn-ops"),
        (put("/m/large", &"x".repeat(1_600_000)), "--max-request-bytes"),
        (put("/m/larger", &"x".repeat(20_000_000)), "--max-request-bytes"),
    ] {
        match store.commit(commit).await {
            Err(CommitError::Store(error @ StoreError::TooLarge { .. })) => {
                assert!(error.to_string().contains(option), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(store.list("/m/").await.unwrap().is_empty());
}

/// Long lists are remembered, and only what has changed is asked for: whoever changed it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_list_shows_each_change_of_others_at_once() {
    const MANY: usize = 1000;
    let etcd = Etcd::up();
    let store = store(&etcd).await;
    let mut other = Client::connect([etcd.endpoints()], None).await.unwrap();
    let mut model = BTreeMap::new();
    for index in 0..MANY {
        let key = format!("/h/{index:04}");
        other.put(key.as_str(), "0", None).await.unwrap();
        model.insert(key, "0".to_owned());
    }
    for round in 0..60 {
        let (old, new) = (format!("/h/{:04}", round * 3), format!("/h/{:04}x", round * 7));
        if round % 3 != 1 {
            other.delete(old.as_str(), None).await.unwrap();
            model.remove(&old);
        }
        if round % 3 != 2 {
            other.put(new.as_str(), round.to_string(), None).await.unwrap();
            model.insert(new, round.to_string());
        }
        if round % 5 == 0 {
            // Deleted and made again between two lists.
            other.delete("/h/0999", None).await.unwrap();
            other.put("/h/0999", round.to_string(), None).await.unwrap();
            model.insert("/h/0999".into(), round.to_string());
        }
        let listed = store.list("/h/").await.unwrap();
        let listed = listed.iter().map(|entry| (&entry.key, &entry.value));
        assert!(listed.eq(&model), "round {round}");
    }
}
