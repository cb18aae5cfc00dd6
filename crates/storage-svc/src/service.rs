//! The methods of the storage service.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use service_core::bus::{Call, Context, topology};
use service_core::error::chain;
use service_core::storage::{Check, Delete, Save, Transaction};
use service_core::{Bus, Error, Kind as ErrorKind, Result};

use crate::kinds::Kind;
use crate::secrets::Sealer;
use crate::store::{Commit, CommitError, Committed, Entry, Store, StoreError};

/// The storage service: one store, and the key that seals.
#[derive(Debug)]
pub struct StorageService {
    store: Store,
    sealer: Sealer,
    bus: Bus,
}

/// The parameters of `save`, `get` and `delete`.
#[derive(Deserialize)]
struct Records {
    model_type_name: String,
    model_json_data: Value,
    #[serde(default)]
    revision: Option<u64>,
    #[serde(default)]
    revisions: bool,
    #[serde(default)]
    missing: Missing,
}

/// What `get` does about records that do not exist.
#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Missing {
    #[default]
    Error,
    Null,
}

#[derive(Deserialize)]
struct List {
    model_type_name: String,
    #[serde(default)]
    revisions: bool,
}

/// A record on its way into the store.
struct Prepared {
    kind: &'static Kind,
    key: String,
    record: Value,
    stored: String,
}

impl StorageService {
    /// A service over `store`; changes are announced on `bus`.
    pub fn new(store: Store, sealer: Sealer, bus: Bus) -> Self {
        Self { store, sealer, bus }
    }

    /// Carries out one request.
    ///
    /// # Errors
    /// What the caller is told.
    pub async fn call(&self, call: Call) -> Result<Value> {
        const RECORDS: &[&str] = &["model_type_name", "model_json_data"];
        let Call { method, params, context, .. } = call;
        match method.as_str() {
            "save" => self.save(params.parse(RECORDS)?, &context).await,
            "get" => self.get(params.parse(RECORDS)?).await,
            "delete" => self.delete(params.parse(RECORDS)?, &context).await,
            "list" => self.list(params.parse(&["model_type_name"])?).await,
            "transact" => {
                self.transact(params.parse(&["checks", "saves", "deletes"])?, &context).await
            }
            "list_store_handlers" => Ok(self.handlers()),
            other => {
                let message = format!("the storage service has no method {other:?}");
                Err(Error::new(ErrorKind::MethodNotFound, message))
            }
        }
    }

    async fn save(&self, params: Records, context: &Context) -> Result<Value> {
        let kind = Kind::named(&params.model_type_name)?;
        let (records, is_list) = records(params.model_json_data)?;
        let prepared = self.prepare_all(records.into_iter().map(|record| (kind, record)))?;
        let mut checks = Vec::new();
        if params.revision.is_some() {
            let [only] = prepared.as_slice() else {
                return Err(Error::invalid("`revision` goes with a single record"));
            };
            checks.push((only.key.clone(), params.revision));
        }
        let stale =
            |_| Error::conflict(format!("the {} has changed since it was read", kind.type_name));
        self.commit(checks, &prepared, Vec::new(), stale, context).await?;
        let mut saved = prepared.into_iter().map(|prepared| prepared.record);
        Ok(if is_list { saved.collect() } else { saved.next().unwrap_or_default() })
    }

    async fn get(&self, params: Records) -> Result<Value> {
        let kind = Kind::named(&params.model_type_name)?;
        let (wanted, is_list) = records(params.model_json_data)?;
        let keys = wanted.iter().map(|record| kind.key_of(record)).collect::<Result<_>>()?;
        let entries = self.store.get(keys).await.map_err(unavailable)?;
        let mut found = Vec::with_capacity(entries.len());
        for (entry, wanted) in entries.into_iter().zip(wanted) {
            found.push(match entry {
                Some(entry) => self.read(kind, entry, params.revisions)?,
                None if params.missing == Missing::Null => Value::Null,
                None => return Err(lookup_failed(kind, &wanted)),
            });
        }
        Ok(if is_list { found.into() } else { found.pop().unwrap_or_default() })
    }

    async fn delete(&self, params: Records, context: &Context) -> Result<Value> {
        let kind = Kind::named(&params.model_type_name)?;
        let (wanted, _) = records(params.model_json_data)?;
        let keys: Vec<_> =
            wanted.iter().map(|record| kind.key_of(record)).collect::<Result<_>>()?;
        // Deleting what is not there is an error, and then nothing is deleted: so each must be there
        // at the moment of the commit, at whatever revision it has.
        let entries = self.store.get(keys.clone()).await.map_err(unavailable)?;
        let mut checks = Vec::with_capacity(keys.len());
        for (entry, wanted) in entries.into_iter().zip(&wanted) {
            let entry = entry.ok_or_else(|| lookup_failed(kind, wanted))?;
            checks.push((entry.key, Some(entry.revision)));
        }
        let deletes =
            keys.into_iter().zip(&wanted).map(|(key, record)| (kind, key, id(kind, record)));
        let stale = |_| Error::conflict(format!("the {} was changed meanwhile", kind.type_name));
        self.commit(checks, &[], deletes.collect(), stale, context).await?;
        Ok(Value::Null)
    }

    async fn list(&self, params: List) -> Result<Value> {
        let kind = Kind::listed_as(&params.model_type_name)?;
        let entries = self.store.list(kind.prefix).await.map_err(unavailable)?;
        let read = entries.into_iter().filter_map(|entry| {
            // A damaged record must not hide its neighbours.
            self.read(kind, entry, params.revisions)
                .inspect_err(|error| tracing::error!(error = chain(error), "left out of a list"))
                .ok()
        });
        Ok(read.collect())
    }

    async fn transact(&self, transaction: Transaction, context: &Context) -> Result<Value> {
        let Transaction { checks, saves, deletes } = transaction;
        let keyed = checks.iter().map(|Check { model_type_name, key, revision }| {
            Ok((Kind::named(model_type_name)?.key(key)?, *revision))
        });
        let keyed = keyed.collect::<Result<Vec<_>>>()?;
        let saves = saves.into_iter().map(|Save { model_type_name, model_json_data }| {
            Ok((Kind::named(&model_type_name)?, object(model_json_data)?))
        });
        let prepared = self.prepare_all(saves.collect::<Result<Vec<_>>>()?)?;
        let deletes = deletes.into_iter().map(|Delete { model_type_name, key: id }| {
            let kind = Kind::named(&model_type_name)?;
            Ok((kind, kind.key(&id)?, id))
        });
        let deletes = deletes.collect::<Result<Vec<_>>>()?;
        let stale = |index: usize| {
            let Check { model_type_name, key, revision } = &checks[index];
            let message = match revision {
                Some(_) => format!("{model_type_name} {key} has changed since it was read"),
                None => format!("{model_type_name} {key} exists already"),
            };
            Error::conflict(message).with_data(json!({"check": checks[index]}))
        };
        let committed = self.commit(keyed, &prepared, deletes, stale, context).await?;
        Ok(json!({"revision": committed.revision}))
    }

    fn handlers(&self) -> Value {
        let models: Vec<_> = Kind::all().iter().map(|kind| kind.type_name).collect();
        json!([{"handler_type": self.store.handler_type(), "config": {}, "model_types": models}])
    }

    /// Checks every record before the first is written, and seals what is secret.
    fn prepare_all(
        &self,
        records: impl IntoIterator<Item = (&'static Kind, Value)>,
    ) -> Result<Vec<Prepared>> {
        let prepare = |(kind, record): (&'static Kind, Value)| {
            let wrong = |why| Error::invalid(format!("not a valid {}: {why}", kind.type_name));
            let (key, record) = kind.check(record).map_err(wrong)?;
            let plain = record.to_string();
            let stored = if kind.secret { self.sealer.seal(&key, &plain)? } else { plain };
            Ok(Prepared { kind, key, record, stored })
        };
        records.into_iter().map(prepare).collect()
    }

    /// Commits, then announces what has changed.
    async fn commit(
        &self,
        checks: Vec<(String, Option<u64>)>,
        saves: &[Prepared],
        deletes: Vec<(&'static Kind, String, String)>,
        stale: impl FnOnce(usize) -> Error,
        context: &Context,
    ) -> Result<Committed> {
        let commit = Commit {
            checks,
            puts: saves.iter().map(|save| (save.key.clone(), save.stored.clone())).collect(),
            deletes: deletes.iter().map(|(_, key, _)| key.clone()).collect(),
        };
        let committed = self.store.commit(commit).await.map_err(|error| match error {
            CommitError::Stale(index) => stale(index),
            CommitError::Store(error) => unavailable(error),
        })?;
        for (save, replaced) in saves.iter().zip(&committed.replaced) {
            let event = if *replaced { "updated" } else { "created" };
            self.announce(save.kind, event, save.record.clone(), committed.revision, context).await;
        }
        for ((kind, _, id), deleted) in deletes.into_iter().zip(&committed.deleted) {
            if *deleted {
                let record = json!({kind.id: id});
                self.announce(kind, "deleted", record, committed.revision, context).await;
            }
        }
        Ok(committed)
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
            tracing::warn!(error = chain(&error), notification = key, "not announced");
        }
    }

    /// A record on its way out of the store: opened, checked, with defaults filled in.
    fn read(&self, kind: &Kind, entry: Entry, revisions: bool) -> Result<Value> {
        let Entry { key, value, revision } = entry;
        let damaged = || Error::internal(format!("the record {key} in the store is damaged"));
        let record = if kind.secret {
            let opened = self.sealer.open_sealed(&key, &value);
            serde_json::from_str(&opened.map_err(|e| damaged().with_source(e))?)
        } else {
            serde_json::from_str(&value)
        };
        let record = record.map_err(|e| damaged().with_source(e))?;
        let (own_key, record) =
            kind.check(record).map_err(|why| damaged().with_source(std::io::Error::other(why)))?;
        if own_key != key {
            let why = format!("it belongs at {own_key}");
            return Err(damaged().with_source(std::io::Error::other(why)));
        }
        Ok(if revisions { json!({"record": record, "revision": revision}) } else { record })
    }
}

fn unavailable(error: StoreError) -> Error {
    Error::unavailable("the store does not answer").with_source(error)
}

fn lookup_failed(kind: &Kind, wanted: &Value) -> Error {
    Error::not_found(format!("there is no {} {}", kind.type_name, id(kind, wanted)))
        .with_data(json!({"model_type_name": kind.type_name, "model_json_data": [wanted]}))
}

fn id(kind: &Kind, record: &Value) -> String {
    record[kind.id].as_str().unwrap_or_default().to_owned()
}

/// `model_json_data`: a record or a list of them, each an object or a JSON text. Also says which.
fn records(data: Value) -> Result<(Vec<Value>, bool)> {
    let parsed = match data {
        Value::String(text) => serde_json::from_str(&text)
            .map_err(|e| Error::invalid(format!("model_json_data is not JSON: {e}")))?,
        other => other,
    };
    match parsed {
        Value::Array(items) => Ok((items.into_iter().map(object).collect::<Result<_>>()?, true)),
        other => Ok((vec![object(other)?], false)),
    }
}

fn object(data: Value) -> Result<Value> {
    let wrong = || Error::invalid("model_json_data is a record, or a list of records");
    match data {
        Value::Object(_) => Ok(data),
        Value::String(text) => {
            serde_json::from_str::<Map<_, _>>(&text).map(Value::Object).map_err(|_| wrong())
        }
        _ => Err(wrong()),
    }
}
