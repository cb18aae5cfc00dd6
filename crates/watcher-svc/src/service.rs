//! Keeps the roster up to date and starts the checks that are due.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use bus::error::chain;
use bus::{
    Bus, Call, Error, Notification, Result, Subscription, presence, topology, warn_unless_outage,
};
use host_access::Deps;
use model::{
    Alarm, Cluster, Host, HostState, LeasePurpose, Model as _, OperationHost, PendingWebhook,
    WatcherRecord,
};
use runtime::Lifecycle;
use runtime::claims::Claims;
use serde::de::DeserializeOwned;
use serde_json::Value;
use storage_client::lease::TTL_MIN;
use storage_client::{Revised, StorageClient, Transaction, queries};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::alarms::{Alarms, Change};
use crate::check;
use crate::config::Config;
use crate::context::Context;
use crate::membership::Membership;
use crate::reports::Reports;
use crate::roster::Roster;
use crate::schedule::Micros;

/// How often everything is listed, in case a notification was lost.
const LIST: Duration = Duration::from_secs(30);

/// The pause before another try when the bus or the store does not answer.
const AGAIN: Duration = Duration::from_secs(1);

/// The longest sleep, and how long one is that the end of a check cuts short.
const NAP: Duration = Duration::from_secs(1);

/// Hosts that are checked at a time because somebody asked: most slots stay with those that are due.
const PREFETCH: usize = 4;

/// Keeps the roster up to date and starts checks.
#[derive(Debug)]
struct Watcher {
    context: Context,
    slots: Arc<Semaphore>,
    /// Hosts that this process is checking.
    busy: Claims,
    wake: Notify,
}

/// Watches hosts until the daemon is told to stop.
///
/// # Errors
/// When the bus cannot be reached.
pub async fn run(deps: Deps, config: Config, lifecycle: &Lifecycle) -> Result<()> {
    let storage = StorageClient::new(deps.bus.clone(), bus::Context::service("watcher"));
    let membership = Membership::new(storage.clone(), lifecycle.clone(), deps.lease_ttl);
    let bus = deps.bus.clone();
    let watcher = Arc::new(Watcher {
        slots: Arc::new(Semaphore::new(config.concurrency.max(1))),
        busy: Claims::default(),
        wake: Notify::new(),
        context: Context::new(deps, config, storage, membership.name(), lifecycle),
    });
    let serving = Arc::clone(&watcher);
    let handler = move |call| {
        let watcher = Arc::clone(&serving);
        async move { watcher.asked(call).await }
    };
    bus.serve(topology::WATCHER, PREFETCH, lifecycle, handler).await?;
    presence::answer_pings(&bus, topology::WATCHER.name, lifecycle);
    lifecycle.spawn_critical("watcher", watcher.work(membership));
    Ok(())
}

impl Watcher {
    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.context.roster()
    }

    /// Checks a host because somebody asked for it.
    async fn asked(&self, call: Call) -> Result<Value> {
        let record: WatcherRecord = call.params.parse(&["address", "last_check"])?;
        record.validate().map_err(Error::invalid)?;
        // Without a claim it is being checked already.
        if let Some(_claim) = self.busy.claim(&record.address) {
            let Ok(_slot) = self.slots.acquire().await else { return Ok(Value::Null) };
            let known = Some(record.last_check.as_str()).filter(|last| !last.is_empty());
            check::run(&self.context, &record.address, known).await;
        }
        self.wake.notify_one();
        Ok(Value::Null)
    }

    async fn work(self: Arc<Self>, mut membership: Membership) {
        let (storage, clock) = (self.context.storage.clone(), self.context.deps.clock.clone());
        let mut reports = Reports::new(membership.name(), storage, clock);
        let mut alarms = Alarms::new(&self.context.config);
        let stopping = self.context.lifecycle.stopping();
        tokio::pin!(stopping);
        loop {
            tokio::select! {
                () = &mut stopping => break,
                ended = self.watch(&mut membership, &mut reports, &mut alarms) => if let Err(error) = ended {
                    warn_unless_outage!(error, "cannot hear of changes to hosts");
                }
            }
            tokio::select! {
                () = &mut stopping => break,
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
        let checks = self.roster().checks();
        let last = match reports.draft(checks, &[]).await {
            Ok(draft) => draft.map(|draft| draft.transaction).unwrap_or_default(),
            Err(error) => {
                warn_unless_outage!(error, "the last checks are not reported");
                Transaction::default()
            }
        };
        if let Err(error) = membership.leave(last).await {
            warn_unless_outage!(error, "the watcher's lease runs out by itself");
        }
    }

    /// Watches until notifications are lost.
    async fn watch(
        self: &Arc<Self>,
        membership: &mut Membership,
        reports: &mut Reports,
        alarms: &mut Alarms,
    ) -> Result<()> {
        let mut changes = Changes::subscribe(&self.context.deps.bus).await?;
        let mut list = tokio::time::interval(LIST);
        let mut look = tokio::time::interval(self.context.deps.lease_ttl.max(TTL_MIN) / 3);
        let pace = self.context.config.report_interval.0;
        let mut report = tokio::time::interval_at(Instant::now() + pace, pace);
        for ticks in [&mut list, &mut look, &mut report] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        // The first two tick at once; nothing can be done before both have been answered.
        let (mut listed, mut looked) = (false, false);
        let (mut pause, mut raises) = (NAP, false);
        loop {
            tokio::select! {
                _ = list.tick() => {
                    listed = answered(&self.list().await, &mut list);
                }
                _ = look.tick() => {
                    looked = answered(&self.look(membership, alarms).await, &mut look);
                }
                _ = report.tick() => if looked && membership.is_held() {
                    let reported = self.report(membership, reports).await;
                    if let Err(error) = reported {
                        warn_unless_outage!(error, "the last checks are reported later");
                    }
                },
                () = membership.lost() => {
                    membership.drop_lost();
                    look.reset_immediately();
                }
                change = changes.next() => match change {
                    None => return Ok(()),
                    Some(change) => if self.apply(change) {
                        look.reset_immediately();
                    }
                },
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            let did_raise = raises;
            let ready = listed && looked && membership.is_held();
            (pause, raises) = if ready { self.start_due() } else { (NAP, raises) };
            if raises && !did_raise {
                look.reset_immediately();
            }
        }
    }

    async fn list(&self) -> Result<()> {
        let hosts = self.context.storage.list::<Host>().await?;
        let states = self.context.storage.list::<HostState>().await?;
        let clusters = self.context.storage.list::<Cluster>().await?;
        let mut roster = self.roster();
        roster.list(&hosts, &states, self.context.time.now());
        roster.set_clusters(&clusters);
        Ok(())
    }

    async fn look(&self, membership: &mut Membership, alarms: &mut Alarms) -> Result<()> {
        let seen = membership.look().await?;
        let raised = self.context.storage.list::<Alarm>().await?;
        let freeze = queries::freeze(&self.context.storage).await?;
        let scopes: Vec<_> = raised.iter().map(|alarm| alarm.record.scope.clone()).collect();
        let (is_speaker, shares) = {
            let mut roster = self.roster();
            roster.set_members(seen.members, self.context.time.now().line);
            roster.set_operated(seen.operated);
            roster.set_slowed(freeze.is_some_and(|freeze| freeze.restored));
            roster.set_alarmed(scopes.iter().cloned());
            (roster.is_speaker(), roster.shares())
        };
        // All watchers follow the shares, and one writes: so another can go on where it stopped.
        let changes = alarms.changes(&scopes, &shares, &self.context.deps.clock.stamp());
        if is_speaker && !changes.is_empty() {
            self.write_alarms(membership, &raised, changes).await?;
        }
        Ok(())
    }

    /// Raises and ends alarms, each with the pending webhook that reports it; nothing where another watcher has just done
    /// so.
    async fn write_alarms(
        &self,
        membership: &Membership,
        raised: &[Revised<Alarm>],
        changes: Vec<Change>,
    ) -> Result<()> {
        for change in changes {
            let transaction = match &change {
                Change::Raise(alarm) => {
                    let webhook = PendingWebhook::alarm(alarm.clone(), false);
                    Transaction::default().create(alarm)?.save(&webhook)?
                }
                Change::End(scope) => {
                    let before = raised.iter().find(|alarm| alarm.record.id() == scope);
                    let Some(Revised { record, revision }) = before else { continue };
                    let webhook = PendingWebhook::alarm(record.clone(), true);
                    Transaction::default()
                        .check::<Alarm>(scope, Some(*revision))
                        .delete::<Alarm>(scope)
                        .save(&webhook)?
                }
            };
            match membership.transact(transaction).await {
                Ok(_) => self.alarm_changed(change),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn alarm_changed(&self, change: Change) {
        match change {
            Change::Raise(Alarm { scope, reason, .. }) => {
                tracing::error!(
                    alarm.scope = scope,
                    "alarm raised: {reason}, so the fault is probably not theirs: until the alarm ends none of them \
                     becomes failed and no operation on them goes on; look at this machine's network and keys"
                );
                self.roster().alarm(scope, true);
            }
            Change::End(scope) => {
                tracing::info!(
                    alarm.scope = scope,
                    "alarm ended: the hosts can be reached again, and their statuses change again"
                );
                self.roster().alarm(scope, false);
            }
        }
    }

    /// Writes the report of our last checks. One watcher for all takes over what the reports of watchers
    /// that are gone say, and removes them in the same transaction.
    async fn report(&self, membership: &Membership, reports: &mut Reports) -> Result<()> {
        let mut orphans = Vec::new();
        let is_speaker = self.roster().is_speaker();
        if is_speaker {
            let found = reports.orphans(|lease| self.roster().is_member(lease)).await?;
            let now = self.context.time.now();
            for (report, checks) in found {
                self.roster().take_over(&checks, now);
                orphans.push(report);
            }
        }
        let checks = self.roster().checks();
        let Some(mut draft) = reports.draft(checks, &orphans).await? else { return Ok(()) };
        let revision = membership.transact(std::mem::take(&mut draft.transaction)).await?;
        reports.written(draft, revision);
        Ok(())
    }

    /// Takes over what a notification says; true when it is time to look at the leases.
    fn apply(&self, change: Notification) -> bool {
        let Notification { key, mut params, .. } = change;
        let mut words = key.rsplit('.');
        let (event, model) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let revision = params["revision"].as_u64().unwrap_or_default();
        let record = params["model"].take();
        match (model, event) {
            ("Lease", "created" | "deleted") => {
                let name = record["name"].as_str().unwrap_or_default();
                let purpose = LeasePurpose::of(name);
                return matches!(
                    purpose,
                    Some(LeasePurpose::Watcher(_) | LeasePurpose::Operation(_))
                );
            }
            ("Host", "deleted") => {
                let address = record["address"].as_str().unwrap_or_default();
                self.roster().forget(address, revision);
            }
            ("Host", _) => {
                if let Some(host) = parse::<Host>(&key, record) {
                    self.context.saw(&host, revision);
                }
            }
            ("HostState", "created" | "updated") => {
                if let Some(state) = parse::<HostState>(&key, record) {
                    self.roster().saw_state(&state, revision);
                }
            }
            ("OperationHost", "created" | "updated") => {
                if let Some(part) = parse::<OperationHost>(&key, record) {
                    self.roster().set_turn(&part.address, part.step.is_under_way());
                }
            }
            _ => {}
        }
        false
    }

    /// Starts the checks that are due, as far as there are slots; returns how long there is nothing to do
    /// then, unless a check ends before, and whether an alarm is to be raised.
    fn start_due(self: &Arc<Self>) -> (Duration, bool) {
        let now = self.context.time.now().line;
        let plan = self.roster().plan(now);
        for (address, known) in plan.due {
            let Some(claim) = self.busy.claim(&address) else { continue };
            let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
                return (NAP, plan.raises);
            };
            let watcher = Arc::clone(self);
            self.context.lifecycle.spawn("check", async move {
                check::run(&watcher.context, &address, Some(&known)).await;
                drop((slot, claim));
                watcher.wake.notify_one();
            });
        }
        let pause = plan.next.map_or(Micros::MAX, |next| next - now);
        (Duration::from_micros(u64::try_from(pause).unwrap_or_default()).min(NAP), plan.raises)
    }
}

/// Whether the storage service has answered; if not, it is asked again soon.
fn answered(result: &Result<()>, ticks: &mut Interval) -> bool {
    if let Err(error) = result {
        warn_unless_outage!(error, "cannot look for hosts to watch");
        ticks.reset_after(AGAIN);
    }
    result.is_ok()
}

/// A record in a notification. One that does not fit is left to the next list.
fn parse<T: DeserializeOwned>(key: &str, record: Value) -> Option<T> {
    let parsed = serde_json::from_value(record);
    if let Err(error) = &parsed {
        tracing::warn!(notification = key, error = chain(error), "a notification was not read");
    }
    parsed.ok()
}

/// Notifications about hosts, what is known of them, and leases.
struct Changes([Subscription; 4]);

impl Changes {
    async fn subscribe(bus: &Bus) -> Result<Self> {
        let hosts = bus.subscribe(&topology::changed("Host", "*")).await?;
        let states = bus.subscribe(&topology::changed("HostState", "*")).await?;
        let leases = bus.subscribe(&topology::changed("Lease", "*")).await?;
        let turns = bus.subscribe(&topology::changed("OperationHost", "*")).await?;
        Ok(Self([hosts, states, leases, turns]))
    }

    /// The next one; `None` when some were lost.
    async fn next(&mut self) -> Option<Notification> {
        let [hosts, states, leases, turns] = &mut self.0;
        tokio::select! {
            change = hosts.next() => change,
            change = states.next() => change,
            change = leases.next() => change,
            change = turns.next() => change,
        }
    }
}
