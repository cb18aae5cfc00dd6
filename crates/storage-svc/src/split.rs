//! Records that are kept in parts: what is secret in an otherwise plain one goes into a record of its own, sealed, and so
//! do the members of a cluster. The parts are written in the same commit. A container manager that is saved with its
//! token in the options has that token sealed, never kept or announced in plaintext.

use model::{
    Address, Cluster, ClusterName, ContainerManagerConfig, ContainerManagerNodes,
    ContainerManagerSecret, Model as _, Secrets, json,
};
use serde_json::value::RawValue;

use crate::kinds::{Kind, parse, written};

const SECRET: &Kind = &Kind::of::<ContainerManagerSecret>();
const NODES: &Kind = &Kind::of::<ContainerManagerNodes>();

/// What happens beside saving a record, in the same commit.
#[derive(Debug)]
pub(crate) enum Beside {
    /// Nothing.
    Nothing,
    /// This record of a secret kind is put under this key.
    Put(&'static Kind, String, Box<RawValue>),
    /// The record of this kind under this key is removed.
    Delete(&'static Kind, String),
    /// These become the members of the cluster with this name.
    Members(ClusterName, Vec<Address>),
}

/// A record in the parts that are kept.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Its key.
    pub(crate) key: String,
    /// Its own text, with defaults filled in.
    pub(crate) record: Box<RawValue>,
    /// The rest.
    pub(crate) beside: Beside,
}

/// Checks the text of a record, and takes out of it what is kept apart.
///
/// # Errors
/// A sentence that names the member and what is wrong with it.
pub(crate) fn split(kind: &Kind, text: &str) -> Result<Parts, String> {
    match kind.type_name {
        ContainerManagerConfig::TYPE => without_secrets(kind, text),
        Cluster::TYPE => without_members(text),
        _ => kind.check(text).map(|(key, record)| Parts { key, record, beside: Beside::Nothing }),
    }
}

fn without_secrets(kind: &Kind, text: &str) -> Result<Parts, String> {
    let config: ContainerManagerConfig =
        serde_json::from_str(text).map_err(|e| json::without_place(&e))?;
    let secret = ContainerManagerSecret::key(&config.name);
    let (plain, secrets) = config.split()?;
    let beside = match secrets {
        Secrets::None => Beside::Delete(SECRET, secret),
        Secrets::Unchanged => Beside::Nothing,
        Secrets::Given(given) => Beside::Put(SECRET, secret, written(&given)?),
    };
    let (key, record) = kind.check(written(&plain)?.get())?;
    Ok(Parts { key, record, beside })
}

fn without_members(text: &str) -> Result<Parts, String> {
    let (head, members) = parse::<Cluster>(text)?.into_parts();
    let (key, record) = (Cluster::key(&head.name), written(&head)?);
    Ok(Parts { key, record, beside: Beside::Members(head.name, members) })
}

/// What goes when a record is deleted. The members of a cluster are found by the caller that deletes it.
pub(crate) fn belongings(kind: &Kind, id: &str) -> Vec<(&'static Kind, String)> {
    if kind.type_name != ContainerManagerConfig::TYPE {
        return Vec::new();
    }
    vec![(SECRET, ContainerManagerSecret::key(id)), (NODES, ContainerManagerNodes::key(id))]
}
