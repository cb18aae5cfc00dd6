//! What every store must do. Each rule is a function over the place of a store; the macro at the end runs
//! them all on each kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_access::Options;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use storage_svc::store::{Commit, CommitError, Entry, Memory, Store};
use testbed::etcd::Etcd;

/// Where the store of a test is, whoever opens it.
enum Place {
    File(tempfile::TempDir),
    Etcd(Etcd),
    Memory(Memory),
}

impl Place {
    fn sqlite() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    fn etcd() -> Self {
        Self::Etcd(Etcd::up())
    }

    fn memory() -> Self {
        Self::Memory(Memory::default())
    }

    async fn open(&self) -> Store {
        match self {
            Self::File(folder) => Store::sqlite(&folder.path().join("store.db")).unwrap(),
            Self::Etcd(etcd) => Store::etcd(&Options::at(etcd.endpoints())).await.unwrap(),
            Self::Memory(memory) => Store::Memory(memory.clone()),
        }
    }
}

pub(crate) fn put(key: &str, value: &str) -> Commit {
    Commit { puts: vec![(key.into(), value.into())], ..Commit::default() }
}

fn at(key: &str, revision: Option<u64>) -> (String, Option<u64>) {
    (key.into(), revision)
}

pub(crate) async fn one(store: &Store, key: &str) -> Option<Entry> {
    store.get(vec![key.into()]).await.unwrap().pop().unwrap()
}

async fn what_is_put_is_there(place: &Place) {
    let store = place.open().await;
    let first = store.commit(put("/a", "1")).await.unwrap();
    assert_eq!(first.replaced, [false]);
    let second = store.commit(put("/a", "zwei ä")).await.unwrap();
    assert_eq!((second.replaced, second.unchanged), (vec![true], vec![false]));
    let third = store.commit(put("/a", "zwei ä")).await.unwrap();
    assert_eq!((third.replaced, third.unchanged), (vec![true], vec![true]));
    let checked = Commit { checks: vec![at("/a", Some(third.revision))], ..put("/a", "zwei ä") };
    let second = store.commit(checked).await.unwrap();
    assert_eq!((second.replaced, second.unchanged), (vec![true], vec![true]));
    assert!(second.revision > first.revision);
    let entry = Entry { key: "/a".into(), value: "zwei ä".into(), revision: second.revision };
    assert_eq!(one(&store, "/a").await, Some(entry));
    assert_eq!(one(&store, "/b").await, None);
}

async fn what_is_acknowledged_outlives_the_process(place: &Place) {
    let store = place.open().await;
    let revision = store.commit(put("/a", "1")).await.unwrap().revision;
    drop(store);
    let again = place.open().await;
    assert_eq!(one(&again, "/a").await.unwrap().revision, revision);
    assert!(again.commit(put("/a", "2")).await.unwrap().revision > revision);
}

async fn a_list_is_sorted_and_ends_with_its_prefix(place: &Place) {
    let store = place.open().await;
    for key in ["/h/b", "/h/a", "/h/\u{10FFFF}", "/h0", "/g/a", "/h/a/x"] {
        store.commit(put(key, "")).await.unwrap();
    }
    let listed = store.list("/h/").await.unwrap();
    let keys: Vec<_> = listed.iter().map(|e| e.key.as_str()).collect();
    assert_eq!(keys[..3], ["/h/a", "/h/a/x", "/h/b"]);
    assert!(store.list("/nothing/").await.unwrap().is_empty());
}

async fn many_keys_are_read_in_order(place: &Place) {
    let store = place.open().await;
    for from in [0, 100, 200] {
        let puts = (from..from + 100).map(|n| (format!("/k/{n}"), n.to_string())).collect();
        store.commit(Commit { puts, ..Commit::default() }).await.unwrap();
    }
    let keys: Vec<_> = (0..320).rev().map(|n| format!("/k/{n}")).collect();
    let found = store.get(keys).await.unwrap();
    assert!(found[..20].iter().all(Option::is_none));
    assert!(
        found[20..]
            .iter()
            .enumerate()
            .all(|(i, e)| e.as_ref().unwrap().value == (299 - i).to_string())
    );
}

async fn a_failed_check_changes_nothing(place: &Place) {
    let store = place.open().await;
    let revision = store.commit(put("/a", "1")).await.unwrap().revision;
    for (checks, failing) in [
        (vec![at("/a", Some(revision + 1))], 0),
        (vec![at("/a", None)], 0),
        (vec![at("/a", Some(revision)), at("/b", Some(1))], 1),
    ] {
        let commit = Commit { checks, deletes: vec!["/a".into()], ..put("/c", "x") };
        match store.commit(commit).await {
            Err(CommitError::Stale(index)) => assert_eq!(index, failing),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(one(&store, "/a").await.unwrap().revision, revision);
    assert_eq!(one(&store, "/c").await, None);
}

async fn checks_that_hold_let_it_through(place: &Place) {
    let store = place.open().await;
    let a = store.commit(put("/a", "1")).await.unwrap().revision;
    let commit = Commit {
        checks: vec![at("/a", Some(a)), at("/b", None)],
        puts: vec![("/b".into(), "2".into()), ("/c".into(), "3".into())],
        deletes: vec!["/a".into(), "/gone".into()],
    };
    let done = store.commit(commit).await.unwrap();
    assert_eq!((done.replaced, done.deleted), (vec![false, false], vec![true, false]));
    assert_eq!(one(&store, "/b").await.unwrap().revision, done.revision);
    assert_eq!(one(&store, "/c").await.unwrap().revision, done.revision);
    assert_eq!(one(&store, "/a").await, None);
}

async fn impossible_revisions_never_hold(place: &Place) {
    let store = place.open().await;
    for revision in [0, 1 << 40, u64::MAX >> 1] {
        let commit = Commit { checks: vec![at("/a", Some(revision))], ..put("/a", "1") };
        assert!(matches!(store.commit(commit).await, Err(CommitError::Stale(0))), "{revision}");
    }
}

async fn a_key_may_be_named_twice(place: &Place) {
    let store = place.open().await;
    let commit = Commit {
        puts: [("/a", "1"), ("/b", "1"), ("/a", "2"), ("/c", "1")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .to_vec(),
        deletes: vec!["/c".into(), "/d".into(), "/c".into()],
        ..Commit::default()
    };
    let done = store.commit(commit).await.unwrap();
    assert_eq!(done.replaced, [false, false, true, false]);
    assert_eq!(done.deleted, [true, false, false]);
    let found = store.get(["/a", "/b", "/c"].map(str::to_owned).to_vec()).await.unwrap();
    let values: Vec<_> = found.into_iter().map(|found| found.map(|entry| entry.value)).collect();
    assert_eq!(values, [Some("2".to_owned()), Some("1".to_owned()), None]);
}

async fn a_key_made_again_has_a_new_revision(place: &Place) {
    let store = place.open().await;
    let first = store.commit(put("/a", "1")).await.unwrap().revision;
    store.commit(Commit { deletes: vec!["/a".into()], ..Commit::default() }).await.unwrap();
    store.commit(put("/a", "1")).await.unwrap();
    let stale = Commit { checks: vec![at("/a", Some(first))], ..put("/a", "2") };
    assert!(matches!(store.commit(stale).await, Err(CommitError::Stale(0))));
}

/// 8 tasks add to one counter by compare-and-swap: no addition is lost, none happens twice.
async fn concurrent_updates_are_never_lost(place: &Place) {
    const TASKS: u64 = 8;
    const EACH: u64 = 25;
    let store = place.open().await;
    store.commit(put("/n", "0")).await.unwrap();
    let add = |store: Store| async move {
        for _ in 0..EACH {
            loop {
                let now = one(&store, "/n").await.unwrap();
                let next = (now.value.parse::<u64>().unwrap() + 1).to_string();
                let commit =
                    Commit { checks: vec![at("/n", Some(now.revision))], ..put("/n", &next) };
                match store.commit(commit).await {
                    Ok(_) => break,
                    Err(CommitError::Stale(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    futures_util::future::join_all((0..TASKS).map(|_| add(store.clone()))).await;
    assert_eq!(one(&store, "/n").await.unwrap().value, (TASKS * EACH).to_string());
}

/// Readers see both halves of a pair that is always written together, or neither change.
async fn a_read_shows_one_moment(place: &Place) {
    let store = place.open().await;
    let both = |n: u64| Commit {
        puts: vec![("/p/a".into(), n.to_string()), ("/p/b".into(), n.to_string())],
        ..Commit::default()
    };
    store.commit(both(0)).await.unwrap();
    let writing = async {
        for n in 1..200 {
            store.commit(both(n)).await.unwrap();
        }
    };
    let reading = async {
        for _ in 0..400 {
            let pair = store.get(vec!["/p/a".into(), "/p/b".into()]).await.unwrap();
            assert_eq!(pair[0].as_ref().unwrap().value, pair[1].as_ref().unwrap().value);
            let pair = store.list("/p/").await.unwrap();
            assert_eq!(pair[0].value, pair[1].value);
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(writing, reading);
}

/// Random commits on a store and on a model of it: the same answers, the same content.
async fn it_behaves_like_its_model(place: &Place) {
    let key = || prop::sample::select(vec!["/a", "/b", "/c"]).prop_map(str::to_owned);
    let commit = (
        prop::collection::vec((key(), 0..4_u8), 0..3),
        prop::collection::btree_map(key(), "[a-z]{0,3}", 0..3),
        prop::collection::btree_set(key(), 0..2),
    );
    let commits = prop::collection::vec(commit, 1..30);
    let commits = std::iter::repeat_with(|| {
        let mut runner = TestRunner::default();
        commits.new_tree(&mut runner).unwrap().current()
    });
    let store = place.open().await;
    let mut model: BTreeMap<String, (String, u64)> = BTreeMap::new();
    for (checks, puts, deletes) in commits.take(20).flatten() {
        let checks: Vec<_> = checks
            .into_iter()
            .map(|(key, how)| {
                let now = model.get(&key).map(|(_, revision)| *revision);
                // Mostly true ones, some stale, some that claim absence.
                let claim = match how {
                    0 => None,
                    1 => Some(now.unwrap_or(0) + 1),
                    _ => now,
                };
                (key, claim)
            })
            .collect();
        let deletes: Vec<_> = deletes.into_iter().filter(|key| !puts.contains_key(key)).collect();
        let expected = checks
            .iter()
            .position(|(key, claim)| model.get(key).map(|(_, revision)| *revision) != *claim);
        let commit =
            Commit { checks, puts: puts.clone().into_iter().collect(), deletes: deletes.clone() };
        match (store.commit(commit).await, expected) {
            (Err(CommitError::Stale(found)), Some(index)) => assert_eq!(found, index),
            (Ok(done), None) => {
                let had: Vec<_> = puts.keys().map(|key| model.contains_key(key)).collect();
                assert_eq!(done.replaced, had);
                for (key, value) in puts {
                    model.insert(key, (value, done.revision));
                }
                let removed: Vec<_> =
                    deletes.iter().map(|key| model.remove(key).is_some()).collect();
                assert_eq!(done.deleted, removed);
            }
            other => panic!("{other:?}"),
        }
        let listed = store.list("/").await.unwrap().to_vec().into_iter();
        let listed: BTreeMap<_, _> = listed.map(|e| (e.key, (e.value, e.revision))).collect();
        assert_eq!(listed, model);
    }
}

macro_rules! conformance {
    ($($rule:ident),+ $(,)?) => {
        conformance!(@sqlite $($rule)+);
        conformance!(@etcd $($rule)+);
        conformance!(@memory $($rule)+);
    };
    (@$kind:ident $($rule:ident)+) => {
        mod $kind {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                super::$rule(&super::Place::$kind()).await;
            })+
        }
    };
}

conformance!(
    what_is_put_is_there,
    what_is_acknowledged_outlives_the_process,
    a_list_is_sorted_and_ends_with_its_prefix,
    many_keys_are_read_in_order,
    a_failed_check_changes_nothing,
    checks_that_hold_let_it_through,
    impossible_revisions_never_hold,
    a_key_may_be_named_twice,
    a_key_made_again_has_a_new_revision,
    concurrent_updates_are_never_lost,
    a_read_shows_one_moment,
    it_behaves_like_its_model,
);

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = Arc::new(folder.path().join("store.db"));
    let connection = rusqlite::Connection::open(&*path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    let error = Store::sqlite(&path).unwrap_err();
    assert!(error.to_string().contains("has format 99"), "{error}");
}
