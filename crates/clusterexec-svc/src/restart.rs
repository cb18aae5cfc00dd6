//! One host, step by step: what an upgrade or a deployment does, then probe, reboot, verify.
//!
//! A step that is written down may have happened. So whoever begins at `reboot` asks the host itself:
//! another boot id than the one from before means that it has been restarted already, and the command
//! acts only while the old one is still there.

use std::time::Duration;

use host_access::backoff::Backoff;
use host_access::credentials::target;
use host_access::{AccessError, Playbook, PlaybookError, Session, Target, boot_id};
use serde_json::{Map, json};
use service_core::error::chain;
use service_core::model::{Host, HostCreds, HostProgress, HostState, OperationKind, Outcome, Step};
use service_core::{Error, Result, clock};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::apply::{apply, check};
use crate::executor::{Execution, GiveUp, Line};
use crate::health::{healthy, needs_reboot};

/// The pauses before another try at reaching a host that should be there.
const RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// How often a host is asked to reboot when the connection is lost over it.
const ASKS: usize = 3;

/// How long the reboot playbook may take: it does not wait for the reboot.
const REBOOT_DEADLINE: Duration = Duration::from_mins(2);

/// How long a host may go on answering after it was told to reboot, before it is asked in earnest.
const GOING_DOWN: Duration = Duration::from_secs(5);

/// The pause between looks at a host that is away.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long a look may take: short at first, since most hosts are near and back soon; then long enough
/// for any network.
const LOOKS: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(3)];

/// How long looks are short.
const SOON: Duration = Duration::from_secs(20);

/// How long a log-in may take on a host that is coming up, or going down, and may hang at any moment.
const LOG_IN_WHILE_BOOTING: Duration = Duration::from_secs(5);

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
        Err(Trouble::Host(given_up)) => execution.give_up(index, &given_up).await,
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
        Step::Verify => {}
        _ if reboots => probe_and_reboot(execution, index, &target).await?,
        _ => {
            let change = |host: &mut HostProgress| host.step = Step::Verify;
            let lines = [Line(Step::Verify, Outcome::Started, "")];
            execution.save(index, change, &lines).await.map_err(Trouble::Ours)?;
        }
    }
    verify(execution, index, &target).await
}

async fn target_of(execution: &Execution<'_>, index: usize) -> Result<Target, Trouble> {
    let address = execution.host(index).address;
    let storage = &execution.service.storage;
    let found = execution.or_store_again(|| storage.find::<HostCreds>(&address)).await;
    let gone = || {
        let reason = format!("{address} is not registered any more: it was left as it is");
        GiveUp::new("deleted", reason)
    };
    let creds = found.map_err(Trouble::Ours)?.ok_or_else(gone)?.record;
    Ok(target(&creds, &execution.service.deps.own_key)?)
}

/// Reads the boot id, writes it down together with the intent, and asks for the reboot. When it is not
/// certain whether the host was asked, by another executor or over a connection that was lost, the host
/// itself is looked at: it has had another boot since, or it is asked again.
async fn probe_and_reboot(
    execution: &Execution<'_>,
    index: usize,
    target: &Target,
) -> Result<(), Trouble> {
    let mut fresh = None;
    if execution.host(index).step != Step::Reboot {
        fresh = Some(probe(execution, index, target).await?);
    }
    let before = execution.host(index).boot_id_before.unwrap_or_default();
    for _ in 0..ASKS {
        let session = if let Some(session) = fresh.take() {
            session
        } else {
            let (session, now) = wait_until_up(execution, index, target, |_| true).await?;
            if now != before {
                let lines = [Line(Step::Reboot, Outcome::Ok, "it has been restarted already")];
                return execution.log(index, &lines).await.map_err(Trouble::Ours);
            }
            session
        };
        if ask(execution, index, session, &before).await? {
            return Ok(());
        }
    }
    let address = &target.address;
    let reason = format!("{address} was lost {ASKS} times while it was asked to reboot");
    Err(GiveUp::new("disconnected", reason).into())
}

async fn probe(
    execution: &Execution<'_>,
    index: usize,
    target: &Target,
) -> Result<Session, Trouble> {
    let session = reach(execution, target).await?;
    let before = boot_id(&session).await?;
    let (service, options) = (execution.service, &execution.operation.options);
    if before == service.own_boot_id && options.include_self != Some(true) {
        let reason = "it is the machine that the executor runs on, by now: see include_self";
        return Err(Trouble::Left(reason.to_owned()));
    }
    if options.if_needed == Some(true) && !needs_reboot(&session).await? {
        return Err(Trouble::Left("it does not need a restart".to_owned()));
    }
    let now = service.deps.clock.stamp();
    let change = |host: &mut HostProgress| {
        host.step = Step::Reboot;
        host.boot_id_before = Some(before.clone());
        host.rebooted_at = Some(now.clone());
    };
    let seen = format!("boot id {before}");
    let lines = [Line(Step::Probe, Outcome::Ok, &seen), Line(Step::Reboot, Outcome::Started, "")];
    execution.enter(index, change, &lines).await?;
    Ok(session)
}

/// Asks for the reboot, which happens only while the boot id is still the one from before; false when
/// the connection was lost over it.
async fn ask(
    execution: &Execution<'_>,
    index: usize,
    session: Session,
    before: &str,
) -> Result<bool, Trouble> {
    let service = execution.service;
    let command = restart_command(execution, index).await?;
    let vars = Map::from_iter([
        ("commissaire_boot_id".to_owned(), json!(before)),
        ("commissaire_restart_command".to_owned(), json!(command)),
    ]);
    execution.held.check().map_err(Trouble::Ours)?;
    let run = service.deps.ansible.run(
        &service.deps.run_dir,
        &session,
        Playbook::Restart,
        &vars,
        REBOOT_DEADLINE,
        |_| {},
    );
    match run.await {
        Err(lost @ PlaybookError::Unreachable { .. }) => {
            let detail = format!("{}; looking whether it got through", chain(&lost));
            let lines = [Line(Step::Reboot, Outcome::Failed, &detail)];
            execution.log(index, &lines).await.map_err(Trouble::Ours)?;
            return Ok(false);
        }
        result => result?,
    };
    let change = |host: &mut HostProgress| host.step = Step::Verify;
    let lines = [Line(Step::Reboot, Outcome::Ok, ""), Line(Step::Verify, Outcome::Started, "")];
    execution.save(index, change, &lines).await.map_err(Trouble::Ours)?;
    goes_down(&session).await;
    Ok(true)
}

async fn restart_command(execution: &Execution<'_>, index: usize) -> Result<&'static str, Trouble> {
    let address = execution.host(index).address;
    let storage = &execution.service.storage;
    let host = execution.or_store_again(|| storage.get::<Host>(&address)).await;
    let os =
        host.map_err(Trouble::Ours)?.record.os.parse::<host_access::Os>().map_err(|error| {
            GiveUp::new("unknown-os", format!("{error}; nothing was done to {address}"))
        })?;
    Ok(os.commands("", false).restart)
}

/// Waits until the host is back, with another boot id where it was restarted, and healthy; then writes it
/// down as done.
async fn verify(execution: &Execution<'_>, index: usize, target: &Target) -> Result<(), Trouble> {
    let host = execution.host(index);
    let before = host.boot_id_before.unwrap_or_default();
    let (session, after) = wait_until_up(execution, index, target, |now| now != before).await?;
    let restarted = host.rebooted_at.is_some();
    if restarted {
        check(execution, index, &session).await?;
    }
    healthy(execution, index, target, session).await?;
    let now = execution.service.deps.clock.stamp();
    let kind = execution.operation.kind.to_string();
    let change = |host: &mut HostProgress| {
        host.step = Step::Done;
        host.finished_at = Some(now.clone());
        host.boot_id_after = restarted.then(|| after.clone());
    };
    let seen = if restarted { format!("boot id {after}") } else { String::new() };
    let lines = [Line(Step::Verify, Outcome::Ok, &seen)];
    let status = |_: &mut Host, state: &mut HostState| {
        state.saw_boot(&now, &after);
        state.operations.insert(kind.clone(), now.clone());
    };
    execution.save_with_host(index, change, &lines, status).await.map_err(Trouble::Ours)
}

/// Logs in to a host that should be there. One that only turns connections away for the moment gets as
/// long as one that reboots.
pub(crate) async fn reach(
    execution: &Execution<'_>,
    target: &Target,
) -> Result<Session, AccessError> {
    let service = execution.service;
    let deadline = Instant::now() + service.config.verify_timeout();
    let mut pauses = RETRIES.into_iter();
    let mut throttled = Backoff::default();
    loop {
        let timeout = service.config.connect_timeout();
        let error = match Session::connect(&service.deps.run_dir, target, timeout).await {
            Ok(session) => return Ok(session),
            Err(error) => error,
        };
        let pause = match &error {
            AccessError::Throttled { .. } => {
                Some(throttled.next_pause()).filter(|_| Instant::now() < deadline)
            }
            error => pauses.next().filter(|_| error.heals()),
        };
        match pause {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Err(error),
        }
    }
}

/// Waits, until the deadline that counts from the reboot, for a host that answers over SSH with a boot
/// id that is `wanted`.
async fn wait_until_up(
    execution: &Execution<'_>,
    index: usize,
    target: &Target,
    wanted: impl Fn(&str) -> bool,
) -> Result<(Session, String), Trouble> {
    let allowed = execution.service.config.verify_timeout();
    let deadline = Instant::now() + allowed.saturating_sub(since_reboot(execution, index));
    let begun = Instant::now();
    let mut last = "it did not answer".to_owned();
    let mut answered = false;
    loop {
        let look = LOOKS[usize::from(begun.elapsed() > SOON)];
        if listens(target, look).await {
            match look_at(execution, target).await {
                Ok((session, id)) if wanted(&id) => return Ok((session, id)),
                Ok((session, _)) => {
                    "it still runs the boot from before: the reboot had no effect"
                        .clone_into(&mut last);
                    answered = true;
                    goes_down(&session).await;
                }
                Err(error @ AccessError::KeyChanged { .. }) => return Err(error.into()),
                // Refused log-ins included: while it boots a host may let nobody in.
                Err(error) => last = chain(&error),
            }
        }
        if Instant::now() >= deadline {
            let address = &target.address;
            let word = if answered { "not-restarted" } else { "not-back" };
            let reason = format!(
                "{address} was not back {} s after its reboot: {last}; look at its console, then \
                 have it looked at again with `commctl host investigate {address}`",
                allowed.as_secs()
            );
            return Err(GiveUp::new(word, reason).into());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// How long ago the reboot was asked for, by this executor or another.
fn since_reboot(execution: &Execution<'_>, index: usize) -> Duration {
    let now = execution.service.deps.clock.now();
    let rebooted = execution.host(index).rebooted_at;
    let then = rebooted.and_then(|at| clock::parse(&at));
    then.and_then(|then| Duration::try_from(now.duration_since(then)).ok()).unwrap_or_default()
}

async fn look_at(
    execution: &Execution<'_>,
    target: &Target,
) -> Result<(Session, String), AccessError> {
    let session =
        Session::connect(&execution.service.deps.run_dir, target, LOG_IN_WHILE_BOOTING).await?;
    let id = boot_id(&session).await?;
    Ok((session, id))
}

/// Whether something listens on the host's SSH port: far cheaper than a log-in, and asked anew each
/// time, so that no back-off of TCP hides the moment when it comes back.
async fn listens(target: &Target, within: Duration) -> bool {
    let connect = TcpStream::connect((target.address.as_str(), target.port));
    matches!(tokio::time::timeout(within, connect).await, Ok(Ok(_)))
}

/// Waits until a host on its way down has cut our connection, but not for ever: asked through the
/// connection that there is, which costs the host nothing.
async fn goes_down(session: &Session) {
    let down = async {
        while session.is_alive().await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    // Either way it is looked at next.
    drop(tokio::time::timeout(GOING_DOWN, down).await);
}
