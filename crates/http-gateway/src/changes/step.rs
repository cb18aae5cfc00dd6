//! The steps of a change of a cluster, each one transaction.

use std::collections::HashSet;

use axum::http::StatusCode;
use bus::Error;
use model::{Address, ClusterChange, ClusterHead, ClusterMember, ClusterName, Host};
use storage_client::lease::Held;
use storage_client::{Revised, Transaction};

use super::CHUNK;
use crate::api::Api;
use crate::cluster_records::{delete_records, found, leave};
use crate::error::ApiError;
use crate::nodes::{self, Registered, join};

/// What a step has come to.
pub(super) enum Progress {
    /// There is more to do.
    Continue,
    /// The mark is gone.
    Ended,
}

/// Why a step was not carried out.
pub(super) enum Failure {
    /// Another request changed one of its records in between, or the lease is lost.
    Conflict,
    /// A service does not answer: the change continues later.
    Later(ApiError),
    /// The container manager refuses.
    Refused(ApiError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if error.is_conflict() { Self::Conflict } else { Self::Later(error.into()) }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        match error.status() {
            StatusCode::BAD_GATEWAY => Self::Refused(error),
            StatusCode::CONFLICT => Self::Conflict,
            // Such as a container manager that is not configured any more: repeating it changes nothing.
            status if status.is_client_error() => Self::Refused(error),
            _ => Self::Later(error),
        }
    }
}

/// Carries out the next step of a cluster's change.
pub(super) async fn next(
    api: &Api,
    name: &ClusterName,
    held: &Held,
    registered: &Registered,
) -> Result<Progress, Failure> {
    let Some(cluster) = api.storage.find::<ClusterHead>(name).await? else {
        return Ok(Progress::Ended);
    };
    let Some(change) = cluster.record.change.clone() else { return Ok(Progress::Ended) };
    // After the cluster: a member that leaves now raises its revision.
    let members = found(api, name).await?.hostset;
    match change {
        ClusterChange::Deleting => match members.as_slice() {
            [] => delete(&cluster, held).await,
            members => {
                let leaving = first(members.iter());
                drop_members(api, cluster, &leaving, held).await
            }
        },
        ClusterChange::Changing { hostset } => {
            let current: HashSet<_> = members.iter().collect();
            let wanted: HashSet<_> = hostset.iter().collect();
            let joining = first(hostset.iter().filter(|address| !current.contains(address)));
            let leaving = members.iter().filter(|address| !wanted.contains(address));
            let leaving = first(leaving);
            if !joining.is_empty() {
                add_members(api, cluster, &joining, held, registered).await
            } else if !leaving.is_empty() {
                drop_members(api, cluster, &leaving, held).await
            } else {
                unmark(cluster, held).await
            }
        }
    }
}

fn first<'a>(addresses: impl Iterator<Item = &'a Address>) -> Vec<Address> {
    addresses.take(CHUNK).cloned().collect()
}

/// Members leave: first the container manager, then the cluster. A host whose record is gone, or that
/// was registered again in the meantime, leaves the list all the same.
async fn drop_members(
    api: &Api,
    mut cluster: Revised<ClusterHead>,
    leaving: &[Address],
    held: &Held,
) -> Result<Progress, Failure> {
    held.check()?;
    nodes::remove(api, &cluster.record, leaving).await?;
    let transaction = leave(api, Transaction::default(), &mut cluster, leaving).await?;
    held.transact(transaction).await?;
    Ok(Progress::Continue)
}

/// Hosts join. Those that can no longer join are left out of the change: deleted, registered again and
/// not set up yet, or members of another cluster by now.
async fn add_members(
    api: &Api,
    mut cluster: Revised<ClusterHead>,
    joining: &[Address],
    held: &Held,
    registered: &Registered,
) -> Result<Progress, Failure> {
    let members = api.storage.get_many::<ClusterMember>(joining).await?;
    let hosts = api.storage.get_many::<Host>(joining).await?;
    let mut fit = Vec::new();
    for ((host, member), address) in hosts.into_iter().zip(members).zip(joining) {
        match host {
            Some(host) if host.record.status.is_ready() && member.is_none() => fit.push(host),
            _ => {
                cluster.record.follow_leave(address);
                tracing::warn!(
                    host.address = address.as_str(),
                    cluster.name = cluster.record.name.as_str(),
                    "the host does not join the cluster: it was deleted, is not ready, or is in another"
                );
            }
        }
    }
    held.check()?;
    let is_complete = fit.len() == joining.len();
    let transaction = join(api, &mut cluster, fit, registered).await?;
    let transaction = if is_complete { transaction } else { transaction.update(&cluster)? };
    held.transact(transaction).await?;
    Ok(Progress::Continue)
}

/// The last step of a deletion: the cluster's own records, and the lease.
async fn delete(cluster: &Revised<ClusterHead>, held: &Held) -> Result<Progress, Failure> {
    let name = &cluster.record.name;
    let last = delete_records(Transaction::default(), name, cluster.revision);
    held.release(last).await?;
    Ok(Progress::Ended)
}

/// The last step of a change of members: the mark, and the lease.
async fn unmark(mut cluster: Revised<ClusterHead>, held: &Held) -> Result<Progress, Failure> {
    cluster.record.change = None;
    held.release(Transaction::default().update(&cluster)?).await?;
    Ok(Progress::Ended)
}

/// What a refusal of the container manager means. A deletion stays marked: it is tried again. A change
/// of members ends, with the members as they are by then: repeating it blindly would keep the cluster
/// from every other change. Returns the answer for the client.
pub(super) async fn refused(
    name: &ClusterName,
    held: &Held,
    error: ApiError,
    api: &Api,
) -> Result<ApiError, ApiError> {
    loop {
        let Some(cluster) = api.storage.find::<ClusterHead>(name).await? else { return Ok(error) };
        let detail = error.detail().to_owned();
        match cluster.record.change {
            Some(ClusterChange::Changing { .. }) => {}
            _ => {
                return Ok(error.with_detail(format!(
                    "{detail}; the cluster {name} stays marked as being deleted: remove the cause, and \
                     DELETE it again"
                )));
            }
        }
        match unmark(cluster, held).await {
            Ok(_) => {
                return Ok(error.with_detail(format!(
                    "{detail}; the change of the members of {name} has ended there: read them, remove \
                     the cause, and repeat the change"
                )));
            }
            Err(Failure::Conflict) if held.check().is_ok() => {}
            Err(Failure::Conflict) => return Ok(error),
            Err(Failure::Later(error) | Failure::Refused(error)) => return Err(error),
        }
    }
}
