//! Handing a host that is set up to the container manager of its cluster: then it is `active`.
//!
//! It may be cut off anywhere and begun again by anybody: registering again does no harm, and the write
//! checks that the host is still a member. A host that has left meanwhile is taken out again.

use std::time::Duration;

use bus::error::chain;
use bus::{Error, Kind, topology, warn_unless_outage};
use model::messages::Node;
use model::{ClusterHead, ClusterMember, Host, HostState, Status};
use storage_client::lease::Held;
use storage_client::queries::Membership;
use storage_client::{Revised, Transaction, queries};

use crate::context::Context;
use crate::investigation::state_of;

/// The pause before another try with a container manager that does not answer, or after one that was cut
/// off.
const PAUSE: Duration = Duration::from_secs(30);

/// How long the container manager service may take: it gives a manager 30 s.
const PATIENCE: Duration = Duration::from_secs(40);

/// Whether a member of a cluster with a container manager is to be registered there.
pub(crate) fn is_waiting(host: &Host, state: Option<&HostState>) -> bool {
    host.status == Status::Disassociated
        && state.is_none_or(|state| state.reason != HostState::MANAGER_REFUSES)
}

/// Registers a host whose lease we hold; answers how long to leave it alone then.
pub(crate) async fn run(context: &Context, address: &str, held: Held) -> Duration {
    let mut with = None;
    let ended = tokio::select! {
        ended = register(context, address, &held, &mut with) => ended,
        () = context.lifecycle.stopping() => Ok(Duration::ZERO),
    };
    if let Some(manager) = with
        && let Err(error) = undo(context, address, &manager).await
    {
        tracing::warn!(
            host.address = address,
            container_manager.name = manager,
            error = chain(&error),
            "the host has left, but its node may be left behind"
        );
    }
    if held.check().is_ok()
        && let Err(error) = held.release(Transaction::default()).await
    {
        warn_unless_outage!(error, "the lease runs out by itself");
    }
    ended.unwrap_or_else(|error| {
        warn_unless_outage!(error, host.address = address, "registration cut off");
        PAUSE
    })
}

/// `with` names the container manager while the host is registered there without being so written down.
async fn register(
    context: &Context,
    address: &str,
    held: &Held,
    with: &mut Option<String>,
) -> Result<Duration, Error> {
    let storage = &context.storage;
    loop {
        let Some(host) = storage.find::<Host>(address).await? else { return Ok(Duration::ZERO) };
        let state = state_of(context, address).await?;
        let Some(membership) = managed_cluster(context, address).await? else {
            return Ok(Duration::ZERO);
        };
        let cluster = &membership.cluster;
        if !is_waiting(&host.record, Some(&state)) {
            return Ok(Duration::ZERO);
        }
        // An operation has its hosts for itself.
        if queries::operation_lease(storage, &cluster.record.name).await?.is_some() {
            return Ok(PAUSE);
        }
        // The former installation may have deleted its node.
        if !context.fencing.instance().await?.takes_over() {
            return Ok(PAUSE);
        }
        held.check()?;
        let manager = &cluster.record.container_manager;
        let answer = ask(context, topology::CONTAINER_REGISTER_NODE, manager, address).await;
        if answer.is_ok() {
            *with = Some(manager.clone());
        }
        let (transaction, pause) = outcome(host, state, &membership, &answer)?;
        match held.release(transaction).await {
            Ok(()) => {
                *with = None;
                report(address, manager, &answer);
                return Ok(pause);
            }
            // Somebody else changed the host or its cluster meanwhile: look again.
            Err(error) if error.is_conflict() && held.check().is_ok() => {}
            Err(error) => return Err(error),
        }
    }
}

/// What to write after the container manager's answer, and how long to leave the host alone then.
fn outcome(
    mut host: Revised<Host>,
    mut state: HostState,
    membership: &Membership,
    answer: &Result<(), Error>,
) -> Result<(Transaction, Duration), Error> {
    let Membership { cluster, member } = membership;
    let still_member = Transaction::default()
        .check::<ClusterHead>(&cluster.record.name, Some(cluster.revision))
        .check::<ClusterMember>(&member.record.address, Some(member.revision));
    match answer {
        Ok(()) => {
            host.record.status = Status::Active;
            state.registered();
            Ok((still_member.update(&host)?.save(&state)?, Duration::ZERO))
        }
        Err(error) => {
            let (reason, pause) = match error.kind() {
                Kind::Unavailable | Kind::Timeout => (HostState::MANAGER_UNAVAILABLE, PAUSE),
                _ => (HostState::MANAGER_REFUSES, Duration::ZERO),
            };
            reason.clone_into(&mut state.reason);
            state.detail = format!("it is set up, but not registered: {error}");
            let unchanged = still_member.check::<Host>(&host.record.address, Some(host.revision));
            Ok((unchanged.save(&state)?, pause))
        }
    }
}

fn report(address: &str, manager: &str, answer: &Result<(), Error>) {
    match answer {
        Ok(()) => tracing::info!(
            host.address = address,
            container_manager.name = manager,
            "the host is active"
        ),
        Err(error) => warn_unless_outage!(
            error,
            host.address = address,
            container_manager.name = manager,
            "the host is not registered"
        ),
    }
}

/// Takes a host out of a container manager again, unless it is a member of a cluster there.
async fn undo(context: &Context, address: &str, manager: &str) -> Result<(), Error> {
    let cluster = managed_cluster(context, address).await?;
    if cluster.is_some_and(|found| found.cluster.record.container_manager == manager) {
        return Ok(());
    }
    ask(context, topology::CONTAINER_REMOVE_NODE, manager, address).await
}

/// The cluster of a host, if it has a container manager and no change in progress removes the host.
async fn managed_cluster(context: &Context, address: &str) -> Result<Option<Membership>, Error> {
    let found = queries::cluster_of(&context.storage, address).await?;
    Ok(found.filter(|Membership { cluster: Revised { record, .. }, .. }| {
        record.keeps(address) && !record.container_manager.is_empty()
    }))
}

async fn ask(context: &Context, key: &str, manager: &str, address: &str) -> Result<(), Error> {
    let (container_manager_name, address) = (manager.to_owned(), address.to_owned());
    let node = Node { container_manager_name, address: address.into() };
    let bus = context.deps.bus.with_timeout(PATIENCE);
    bus.request(key, &node, &bus::Context::service("investigator")).await.map(drop)
}
