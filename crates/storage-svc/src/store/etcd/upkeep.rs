//! What the upkeep of etcd needs: its revisions, whose keys it holds, compaction.

use etcd_access::{Cause, Error, MemberStatus};
use etcd_client::{GetOptions, TxnOp, TxnOpResponse};

use super::{Etcd, StoreError, end_of, moment, reads};

/// What all of our keys begin with.
const OURS: &str = "/commissaire/";

/// The revision that this service has last compacted to: so that each replica tells its own compactions from those
/// of others.
pub(crate) const COMPACTED: &str = "/commissaire/compacted";

impl Etcd {
    /// The revision now.
    pub(crate) async fn revision(&self) -> Result<i64, StoreError> {
        let keys = GetOptions::new().with_keys_only();
        let answer = self.client.get(COMPACTED.as_bytes(), keys).await.map_err(failed)?;
        Ok(moment(answer.header()).revision)
    }

    /// The first revision that can still be read, between these two: `from` if nothing was compacted since.
    pub(crate) async fn first_readable(&self, from: i64, to: i64) -> Result<i64, StoreError> {
        if self.is_readable(from).await? {
            return Ok(from);
        }
        let (mut compacted, mut readable) = (from, to);
        while readable - compacted > 1 {
            let middle = compacted + (readable - compacted) / 2;
            if self.is_readable(middle).await? {
                readable = middle;
            } else {
                compacted = middle;
            }
        }
        Ok(readable)
    }

    async fn is_readable(&self, revision: i64) -> Result<bool, StoreError> {
        let options = GetOptions::new().with_keys_only().with_revision(revision);
        match self.client.get(COMPACTED.as_bytes(), options).await {
            Ok(_) => Ok(true),
            Err(Error::Refused(cause)) if cause.is_compacted() => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// Whether there are keys that are not ours.
    pub(crate) async fn holds_foreign_keys(&self) -> Result<bool, StoreError> {
        let count = |from: &[u8], end: Vec<u8>| {
            TxnOp::get(from, Some(GetOptions::new().with_range(end).with_count_only()))
        };
        let counts = [count(&[0], end_of("")), count(OURS.as_bytes(), end_of(OURS))];
        let answer = self.client.read(&reads(counts.into_iter())).await.map_err(failed)?;
        let counts: Vec<_> = answer
            .op_responses()
            .into_iter()
            .map(|answer| match answer {
                TxnOpResponse::Get(count) => count.count(),
                _ => 0,
            })
            .collect();
        match counts[..] {
            [all, ours] => Ok(all > ours),
            _ => Err(StoreError::Answer),
        }
    }

    /// The revision that this service, by any replica, has last compacted to.
    pub(crate) async fn compacted_by_us(&self) -> Result<Option<i64>, StoreError> {
        let entries = self.get(&[COMPACTED.to_owned()]).await?;
        Ok(entries.into_iter().flatten().next().and_then(|entry| entry.value.parse().ok()))
    }

    /// Drops the history before `revision`; noted first, for the other replicas.
    pub(crate) async fn compact(&self, revision: i64) -> Result<(), StoreError> {
        let put = TxnOp::put(COMPACTED, revision.to_string(), None);
        let note = etcd_client::Txn::new().and_then([put]);
        self.client.commit(&note).await.map_err(failed)?;
        self.client.compact(revision).await.map_err(failed)
    }

    /// How full each member that answers is.
    pub(crate) async fn members(&self) -> Vec<MemberStatus> {
        self.each_member().await.into_iter().flatten().collect()
    }

    /// The status of each member, in the order of the configuration.
    pub(crate) async fn each_member(&self) -> Vec<Result<MemberStatus, Cause>> {
        self.client.members().await
    }
}

fn failed(source: Error) -> StoreError {
    StoreError::Etcd { doing: "look after etcd", source }
}
