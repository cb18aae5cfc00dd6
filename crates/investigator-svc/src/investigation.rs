//! The work on one host: log in, look, set up, write down how it went.
//!
//! It may be cut off anywhere and begun again by anybody: every step may be repeated, and every write
//! checks the lease.

use std::time::Duration;

use bus::error::chain;
use bus::{Error, warn_unless_outage};
use host_access::credentials::{pin, target};
use host_access::{
    AccessError, BootstrapError, BootstrapOptions, Facts, FactsError, NetworkSetup, Playbook,
    PlaybookError, Session, Share, TaskOutcome, bootstrap_vars,
};
use model::{FailureReason, Host, HostCreds, HostState, Network, Status};
use runtime::retry::Schedule;
use storage_client::lease::Held;
use storage_client::{Revised, Transaction, queries};

use crate::context::Context;
use crate::enrollment;
use crate::mark::{Marked, fenced, mark};
use crate::plan::{Plan, decide};

/// The pause before an investigation that was cut off is begun again.
const PAUSE: Duration = Duration::from_secs(2);

/// How long a host may take to tell its facts.
const FACTS_DEADLINE: Duration = Duration::from_secs(20);

/// The variable of the set-up with the claim, which the host compares with its generation mark.
const CLAIM: &str = "commissaire_claim";

/// How long a trivial command may take.
const COMMAND_DEADLINE: Duration = Duration::from_secs(10);

/// Why an investigation ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Obstacle {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Facts(#[from] FactsError),
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    #[error(transparent)]
    Playbook(#[from] PlaybookError),
    /// The store, or the lease: nothing that the host could help.
    #[error("cannot go on")]
    Internal(#[source] Error),
}

impl From<Error> for Obstacle {
    fn from(error: Error) -> Self {
        Self::Internal(error)
    }
}

impl Obstacle {
    fn reason(&self) -> FailureReason {
        match self {
            Self::Access(error) => error.reason(),
            Self::Facts(error) => error.reason(),
            Self::Bootstrap(_) => FailureReason::BootstrapImpossible,
            Self::Playbook(error) => error.reason(),
            Self::Internal(_) => FailureReason::Internal,
        }
    }

    fn seen_key(&self) -> &str {
        match self {
            Self::Access(error) => error.seen_key().unwrap_or_default(),
            _ => "",
        }
    }

    fn heals(&self) -> bool {
        match self {
            Self::Access(error) => error.heals(),
            Self::Facts(error) => error.heals(),
            Self::Bootstrap(_) | Self::Playbook(_) | Self::Internal(_) => false,
        }
    }
}

/// Investigates a host whose lease we hold, to its end: set up, `failed`, or handed over because the
/// daemon stops.
pub(crate) async fn run(context: &Context, address: &str, held: &Held) {
    let ended = tokio::select! {
        ended = attempts(context, address, held) => ended,
        () = context.lifecycle.stopping() => {
            // The record stays as it is, and is the job of whoever looks next.
            match held.release(Transaction::default()).await {
                Ok(()) => tracing::info!(host.address = address, "investigation handed over"),
                Err(error) => warn_unless_outage!(error, "investigation not handed over"),
            }
            return;
        }
    };
    match ended {
        Ok(()) => {}
        Err(error) if error.is_not_found() => {
            tracing::info!(host.address = address, "the host was deleted during its investigation");
        }
        // The lease is lost, the store does not answer, or somebody changed the host: the record is
        // still the job, and is begun again.
        Err(error) => {
            warn_unless_outage!(error, host.address = address, "investigation cut off");
            tokio::time::sleep(PAUSE).await;
            if held.check().is_ok()
                && let Err(error) = held.release(Transaction::default()).await
            {
                warn_unless_outage!(error, "the lease runs out by itself");
            }
        }
    }
}

async fn attempts(context: &Context, address: &str, held: &Held) -> Result<(), Error> {
    // Since we looked, somebody else may have been here.
    let host = context.storage.get::<Host>(address).await?;
    if !host.record.status.is_under_investigation() {
        return held.release(Transaction::default()).await;
    }
    let mut pauses = Schedule::INVESTIGATION.pauses();
    let mut throttled = Schedule::THROTTLED_HOST.pauses();
    loop {
        let obstacle = match attempt(context, address, held).await {
            Ok(detail) => return conclude(context, address, held, Ok(detail)).await,
            Err(Obstacle::Internal(error)) => return Err(error),
            Err(obstacle) => obstacle,
        };
        let pause = match &obstacle {
            // Not a failure of the host: it only wants to be asked less often.
            Obstacle::Access(AccessError::Throttled { .. }) => throttled.next(),
            obstacle => pauses.next().filter(|_| obstacle.heals()),
        };
        let Some(pause) = pause else {
            return conclude(context, address, held, Err(obstacle)).await;
        };
        let error = chain(&obstacle);
        tracing::info!(host.address = address, error, ?pause, "trying again");
        tokio::time::sleep(pause).await;
    }
}

/// One try; answers what was, or was not, set up.
async fn attempt(context: &Context, address: &str, held: &Held) -> Result<String, Obstacle> {
    let Context { config, deps, storage, .. } = context;
    let creds = storage.get::<HostCreds>(address).await?;
    let target = target(&creds.record, &deps.own_key)?;
    let log_in = deps.hosts.connect(&target, config.connect_timeout());
    let session = deps.ledger.log_in(address, Share::Work, log_in).await?;
    let result = async {
        enrollment::prove(storage, address, held).await?;
        let facts = session.facts(FACTS_DEADLINE).await?;
        // Root may do everything: of many hosts, each round trip counts.
        if session.user() != "root" {
            session.run_privileged("true", COMMAND_DEADLINE).await?;
        }
        let marked = mark(context, session.as_ref()).await?;
        let state = save_facts(context, held, creds, session.as_ref(), &facts, &marked).await?;
        let network = network_of(context, address).await?;
        match decide(state.bootstrap, &network, &facts, state.set_up, config) {
            Plan::Leave(reason) => Ok(reason),
            Plan::SetUp(setup) => {
                let changed =
                    set_up(context, held, session.as_ref(), &facts, &setup, &marked).await?;
                let unchanged = if changed { "" } else { ": nothing had to be changed" };
                Ok(format!("set up for the network {}{unchanged}", network.name))
            }
        }
    }
    .await;
    session.close().await;
    result
}

/// Writes down what the host is, and pins its key if this was the first look.
async fn save_facts(
    context: &Context,
    held: &Held,
    mut creds: Revised<HostCreds>,
    session: &dyn Session,
    facts: &Facts,
    marked: &Marked,
) -> Result<HostState, Error> {
    let Context { storage, deps, .. } = context;
    let address = creds.record.address.clone();
    let mut host = storage.get::<Host>(&address).await?;
    let mut state = state_of(context, &address).await?;
    let now = deps.clock.stamp();
    host.record.status = Status::Bootstrapping;
    host.record.os = facts.os.to_string();
    host.record.cpus = facts.cpus;
    host.record.memory = facts.memory_mib;
    host.record.space = facts.space;
    host.record.last_check.clone_from(&now);
    state.saw_boot(&now, &facts.boot_id);
    state.machine_id.clone_from(&facts.machine_id);
    state.runs_kubelet = facts.kubelet;
    state.rebooters.clone_from(&facts.rebooters);
    if marked.is_ours {
        state.generation = marked.claim.mark.generation;
    }
    let mut transaction = Transaction::default().update(&host)?.save(&state)?;
    if pin(&mut creds.record, session.host_keys()) {
        // Others may have been given meanwhile: then it begins again with those.
        transaction = transaction.update(&creds)?;
    }
    held.transact(transaction).await?;
    Ok(state)
}

/// The network of the host's cluster, or the default one.
async fn network_of(context: &Context, address: &str) -> Result<Network, Error> {
    let storage = &context.storage;
    let cluster = queries::cluster_of(storage, address).await?;
    let name =
        cluster.map_or_else(|| Network::DEFAULT.to_owned(), |found| found.cluster.record.network);
    Ok(storage.get::<Network>(&name).await?.record)
}

/// Answers whether anything was changed on the host.
async fn set_up(
    context: &Context,
    held: &Held,
    session: &dyn Session,
    facts: &Facts,
    setup: &NetworkSetup,
    marked: &Marked,
) -> Result<bool, Obstacle> {
    let Context { config, deps, .. } = context;
    let address = session.address();
    let options =
        BootstrapOptions { address: address.to_owned(), registry_mirror: config.mirror() };
    let mut vars = bootstrap_vars(facts.os, &facts.version, facts.ostree, setup, &options)?;
    vars.insert(CLAIM.to_owned(), marked.claim.to_string().into());
    deps.hosts.check_playbooks(facts.python).await?;
    // Written down first: what is found running there from now on is ours.
    let mut state = state_of(context, address).await?;
    state.set_up = true;
    held.transact(Transaction::default().save(&state)?).await?;
    let _slot = context.ansible_slots.acquire().await;
    held.check()?;
    let mut log = |event: host_access::TaskEvent| match event.outcome {
        TaskOutcome::Failed | TaskOutcome::Unreachable => {
            tracing::warn!(host.address = address, task = event.task, event.message, "task failed");
        }
        outcome => tracing::debug!(host.address = address, task = event.task, ?outcome, "task"),
    };
    let run = session.play(Playbook::Bootstrap, &vars, config.bootstrap_timeout(), &mut log);
    tokio::select! {
        summary = run => match summary {
            Err(PlaybookError::Fenced { refusal, .. }) => {
                Err(fenced(context, session, &refusal).await?.into())
            }
            summary => Ok(summary?.changed > 0),
        },
        () = held.lost() => Err(Error::conflict("the lease was lost").into()),
    }
}

/// The last write: the status, its reason, and the end of the lease.
async fn conclude(
    context: &Context,
    address: &str,
    held: &Held,
    result: Result<String, Obstacle>,
) -> Result<(), Error> {
    loop {
        let mut host = context.storage.get::<Host>(address).await?;
        let mut state = state_of(context, address).await?;
        host.record.last_check = context.deps.clock.stamp();
        match &result {
            Ok(detail) => {
                host.record.status = Status::Disassociated;
                state.clear_failure();
                state.detail.clone_from(detail);
                state.seen_host_key = String::new();
            }
            Err(obstacle) => state.fail(
                &mut host.record,
                obstacle.reason().word(),
                chain(obstacle),
                obstacle.seen_key(),
            ),
        }
        let last = Transaction::default().update(&host)?.save(&state)?;
        match held.release(last).await {
            // Somebody else changed the host meanwhile: read it again.
            Err(error) if error.is_conflict() && held.check().is_ok() => {}
            Err(error) => return Err(error),
            Ok(()) => break,
        }
    }
    match result {
        Ok(detail) => tracing::info!(host.address = address, detail, "the host is ready"),
        Err(obstacle) => {
            tracing::warn!(
                host.address = address,
                reason = obstacle.reason().word(),
                error = chain(&obstacle),
                "the host failed"
            );
        }
    }
    Ok(())
}

pub(crate) async fn state_of(context: &Context, address: &str) -> Result<HostState, Error> {
    let found = context.storage.find::<HostState>(address).await?;
    Ok(found.map_or_else(
        || HostState { address: address.into(), ..HostState::default() },
        |state| state.record,
    ))
}
