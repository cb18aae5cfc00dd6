//! One host, step by step: what an upgrade or a deployment does, then probe, reboot, verify, settle.
//!
//! A step that is written down may have happened. So whoever begins at `reboot` asks the host itself:
//! another boot id than the one from before means that it has been restarted already, and the command
//! acts only while the old one is still there.

mod asking;
mod late;
mod playbook;
mod reach;
mod reboot;
mod settle;
mod verify;

use host_access::credentials::target;
use host_access::{AccessError, PlaybookError, Target};
use service_core::error::chain;
use service_core::model::{HostCreds, HostProgress, OperationKind, Outcome, Step};
use service_core::{Error, Result};

use crate::apply::apply;
use crate::executor::{Execution, GiveUp, Line, deleted};

pub(crate) use asking::{Played, play_with_go_ahead};
#[cfg(test)]
pub(crate) use late::done_late;
pub(crate) use late::{Returned, returned};
pub(crate) use playbook::run_playbook;
pub(crate) use reach::{NOT_BACK, NOT_RESTARTED, reach};
use reboot::probe_and_reboot;
pub(crate) use settle::note_failed_units;
use verify::verify;

impl From<AccessError> for GiveUp {
    fn from(error: AccessError) -> Self {
        let seen_key = error.seen_key().unwrap_or_default().to_owned();
        Self { seen_key, ..Self::new(error.reason(), chain(&error)) }
    }
}

impl From<PlaybookError> for GiveUp {
    fn from(error: PlaybookError) -> Self {
        Self::new(error.reason(), chain(&error))
    }
}

/// What may come in between: the host itself, what operators say, or the store and the lease.
pub(crate) enum Trouble {
    Host(GiveUp),
    /// Nothing more is to be done to the host; why.
    Left(String),
    Ours(Error),
}

impl<E: Into<GiveUp>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Host(error.into())
    }
}

/// Works on the host at `index`, or goes on with what another began (`resumed`); a host that does not come
/// through is given up, which the planner then sees.
///
/// # Errors
/// When the lease is lost.
pub(crate) async fn host(execution: &Execution<'_>, index: usize, resumed: bool) -> Result<()> {
    match work(execution, index, resumed).await {
        Ok(()) => Ok(()),
        Err(Trouble::Ours(error)) => Err(error),
        Err(Trouble::Left(reason)) => execution.leave(index, &reason).await,
        Err(Trouble::Host(given_up)) => {
            let given_up = execution.unless_deleted(index, given_up).await?;
            execution.give_up(index, &given_up).await
        }
    }
}

async fn work(execution: &Execution<'_>, index: usize, resumed: bool) -> Result<(), Trouble> {
    let begun = execution.host(index).step;
    if resumed {
        let lines = [Line(begun, Outcome::Resumed, "another executor goes on")];
        execution.log(index, &lines).await.map_err(Trouble::Ours)?;
    }
    let target = target_of(execution, index).await?;
    let untouched = matches!(begun, Step::Probe | Step::Apply);
    let reboots = match execution.operation.kind {
        OperationKind::Restart => true,
        _ if untouched => apply(execution, index, &target).await?,
        _ => true,
    };
    match begun {
        Step::Verify | Step::Settle => {}
        _ if reboots => probe_and_reboot(execution, index, &target).await?,
        _ => {
            let change = |host: &mut HostProgress| host.step = Step::Verify;
            let lines = [Line(Step::Verify, Outcome::Started, "")];
            execution.save(index, change, &lines).await.map_err(Trouble::Ours)?;
        }
    }
    verify(execution, index, &target).await
}

pub(crate) async fn target_of(execution: &Execution<'_>, index: usize) -> Result<Target, Trouble> {
    let address = execution.host(index).address;
    let storage = &execution.service.storage;
    let found = execution.or_store_again(|| storage.find::<HostCreds>(&address)).await;
    let creds = found.map_err(Trouble::Ours)?.ok_or_else(|| deleted(&address))?.record;
    Ok(target(&creds, &execution.service.deps.own_key)?)
}
