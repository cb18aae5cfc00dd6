//! The typed client of the storage service, and the messages that they exchange.
//!
//! - [`lease`][]: who may work on a record
//! - [`queries`][]: questions about clusters and operations that several services ask

mod backups;
mod damaged;
pub mod lease;
pub mod queries;
mod reads;

use std::time::Duration;

use bus::error::{Error, Kind, Result};
use bus::jsonrpc::Answer;
use bus::{Bus, Context, topology as keys};
use model::Model;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

pub use damaged::{Damaged, Found};
pub use reads::Reads;

/// How often a compare-and-swap is tried again when others get in between.
const UPDATE_ATTEMPTS: usize = 32;

/// A record and the revision it was read at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Revised<T> {
    /// The record.
    pub record: T,
    /// Its revision in the store.
    pub revision: u64,
}

/// A condition of a [`Transaction`]: the record is still at `revision`, or (null) is absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The record's type.
    pub model_type_name: String,
    /// What identifies it.
    pub key: String,
    /// The revision it was read at; null for "absent".
    pub revision: Option<u64>,
}

/// A record to save.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Save {
    /// The record's type.
    pub model_type_name: String,
    /// Its text, which is not looked into before it is in the storage service.
    pub model_json_data: Box<RawValue>,
}

/// A record to delete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delete {
    /// The record's type.
    pub model_type_name: String,
    /// What identifies it.
    pub key: String,
}

/// The parameters of `storage.transact`: all or nothing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Transaction {
    /// What must still hold.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// What to save.
    #[serde(default)]
    pub saves: Vec<Save>,
    /// What to delete; that something is gone already is no error.
    #[serde(default)]
    pub deletes: Vec<Delete>,
    /// Whether a record to save is of a [confidential](Model::CONFIDENTIAL) type.
    #[serde(skip)]
    confidential: bool,
}

impl Transaction {
    /// How many checks, and how many changes, one may have, on any store: as many as etcd takes unless
    /// `--max-txn-ops` says otherwise.
    pub const MAX: usize = 128;

    /// Goes through only if the record is still at `revision` (`None`: absent).
    #[must_use]
    pub fn check<T: Model>(mut self, id: &str, revision: Option<u64>) -> Self {
        let (model_type_name, key) = (T::TYPE.to_owned(), id.to_owned());
        self.checks.push(Check { model_type_name, key, revision });
        self
    }

    /// Saves a record.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn save<T: Model>(mut self, record: &T) -> Result<Self> {
        let model_json_data = to_json(record)?;
        self.confidential |= T::CONFIDENTIAL;
        self.saves.push(Save { model_type_name: T::TYPE.to_owned(), model_json_data });
        Ok(self)
    }

    /// Saves a record that must still be at the revision it was read at.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub fn update<T: Model>(self, revised: &Revised<T>) -> Result<Self> {
        self.check::<T>(revised.record.id(), Some(revised.revision)).save(&revised.record)
    }

    /// Saves a record that must not exist yet.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub fn create<T: Model>(self, record: &T) -> Result<Self> {
        self.check::<T>(record.id(), None).save(record)
    }

    /// Deletes a record.
    #[must_use]
    pub fn delete<T: Model>(mut self, id: &str) -> Self {
        self.deletes.push(Delete { model_type_name: T::TYPE.to_owned(), key: id.to_owned() });
        self
    }
}

/// The parameters of `storage.get` for one record.
#[derive(Serialize)]
struct One<'a> {
    model_type_name: &'a str,
    /// The member that identifies it, and its value.
    #[serde(serialize_with = "as_object")]
    model_json_data: (&'a str, &'a str),
    revisions: bool,
}

fn as_object<S: Serializer>(field: &(&str, &str), serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map([*field])
}

/// The storage service, as one caller sees it; clones are cheap.
#[derive(Debug, Clone)]
pub struct StorageClient {
    bus: Bus,
    context: Context,
    reads: Option<Reads>,
    /// The answer to every request, which is then not sent.
    refusal: Option<Error>,
}

impl StorageClient {
    /// The storage service over `bus`, asked on behalf of `context`.
    pub fn new(bus: Bus, context: Context) -> Self {
        Self { bus, context, reads: None, refusal: None }
    }

    /// The same, with another deadline for requests.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { bus: self.bus.with_timeout(timeout), ..self.clone() }
    }

    /// The same; what it reads may be asked for together with what others read.
    #[must_use]
    pub fn with_reads(self, reads: Option<Reads>) -> Self {
        Self { reads, ..self }
    }

    /// The same; with an error, each request fails with it, and is not sent.
    #[must_use]
    pub fn with_refusal(self, refusal: Option<Error>) -> Self {
        Self { refusal, ..self }
    }

    /// The record `id`.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is none.
    pub async fn get<T: Model>(&self, id: &str) -> Result<Revised<T>> {
        read(self.ask_for::<T>(id).await?)
    }

    /// The record `id` as JSON text: for those who pass it on.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is none.
    pub async fn get_text<T: Model>(&self, id: &str) -> Result<String> {
        let text = self.ask_for::<T>(id).await?.into_text()?;
        let found: Revised<Box<RawValue>> = serde_json::from_str(&text).map_err(something_else)?;
        Ok(Box::<str>::from(found.record).into())
    }

    async fn ask_for<T: Model>(&self, id: &str) -> Result<Answer> {
        let params =
            One { model_type_name: T::TYPE, model_json_data: (T::ID, id), revisions: true };
        self.permitted()?;
        let alone = || self.bus.ask(keys::STORAGE_GET, &params, &self.context);
        match &self.reads {
            Some(reads) => reads.get::<T, _>(id, alone).await,
            None => alone().await,
        }
    }

    /// The record `id`, if there is one.
    ///
    /// # Errors
    /// When the storage service cannot say.
    pub async fn find<T: Model>(&self, id: &str) -> Result<Option<Revised<T>>> {
        match self.get(id).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The record `id`, if there is one, also when it is damaged: for those who delete it.
    ///
    /// # Errors
    /// When the storage service cannot say.
    pub async fn find_damaged<T: Model>(&self, id: &str) -> Result<Option<Found<T>>> {
        match self.find(id).await {
            Ok(found) => Ok(found.map(Found::Whole)),
            Err(error) => Damaged::reported_by(&error).map(Found::Damaged).map(Some).ok_or(error),
        }
    }

    /// The records `ids`, in that order, `None` for those that do not exist: one snapshot.
    ///
    /// # Errors
    /// When the storage service cannot say.
    pub async fn get_many<T: Model>(
        &self,
        ids: &[impl AsRef<str> + Serialize],
    ) -> Result<Vec<Option<Revised<T>>>> {
        self.get_many_as::<T, T>(ids).await
    }

    /// As [`Self::get_many`], but only those fields of the records that `V` has.
    ///
    /// # Errors
    /// As [`Self::get_many`].
    pub async fn get_many_as<T: Model, V: DeserializeOwned>(
        &self,
        ids: &[impl AsRef<str> + Serialize],
    ) -> Result<Vec<Option<Revised<V>>>> {
        let params = json!({"model_type_name": T::TYPE, "ids": ids, "revisions": true,
                            "missing": "null"});
        read(self.ask(keys::STORAGE_GET, &params).await?)
    }

    /// All records of a type, sorted by key: one snapshot.
    ///
    /// # Errors
    /// When the storage service cannot say.
    pub async fn list<T: Model>(&self) -> Result<Vec<Revised<T>>> {
        let params = json!({"model_type_name": T::LIST_TYPE, "revisions": true});
        read(self.ask(keys::STORAGE_LIST, &params).await?)
    }

    /// As [`Self::list`], but with a damaged record it fails instead of leaving that one out.
    ///
    /// # Errors
    /// When a record is damaged, or the storage service cannot say.
    pub async fn list_complete<T: Model>(&self) -> Result<Vec<Revised<T>>> {
        let params = json!({"model_type_name": T::LIST_TYPE, "revisions": true, "complete": true});
        read(self.ask(keys::STORAGE_LIST, &params).await?)
    }

    /// All records of a type, sorted by key, as the text of a JSON array: for those who pass them on.
    ///
    /// # Errors
    /// When the storage service cannot say.
    pub async fn list_text<T: Model>(&self) -> Result<String> {
        let params = json!({"model_type_name": T::LIST_TYPE});
        self.ask(keys::STORAGE_LIST, &params).await?.into_text()
    }

    async fn ask(&self, key: &str, params: &(impl Serialize + Sync)) -> Result<Answer> {
        self.permitted()?;
        self.bus.ask(key, params, &self.context).await
    }

    fn permitted(&self) -> Result<()> {
        self.refusal.clone().map_or(Ok(()), Err)
    }

    fn bus(&self, confidential: bool) -> Result<Bus> {
        self.permitted()?;
        Ok(if confidential { self.bus.confidential() } else { self.bus.clone() })
    }

    /// Saves a record, whatever was there before, and returns it as saved.
    ///
    /// # Errors
    /// When it is not valid, or the store does not answer.
    pub async fn save<T: Model>(&self, record: &T) -> Result<T> {
        let params =
            Save { model_type_name: T::TYPE.to_owned(), model_json_data: to_json(record)? };
        let bus = self.bus(T::CONFIDENTIAL)?;
        read(bus.ask(keys::STORAGE_SAVE, &params, &self.context).await?)
    }

    /// Deletes the record `id`.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is none.
    pub async fn delete<T: Model>(&self, id: &str) -> Result<()> {
        let params = json!({"model_type_name": T::TYPE, "model_json_data": {T::ID: id}});
        self.ask(keys::STORAGE_DELETE, &params).await.map(drop)
    }

    /// Carries out a transaction and returns the revision it made.
    ///
    /// # Errors
    /// [`Kind::Conflict`], naming the check that failed.
    pub async fn transact(&self, transaction: &Transaction) -> Result<u64> {
        let bus = self.bus(transaction.confidential)?;
        let answer = bus.request(keys::STORAGE_TRANSACT, transaction, &self.context).await?;
        answer["revision"]
            .as_u64()
            .ok_or_else(|| Error::internal("the storage service named no revision"))
    }

    /// Changes a record by compare-and-swap, tried again when others get in between: never
    /// re-creates a deleted record. `change` says false when there is nothing to do. Returns the
    /// record as it is now.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when the record is gone; an error of `change`; [`Kind::Conflict`] when
    /// others keep getting in between.
    pub async fn update<T: Model>(
        &self,
        id: &str,
        mut change: impl FnMut(&mut T) -> Result<bool>,
    ) -> Result<T> {
        for _ in 0..UPDATE_ATTEMPTS {
            let mut revised = self.get::<T>(id).await?;
            if !change(&mut revised.record)? {
                return Ok(revised.record);
            }
            match self.transact(&Transaction::default().update(&revised)?).await {
                Ok(_) => return Ok(revised.record),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::conflict(format!("{} {id} keeps being changed by others", T::TYPE)))
    }
}

fn to_json(record: &impl Serialize) -> Result<Box<RawValue>> {
    to_raw_value(record)
        .map_err(|e| Error::internal("cannot write the record as JSON").with_source(e))
}

fn read<T: DeserializeOwned>(answer: Answer) -> Result<T> {
    answer.parse().map_err(something_else)
}

fn something_else(error: serde_json::Error) -> Error {
    Error::new(Kind::Internal, "the storage service answered with something else than asked")
        .with_source(error)
}
