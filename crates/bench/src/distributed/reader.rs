//! Bare reads of etcd.

use anyhow::{Context as _, ensure};
use etcd_client::{Client, GetOptions, KeyValue, KvClient};
use model::{Host, Model as _};

use super::ground::{Ground, HOSTS, address};

/// The largest answer that is read.
const MESSAGE_LIMIT: usize = 16 << 20;

/// See the module.
pub struct Reader(KvClient);

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    /// Connects.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub async fn connect(ground: &Ground) -> anyhow::Result<Self> {
        let client = Client::connect([ground.etcd.endpoints()], None).await;
        let client = client.context("cannot connect to etcd")?;
        Ok(Self(client.kv_client().max_decoding_message_size(MESSAGE_LIMIT)))
    }

    /// One host.
    ///
    /// # Errors
    /// When etcd does not answer, or does not have it.
    pub async fn host(&mut self, number: u32) -> anyhow::Result<()> {
        let found = self.0.get(Host::key(&address(number)), None).await.context("no answer")?;
        ensure!(found.kvs().len() == 1, "there is no such host");
        Ok(())
    }

    /// So many hosts, in the order of their keys: one range.
    ///
    /// # Errors
    /// As [`Self::host`].
    pub async fn hosts(&mut self, count: u32) -> anyhow::Result<Vec<KeyValue>> {
        let options = GetOptions::new().with_prefix();
        let options = if count < HOSTS { options.with_limit(i64::from(count)) } else { options };
        let found = self.0.get(Host::PREFIX, Some(options)).await.context("no answer")?.take_kvs();
        ensure!(u32::try_from(found.len()) == Ok(count), "there are {} hosts", found.len());
        Ok(found)
    }
}
