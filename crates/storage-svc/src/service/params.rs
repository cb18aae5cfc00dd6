//! The parameters of the methods.

use bus::{Error, Result};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::kinds::Kind;

/// The parameters of `save`.
#[derive(Deserialize)]
pub(super) struct Records {
    pub(super) model_type_name: String,
    pub(super) model_json_data: Box<RawValue>,
    #[serde(default)]
    pub(super) revision: Option<u64>,
}

/// The parameters of `delete`.
#[derive(Deserialize)]
pub(super) struct Named {
    pub(super) model_type_name: String,
    pub(super) model_json_data: Value,
}

/// The parameters of `get`.
#[derive(Deserialize)]
pub(super) struct Get {
    pub(super) model_type_name: String,
    #[serde(default)]
    model_json_data: Value,
    /// In place of `model_json_data`: many ids are several times cheaper than as many objects.
    #[serde(default)]
    ids: Option<Vec<String>>,
    #[serde(default)]
    pub(super) revisions: bool,
    #[serde(default)]
    pub(super) missing: Missing,
}

/// The records that `get` is asked for.
pub(super) enum Wanted {
    Records { records: Vec<Value>, is_list: bool },
    Ids(Vec<String>),
}

impl Get {
    /// # Errors
    /// When they are neither ids, nor a record, nor a list of records.
    pub(super) fn wanted(&mut self) -> Result<Wanted> {
        match (self.ids.take(), self.model_json_data.take()) {
            (Some(ids), Value::Null) => Ok(Wanted::Ids(ids)),
            (Some(_), _) => Err(Error::invalid("`ids` and `model_json_data` exclude each other")),
            (None, data) => {
                let (records, is_list) = records(data)?;
                Ok(Wanted::Records { records, is_list })
            }
        }
    }
}

impl Wanted {
    pub(super) fn is_list(&self) -> bool {
        !matches!(self, Self::Records { is_list: false, .. })
    }

    /// # Errors
    /// When one of them identifies no record of this kind.
    pub(super) fn keys(&self, kind: &Kind) -> Result<Vec<String>> {
        match self {
            Self::Records { records, .. } => {
                records.iter().map(|record| kind.key_of(record)).collect()
            }
            Self::Ids(ids) => ids.iter().map(|id| kind.key(id)).collect(),
        }
    }

    /// What identifies the record at `index`.
    pub(super) fn at(&self, kind: &Kind, index: usize) -> Value {
        match self {
            Self::Records { records, .. } => records[index].clone(),
            Self::Ids(ids) => json!({kind.id: ids[index]}),
        }
    }
}

/// What `get` does about records that do not exist.
#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Missing {
    #[default]
    Error,
    Null,
}

/// The parameters of `list`.
#[derive(Deserialize)]
pub(super) struct List {
    pub(super) model_type_name: String,
    #[serde(default)]
    pub(super) revisions: bool,
    /// Whether a damaged record is an error instead of being left out.
    #[serde(default)]
    pub(super) complete: bool,
}

/// `model_json_data`: a record or a list of them, each an object or a JSON text. Also says which.
///
/// # Errors
/// When it is neither.
pub(super) fn records(data: Value) -> Result<(Vec<Value>, bool)> {
    let parsed = match data {
        Value::String(text) => serde_json::from_str(&text).map_err(|error| not_json(&error))?,
        other => other,
    };
    match parsed {
        Value::Array(items) => Ok((items.into_iter().map(object).collect::<Result<_>>()?, true)),
        other => Ok((vec![object(other)?], false)),
    }
}

/// A record: an object or a JSON text.
///
/// # Errors
/// When it is neither.
pub(super) fn object(data: Value) -> Result<Value> {
    match data {
        Value::Object(_) => Ok(data),
        Value::String(text) => {
            serde_json::from_str::<Map<_, _>>(&text).map(Value::Object).map_err(|_| no_record())
        }
        _ => Err(no_record()),
    }
}

/// As [`records`], of what is to be saved: the texts of the records, which are parsed only once.
///
/// # Errors
/// As [`records`].
pub(super) fn texts(data: Box<RawValue>) -> Result<(Vec<Box<RawValue>>, bool)> {
    let data = match serde_json::from_str::<String>(data.get()) {
        Ok(text) => RawValue::from_string(text).map_err(|error| not_json(&error))?,
        Err(_) => data,
    };
    match serde_json::from_str::<Vec<Box<RawValue>>>(data.get()) {
        Ok(items) => Ok((items.into_iter().map(record).collect::<Result<_>>()?, true)),
        Err(_) => Ok((vec![record(data)?], false)),
    }
}

/// The text of a record: an object, or a JSON text of one.
///
/// # Errors
/// When it is neither.
pub(super) fn record(data: Box<RawValue>) -> Result<Box<RawValue>> {
    let data = match serde_json::from_str::<String>(data.get()) {
        Ok(text) => RawValue::from_string(text).map_err(|_| no_record())?,
        Err(_) => data,
    };
    if data.get().starts_with('{') { Ok(data) } else { Err(no_record()) }
}

fn no_record() -> Error {
    Error::invalid("model_json_data is a record, or a list of records")
}

fn not_json(error: &serde_json::Error) -> Error {
    Error::invalid(format!("model_json_data is not JSON: {error}"))
}
