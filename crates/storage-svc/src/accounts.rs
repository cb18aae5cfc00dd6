//! What the accounts of the message broker may do with which records.

use std::collections::BTreeMap;

use bus::{Error, Result};
use serde::{Deserialize, Deserializer, de};

use crate::kinds::Kind;

/// Stands for all record types, secret ones included.
const ALL: &str = "*";

/// The rights of each account; an account that is not in it has none.
#[derive(Debug, Clone, Deserialize)]
pub struct Accounts(BTreeMap<String, Rights>);

/// The record types that an account may do something with.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rights {
    #[serde(deserialize_with = "types")]
    read: Vec<String>,
    #[serde(deserialize_with = "types")]
    write: Vec<String>,
    #[serde(deserialize_with = "types")]
    delete: Vec<String>,
}

/// What a request does with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// Reads it, or checks its revision.
    Read,
    /// Saves it.
    Write,
    /// Deletes it, and what belongs to it.
    Delete,
}

/// The sender of a request, and what it may do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Permit<'a> {
    /// `None` where everybody may do everything.
    accounts: Option<&'a Accounts>,
    account: Option<&'a str>,
}

impl<'a> Permit<'a> {
    /// The permit of a sender. Fails for one that is not known.
    pub(crate) fn new(accounts: Option<&'a Accounts>, account: Option<&'a str>) -> Result<Self> {
        if let Some(Accounts(known)) = accounts
            && !account.is_some_and(|account| known.contains_key(account))
        {
            return Err(Error::denied(format!(
                "{} was refused, nothing was read or changed: it is not in `accounts` of the storage service",
                shown(account)
            )));
        }
        Ok(Self { accounts, account })
    }

    /// Checks that the sender may do that with records of all types.
    pub(crate) fn check_all(self, right: Right) -> Result<()> {
        Kind::all().try_for_each(|kind| self.check(right, kind))
    }

    /// Checks that the sender may do that with records of that type.
    pub(crate) fn check(self, right: Right, kind: &Kind) -> Result<()> {
        let Some(Accounts(accounts)) = self.accounts else { return Ok(()) };
        let rights = self.account.and_then(|account| accounts.get(account));
        let (name, types) = match right {
            Right::Read => ("read", rights.map(|rights| &rights.read)),
            Right::Write => ("write", rights.map(|rights| &rights.write)),
            Right::Delete => ("delete", rights.map(|rights| &rights.delete)),
        };
        let is_listed = |listed: &String| listed == ALL || listed == kind.part_of;
        if types.is_some_and(|types| types.iter().any(is_listed)) {
            return Ok(());
        }
        Err(Error::denied(format!(
            "{} may not {name} {}, nothing was read or changed: `accounts` of the storage service does not list that \
             type for it",
            shown(self.account),
            kind.part_of
        )))
    }
}

fn shown(account: Option<&str>) -> String {
    match account {
        Some(account) => format!("the account {account:?}"),
        None => "a sender without an account (`user-id`)".to_owned(),
    }
}

/// Names of record types, or `*`.
fn types<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let types = Vec::<String>::deserialize(deserializer)?;
    match types.iter().find(|name| *name != ALL && Kind::named(name).is_err()) {
        Some(unknown) => Err(de::Error::custom(format!(
            "`accounts` has the record type {unknown:?}, which does not exist; \"*\" stands for all"
        ))),
        None => Ok(types),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn accounts(table: Value) -> Result<Accounts, String> {
        serde_json::from_value(table).map_err(|e| e.to_string())
    }

    fn kind(name: &str) -> &'static Kind {
        Kind::named(name).unwrap()
    }

    #[test]
    fn account_has_the_rights_of_its_row_and_no_other() {
        let table =
            json!({"http": {"read": ["*"], "write": ["Host"]}, "watcher": {"read": ["Host"]}});
        let table = accounts(table).unwrap();
        let may = |account: &str, right, name| {
            Permit::new(Some(&table), Some(account)).unwrap().check(right, kind(name)).is_ok()
        };
        assert!(may("http", Right::Read, "HostCreds") && may("http", Right::Write, "Host"));
        let clusters = accounts(json!({"http": {"write": ["Cluster"]}})).unwrap();
        let permit = Permit::new(Some(&clusters), Some("http")).unwrap();
        for part in ["Cluster", "ClusterHead", "ClusterMember"] {
            permit.check(Right::Write, kind(part)).unwrap();
        }
        assert!(!may("http", Right::Write, "HostCreds") && !may("http", Right::Delete, "Host"));
        assert!(may("watcher", Right::Read, "Host") && !may("watcher", Right::Read, "HostCreds"));
        let permit = Permit::new(Some(&table), Some("watcher")).unwrap();
        let error = permit.check(Right::Write, kind("HostCreds")).unwrap_err();
        assert_eq!(error.kind(), bus::Kind::Denied);
        let message = error.to_string();
        assert!(
            message.starts_with("the account \"watcher\" may not write HostCreds"),
            "{message}"
        );
    }

    #[test]
    fn unknown_sender_has_no_rights_and_without_a_table_everybody_has_all() {
        let table = accounts(json!({"http": {"read": ["*"]}})).unwrap();
        for stranger in [Some("guest"), None] {
            let error = Permit::new(Some(&table), stranger).unwrap_err();
            assert!(error.to_string().contains("is not in `accounts`"), "{error}");
            let permit = Permit::new(None, stranger).unwrap();
            permit.check(Right::Delete, kind("HostCreds")).unwrap();
        }
    }

    #[test]
    fn what_does_not_exist_is_an_error_of_the_configuration() {
        for (table, says) in [
            (json!({"http": {"read": ["Hots"]}}), "\"Hots\", which does not exist"),
            (json!({"http": {"reads": ["Host"]}}), "unknown field `reads`"),
            (json!({"http": {"write": "Host"}}), "invalid type"),
            (json!(["http"]), "invalid type"),
        ] {
            let error = accounts(table).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
