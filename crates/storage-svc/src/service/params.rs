//! The parameters of the methods.

use serde::Deserialize;
use serde_json::{Map, Value};
use service_core::{Error, Result};

/// The parameters of `save`, `get` and `delete`.
#[derive(Deserialize)]
pub(super) struct Records {
    pub(super) model_type_name: String,
    pub(super) model_json_data: Value,
    #[serde(default)]
    pub(super) revision: Option<u64>,
    #[serde(default)]
    pub(super) revisions: bool,
    #[serde(default)]
    pub(super) missing: Missing,
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
}

/// `model_json_data`: a record or a list of them, each an object or a JSON text. Also says which.
///
/// # Errors
/// When it is neither.
pub(super) fn records(data: Value) -> Result<(Vec<Value>, bool)> {
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

/// A record: an object or a JSON text.
///
/// # Errors
/// When it is neither.
pub(super) fn object(data: Value) -> Result<Value> {
    let wrong = || Error::invalid("model_json_data is a record, or a list of records");
    match data {
        Value::Object(_) => Ok(data),
        Value::String(text) => {
            serde_json::from_str::<Map<_, _>>(&text).map(Value::Object).map_err(|_| wrong())
        }
        _ => Err(wrong()),
    }
}
