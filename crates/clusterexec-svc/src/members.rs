//! The members of a cluster: their records, and whether their SSH ports answer.

use bus::Result;
use model::{Address, Host, HostState, OperationKind};

use crate::context::Context;
use crate::schedule::{Availability, Member, availability};

/// Why a member counts as unavailable on whose SSH port nothing listens.
pub(crate) const SILENT: &str = "its SSH port does not answer";

/// The members with these addresses, in this order, by their records and by a connection to each. No connection is
/// made to those in `holding`, which hold a place in the disruption budget and count as unavailable anyway.
///
/// # Errors
/// When the storage service fails.
pub(crate) async fn probed(
    context: &Context,
    addresses: &[Address],
    holding: &[&str],
    kind: OperationKind,
) -> Result<Vec<Member>> {
    let mut members = recorded(context, addresses, kind).await?;
    let candidates = members
        .iter()
        .filter(|member| member.availability != Availability::Unavailable)
        .filter(|member| !holding.contains(&member.address.as_str()))
        .map(|member| member.address.clone())
        .collect();
    let silent = context.ports.silent(&context.storage, candidates).await?;
    mark_silent(&mut members, holding, |address| !silent.iter().any(|silent| silent == address));
    Ok(members)
}

/// The members with these addresses, in this order, by their records alone.
///
/// # Errors
/// When the storage service fails.
pub(crate) async fn recorded(
    context: &Context,
    addresses: &[Address],
    kind: OperationKind,
) -> Result<Vec<Member>> {
    let hosts = context.storage.get_many::<Host>(addresses).await?;
    let states = context.storage.get_many::<HostState>(addresses).await?;
    let members = addresses
        .iter()
        .zip(hosts.iter().zip(&states))
        .map(|(address, (host, state))| {
            let (host, state) =
                (host.as_ref().map(|h| &h.record), state.as_ref().map(|s| &s.record));
            member(address, host, state, kind, &context.own_boot_id)
        })
        .collect();
    Ok(members)
}

/// Marks members as unavailable that do not answer, except for those in `holding`, which count as unavailable anyway.
pub(crate) fn mark_silent(
    members: &mut [Member],
    holding: &[&str],
    answers: impl Fn(&str) -> bool,
) {
    for member in members {
        let is_candidate = member.availability != Availability::Unavailable
            && !holding.contains(&member.address.as_str());
        if is_candidate && !answers(&member.address) {
            member.availability = Availability::Unavailable;
            SILENT.clone_into(&mut member.reason);
        }
    }
}

fn member(
    address: &str,
    host: Option<&Host>,
    state: Option<&HostState>,
    kind: OperationKind,
    own_boot_id: &str,
) -> Member {
    let availability = availability(host, state);
    let reason = match (availability, host) {
        (Availability::Unavailable, None) => {
            "not registered, take it out of the cluster".to_owned()
        }
        (Availability::Unavailable, Some(host)) => {
            let why = state.map(|state| state.reason.as_str()).filter(|reason| !reason.is_empty());
            let why = why.map(|reason| format!(", {reason}")).unwrap_or_default();
            format!("its status is {}{why}", host.status)
        }
        _ => String::new(),
    };
    let done = state.and_then(|state| state.operations.get(&kind.to_string()));
    Member {
        address: address.into(),
        availability,
        reason,
        boot_id: state.map(|state| state.boot_id.clone()).unwrap_or_default(),
        machine_id: state.map(|state| state.machine_id.clone()).unwrap_or_default(),
        runs_kubelet: state.is_some_and(|state| state.runs_kubelet),
        rebooters: state.map(|state| state.rebooters.clone()).unwrap_or_default(),
        is_self: state.is_some_and(|state| state.boot_id == own_boot_id),
        last_done: done.cloned().unwrap_or_default(),
    }
}
