//! One check: read the records, log in, decide, write.
//!
//! Every write checks the revisions of what it was decided on. When somebody else was faster, the records
//! are read and decided on again; so a host that was deleted meanwhile is never made again.

use std::time::Duration;

use bus::{Error, Result, topology, warn_unless_outage};
use host_access::AccessError;
use model::{Host, HostCreds, HostState, Stamp};
use serde_json::json;
use storage_client::{Revised, Transaction};

use crate::context::Context;
use crate::decide::{Change, Finding, decide, is_left_alone};
use crate::look::{Seen, look};
use crate::roster::{moment, stamp};
use crate::schedule::micros;
use crate::turns::unless_under_way;

/// With an interval of so much or more each check is written to the host's record.
const SELDOM: Duration = Duration::from_hours(24);

/// How often a write is tried again when others get in between.
const ATTEMPTS: usize = 32;

/// A host as it was read.
struct Records {
    host: Revised<Host>,
    state: HostState,
    /// Of the state; `None` where there is none yet.
    state_revision: Option<u64>,
}

/// Checks a host, unless it was deleted, is left alone, or has been checked after `known` (`None`: in any
/// case).
pub(crate) async fn run(context: &Context, address: &str, known: Option<&str>) {
    let ended = tokio::select! {
        ended = check(context, address, known) => ended,
        // The records stay as they are: the host is still due, and somebody else's.
        () = context.lifecycle.stopping() => return,
    };
    if let Err(error) = ended {
        warn_unless_outage!(error, host.address = address, "check cut off");
        context.put_off(address);
    }
}

async fn check(context: &Context, address: &str, known: Option<&str>) -> Result<()> {
    let Some(mut records) = read(context, address).await? else { return Ok(()) };
    let newer = known.is_some_and(|known| records.host.record.last_check.as_str() > known);
    if newer || context.roster().is_operated(address) {
        return Ok(());
    }
    let mut creds = context.storage.get::<HostCreds>(address).await?;
    let status = records.host.record.status;
    let looked = look(context, &mut creds.record, status, &records.state).await?;
    let seen = match looked {
        Ok(seen) => seen,
        // Nothing was tried: the host is due again when the ledger allows it.
        Err(AccessError::HeldBack { wait, .. }) => {
            let until = context.time.now().line.saturating_add(micros(wait));
            context.roster().put_off(address, until);
            return Ok(());
        }
        Err(error) => match Finding::of(&error) {
            Some(finding) => Seen { finding, pinned: false, generation: None },
            None => return Err(Error::internal("a host cannot be checked").with_source(error)),
        },
    };
    let now = context.time.now().line;
    context.roster().found(address, &seen.finding, now);
    let mut pin = seen.pinned.then_some(&creds);
    for _ in 0..ATTEMPTS {
        match conclude(context, records, &seen, pin).await {
            Err(error) if error.is_conflict() => {}
            ended => return ended,
        }
        // Whoever changed it may have pinned a key, too; if not, the next check does.
        pin = None;
        match read(context, address).await? {
            Some(again) => records = again,
            None => return Ok(()),
        }
    }
    Err(Error::conflict("others keep changing the host"))
}

/// The host and its state, unless it is gone or left alone.
async fn read(context: &Context, address: &str) -> Result<Option<Records>> {
    let Some(host) = context.storage.find::<Host>(address).await? else {
        context.roster().forget(address, u64::MAX);
        return Ok(None);
    };
    let state = context.storage.find::<HostState>(address).await?;
    let state_revision = state.as_ref().map(|state| state.revision);
    let state = state.map_or_else(
        || HostState { address: address.into(), ..HostState::default() },
        |state| state.record,
    );
    context.saw(&host.record, host.revision);
    context.roster().saw_state(&state, state_revision.unwrap_or_default());
    let left_alone = is_left_alone(host.record.status, &state.reason);
    Ok((!left_alone).then_some(Records { host, state, state_revision }))
}

/// Decides and writes, in one transaction; nothing when its turn in an operation has begun.
async fn conclude(
    context: &Context,
    records: Records,
    Seen { finding, generation, .. }: &Seen,
    pin: Option<&Revised<HostCreds>>,
) -> Result<()> {
    let Records { mut host, mut state, state_revision } = records;
    let address = host.record.address.clone();
    let outlook = context.roster().outlook(&address, moment(&host.record.last_check));
    let known = state.clone();
    // One moment for the record and the report, or the same check would be two.
    let time = context.time.now();
    let (now, limit) = (stamp(time.wall), context.config.failures);
    let before = std::mem::take(&mut host.record.last_check);
    let change = decide(finding, &mut host.record, &mut state, &now, limit, outlook);
    state.generation = generation.unwrap_or(state.generation);
    let changes = change != Change::None || state != known || pin.is_some();
    if !changes && !is_written(context, &address, &before, &now) {
        context.roster().checked(&address, time);
        announce(context, &host.record, &state, finding, change).await;
        return Ok(());
    }
    let mut transaction = Transaction::default().update(&host)?;
    if state != known {
        transaction = transaction.check::<HostState>(&address, state_revision).save(&state)?;
    }
    if let Some(creds) = pin {
        transaction = transaction.update(creds)?;
    }
    if change != Change::None {
        let guarded = unless_under_way(&context.storage, &address, transaction).await?;
        let Some(guarded) = guarded else {
            context.put_off(&address);
            return Ok(());
        };
        transaction = guarded;
    }
    let revision = context.storage.transact(&transaction).await?;
    context.saw(&host.record, revision);
    context.roster().checked(&address, time);
    if state != known {
        context.roster().saw_state(&state, revision);
    }
    announce(context, &host.record, &state, finding, change).await;
    Ok(())
}

/// Whether a check that changes nothing is written to the host's record, and not only reported: the first
/// one; one that corrects a time in the future; one that other watchers wait for; and where hosts are
/// checked so seldom that a report does not reach back far enough.
fn is_written(context: &Context, address: &str, before: &Stamp, now: &Stamp) -> bool {
    before.is_empty()
        || before > now
        || context.config.interval.0 >= SELDOM
        || context.roster().is_awaited(address)
}

/// Tells of what was written.
async fn announce(
    context: &Context,
    host: &Host,
    state: &HostState,
    finding: &Finding,
    change: Change,
) {
    let address = host.address.as_str();
    match (change, finding) {
        (Change::Failed, _) => {
            let (reason, error) = (&state.reason, &state.detail);
            tracing::warn!(host.address = address, reason, error, "the host failed");
        }
        (Change::Restored, _) => {
            tracing::info!(host.address = address, host.status = %host.status, "the host is back");
        }
        (Change::Investigate, _) => {
            tracing::info!(host.address = address, "the host is there now, and is investigated");
            let params = json!({"address": address, "cluster_data": {}});
            let service = bus::Context::service("watcher");
            // The record is the job; the message only makes it sooner.
            if let Err(error) =
                context.deps.bus.notify(topology::INVESTIGATE, &params, &service).await
            {
                warn_unless_outage!(error, "the investigator was not woken");
            }
        }
        (Change::None, Finding::Failed(failure)) => tracing::debug!(
            host.address = address,
            failures = state.failing.count,
            error = failure.detail,
            "check failed"
        ),
        (Change::None, Finding::Throttled) => {
            tracing::debug!(host.address = address, "the host turns connections away for now");
        }
        (Change::None, Finding::Well(_)) => {}
    }
}
