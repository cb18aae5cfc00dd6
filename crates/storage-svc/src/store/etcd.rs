//! The store of the distributed form: etcd, whose keys and values `etcdctl` can read and repair.
//!
//! A key's revision is etcd's `mod_revision`. One commit is one transaction, one read of a key one
//! range; what does not fit into one answer is read in parts at one revision.

mod commit;
mod page;
mod remembered;
mod upkeep;

use std::sync::Arc;

use etcd_access::{Cause, Client, Error, Options};
use etcd_client::{GetOptions, KeyValue, ResponseHeader, Txn, TxnOp, TxnOpResponse};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use self::remembered::{List, Moment, Remembered};
pub(crate) use self::upkeep::COMPACTED;
use super::{Commit, CommitError, Committed, Entry, StoreError};

/// Entries that a list asks for at a time: hosts take a few hundred bytes each. etcd counts all that is left
/// of the range for every part, so that small parts of a long list cost more than they save.
const PAGE: usize = 4000;

/// Keys that are read at a time: etcd takes no more operations in a transaction (`--max-txn-ops`).
const KEYS: usize = 128;

/// Many keys are read as a range that has up to so many times as many.
const SPARSE: usize = 2;

/// Parts of a read of many keys that are under way at a time, once the first has told the moment.
const AT_A_TIME: usize = 4;

/// What is asked for at a time shrinks by this factor when it is more than one answer may hold.
const SHRINK: usize = 8;

/// How often a read begins anew because etcd has dropped the old revision that it was reading.
const COMPACTIONS: usize = 3;

/// See the module.
#[derive(Debug, Clone)]
pub struct Etcd {
    client: Client,
    remembered: Arc<Remembered>,
}

impl Etcd {
    pub(super) async fn new(options: &Options) -> Result<Self, StoreError> {
        let client = Client::new(options).await;
        let client = client.map_err(|source| StoreError::Etcd { doing: "use etcd", source })?;
        Ok(Self { client, remembered: Arc::default() })
    }

    /// Why the last request to a member failed, if it did.
    pub(crate) fn last_failure(&self) -> Option<Cause> {
        self.client.last_failure()
    }

    pub(super) async fn get(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, StoreError> {
        if let [key] = keys {
            let found = self.client.get(key.as_bytes(), GetOptions::new()).await;
            let found = found.map_err(reading)?.take_kvs().into_iter().map(entry).next();
            return Ok(vec![found]);
        }
        let mut parts = Parts::of(KEYS);
        if keys.len() > KEYS {
            match self.get_neighbours(keys).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(error) => parts = parts.after(error)?,
            }
        }
        loop {
            match self.get_in_parts(keys, parts.size).await {
                Ok(found) => return Ok(found),
                Err(error) => parts = parts.after(error)?,
            }
        }
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Arc<Vec<Entry>>, StoreError> {
        let list = match self.remembered.get(prefix) {
            Some(known) => self.list_changes(prefix, known).await?,
            None => None,
        };
        let list = match list {
            Some(list) => list,
            None => self.list_anew(prefix).await?,
        };
        self.remembered.keep(prefix, &list);
        Ok(list.entries)
    }

    pub(super) async fn commit(&self, commit: &Commit) -> Result<Committed, CommitError> {
        let plan = commit::Plan::of(commit);
        let answer = self.client.commit(&plan.transaction()).await;
        let answer = answer.map_err(|source| CommitError::Store(plan.failure(source)))?;
        plan.result(&answer)
    }

    /// Many keys are often neighbours: then one range is several times cheaper for etcd than as many
    /// single keys. `None` where too much lies between them.
    async fn get_neighbours(&self, keys: &[String]) -> Result<Option<Vec<Option<Entry>>>, Error> {
        let (Some(first), Some(last)) = (keys.iter().min(), keys.iter().max()) else {
            return Ok(None);
        };
        let limit = i64::try_from(keys.len() * SPARSE).unwrap_or(i64::MAX);
        let range = GetOptions::new().with_range(format!("{last}\0")).with_limit(limit);
        let mut answer = self.client.get(first.as_bytes(), range).await?;
        if answer.more() {
            return Ok(None);
        }
        // Sorted by key, as etcd answers.
        let entries: Vec<_> = answer.take_kvs().into_iter().map(entry).collect();
        let of = |key: &String| entries.binary_search_by(|entry| entry.key.cmp(key)).ok();
        Ok(Some(keys.iter().map(|key| of(key).map(|index| entries[index].clone())).collect()))
    }

    async fn get_in_parts(
        &self,
        keys: &[String],
        part: usize,
    ) -> Result<Vec<Option<Entry>>, Error> {
        let (first, rest) = keys.split_at(part.min(keys.len()));
        let (mut found, moment) = self.get_part(first, None).await?;
        let rest: Vec<_> = rest.chunks(part).map(|keys| self.get_part(keys, moment)).collect();
        let mut rest = stream::iter(rest).buffered(AT_A_TIME);
        while let Some((part, _)) = rest.try_next().await? {
            found.extend(part);
        }
        Ok(found)
    }

    /// What some keys had at a moment, or have now; then also what moment that is.
    async fn get_part(
        &self,
        keys: &[String],
        moment: Option<i64>,
    ) -> Result<(Vec<Option<Entry>>, Option<i64>), Error> {
        let get = |key: &String| TxnOp::get(key.as_bytes(), Some(at(moment)));
        let answer = self.client.read(&reads(keys.iter().map(get))).await?;
        let moment = answer.header().map(ResponseHeader::revision);
        let found = answer.op_responses().into_iter().map(|answer| match answer {
            TxnOpResponse::Get(mut answer) => answer.take_kvs().into_iter().map(entry).next(),
            _ => None,
        });
        Ok((found.collect(), moment))
    }

    async fn list_anew(&self, prefix: &str) -> Result<List, StoreError> {
        let mut parts = Parts::of(PAGE);
        loop {
            match self.list_in_parts(prefix, parts.size).await {
                Ok(list) => return Ok(list),
                Err(error) => parts = parts.after(error)?,
            }
        }
    }

    async fn list_in_parts(&self, prefix: &str, part: usize) -> Result<List, Error> {
        let limit = i64::try_from(part).unwrap_or(i64::MAX);
        let range = |moment| at(moment).with_range(end_of(prefix)).with_limit(limit);
        let mut answer = self.client.get(prefix.as_bytes(), range(None)).await?;
        let moment = moment(answer.header());
        let mut entries = Vec::new();
        loop {
            let found = answer.take_kvs();
            let next = found.last().filter(|_| answer.more());
            let next = next.map(|last| [last.key(), &[0]].concat());
            entries.extend(found.into_iter().map(entry));
            let Some(next) = next else { return Ok(List::new(entries, moment)) };
            answer = self.client.get(&next, range(Some(moment.revision))).await?;
        }
    }

    /// A list by what has changed in it. `None` where that cannot be told, or is too much for one answer.
    async fn list_changes(&self, prefix: &str, known: List) -> Result<Option<List>, StoreError> {
        let range = GetOptions::new().with_range(end_of(prefix));
        let newer = range.with_min_mod_revision(known.moment.revision + 1);
        let mut answer = match self.client.get(prefix.as_bytes(), newer).await {
            Ok(answer) => answer,
            Err(Error::Refused(cause)) if cause.is_answer_too_large() => return Ok(None),
            Err(error) => {
                // It may be another etcd when it is back.
                self.remembered.forget(prefix);
                return Err(reading(error));
            }
        };
        let count = usize::try_from(answer.count()).unwrap_or(0);
        let changed = answer.take_kvs().into_iter().map(entry).collect();
        Ok(known.updated(moment(answer.header()), changed, count))
    }
}

/// How a read of one moment is divided.
struct Parts {
    /// Keys or entries at a time.
    size: usize,
    compactions: usize,
}

impl Parts {
    fn of(size: usize) -> Self {
        Self { size, compactions: 0 }
    }

    /// How to begin anew after this error, if that can help: with smaller parts where they were too
    /// large, the same where it took so long that the moment is gone.
    fn after(self, error: Error) -> Result<Self, StoreError> {
        let Self { size, compactions } = self;
        match error {
            Error::Refused(cause) if cause.is_answer_too_large() && size > 1 => {
                Ok(Self { size: (size / SHRINK).max(1), compactions })
            }
            Error::Refused(cause) if cause.is_compacted() && compactions < COMPACTIONS => {
                Ok(Self { size, compactions: compactions + 1 })
            }
            error => Err(reading(error)),
        }
    }
}

fn reading(source: Error) -> StoreError {
    StoreError::Etcd { doing: "read records", source }
}

fn reads(operations: impl Iterator<Item = TxnOp>) -> Txn {
    Txn::new().and_then(operations.collect::<Vec<_>>())
}

/// etcd puts a header on every answer.
fn moment(header: Option<&ResponseHeader>) -> Moment {
    Moment {
        cluster: header.map_or(0, ResponseHeader::cluster_id),
        revision: header.map_or(0, ResponseHeader::revision),
    }
}

fn at(revision: Option<i64>) -> GetOptions {
    match revision {
        Some(revision) => GetOptions::new().with_revision(revision),
        None => GetOptions::new(),
    }
}

/// The first key after all that begin with `prefix`. No byte of UTF-8 is 0xFF, so there is a next one.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    match end.last_mut() {
        Some(last) => *last += 1,
        None => end.push(0), // etcd's way to say "to the very end"
    }
    end
}

fn entry(found: KeyValue) -> Entry {
    let revision = revision(found.mod_revision());
    let (key, value) = found.into_key_value();
    Entry { key: text(key), value: text(value), revision }
}

/// What somebody else wrote may be no text. Then it becomes one that is no JSON, whatever the rest of it
/// looks like, so that it is the damaged record that it is.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        format!("{}{}", char::REPLACEMENT_CHARACTER, String::from_utf8_lossy(error.as_bytes()))
    })
}

/// etcd's revisions begin with 1.
fn revision(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_key() {
        assert_eq!(end_of("/h/"), b"/h0");
        assert_eq!(end_of("/\u{10FFFF}"), [b'/', 0xF4, 0x8F, 0xBF, 0xC0]);
        assert_eq!(end_of(""), [0]);
    }

    #[test]
    fn what_is_no_text_is_no_json_either() {
        assert_eq!(text(b"{}".to_vec()), "{}");
        let damaged = text(b"{\"address\": \"\xFF\"}".to_vec());
        serde_json::from_str::<serde_json::Value>(&damaged).unwrap_err();
        assert!(damaged.contains("address"));
    }
}
