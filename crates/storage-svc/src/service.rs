//! The methods of the storage service.

mod announce;
mod backups;
mod change;
mod commit;
mod params;

use std::sync::Arc;

use bus::error::chain;
use bus::jsonrpc::Answer;
use bus::{Bus, Call, Context, Error, Kind as ErrorKind, Result};
use model::{Cluster, Host, Model as _, OperationKind};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use storage_client::{Check, Damaged, Delete, Revised, Save, Transaction};
use tokio::sync::OnceCell;

use crate::accounts::{Accounts, Permit, Right};
use crate::format;
use crate::handlers::Handlers;
use crate::kinds::Kind;
use crate::last_checks::{LastChecks, Times, read_host};
use crate::members::{KnownMembers, Members};
use crate::newest;
use crate::store::Entry;
use crate::vault::Vault;
use backups::OpenSnapshots;
use change::{Change, Condition, Deletion, Prepared};
use params::{Get, List, Missing, Named, Records, record, records, texts};

/// A record as it leaves: its text, which is not looked into again on its way to whoever asks.
#[derive(Serialize)]
#[serde(untagged)]
enum Found {
    Plain(Box<RawValue>),
    Revised(Revised<Box<RawValue>>),
}

/// The storage service: the stores, and where secrets are.
#[derive(Debug)]
pub struct StorageService {
    handlers: Arc<Handlers>,
    vault: Vault,
    bus: Bus,
    last_checks: LastChecks,
    members: KnownMembers,
    /// Set once the records have the present format.
    upgraded: OnceCell<()>,
    accounts: Option<Accounts>,
    snapshots: OpenSnapshots,
}

/// What records are shown with beside their own text.
enum ShownWith {
    /// Nothing.
    Nothing,
    /// Hosts: when they were last checked.
    Times(Arc<Times>),
    /// Clusters: their members.
    Members(Arc<Members>),
    /// Documented records of operations: what the newest one is composed from.
    Newest(OperationKind),
}

impl StorageService {
    /// A service over `handlers`; changes are announced on `bus`.
    pub fn new(handlers: Arc<Handlers>, vault: Vault, bus: Bus) -> Self {
        Self {
            handlers,
            vault,
            bus,
            last_checks: LastChecks::default(),
            members: KnownMembers::default(),
            upgraded: OnceCell::new(),
            accounts: None,
            snapshots: backups::none_open(),
        }
    }

    /// The same service, which carries out only what an account may do, if there is a table of that.
    #[must_use]
    pub fn with_accounts(self, accounts: Option<Accounts>) -> Self {
        Self { accounts, ..self }
    }

    /// Another replica has changed the watchers' reports.
    pub(crate) fn reports_changed(&self) {
        self.last_checks.changed();
    }

    /// Carries out one request.
    ///
    /// # Errors
    /// What the caller is told.
    pub async fn call(&self, call: Call) -> Result<Answer> {
        const RECORDS: &[&str] = &["model_type_name", "model_json_data"];
        let Call { method, params, context, account, .. } = call;
        let permit = Permit::new(self.accounts.as_ref(), account.as_deref())?;
        if !self.upgraded.initialized() {
            Box::pin(self.upgraded.get_or_try_init(|| format::upgrade(&self.handlers))).await?;
        }
        // Writes are boxed: reads, which are far more frequent, need not have room for them.
        match method.as_str() {
            "save" => {
                let params = params.parse(RECORDS)?;
                Box::pin(self.save(params, permit, &context)).await
            }
            "get" => self.get(params.parse(RECORDS)?, permit).await,
            "delete" => {
                let params = params.parse(RECORDS)?;
                Box::pin(self.delete(params, permit, &context)).await.map(Into::into)
            }
            "list" => self.list(params.parse(&["model_type_name"])?, permit).await,
            "transact" => {
                let transaction = params.parse(&["checks", "saves", "deletes"])?;
                permit_all(&transaction, permit)?;
                Box::pin(self.transact(transaction, &context)).await.map(Into::into)
            }
            "begin_backup" => {
                permit.check_all(Right::Read)?;
                Box::pin(self.begin_backup(params.parse(&["taken_at"])?)).await
            }
            "read_backup" => {
                permit.check_all(Right::Read)?;
                Box::pin(self.read_backup(params.parse(&["store", "revision", "after"])?)).await
            }
            "list_store_handlers" => Ok(self.handlers.shown().into()),
            other => {
                let message = format!("the storage service has no method {other:?}");
                Err(Error::new(ErrorKind::MethodNotFound, message))
            }
        }
    }

    async fn save(&self, params: Records, permit: Permit<'_>, context: &Context) -> Result<Answer> {
        let kind = Kind::named(&params.model_type_name)?;
        permit.check(Right::Write, kind)?;
        let (records, is_list) = texts(params.model_json_data)?;
        let mut change = Change::saving(records.into_iter().map(|record| (kind, record)))?;
        if params.revision.is_some() {
            let [only] = change.saves.as_slice() else {
                return Err(Error::invalid("`revision` goes with a single record"));
            };
            change.checks =
                vec![Condition { kind, key: only.parts.key.clone(), revision: params.revision }];
        }
        let stale =
            |_| Error::conflict(format!("the {} has changed since it was read", kind.type_name));
        self.commit(&change, stale, context).await?;
        let saved = change.saves.into_iter().map(Prepared::into_record);
        let mut saved = saved.collect::<Result<Vec<_>>>()?;
        if is_list { Answer::text_of(&saved) } else { Answer::text_of(&saved.pop()) }
    }

    async fn get(&self, mut params: Get, permit: Permit<'_>) -> Result<Answer> {
        let kind = Kind::named(&params.model_type_name)?;
        permit.check(Right::Read, kind)?;
        let wanted = params.wanted()?;
        let is_list = wanted.is_list();
        let keys = wanted.keys(kind)?;
        let times = self.times(kind).await;
        let entries = self.handlers.get(kind, keys).await?;
        let beside = self.beside(kind, times).await?;
        // Who tolerates gaps in a list also gets the neighbours of a damaged record.
        let tolerant = params.missing == Missing::Null;
        let mut found = Vec::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            let read = match entry {
                Some(entry) => self.read(kind, &entry, &beside, params.revisions).await.map(Some),
                None if tolerant => Ok(None),
                None => Err(lookup_failed(kind, &wanted.at(kind, index))),
            };
            found.push(match read {
                Err(error) if is_list && tolerant && is_damage(&error) => {
                    tracing::error!(error = chain(&error), "left out of a list");
                    None
                }
                other => other?,
            });
        }
        if is_list { Answer::text_of(&found) } else { Answer::text_of(&found.pop()) }
    }

    async fn delete(&self, params: Named, permit: Permit<'_>, context: &Context) -> Result<Value> {
        let kind = Kind::named(&params.model_type_name)?;
        permit.check(Right::Delete, kind)?;
        let (wanted, _) = records(params.model_json_data)?;
        let keys: Vec<_> =
            wanted.iter().map(|record| kind.key_of(record)).collect::<Result<_>>()?;
        // Deleting what is not there is an error, and then nothing is deleted: so each must be there
        // at the moment of the commit, at whatever revision it has.
        let entries = self.handlers.get(kind, keys.clone()).await?;
        let beside = self.beside(kind, None).await?;
        let mut change = Change::default();
        for ((entry, wanted), key) in entries.into_iter().zip(&wanted).zip(keys) {
            let entry = entry.ok_or_else(|| lookup_failed(kind, wanted))?;
            let revision = Some(beside.revision(kind, &entry));
            change.checks.push(Condition { kind, key: key.clone(), revision });
            change.deletes.push(Deletion { kind, key, id: id(kind, wanted) });
        }
        let stale = |_| Error::conflict(format!("the {} was changed meanwhile", kind.type_name));
        self.commit(&change, stale, context).await?;
        Ok(Value::Null)
    }

    async fn list(&self, params: List, permit: Permit<'_>) -> Result<Answer> {
        let kind = Kind::listed_as(&params.model_type_name)?;
        permit.check(Right::Read, kind)?;
        let List { revisions, complete, .. } = params;
        let times = self.times(kind).await;
        let entries = self.handlers.list(kind).await?;
        let beside = self.beside(kind, times).await?;
        let mut read = Vec::with_capacity(entries.len());
        for entry in entries.iter() {
            match self.read(kind, entry, &beside, revisions).await {
                Ok(record) => read.push(record),
                // A damaged record must not hide its neighbours.
                Err(error) if is_damage(&error) && !complete => {
                    tracing::error!(error = chain(&error), "left out of a list");
                }
                Err(error) => return Err(error),
            }
        }
        Answer::text_of(&read)
    }

    async fn transact(&self, transaction: Transaction, context: &Context) -> Result<Value> {
        let Transaction { checks, saves, deletes, .. } = transaction;
        let (checked, changed) = (checks.len(), saves.len() + deletes.len());
        if checked.max(changed) > Transaction::MAX {
            return Err(Error::invalid(format!(
                "a transaction of {checked} checks and {changed} changes was refused, nothing was \
                 changed: at most {} of each are accepted, since etcd takes no more at once \
                 (--max-txn-ops); split it",
                Transaction::MAX
            )));
        }
        let saves = saves.into_iter().map(|Save { model_type_name, model_json_data }| {
            Ok((Kind::named(&model_type_name)?, record(model_json_data)?))
        });
        let mut change = Change::saving(saves.collect::<Result<Vec<_>>>()?)?;
        for Check { model_type_name, key, revision } in &checks {
            let kind = Kind::named(model_type_name)?;
            change.checks.push(Condition { kind, key: kind.key(key)?, revision: *revision });
        }
        for Delete { model_type_name, key: id } in deletes {
            let kind = Kind::named(&model_type_name)?;
            change.deletes.push(Deletion { kind, key: kind.key(&id)?, id });
        }
        let stale = |index: usize| {
            let Check { model_type_name, key, revision } = &checks[index];
            let message = match revision {
                Some(_) => format!("{model_type_name} {key} has changed since it was read"),
                None => format!("{model_type_name} {key} exists already"),
            };
            Error::conflict(message).with_data(json!({"check": checks[index]}))
        };
        let committed = self.commit(&change, stale, context).await?;
        Ok(json!({"revision": committed.revision}))
    }

    /// The last checks that hosts are shown with; `None` for other records. To be read before the records:
    /// a watcher leaves a check out of its next report once a record has a later one.
    async fn times(&self, kind: &Kind) -> Option<Arc<Times>> {
        if kind.type_name != Host::TYPE {
            return None;
        }
        Some(self.last_checks.times(&self.handlers).await)
    }

    /// What records of a kind are shown with; the members of clusters are read after their heads.
    async fn beside(&self, kind: &Kind, times: Option<Arc<Times>>) -> Result<ShownWith> {
        Ok(match times {
            Some(times) => ShownWith::Times(times),
            None if kind.type_name == Cluster::TYPE => {
                ShownWith::Members(self.members.read(&self.handlers).await?)
            }
            None => newest::kind_of(kind).map_or(ShownWith::Nothing, ShownWith::Newest),
        })
    }

    /// A record on its way out of the store: opened, or composed, and then as any other.
    async fn read(
        &self,
        kind: &Kind,
        entry: &Entry,
        beside: &ShownWith,
        revisions: bool,
    ) -> Result<Found> {
        if kind.secret {
            let opened = match Box::pin(self.vault.open(&entry.key, &entry.value)).await {
                Err(error) if is_damage(&error) => Err(damaged(entry).error(error)),
                other => other,
            };
            return found(kind, entry, &opened?, beside, revisions);
        }
        if let ShownWith::Newest(operation) = *beside
            && let Some(composed) =
                Box::pin(newest::compose(&self.handlers, operation, &entry.value)).await?
        {
            return found(kind, entry, composed.get(), beside, revisions);
        }
        found(kind, entry, &entry.value, beside, revisions)
    }
}

impl ShownWith {
    /// The revision of a record.
    fn revision(&self, kind: &Kind, entry: &Entry) -> u64 {
        match self {
            Self::Nothing | Self::Times(_) | Self::Newest(_) => entry.revision,
            Self::Members(members) => {
                let name = entry.key.strip_prefix(kind.prefix).unwrap_or_default();
                members.revision(name, entry.revision)
            }
        }
    }
}

/// Whether the sender may do all that a transaction does.
fn permit_all(transaction: &Transaction, permit: Permit<'_>) -> Result<()> {
    let Transaction { checks, saves, deletes, .. } = transaction;
    let checks = checks.iter().map(|check| (Right::Read, &check.model_type_name));
    let saves = saves.iter().map(|save| (Right::Write, &save.model_type_name));
    let deletes = deletes.iter().map(|delete| (Right::Delete, &delete.model_type_name));
    checks
        .chain(saves)
        .chain(deletes)
        .try_for_each(|(right, name)| permit.check(right, Kind::named(name)?))
}

/// What the text of an entry says: checked, with defaults filled in.
fn found(
    kind: &Kind,
    entry: &Entry,
    text: &str,
    beside: &ShownWith,
    revisions: bool,
) -> Result<Found> {
    let damage = |why| damaged(entry).error(std::io::Error::other(why));
    let read = match beside {
        ShownWith::Nothing | ShownWith::Newest(_) => kind.check(text),
        ShownWith::Times(times) => read_host(text, times),
        ShownWith::Members(members) => members.read_cluster(text),
    };
    let (own_key, record) = read.map_err(damage)?;
    if own_key != entry.key {
        return Err(damage(format!("it belongs at {own_key}")));
    }
    Ok(if revisions {
        Found::Revised(Revised { record, revision: beside.revision(kind, entry) })
    } else {
        Found::Plain(record)
    })
}

fn damaged(entry: &Entry) -> Damaged {
    Damaged { key: entry.key.clone(), revision: entry.revision }
}

/// Whether a record is to blame, and not that the store or the key is away.
fn is_damage(error: &Error) -> bool {
    error.kind() == ErrorKind::Internal
}

fn lookup_failed(kind: &Kind, wanted: &Value) -> Error {
    Error::not_found(format!("there is no {} {}", kind.type_name, id(kind, wanted)))
        .with_data(json!({"model_type_name": kind.type_name, "model_json_data": [wanted]}))
}

fn id(kind: &Kind, record: &Value) -> String {
    record[kind.id].as_str().unwrap_or_default().to_owned()
}
