//! Which alarm concerns a cluster.

use crate::model::{Alarm, Cluster};
use crate::{Result, StorageClient};

/// The alarm that concerns a cluster: its own, its container manager's, or the fleet's.
///
/// # Errors
/// When the storage service does not answer.
pub async fn concerning(storage: &StorageClient, cluster: &str) -> Result<Option<Alarm>> {
    let alarms = storage.list::<Alarm>().await?;
    if alarms.is_empty() {
        return Ok(None);
    }
    let found = storage.find::<Cluster>(cluster).await?;
    let cluster = found.map_or_else(
        || Cluster { name: cluster.to_owned(), ..Cluster::default() },
        |found| found.record,
    );
    let alarms: Vec<_> = alarms.into_iter().map(|alarm| alarm.record).collect();
    Ok(Alarm::concerning(&alarms, &cluster).cloned())
}
