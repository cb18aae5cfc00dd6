//! Hosts whose turn in an operation has come and is not over: only these are not watched. All others of the
//! cluster are, however long the operation takes.

use std::collections::{HashMap, HashSet};

use bus::Result;
use model::{Address, Lease, LeasePurpose, Operation, OperationHost, Step, ident};
use serde::Deserialize;
use storage_client::{StorageClient, Transaction, queries};

/// Hosts whose parts are read at a time.
const AT_A_TIME: usize = 1000;

/// The parts in running operations whose turn is not known to be over: it comes only once, so the others need not be
/// read again.
#[derive(Debug, Default)]
pub(crate) struct Turns(HashMap<String, Vec<String>>);

/// Where a part is.
#[derive(Deserialize)]
struct Turn {
    address: Address,
    step: Step,
}

impl Turns {
    /// The hosts under way in the operations that these leases are for.
    pub(crate) async fn under_way(
        &mut self,
        storage: &StorageClient,
        leases: &[Lease],
    ) -> Result<HashSet<Address>> {
        let running = leases.iter().map(|lease| lease.operation.as_str());
        let running: HashSet<_> = running.filter(|id| ident::name(id).is_ok()).collect();
        self.0.retain(|id, _| running.contains(id.as_str()));
        let mut under_way = HashSet::new();
        for id in running {
            let parts = match self.0.get(id) {
                Some(parts) => parts.clone(),
                None => match storage.find::<Operation>(id).await? {
                    Some(found) => {
                        let hosts = found.record.hosts.iter();
                        hosts.map(|host| OperationHost::id_of(id, host)).collect()
                    }
                    None => continue,
                },
            };
            let mut open = Vec::new();
            for parts in parts.chunks(AT_A_TIME) {
                let found = storage.get_many_as::<OperationHost, Turn>(parts).await?;
                for (part, found) in parts.iter().zip(found) {
                    let turn = found.map(|found| found.record);
                    if turn.as_ref().is_none_or(|turn| !turn.is_over()) {
                        open.push(part.clone());
                    }
                    let turn = turn.filter(|turn| turn.step.is_under_way());
                    under_way.extend(turn.map(|turn| turn.address));
                }
            }
            self.0.insert(id.to_owned(), open);
        }
        Ok(under_way)
    }
}

impl Turn {
    fn is_over(&self) -> bool {
        matches!(self.step, Step::Done | Step::Skipped | Step::Failed)
    }
}

/// The same transaction, if the host is not under way in an operation, and only while that is so; `None`
/// when it is: then its status is the executor's.
pub(crate) async fn unless_under_way(
    storage: &StorageClient,
    address: &str,
    transaction: Transaction,
) -> Result<Option<Transaction>> {
    let Some(cluster) = queries::cluster_of(storage, address).await? else {
        return Ok(Some(transaction));
    };
    let lock = LeasePurpose::Operation(&cluster.cluster.record.name).name();
    let Some(lease) = storage.find::<Lease>(&lock).await? else {
        return Ok(Some(transaction.check::<Lease>(&lock, None)));
    };
    if ident::name(&lease.record.operation).is_err() {
        return Ok(None);
    }
    let id = OperationHost::id_of(&lease.record.operation, address);
    let part = storage.find::<OperationHost>(&id).await?;
    if part.as_ref().is_some_and(|part| part.record.step.is_under_way()) {
        return Ok(None);
    }
    Ok(Some(transaction.check::<OperationHost>(&id, part.map(|part| part.revision))))
}
