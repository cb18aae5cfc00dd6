//! Notifications of changes. A change of what a documented record is composed from is announced as one of that record.

use std::borrow::Cow;
use std::collections::BTreeSet;

use bus::error::chain;
use bus::{Context, Error, Result, topology, warn_unless_outage};
use model::{
    Cluster, ClusterHead, ClusterMember, ClusterName, Model as _, Operation, OperationKind,
};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use super::StorageService;
use super::change::{Change, Prepared};
use crate::kinds::{Kind, parse};
use crate::newest;
use crate::split::Beside;
use crate::store::Committed;

const UPDATED: &str = "updated";

/// A notification about a record.
#[derive(Serialize)]
struct Changed<'a> {
    event: &'a str,
    class: &'a str,
    model: &'a RawValue,
    revision: u64,
}

impl StorageService {
    /// Announces a change; `has_moved` says whether the members of the clusters in it have changed.
    pub(super) async fn announce_all(
        &self,
        change: &Change,
        committed: &Committed,
        has_moved: bool,
        context: &Context,
    ) {
        let revision = committed.revision;
        let has_moved =
            has_moved || change.deletes.iter().any(|d| d.kind.type_name == ClusterMember::TYPE);
        let mut joined = BTreeSet::new();
        let before = committed.replaced.iter().zip(&committed.unchanged);
        for (save, (replaced, unchanged)) in change.saves.iter().zip(before) {
            let Prepared { kind, parts } = save;
            let is_whole = matches!(parts.beside, Beside::Nothing | Beside::Members(..));
            let has_moved = has_moved && kind.part_of == Cluster::TYPE;
            // Such as a record that another one refers to: saved so that it is not deleted at that moment.
            if *unchanged && is_whole && !has_moved {
                continue;
            }
            let event = if *replaced { UPDATED } else { "created" };
            match kind.type_name {
                ClusterMember::TYPE => joined.extend(
                    parse::<ClusterMember>(parts.record.get()).map(|member| member.cluster),
                ),
                Operation::TYPE => {
                    self.announce(kind, event, &parts.record, revision, context).await;
                    let found = newest::of_operation(&self.handlers, parts.record.get()).await;
                    self.announce_composed(found, change, committed, context).await;
                }
                _ if is_newest(kind) => {}
                _ => self.announce(kind, event, &parts.record, revision, context).await,
            }
        }
        self.announce_joins(joined, change, revision, context).await;
        for (deletion, deleted) in change.deletes.iter().zip(&committed.deleted) {
            if *deleted && deletion.kind.type_name != ClusterMember::TYPE {
                let record = json!({deletion.kind.id: deletion.id});
                if let Ok(record) = to_raw_value(&record) {
                    self.announce(deletion.kind, "deleted", &record, revision, context).await;
                }
            }
        }
    }

    /// Announces the documented record of an operation, whose own record was saved.
    async fn announce_composed(
        &self,
        found: Result<Option<(&'static Kind, Box<RawValue>)>>,
        change: &Change,
        committed: &Committed,
        context: &Context,
    ) {
        match found {
            Ok(Some((kind, record))) => {
                let saves = change.saves.iter().zip(&committed.replaced);
                let is_first = saves
                    .filter(|(save, _)| save.kind.part_of == kind.type_name)
                    .any(|(_, replaced)| !replaced);
                let event = if is_first { "created" } else { UPDATED };
                self.announce(kind, event, &record, committed.revision, context).await;
            }
            Ok(None) => {}
            Err(error) => unannounced(&error, "an operation"),
        }
    }

    /// Announces clusters that hosts have joined, unless they are announced anyway.
    async fn announce_joins(
        &self,
        mut joined: BTreeSet<ClusterName>,
        change: &Change,
        revision: u64,
        context: &Context,
    ) {
        for save in change.saves.iter().filter(|save| save.kind.part_of == Cluster::TYPE) {
            if let Some(name) = save.parts.key.strip_prefix(ClusterHead::PREFIX) {
                joined.remove(name);
            }
        }
        let heads: Vec<_> = joined.iter().map(|name| ClusterHead::key(name)).collect();
        if heads.is_empty() {
            return;
        }
        let kind = &Kind::of::<ClusterHead>();
        match self.handlers.get(kind, heads).await {
            Ok(heads) => {
                for head in heads.into_iter().flatten() {
                    if let Ok(record) = RawValue::from_string(head.value) {
                        self.announce(kind, UPDATED, &record, revision, context).await;
                    }
                }
            }
            Err(error) => unannounced(&error, "a cluster"),
        }
    }

    /// Tells subscribers about a change. The record is stored by now, even if the message is lost:
    /// receivers list again when they may have missed one.
    async fn announce(
        &self,
        kind: &Kind,
        event: &str,
        record: &RawValue,
        revision: u64,
        context: &Context,
    ) {
        if kind.secret {
            return;
        }
        let class = kind.part_of;
        let key = topology::changed(class, event);
        let visible = match kind.hidden {
            [] => Ok(Cow::Borrowed(record)),
            hidden => without(hidden, record).map(Cow::Owned),
        };
        let model = match &visible {
            Ok(record) => &**record,
            Err(error) => {
                tracing::error!(
                    error = chain(error),
                    notification = key,
                    "a change was not announced"
                );
                return;
            }
        };
        let message = Changed { event, class, model, revision };
        if let Err(error) = self.bus.notify(&key, &message, context).await {
            warn_unless_outage!(error, notification = key, "a change was not announced");
        }
    }
}

/// The text of a record without its hidden members.
fn without(hidden: &[&str], record: &RawValue) -> serde_json::Result<Box<RawValue>> {
    let mut members: Map<String, Value> = serde_json::from_str(record.get())?;
    members.retain(|name, _| !hidden.contains(&name.as_str()));
    to_raw_value(&members)
}

/// Whether that says which operation is the newest: its change is announced as that of the documented record.
fn is_newest(kind: &Kind) -> bool {
    OperationKind::ALL.iter().any(|operation| operation.facts().newest == kind.type_name)
}

fn unannounced(error: &Error, what: &str) {
    warn_unless_outage!(error, what, "a change was not announced");
}
