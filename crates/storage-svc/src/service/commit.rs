//! Writing: what is secret goes to the vault, the rest to the store, and then the change is announced.

use serde_json::{Value, json};
use service_core::bus::{Context, topology};
use service_core::model::{CheckReport, Model as _};
use service_core::warn_unless_outage;
use service_core::{Error, Result};

use super::StorageService;
use super::change::Change;
use crate::kinds::Kind;
use crate::split::Beside;
use crate::store::{Commit, CommitError, Committed, StoreError};
use crate::vault::Before;

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
        let checks: Vec<_> =
            change.checks.iter().map(|check| (check.key.clone(), check.revision)).collect();
        if self.vault.is_elsewhere() && change.puts().any(|(kind, ..)| kind.secret) {
            self.hold(store, &checks, &stale).await?;
        }
        let mut before = Before::default();
        let puts = match self.stored(change, &mut before).await {
            Ok(puts) => puts,
            Err(error) => {
                self.vault.restore(before).await;
                return Err(error);
            }
        };
        let deletes = removals.iter().map(|(_, key)| key.clone()).collect();
        let written = self.handlers.commit(store, Commit { checks, puts, deletes }).await;
        let committed = match written {
            Ok(committed) => committed,
            Err(error) => {
                if !matches!(error, CommitError::Store(StoreError::Unconfirmed(_))) {
                    self.vault.restore(before).await;
                }
                return Err(match error {
                    CommitError::Stale(index) => stale(index),
                    CommitError::Store(error) => self.handlers.failure(store, error),
                });
            }
        };
        for (_, key) in removals.iter().filter(|(kind, _)| kind.secret) {
            self.vault.forget(key).await;
        }
        if change.parts(&removals).iter().any(|part| part.kind.type_name == CheckReport::TYPE) {
            self.last_checks.changed();
        }
        self.announce_all(change, &committed, context).await;
        Ok(committed)
    }

    /// Looks at the checks before anything is written elsewhere than in the store. They are checked again
    /// with the commit.
    async fn hold(
        &self,
        store: usize,
        checks: &[(String, Option<u64>)],
        stale: impl Fn(usize) -> Error,
    ) -> Result<()> {
        let keys = checks.iter().map(|(key, _)| key.clone()).collect();
        let entries = self.handlers.store(store).get(keys).await;
        let entries = entries.map_err(|error| self.handlers.failure(store, error))?;
        let is = |entry: &Option<_>, expected: &Option<u64>| {
            entry.as_ref().map(|entry: &crate::store::Entry| entry.revision) == *expected
        };
        let mut pairs = entries.iter().zip(checks);
        pairs
            .position(|(entry, (_, expected))| !is(entry, expected))
            .map_or(Ok(()), |i| Err(stale(i)))
    }

    /// What the store is to hold, by key.
    async fn stored(&self, change: &Change, before: &mut Before) -> Result<Vec<(String, String)>> {
        let mut puts = Vec::new();
        for (kind, key, record) in change.puts() {
            let plain = record.to_string();
            let stored =
                if kind.secret { self.vault.keep(key, &plain, before).await? } else { plain };
            puts.push((key.to_owned(), stored));
        }
        Ok(puts)
    }

    async fn announce_all(&self, change: &Change, committed: &Committed, context: &Context) {
        let revision = committed.revision;
        let before = committed.replaced.iter().zip(&committed.unchanged);
        for (save, (replaced, unchanged)) in change.saves.iter().zip(before) {
            // Such as a record that another one refers to: saved so that nobody deletes it at that moment.
            if *unchanged && matches!(save.beside, Beside::Nothing) {
                continue;
            }
            let event = if *replaced { "updated" } else { "created" };
            self.announce(save.kind, event, save.record.clone(), revision, context).await;
        }
        for (deletion, deleted) in change.deletes.iter().zip(&committed.deleted) {
            if *deleted {
                let record = json!({deletion.kind.id: deletion.id});
                self.announce(deletion.kind, "deleted", record, revision, context).await;
            }
        }
    }

    /// Tells subscribers about a change. The record is stored by now, whatever becomes of the message:
    /// receivers list again when they may have missed one.
    async fn announce(
        &self,
        kind: &Kind,
        event: &str,
        mut record: Value,
        revision: u64,
        context: &Context,
    ) {
        if kind.secret {
            return;
        }
        if let Some(members) = record.as_object_mut() {
            members.retain(|name, _| !kind.hidden.contains(&name.as_str()));
        }
        let key = topology::changed(kind.type_name, event);
        let message =
            json!({"event": event, "class": kind.type_name, "model": record, "revision": revision});
        if let Err(error) = self.bus.notify(&key, &message, context).await {
            warn_unless_outage!(error, notification = key, "a change was not announced");
        }
    }
}
