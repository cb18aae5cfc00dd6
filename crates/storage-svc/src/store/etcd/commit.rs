//! A commit as a transaction of etcd.

use std::collections::{BTreeMap, BTreeSet};

use etcd_access::Error;
use etcd_client::{
    Compare, CompareOp, GetOptions, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse,
};

use super::super::{Commit, CommitError, Committed, StoreError};
use super::revision;

/// What is sent for a commit, and how to read the answer. etcd refuses a key that is changed twice in a
/// transaction, so of several puts the last is sent, and none for a key that is deleted too.
pub(super) struct Plan<'a> {
    commit: &'a Commit,
    /// Keys, the values to put, and whether the key may exist: what it has is asked for then.
    puts: Vec<(&'a str, &'a str, bool)>,
    deletes: Vec<&'a str>,
}

impl<'a> Plan<'a> {
    pub(super) fn of(commit: &'a Commit) -> Self {
        let deletes: BTreeSet<_> = commit.deletes.iter().map(String::as_str).collect();
        let absent = commit.checks.iter().filter(|(_, revision)| revision.is_none());
        let absent: BTreeSet<_> = absent.map(|(key, _)| key.as_str()).collect();
        let puts: BTreeMap<_, _> = commit.puts.iter().map(|(key, value)| (key, value)).collect();
        let puts = puts.into_iter().filter(|(key, _)| !deletes.contains(key.as_str()));
        let puts = puts.map(|(key, value)| (&**key, &**value, !absent.contains(key.as_str())));
        Self { commit, puts: puts.collect(), deletes: deletes.into_iter().collect() }
    }

    pub(super) fn transaction(&self) -> Txn {
        let checks = &self.commit.checks;
        let compares = checks.iter().map(|(key, expected)| {
            Compare::mod_revision(key.as_bytes(), CompareOp::Equal, etcd_revision(*expected))
        });
        let puts = self.puts.iter().map(|(key, value, may_exist)| {
            let previous = may_exist.then(|| PutOptions::new().with_prev_key());
            TxnOp::put(key.as_bytes(), value.as_bytes(), previous)
        });
        let deletes = self.deletes.iter().map(|key| TxnOp::delete(key.as_bytes(), None));
        // To tell which check it was.
        let current = checks
            .iter()
            .map(|(key, _)| TxnOp::get(key.as_bytes(), Some(GetOptions::new().with_keys_only())));
        Txn::new()
            .when(compares.collect::<Vec<_>>())
            .and_then(puts.chain(deletes).collect::<Vec<_>>())
            .or_else(current.collect::<Vec<_>>())
    }

    pub(super) fn result(&self, answer: &TxnResponse) -> Result<Committed, CommitError> {
        let result = if answer.succeeded() {
            self.committed(answer)
        } else {
            self.stale(answer).map(|index| Err(CommitError::Stale(index)))
        };
        result.unwrap_or(Err(CommitError::Store(StoreError::Answer)))
    }

    /// What became of each put and each delete; `None` if the answer does not fit.
    fn committed(&self, answer: &TxnResponse) -> Option<Result<Committed, CommitError>> {
        let mut answers = answer.op_responses().into_iter();
        let mut existed = BTreeMap::new();
        let mut same = BTreeSet::new();
        for (key, value, _) in &self.puts {
            let TxnOpResponse::Put(put) = answers.next()? else { return None };
            existed.insert(*key, put.prev_key().is_some());
            if put.prev_key().is_some_and(|before| before.value() == value.as_bytes()) {
                same.insert(*key);
            }
        }
        for key in &self.deletes {
            let TxnOpResponse::Delete(delete) = answers.next()? else { return None };
            existed.insert(*key, delete.deleted() > 0);
        }
        // In the order of the commit, where a key may be named again: then an earlier one made it.
        let puts = self.commit.puts.iter().map(|(key, _)| existed.insert(key, true));
        let replaced = puts.collect::<Option<_>>()?;
        let unchanged = self.commit.puts.iter().map(|(key, _)| same.contains(key.as_str()));
        let unchanged = unchanged.collect();
        let gone = self.commit.deletes.iter().map(|key| existed.insert(key, false));
        let deleted = gone.collect::<Option<_>>()?;
        let revision = revision(answer.header()?.revision());
        Some(Ok(Committed { revision, replaced, unchanged, deleted }))
    }

    /// The first check that does not hold.
    fn stale(&self, answer: &TxnResponse) -> Option<usize> {
        let current = answer.op_responses().into_iter().map(|answer| match answer {
            TxnOpResponse::Get(get) => get.kvs().first().map_or(0, KeyValue::mod_revision),
            _ => -1,
        });
        let mut checks = self.commit.checks.iter().zip(current);
        checks.position(|((_, expected), current)| etcd_revision(*expected) != current)
    }

    pub(super) fn failure(&self, source: Error) -> StoreError {
        match &source {
            Error::Unconfirmed(cause) => StoreError::Unconfirmed(cause.clone()),
            Error::Refused(cause) if cause.is_no_space() => StoreError::NoSpace(cause.clone()),
            Error::Refused(cause) if cause.is_too_many_operations() => {
                let changes = self.puts.len() + self.deletes.len();
                let count = changes.max(self.commit.checks.len());
                StoreError::TooLarge { count, option: "--max-txn-ops" }
            }
            Error::Refused(cause) if cause.is_request_too_large() => {
                let bytes = self.puts.iter().map(|(key, value, _)| key.len() + value.len());
                StoreError::TooLarge { count: bytes.sum(), option: "--max-request-bytes" }
            }
            _ => StoreError::Etcd { doing: "write records", source },
        }
    }
}

/// A revision as etcd compares it: 0 for a key that is absent, and what no key has for what can't be.
fn etcd_revision(expected: Option<u64>) -> i64 {
    match expected {
        None => 0,
        Some(0) => -1,
        Some(revision) => i64::try_from(revision).unwrap_or(-1),
    }
}
