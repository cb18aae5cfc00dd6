//! Whether services of the distributed form run: nothing locks their stores.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use model::{Lease, Model as _};
use storage_svc::Handlers;

/// Longer than the pause between two renewals of a lease, which watchers always hold.
const OBSERVED: Duration = Duration::from_secs(8);

/// Refuses while a lease in etcd is renewed.
///
/// # Errors
/// When one is, or etcd does not answer.
pub(super) async fn refuse(handlers: &Handlers) -> anyhow::Result<()> {
    for (handler, _, _) in handlers.in_etcd() {
        let index = (0..handlers.count()).find(|index| handlers.name(*index) == handler.name);
        let store = handlers.store(index.unwrap_or_default());
        let read = async || -> anyhow::Result<BTreeMap<String, u64>> {
            let entries = store.list(Lease::PREFIX).await.context("cannot read the leases")?;
            Ok(entries.iter().map(|entry| (entry.key.clone(), entry.revision)).collect())
        };
        let before = read().await?;
        if before.is_empty() {
            continue;
        }
        eprintln!("looking for running services for {} s", OBSERVED.as_secs());
        tokio::time::sleep(OBSERVED).await;
        if read().await? != before {
            bail!(
                "services of this installation are running: a lease was renewed. Stop all of them on all machines first \
                 (systemctl stop 'commissaire-*'); nothing was written"
            );
        }
    }
    Ok(())
}
