//! Whether services of the distributed form run: nothing locks their stores.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use model::{Lease, Model as _};
use storage_svc::Handlers;

/// Longer than the pause between two renewals of a lease, which watchers always hold.
const OBSERVED: Duration = Duration::from_secs(8);

/// Refuses while a lease is renewed.
///
/// # Errors
/// When one is, or a store does not answer.
pub(super) async fn refuse(handlers: &Handlers) -> anyhow::Result<()> {
    let read = async || -> anyhow::Result<BTreeMap<String, u64>> {
        let mut leases = BTreeMap::new();
        for store in 0..handlers.count() {
            let entries = handlers.store(store).list(Lease::PREFIX).await;
            let entries = entries.context("cannot read the leases")?;
            leases.extend(entries.iter().map(|entry| (entry.key.clone(), entry.revision)));
        }
        Ok(leases)
    };
    let before = read().await?;
    if before.is_empty() {
        return Ok(());
    }
    eprintln!("looking for running services for {} s", OBSERVED.as_secs());
    tokio::time::sleep(OBSERVED).await;
    if read().await? != before {
        bail!(
            "services of this installation are running: a lease was renewed. Stop all of them on all machines first \
             (systemctl stop 'commissaire-*'); nothing was written"
        );
    }
    Ok(())
}
