//! The open stores, and which of them a record belongs in.

use std::sync::Arc;
use std::time::Duration;

use bus::error::chain;
use bus::{Error, Kind as ErrorKind, Result};
use etcd_access::Options as EtcdOptions;
use futures_util::future::join_all;
use runtime::Outage;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::config::{Backend, Handler};
use crate::keyring::{MARK, UnlockError};
use crate::kinds::Kind;
use crate::registry::{Assignments, RegistryError};
use crate::store::etcd::Etcd;
use crate::store::{Commit, CommitError, Committed, Entry, Store, StoreError};

/// Why the stores cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What is configured makes no sense.
    #[error("the member storage_handlers is wrong")]
    Config(#[source] RegistryError),
    /// A store cannot be opened.
    #[error("cannot open the store {handler:?}: {place}")]
    Store {
        /// Its handler.
        handler: String,
        /// Where it is, and the option that says so.
        place: String,
        /// Why.
        source: StoreError,
    },
}

/// A record that a commit checks, saves or deletes.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Its type.
    pub kind: &'static Kind,
    /// Its key in the store.
    pub key: &'a str,
    /// The text of the record, if it is to be saved.
    pub record: Option<&'a RawValue>,
}

/// See the module.
#[derive(Debug)]
pub struct Handlers {
    configured: Vec<Handler>,
    stores: Vec<Store>,
    assignments: Assignments,
    /// Of each store.
    outages: Vec<Outages>,
}

/// What can be unavailable of a store.
#[derive(Debug)]
struct Outages {
    reading: Outage,
    /// While it can be read.
    writing: Outage,
}

/// The kind of the reason when a store answers, and refuses.
const REFUSED: &str = "refused";

impl Handlers {
    /// Opens the stores of the configured handlers.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(configured: Vec<Handler>) -> Result<Self, OpenError> {
        Self::open_by(configured, open).await
    }

    /// The same with another way to open a store.
    pub(crate) async fn open_by(
        configured: Vec<Handler>,
        open: impl AsyncFn(&Backend) -> Result<Store, StoreError>,
    ) -> Result<Self, OpenError> {
        let assignments = Assignments::of(&configured).map_err(OpenError::Config)?;
        let mut stores = Vec::with_capacity(configured.len());
        for handler in &configured {
            let store = open(&handler.backend).await;
            let (name, place) = (handler.name.clone(), handler.place());
            stores.push(store.map_err(|source| OpenError::Store {
                handler: name,
                place,
                source,
            })?);
        }
        let outages = configured.iter().map(Handler::place).map(|place| Outages {
            writing: Outage::new(format!("writing to {place}")),
            reading: Outage::new(place),
        });
        Ok(Self { outages: outages.collect(), configured, stores, assignments })
    }

    /// The entries of `keys`, in that order, `None` for those that do not exist.
    ///
    /// # Errors
    /// When a store does not answer.
    pub async fn get(&self, kind: &Kind, keys: Vec<String>) -> Result<Vec<Option<Entry>>> {
        let Some((&default, sources)) = self.assignments.keepers(kind).split_first() else {
            return Ok(vec![None; keys.len()]);
        };
        let failed = |error| self.failure(default, error);
        if sources.is_empty() {
            return self.stores[default].get(keys).await.map_err(failed);
        }
        let mut found = self.stores[default].get(keys.clone()).await.map_err(failed)?;
        for &source in sources {
            let missing: Vec<_> = (0..keys.len()).filter(|i| found[*i].is_none()).collect();
            if missing.is_empty() {
                break;
            }
            let wanted = missing.iter().map(|i| keys[*i].clone()).collect();
            let entries = self.stores[source].get(wanted).await;
            let entries = entries.map_err(|error| self.failure(source, error))?;
            for (index, entry) in missing.into_iter().zip(entries) {
                found[index] = entry;
            }
        }
        Ok(found)
    }

    /// All entries of a kind, sorted by key. Where several stores have one, the default's counts.
    ///
    /// # Errors
    /// When a store does not answer: a list without its hosts would be a lie.
    pub async fn list(&self, kind: &Kind) -> Result<Arc<Vec<Entry>>> {
        let keepers = self.assignments.keepers(kind);
        let mut all = Vec::new();
        for keeper in keepers {
            let entries = self.stores[*keeper].list(kind.prefix).await;
            let entries = entries.map_err(|error| self.failure(*keeper, error))?;
            if keepers.len() == 1 {
                return Ok(entries);
            }
            all.extend(entries.iter().cloned());
        }
        // Stable: of two with the same key the default store's comes first, and stays.
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all.dedup_by(|later, first| later.key == first.key);
        Ok(Arc::new(all))
    }

    /// The one store that a commit goes to, as its index.
    ///
    /// # Errors
    /// When its parts belong in several, since no transaction spans two stores.
    pub async fn store_for(&self, parts: &[Part<'_>]) -> Result<usize> {
        let mut chosen: Option<(usize, &Kind)> = None;
        for part in parts {
            let keeper = self.keeper(part, parts).await?;
            match chosen {
                None => chosen = Some((keeper, part.kind)),
                Some((first, kind)) if first != keeper => {
                    return Err(self.spans((kind, first), (part.kind, keeper)));
                }
                Some(_) => {}
            }
        }
        Ok(chosen.map_or(0, |(keeper, _)| keeper))
    }

    /// Where a part of a commit belongs. Only hosts can be in more than one place: a new one goes where
    /// its `source` says, one that is there stays there.
    async fn keeper(&self, part: &Part<'_>, all: &[Part<'_>]) -> Result<usize> {
        let keepers = self.assignments.keepers(part.kind);
        if let [only] = keepers {
            return Ok(*only);
        }
        let mut holder = None;
        for keeper in keepers {
            let entries = self.stores[*keeper].get(vec![part.key.to_owned()]).await;
            let entries = entries.map_err(|error| self.failure(*keeper, error))?;
            if entries.iter().any(Option::is_some) {
                holder = Some(*keeper);
                break;
            }
        }
        let record = all.iter().filter(|p| p.key == part.key).find_map(|p| p.record);
        let Some(record) = record else {
            return Ok(holder.or(keepers.first().copied()).unwrap_or_default());
        };
        let wanted = self.source(keepers, &source_of(record))?;
        match holder {
            Some(holder) if holder != wanted => {
                let (holder, wanted) =
                    (&self.configured[holder].name, &self.configured[wanted].name);
                Err(Error::conflict(format!(
                    "{} is kept by the store handler {holder:?}, and its `source` says {wanted:?}: delete it there first",
                    part.key
                )))
            }
            _ => Ok(wanted),
        }
    }

    /// The store in which a record is created, as its index; `source` is that of a host.
    ///
    /// # Errors
    /// When there is no store for hosts of that source.
    pub fn place(&self, kind: &Kind, source: Option<&str>) -> Result<usize> {
        let keepers = self.assignments.keepers(kind);
        match source {
            Some(source) => self.source(keepers, source),
            None => Ok(keepers.first().copied().unwrap_or_default()),
        }
    }

    /// The handler that keeps hosts of that source; no source is the default.
    fn source(&self, keepers: &[usize], source: &str) -> Result<usize> {
        let is_meant = |keeper: &&usize| self.configured[**keeper].name == source;
        let found = if source.is_empty() { keepers.first() } else { keepers.iter().find(is_meant) };
        found.copied().ok_or_else(|| {
            let names = keepers.iter().map(|keeper| self.configured[*keeper].name.as_str());
            Error::invalid(format!(
                "no store handler of hosts is named {source:?}, as the host's `source` says: there are {}",
                names.collect::<Vec<_>>().join(", ")
            ))
        })
    }

    fn spans(&self, a: (&Kind, usize), b: (&Kind, usize)) -> Error {
        let (first, second) = (&self.configured[a.1].name, &self.configured[b.1].name);
        let (a, b) = (a.0.type_name, b.0.type_name);
        Error::invalid(format!(
            "a {a} and a {b} are to be written together, but the store handlers {first:?} and {second:?} \
             keep them, and no transaction spans two stores: let the `models` of one take both, and use \
             the same `source` for all hosts of a request"
        ))
    }

    /// Carries out a commit in the one store.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn commit(&self, store: usize, commit: Commit) -> Result<Committed, CommitError> {
        let committed = self.stores[store].commit(commit).await;
        if committed.is_ok() {
            self.outages[store].writing.succeeded();
        }
        committed
    }

    /// The error of a store that failed.
    pub fn failure(&self, store: usize, error: StoreError) -> Error {
        let name = &self.configured[store].name;
        let outages = &self.outages[store];
        let is_silent = error.is_silent();
        let (kind, what) = match &error {
            StoreError::TooLarge { .. } => {
                return Error::invalid(format!("the store {name:?} refuses: {error}"));
            }
            StoreError::NoSpace(_) | StoreError::DiskFull(_) => {
                outages.writing.failed("", &chain(&error));
                let message = format!("the store {name:?} takes no writes: {error}");
                let failure = Error::unavailable(message).of_part("store").with_source(error);
                return failure.of_outage();
            }
            StoreError::Unconfirmed(_) => (ErrorKind::Timeout, "did not confirm the change"),
            _ => (ErrorKind::Unavailable, "does not answer"),
        };
        if is_silent {
            outages.reading.failed("", &chain(&error));
        }
        let failure = Error::new(kind, format!("the store {name:?} {what}"));
        let failure = failure.of_part("store").with_source(error);
        // Anything else, as a damaged database, is logged for each request.
        if is_silent { failure.of_outage() } else { failure }
    }

    /// The number of stores.
    pub fn count(&self) -> usize {
        self.stores.len()
    }

    /// The name of a store's handler.
    pub fn name(&self, index: usize) -> &str {
        &self.configured[index].name
    }

    /// Whether a store keeps records of this kind.
    pub fn keeps(&self, index: usize, kind: &Kind) -> bool {
        self.assignments.keepers(kind).contains(&index)
    }

    /// A store by its index.
    pub fn store(&self, index: usize) -> &Store {
        &self.stores[index]
    }

    /// Each store that holds sealed records, and the kinds of these.
    pub fn secret(&self) -> impl Iterator<Item = (usize, Vec<&'static Kind>)> {
        (0..self.stores.len()).filter_map(|index| {
            let here =
                |kind: &&Kind| kind.secret && self.assignments.keepers(kind).contains(&index);
            let kinds: Vec<_> = Kind::all().filter(here).collect();
            (!kinds.is_empty()).then_some((index, kinds))
        })
    }

    /// The stores that are in etcd, and their configurations.
    pub fn in_etcd(&self) -> impl Iterator<Item = (&Handler, &EtcdOptions, Etcd)> {
        let pairs = self.configured.iter().zip(&self.stores);
        pairs.filter_map(|(handler, store)| match &handler.backend {
            Backend::Etcd(options) => Some((handler, options, store.as_etcd()?.clone())),
            Backend::Sqlite(_) | Backend::Memory(_) => None,
        })
    }

    /// Whether any of the stores answers a read now, within `limit`.
    pub async fn answers(&self, limit: Duration) -> bool {
        let stores = self.stores.iter().zip(&self.outages);
        let probes = stores.map(|(store, outages)| probe(store, &outages.reading, limit));
        join_all(probes).await.contains(&true)
    }

    /// Brings the files of embedded stores up to date.
    pub async fn checkpoint(&self) {
        for (store, handler) in self.stores.iter().zip(&self.configured) {
            if let Err(error) = store.checkpoint().await {
                let error = chain(&error);
                tracing::warn!(store = handler.name, error, "the database file is not up to date");
            }
        }
    }

    /// The same at the end: from now on everything that is acknowledged is in the files themselves.
    pub async fn close(&self) {
        for (store, handler) in self.stores.iter().zip(&self.configured) {
            if let Err(error) = store.close().await {
                let error = chain(&error);
                tracing::warn!(
                    store = handler.name,
                    error,
                    "the last changes are in the WAL of the database only"
                );
            }
        }
    }

    /// Whether waiting can help: a store over the network may come back, a file will not.
    pub fn is_away(&self, error: &UnlockError) -> bool {
        matches!(error, UnlockError::Store { store, .. }
            if matches!(self.configured[*store].backend, Backend::Etcd(_)))
    }

    /// The answer to `storage.list_store_handlers`.
    pub fn shown(&self) -> Value {
        let show = |(index, handler): (usize, &Handler)| {
            json!({
                "handler_type": handler.backend.kind(),
                "config": handler.shown(),
                "model_types": self.assignments.models(index),
            })
        };
        self.configured.iter().enumerate().map(show).collect()
    }
}

/// The member of a host that says where it is kept; empty in other records.
fn source_of(record: &RawValue) -> String {
    #[derive(Default, Deserialize)]
    struct Sourced {
        #[serde(default)]
        source: String,
    }

    serde_json::from_str::<Sourced>(record.get()).unwrap_or_default().source
}

/// Whether a store answers a read; its outage begins or ends with that.
async fn probe(store: &Store, outage: &Outage, limit: Duration) -> bool {
    // Any key does, there or not.
    match tokio::time::timeout(limit, store.get(vec![MARK.to_owned()])).await {
        Ok(Ok(_)) => {
            outage.succeeded();
            return true;
        }
        Ok(Err(error)) => {
            let kind = if error.is_silent() { "" } else { REFUSED };
            outage.failed(kind, &chain(&error));
        }
        Err(_) => {
            let silence = || format!("no answer within {} s", limit.as_secs());
            let cause = store.as_etcd().and_then(Etcd::last_failure);
            outage.failed("", &cause.map_or_else(silence, |cause| cause.to_string()));
        }
    }
    false
}

pub(crate) async fn open(backend: &Backend) -> Result<Store, StoreError> {
    match backend {
        Backend::Etcd(options) => Store::etcd(options).await,
        Backend::Sqlite(options) => Store::sqlite(&options.path),
        Backend::Memory(memory) => Ok(Store::Memory(memory.clone())),
    }
}
