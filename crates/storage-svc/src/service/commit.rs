//! Writing: what is secret goes to the vault, the rest to the store, and then the change is announced.

use bus::{Context, Error, Result};
use model::{CheckReport, Model as _};
use serde_json::value::RawValue;
use storage_client::Transaction;

use super::StorageService;
use super::change::{Change, is_cluster};
use crate::kinds::Kind;
use crate::members::MemberChanges;
use crate::split::Beside;
use crate::store::{Commit, CommitError, Committed, StoreError};
use crate::vault::Before;

/// How often a save of a whole cluster is tried again while its members change.
const MEMBER_ATTEMPTS: usize = 8;

/// Why a commit was not carried out.
enum Refused {
    /// This check does not hold.
    Stale(usize),
    /// Anything else.
    Failed(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl StorageService {
    /// Carries a change out, and announces it. `stale` is the error for a check that does not hold.
    pub(super) async fn commit(
        &self,
        change: &Change,
        stale: impl Fn(usize) -> Error,
        context: &Context,
    ) -> Result<Committed> {
        let removals = change.removals();
        let store = self.handlers.store_for(&change.parts(&removals)).await?;
        let mut attempts = 1;
        let (committed, has_moved) = loop {
            match self.try_commit(change, &removals, store).await {
                Ok(done) => break done,
                Err(Refused::Failed(error)) => return Err(error),
                Err(Refused::Stale(check)) if check < change.checks.len() => {
                    return Err(stale(check));
                }
                // A check of ours: the members of a cluster have changed since they were read.
                Err(Refused::Stale(_)) if attempts < MEMBER_ATTEMPTS => attempts += 1,
                Err(Refused::Stale(_)) => {
                    let message = "the members of the cluster keep being changed by others";
                    return Err(Error::conflict(message));
                }
            }
        };
        for (_, key) in removals.iter().filter(|(kind, _)| kind.secret) {
            self.vault.forget(key).await;
        }
        if change.parts(&removals).iter().any(|part| part.kind.type_name == CheckReport::TYPE) {
            self.last_checks.changed();
        }
        self.announce_all(change, &committed, has_moved, context).await;
        Ok(committed)
    }

    /// Answers what was done, and whether members of clusters have changed.
    async fn try_commit(
        &self,
        change: &Change,
        removals: &[(&'static Kind, String)],
        store: usize,
    ) -> Result<(Committed, bool), Refused> {
        let (mut checks, members) = self.resolved(change).await?;
        let has_moved = !(members.puts.is_empty() && members.deletes.is_empty());
        checks.extend(members.checks);
        if self.vault.is_elsewhere() && change.puts().any(|(kind, ..)| kind.secret) {
            self.hold(store, &checks).await?;
        }
        let mut before = Before::default();
        let mut puts = match self.stored(change, &mut before).await {
            Ok(puts) => puts,
            Err(error) => {
                self.vault.restore(before).await;
                return Err(error.into());
            }
        };
        puts.extend(members.puts.into_iter().map(|(key, text)| (key, text_of(text))));
        let mut deletes: Vec<_> = removals.iter().map(|(_, key)| key.clone()).collect();
        deletes.extend(members.deletes);
        let written = self.handlers.commit(store, Commit { checks, puts, deletes }).await;
        let error = match written {
            Ok(committed) => return Ok((committed, has_moved)),
            Err(error) => error,
        };
        if !matches!(error, CommitError::Store(StoreError::Unconfirmed(_))) {
            self.vault.restore(before).await;
        }
        Err(match error {
            CommitError::Stale(check) => Refused::Stale(check),
            CommitError::Store(error) => self.handlers.failure(store, error).into(),
        })
    }

    /// The checks of a change by the records that are kept, and what happens to the members of clusters: the documented
    /// record of a cluster is kept in parts.
    async fn resolved(
        &self,
        change: &Change,
    ) -> Result<(Vec<(String, Option<u64>)>, MemberChanges), Refused> {
        let as_given = change.checks.iter().map(|check| (check.key.clone(), check.revision));
        let mut checks: Vec<_> = as_given.collect();
        let mut changes = MemberChanges::default();
        if !change.names_clusters() {
            return Ok((checks, changes));
        }
        let clusters = change.checks.iter().enumerate().filter(|(_, check)| is_cluster(check.kind));
        let clusters: Vec<_> = clusters.collect();
        let heads = match clusters.first() {
            Some((_, first)) => {
                let keys = clusters.iter().map(|(_, check)| check.key.clone()).collect();
                self.handlers.get(first.kind, keys).await?
            }
            None => Vec::new(),
        };
        let members = self.members.read(&self.handlers).await?;
        for ((index, check), head) in clusters.into_iter().zip(heads) {
            let head = head.map(|head| head.revision);
            let name = check.key.strip_prefix(check.kind.prefix).unwrap_or_default();
            if head.map(|head| members.revision(name, head)) != check.revision {
                return Err(Refused::Stale(index));
            }
            checks[index].1 = head;
        }
        for save in &change.saves {
            if let Beside::Members(cluster, wanted) = &save.parts.beside {
                changes.replace(cluster, wanted, &members)?;
            }
        }
        for deletion in change.deletes.iter().filter(|deletion| is_cluster(deletion.kind)) {
            changes.replace(&deletion.id, &[], &members)?;
        }
        let count = changes.puts.len() + changes.deletes.len();
        if count + change.saves.len() + change.deletes.len() > Transaction::MAX {
            return Err(Refused::Failed(Error::invalid(format!(
                "a change of {count} members of a cluster at once was refused, nothing was changed: at most {} \
                 records are written at once; change the members in several steps",
                Transaction::MAX
            ))));
        }
        Ok((checks, changes))
    }

    /// Looks at the checks before anything is written elsewhere than in the store. They are checked again
    /// with the commit.
    async fn hold(&self, store: usize, checks: &[(String, Option<u64>)]) -> Result<(), Refused> {
        let keys = checks.iter().map(|(key, _)| key.clone()).collect();
        let entries = self.handlers.store(store).get(keys).await;
        let entries = entries.map_err(|error| self.handlers.failure(store, error))?;
        let is = |entry: &Option<_>, expected: &Option<u64>| {
            entry.as_ref().map(|entry: &crate::store::Entry| entry.revision) == *expected
        };
        let mut pairs = entries.iter().zip(checks);
        let stale = pairs.position(|(entry, (_, expected))| !is(entry, expected));
        stale.map_or(Ok(()), |check| Err(Refused::Stale(check)))
    }

    /// What the store is to hold, by key.
    async fn stored(&self, change: &Change, before: &mut Before) -> Result<Vec<(String, String)>> {
        let mut puts = Vec::new();
        for (kind, key, record) in change.puts() {
            let plain = record.get();
            let stored = if kind.secret {
                self.vault.keep(key, plain, before).await?
            } else {
                plain.to_owned()
            };
            puts.push((key.to_owned(), stored));
        }
        Ok(puts)
    }
}

fn text_of(record: Box<RawValue>) -> String {
    Box::<str>::from(record).into()
}
