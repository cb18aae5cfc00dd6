//! Reading all records as they were at one moment.

use std::time::Duration;

use backup::{Header, Record};
use bus::Result;
use bus::topology as keys;
use model::Stamp;
use serde::Deserialize;
use serde_json::json;

use super::{StorageClient, read};

/// Timeout of a part: the beginning counts the records of all stores.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Records of a store.
#[derive(Debug, Deserialize)]
pub struct BackupPage {
    /// The records.
    pub records: Vec<Record>,
    /// Where the next page begins; `None` at the end of the store.
    pub after: Option<String>,
}

impl StorageClient {
    /// Begins a backup of the present state.
    ///
    /// # Errors
    /// When the storage service fails, or may not answer the caller.
    pub async fn begin_backup(&self, taken_at: &Stamp) -> Result<Header> {
        let params = json!({"taken_at": taken_at});
        read(self.with_timeout(TIMEOUT).ask(keys::STORAGE_BEGIN_BACKUP, &params).await?)
    }

    /// Records of a store of the backup with this header, after a key.
    ///
    /// # Errors
    /// When the storage service fails, or does not have the state any more.
    pub async fn read_backup(
        &self,
        header: &Header,
        store: usize,
        after: &str,
    ) -> Result<BackupPage> {
        let revision = header.stores.get(store).map_or(0, |moment| moment.revision);
        let params = json!({"store": store, "revision": revision, "after": after});
        read(self.with_timeout(TIMEOUT).ask(keys::STORAGE_READ_BACKUP, &params).await?)
    }
}
