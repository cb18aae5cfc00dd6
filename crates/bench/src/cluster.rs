//! A cluster with any number of members.

use bus::Result;
use model::{Address, ClusterHead, ClusterMember, ClusterName, Network};
use storage_client::{StorageClient, Transaction};

/// Members that are written at a time.
const AT_A_TIME: usize = 100;

/// Makes a cluster with these members, whose own records need not be there.
///
/// # Errors
/// When the storage service fails.
pub async fn make(
    storage: &StorageClient,
    name: &str,
    members: &[impl Into<Address> + Clone],
) -> Result<()> {
    let (name, network) = (ClusterName::from(name), Network::DEFAULT.to_owned());
    storage.save(&ClusterHead { name: name.clone(), network, ..ClusterHead::default() }).await?;
    for part in members.chunks(AT_A_TIME) {
        let mut transaction = Transaction::default();
        for address in part {
            let (address, cluster) = (address.clone().into(), name.clone());
            transaction = transaction.create(&ClusterMember { address, cluster })?;
        }
        storage.transact(&transaction).await?;
    }
    Ok(())
}
