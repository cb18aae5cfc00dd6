//! Reading the stores for `commissaire doctor`: nothing is created, converted, marked or compacted.

use std::path::Path;

use bus::{Error, Result};
use etcd_access::{Cause, MemberStatus};
use model::Model;

use crate::config::{Backend, Handler};
use crate::format;
use crate::handlers::{self, Handlers, OpenError};
use crate::keyring::{self, UnlockError};
use crate::kinds::Kind;
use crate::quota::DEFAULT_QUOTA;
use crate::secrets::{KeyError, OpenError as SealError, Sealer};
use crate::store::Store;

/// The open stores of an installation.
#[derive(Debug)]
pub struct Inspection {
    handlers: Handlers,
}

/// What a check of the sealing key has found.
#[derive(Debug, Default)]
pub struct Sealed {
    /// The sealed records that it opens, without the mark.
    pub opened: usize,
    /// Whether a store has the mark, by which a storage service recognizes its key.
    pub is_marked: bool,
    /// The keys of records that it does not open, and why.
    pub damaged: Vec<(String, SealError)>,
}

/// A member of etcd.
#[derive(Debug)]
pub struct Member {
    /// Its client URL, without a user and a password.
    pub endpoint: String,
    /// How full it is, and its alarms; or why it does not answer.
    pub status: std::result::Result<MemberStatus, Cause>,
    /// The quota of its database, in bytes: as it says, as it is configured, or etcd's default.
    pub quota: u64,
}

impl Inspection {
    /// Opens the stores of the configured handlers.
    ///
    /// # Errors
    /// When a database file is missing, damaged or of a newer version, or the options of etcd are invalid.
    pub async fn open(handlers: Vec<Handler>) -> std::result::Result<Self, OpenError> {
        let open = async |backend: &Backend| match backend {
            Backend::Sqlite(options) => Store::sqlite_read_only(&options.path),
            other => handlers::open(other).await,
        };
        Ok(Self { handlers: Handlers::open_by(handlers, open).await? })
    }

    /// The format of the records, and whether a restore is not complete. The format is `None` in a store without that
    /// record: an empty one, or one with records of format 1.
    ///
    /// # Errors
    /// When the store does not answer, or the record is damaged.
    pub async fn format(&self) -> Result<(Option<u32>, bool)> {
        format::found(&self.handlers).await
    }

    /// A record that is not sealed, by its identifier.
    ///
    /// # Errors
    /// When the store does not answer, or the record is damaged.
    pub async fn find<M: Model>(&self, id: &str) -> Result<Option<M>> {
        let entries = self.handlers.get(Kind::named(M::TYPE)?, vec![M::key(id)]).await?;
        let entry = entries.into_iter().flatten().next();
        let parse = |text: &str| serde_json::from_str(text);
        entry.map(|entry| parse(&entry.value).map_err(|e| damaged(&entry.key, e))).transpose()
    }

    /// The records of a type that is not sealed; damaged ones are left out.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn list<M: Model>(&self) -> Result<Vec<M>> {
        let entries = self.handlers.list(Kind::named(M::TYPE)?).await?;
        Ok(entries.iter().filter_map(|entry| serde_json::from_str(&entry.value).ok()).collect())
    }

    /// Reads the key file and opens every sealed record with it. `None` where there is neither a key file nor anything
    /// sealed: the first start makes the file.
    ///
    /// # Errors
    /// When a store does not answer, or the key file is missing, cannot be used, or holds another key.
    pub async fn check_key(&self, file: &Path) -> std::result::Result<Option<Sealed>, UnlockError> {
        let mut entries = Vec::new();
        for (store, _) in self.handlers.secret() {
            let held = keyring::sealed(&self.handlers, store).await;
            entries.extend(held.map_err(|source| UnlockError::Store { store, source })?);
        }
        if entries.is_empty() && !file.exists() {
            return Ok(None);
        }
        let sealer = Sealer::open(file, true).map_err(UnlockError::Key)?;
        let mut found = Sealed::default();
        for entry in entries {
            if let Some(key_id) = sealer.foreign_key(&entry.value) {
                let (path, record) = (file.to_owned(), entry.key);
                return Err(UnlockError::Key(KeyError::Foreign { path, record, key_id }));
            }
            match sealer.open_sealed(&entry.key, &entry.value) {
                Ok(_) if entry.key == keyring::MARK => found.is_marked = true,
                Ok(_) => found.opened += 1,
                Err(why) => found.damaged.push((entry.key, why)),
            }
        }
        Ok(Some(found))
    }

    /// The members of each etcd that holds records.
    pub async fn members(&self) -> Vec<Member> {
        let mut members = Vec::new();
        for (_, options, etcd) in self.handlers.in_etcd() {
            let asked = etcd.each_member().await;
            for (endpoint, status) in options.shown().split(',').zip(asked) {
                let said = status.as_ref().ok().and_then(|status| status.quota);
                let quota = said.or(options.quota_backend_bytes).unwrap_or(DEFAULT_QUOTA);
                members.push(Member { endpoint: endpoint.to_owned(), status, quota });
            }
        }
        members
    }
}

fn damaged(key: &str, source: serde_json::Error) -> Error {
    Error::internal(format!("the record {key} in the store is damaged")).with_source(source)
}

#[cfg(test)]
mod tests {
    use model::ServerKeys;

    use super::*;
    use crate::keyring::unlock;
    use crate::store::{Commit, Memory};

    const SECRET: &str = "/commissaire/secrets/hosts/10.0.0.1";

    async fn put(memory: &Memory, key: &str, value: &str) {
        let puts = vec![(key.to_owned(), value.to_owned())];
        let commit = Commit { puts, ..Commit::default() };
        Store::Memory(memory.clone()).commit(commit).await.unwrap();
    }

    #[tokio::test]
    async fn key_is_compared_with_what_is_sealed_and_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let memory = Memory::default();
        let handlers = vec![Handler::memory(memory.clone())];
        let inspection = Inspection::open(handlers.clone()).await.unwrap();
        assert!(inspection.check_key(&path("a.key")).await.unwrap().is_none());
        assert_eq!(inspection.format().await.unwrap(), (None, false));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(Store::Memory(memory.clone()).list("/").await.unwrap().len(), 0);

        let sealer = unlock(&Handlers::open(handlers).await.unwrap(), &path("a.key")).await;
        let sealer = sealer.unwrap();
        put(&memory, SECRET, &sealer.seal(SECRET, "{}").unwrap()).await;
        let found = inspection.check_key(&path("a.key")).await.unwrap().unwrap();
        assert!(found.is_marked && found.opened == 1 && found.damaged.is_empty(), "{found:?}");

        let lost = inspection.check_key(&path("b.key")).await.unwrap_err();
        assert!(matches!(lost, UnlockError::Key(KeyError::Lost { .. })), "{lost:?}");
        Sealer::open(&path("b.key"), false).unwrap();
        let foreign = inspection.check_key(&path("b.key")).await.unwrap_err();
        assert!(matches!(foreign, UnlockError::Key(KeyError::Foreign { .. })), "{foreign:?}");

        put(&memory, SECRET, &sealer.seal("/moved", "{}").unwrap()).await;
        let found = inspection.check_key(&path("a.key")).await.unwrap().unwrap();
        assert!(found.damaged[0].0 == SECRET && found.opened == 0, "{found:?}");
    }

    #[tokio::test]
    async fn records_and_their_format_are_read() {
        let memory = Memory::default();
        let inspection = Inspection::open(vec![Handler::memory(memory.clone())]).await.unwrap();
        put(&memory, "/commissaire/format", r#"{"records": 7}"#).await;
        assert_eq!(inspection.format().await.unwrap(), (Some(7), false));
        let half = r#"{"records": 2, "restoring": {"backup": "1a"}}"#;
        put(&memory, "/commissaire/format", half).await;
        assert_eq!(inspection.format().await.unwrap(), (Some(2), true));
        assert!(inspection.find::<ServerKeys>(ServerKeys::ALL).await.unwrap().is_none());
        put(&memory, "/commissaire/server_keys/all", r#"{"name": "all"}"#).await;
        assert!(inspection.find::<ServerKeys>(ServerKeys::ALL).await.unwrap().is_some());
        put(&memory, "/commissaire/server_keys/all", "{").await;
        let error = inspection.find::<ServerKeys>(ServerKeys::ALL).await.unwrap_err();
        assert!(error.to_string().contains("is damaged"), "{error}");
        assert!(inspection.list::<ServerKeys>().await.unwrap().is_empty());
    }
}
