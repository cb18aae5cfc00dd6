//! What is secret in a record that is not secret as a whole: sealed under a key of its own, in the same
//! commit. Whoever saves a container manager with its token in the options has that sealed, never kept
//! or announced in the clear.

use serde_json::Value;
use service_core::model::{
    ContainerManagerConfig, ContainerManagerNodes, ContainerManagerSecret, Model as _, Secrets,
};
use service_core::{Error, Result};

use crate::kinds::Kind;

const SECRET: &Kind = &Kind::of::<ContainerManagerSecret>();
const NODES: &Kind = &Kind::of::<ContainerManagerNodes>();

/// What happens beside saving a record, in the same commit.
#[derive(Debug)]
pub(crate) enum Beside {
    /// Nothing.
    Nothing,
    /// This record of a secret kind is put under this key.
    Put(&'static Kind, String, Value),
    /// The record of this kind under this key is removed.
    Delete(&'static Kind, String),
}

/// Takes out of a record what is sealed apart.
pub(crate) fn split(kind: &Kind, record: Value) -> Result<(Value, Beside)> {
    if kind.type_name != ContainerManagerConfig::TYPE {
        return Ok((record, Beside::Nothing));
    }
    let invalid = |why| Error::invalid(format!("not a valid {}: {why}", kind.type_name));
    let config: ContainerManagerConfig =
        serde_json::from_value(record).map_err(|e| invalid(e.to_string()))?;
    let key = ContainerManagerSecret::key(&config.name);
    let (plain, secrets) = config.split().map_err(invalid)?;
    let beside = match secrets {
        Secrets::None => Beside::Delete(SECRET, key),
        Secrets::Unchanged => Beside::Nothing,
        Secrets::Given(given) => Beside::Put(SECRET, key, json_of(&given)?),
    };
    Ok((json_of(&plain)?, beside))
}

fn json_of(record: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(record)
        .map_err(|e| Error::internal("cannot write the record as JSON").with_source(e))
}

/// What goes when a record is deleted.
pub(crate) fn belongings(kind: &Kind, id: &str) -> Vec<(&'static Kind, String)> {
    if kind.type_name != ContainerManagerConfig::TYPE {
        return Vec::new();
    }
    vec![(SECRET, ContainerManagerSecret::key(id)), (NODES, ContainerManagerNodes::key(id))]
}
