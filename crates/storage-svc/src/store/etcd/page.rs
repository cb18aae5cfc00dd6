//! Pages of the state at an old revision.

use etcd_client::{GetOptions, KeyValue};

use super::{Entry, Etcd, Parts, StoreError, at, end_of, entry, text};
use crate::store::snapshot::PAGE;

/// What all keys begin with.
const ALL: &str = "/commissaire/";

/// Keys without values that are read at a time.
const KEYS: usize = 10_000;

impl Etcd {
    /// The entries after a key at a revision.
    pub(in crate::store) async fn page_at(
        &self,
        after: &str,
        revision: i64,
    ) -> Result<Vec<Entry>, StoreError> {
        let page = self.range_at(after, PAGE, at(Some(revision))).await?;
        Ok(page.into_iter().map(entry).collect())
    }

    /// The keys after a key at a revision.
    pub(in crate::store) async fn keys_at(
        &self,
        after: &str,
        revision: i64,
    ) -> Result<Vec<String>, StoreError> {
        let page = self.range_at(after, KEYS, at(Some(revision)).with_keys_only()).await?;
        Ok(page.into_iter().map(|found| text(found.into_key_value().0)).collect())
    }

    async fn range_at(
        &self,
        after: &str,
        size: usize,
        options: GetOptions,
    ) -> Result<Vec<KeyValue>, StoreError> {
        let from = if after.is_empty() { ALL.to_owned() } else { format!("{after}\0") };
        let mut parts = Parts::of(size);
        loop {
            let limit = i64::try_from(parts.size).unwrap_or(i64::MAX);
            let options = options.clone().with_range(end_of(ALL)).with_limit(limit);
            match self.client.get(from.as_bytes(), options).await {
                Ok(mut answer) => return Ok(answer.take_kvs()),
                // A later attempt would not find it either.
                Err(etcd_access::Error::Refused(cause)) if cause.is_compacted() => {
                    return Err(StoreError::Compacted(cause));
                }
                Err(error) => parts = parts.after(error)?,
            }
        }
    }
}
