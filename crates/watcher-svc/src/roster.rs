//! All hosts by their records, and which of them are due for a check. Pure.

pub mod claims;
mod outlook;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use model::{Address, CheckReport, Cluster, Failing, Host, HostState, LeaseName, Stamp, Status};
use storage_client::Revised;

use crate::config::Config;
use crate::decide::{Finding, is_left_alone, is_refused, is_retried_soon};
use crate::reports::Checks;
use crate::schedule::{Micros, Rhythm, owner, place};
use crate::scopes::Scopes;
use crate::timeline::Moment;
use claims::CLAIM_PAUSE;

/// After so many refused log-ins to a host the next one waits for so long: those who ban for refused
/// log-ins do it for the fifth within ten minutes.
const REFUSALS: u32 = 3;
const REFUSED_PAUSE: Micros = 10 * 60 * 1_000_000;

/// The hosts, as one watcher sees them.
#[derive(Debug)]
pub struct Roster {
    /// The name of our lease.
    me: LeaseName,
    /// As the configuration has it.
    configured: Rhythm,
    /// The one in use.
    rhythm: Rhythm,
    failures: u32,
    freeze_share: f64,
    /// The leases of all watchers, ours included.
    members: Vec<LeaseName>,
    /// Hosts whose turn in an operation has come and is not over.
    operated: HashSet<Address>,
    scopes: Scopes,
    /// The scopes that have an alarm.
    alarmed: BTreeSet<String>,
    hosts: BTreeMap<Address, Watched>,
}

#[derive(Debug)]
struct Watched {
    place: u64,
    ours: bool,
    /// Since when it is ours.
    since: Micros,
    /// Not before this, whatever the records say: the last check came to nothing.
    not_before: Micros,
    revision: u64,
    status: Status,
    /// When it was last checked, as all see it: by its record and the reports.
    last_check: Stamp,
    published: Option<Moment>,
    /// When we last checked it, which the others learn from our next report.
    checked: Option<Moment>,
    state_revision: u64,
    reason: String,
    failing: Failing,
    /// How often in a row it has turned us away.
    throttled: u32,
    /// How often it has refused our log-in since it last let us in.
    refused: u32,
    /// When we last compared its generation mark.
    claimed: Option<Micros>,
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// Hosts to check, the longest due first, each with its last check as we know it.
    pub due: Vec<(Address, Stamp)>,
    /// When the next one is due.
    pub next: Option<Micros>,
    /// Whether an alarm is to be raised.
    pub raises: bool,
}

impl Watched {
    /// When it was last checked, as far as we know.
    fn checked_at(&self) -> Option<Moment> {
        self.published.max(self.checked)
    }

    /// The same as it stands in records; empty for never.
    fn last_check(&self) -> Stamp {
        let checked = self.checked.map(|checked| stamp(checked.wall)).unwrap_or_default();
        checked.max(self.last_check.clone())
    }

    /// When we last checked it, unless the records or another watcher's report have a later check.
    fn unpublished(&self) -> Option<Micros> {
        let unit = |time: Moment| time.wall.div_euclid(CheckReport::UNIT);
        let checked = self.checked.filter(|time| Some(unit(*time)) >= self.published.map(unit));
        checked.map(|checked| checked.wall)
    }

    /// Set up, and not reached or not logged in to any more: what counts towards the fleet alarm.
    fn is_away(&self) -> bool {
        self.status.is_ready() && self.failing.count > 0 && HostState::heals(&self.failing.reason)
    }

    /// Failed, for it could not be reached.
    fn is_lost(&self) -> bool {
        self.status == Status::Failed && self.reason == HostState::UNREACHABLE
    }

    /// Whether its `sshd` answers, but does not let us in: that must not be tried out of turn.
    fn is_wary(&self) -> bool {
        self.throttled > 0 || self.refusals() > 0
    }

    fn refusals(&self) -> u32 {
        let noted = if is_refused(&self.failing.reason) { self.failing.count } else { 0 };
        noted.max(self.refused)
    }
}

impl Roster {
    /// Nobody yet; `me` is the name of our lease.
    pub fn new(me: &LeaseName, config: &Config) -> Self {
        Self {
            me: me.clone(),
            configured: Rhythm::new(config),
            rhythm: Rhythm::new(config),
            failures: config.failures.max(1),
            freeze_share: config.freeze_share,
            members: Vec::new(),
            operated: HashSet::new(),
            scopes: Scopes::default(),
            alarmed: BTreeSet::new(),
            hosts: BTreeMap::new(),
        }
    }

    /// Takes over a list of all hosts, and of what is known about them: who is not in it is gone.
    pub fn list(&mut self, hosts: &[Revised<Host>], states: &[Revised<HostState>], now: Moment) {
        let listed: HashSet<_> = hosts.iter().map(|host| host.record.address.as_str()).collect();
        self.hosts.retain(|address, _| listed.contains(address.as_str()));
        for host in hosts {
            self.saw_host(&host.record, host.revision, now);
        }
        for state in states {
            self.saw_state(&state.record, state.revision);
        }
    }

    /// Takes over which clusters there are.
    pub fn set_clusters(&mut self, clusters: &[Revised<Cluster>]) {
        self.scopes = Scopes::new(clusters.iter().map(|cluster| &cluster.record));
    }

    /// Checks hosts less often, until it is called with false.
    pub fn set_slowed(&mut self, is_slowed: bool) {
        self.rhythm = if is_slowed { self.configured.slowed() } else { self.configured.clone() };
    }

    /// Takes over which scopes have an alarm.
    pub fn set_alarmed(&mut self, scopes: impl IntoIterator<Item = String>) {
        self.alarmed = scopes.into_iter().collect();
    }

    /// Takes note of the beginning or the end of an alarm.
    pub fn alarm(&mut self, scope: String, lasts: bool) {
        if lasts {
            self.alarmed.insert(scope);
        } else {
            self.alarmed.remove(&scope);
        }
    }

    /// Takes over a host's record, unless a newer one is known.
    pub fn saw_host(&mut self, host: &Host, revision: u64, now: Moment) {
        let (me, members) = (&self.me, &self.members);
        let entry = self.hosts.entry(host.address.clone()).or_insert_with(|| Watched {
            place: place(&host.address),
            ours: owner(members, &host.address) == Some(me),
            since: now.line,
            not_before: now.line,
            revision: 0,
            status: Status::New,
            last_check: Stamp::default(),
            published: None,
            checked: None,
            state_revision: 0,
            reason: String::new(),
            failing: Failing::default(),
            throttled: 0,
            refused: 0,
            claimed: None,
        });
        if revision >= entry.revision {
            if entry.status == Status::Failed && host.status != Status::Failed {
                // Somebody has done something about it.
                entry.refused = 0;
            }
            entry.revision = revision;
            entry.status = host.status;
            // A check that is known keeps its place on the time line when the wall clock is set.
            if entry.last_check != host.last_check {
                entry.last_check.clone_from(&host.last_check);
                // A time far in the future is a clock's mistake.
                let latest = self.rhythm.horizon(now.wall);
                let checked = moment(&host.last_check).filter(|time| *time <= latest);
                entry.published = checked.map(|time| now.of_stamp(time));
            }
        }
    }

    /// Takes over what is known about a host, unless something newer is, or the host itself is not.
    pub fn saw_state(&mut self, state: &HostState, revision: u64) {
        if let Some(entry) = self.hosts.get_mut(&state.address)
            && revision >= entry.state_revision
        {
            entry.state_revision = revision;
            entry.reason.clone_from(&state.reason);
            entry.failing.clone_from(&state.failing);
        }
    }

    /// Forgets a host that was deleted at `revision`, unless it was made again since.
    pub fn forget(&mut self, address: &str, revision: u64) {
        if self.hosts.get(address).is_some_and(|host| host.revision <= revision) {
            self.hosts.remove(address);
        }
    }

    /// Divides the hosts among these watchers.
    pub fn set_members(&mut self, mut members: Vec<LeaseName>, now: Micros) {
        members.sort_unstable();
        if members == self.members {
            return;
        }
        self.members = members;
        for (address, host) in &mut self.hosts {
            let ours = owner(&self.members, address) == Some(&self.me);
            if ours && !host.ours {
                host.since = now;
            }
            host.ours = ours;
        }
    }

    /// A host's turn in an operation has come, or is over.
    pub fn set_turn(&mut self, address: &str, under_way: bool) {
        if under_way {
            self.operated.insert(address.into());
        } else {
            self.operated.remove(address);
        }
    }

    /// Leaves these hosts alone, and no others.
    pub fn set_operated(&mut self, hosts: HashSet<Address>) {
        self.operated = hosts;
    }

    /// Whether the host is known to be under way in an operation.
    pub fn is_operated(&self, address: &str) -> bool {
        self.operated.contains(address)
    }

    /// Leaves a host alone for a while.
    pub fn put_off(&mut self, address: &str, until: Micros) {
        if let Some(host) = self.hosts.get_mut(address) {
            host.not_before = until;
        }
    }

    /// Takes note of a check of ours.
    pub fn checked(&mut self, address: &str, now: Moment) {
        if let Some(host) = self.hosts.get_mut(address) {
            host.checked = Some(now);
        }
    }

    /// Takes over the checks of a watcher that is gone, as ours.
    pub fn take_over(&mut self, checks: &[(Address, Micros)], now: Moment) {
        for (address, time) in checks {
            if let Some(host) = self.hosts.get_mut(address)
                && *time <= now.wall
            {
                host.checked = host.checked.max(Some(now.of_stamp(*time)));
            }
        }
    }

    /// What is to be reported: our checks that no record has, and all hosts whose checks may follow.
    pub(crate) fn checks(&self) -> Checks {
        let mut checks = Checks::default();
        for (address, host) in &self.hosts {
            let unpublished = host.unpublished();
            if let Some(time) = unpublished {
                checks.times.insert(address.clone(), time);
            }
            if host.ours || unpublished.is_some() {
                checks.hosts.insert(address.clone());
            }
        }
        checks
    }

    /// Whether this is the lease of a watcher that may be alive.
    pub fn is_member(&self, lease: &LeaseName) -> bool {
        self.members.iter().any(|member| member == lease)
    }

    /// Takes note of what a check of ours has found: whoever does not let us in is left alone for longer
    /// each time.
    pub fn found(&mut self, address: &str, finding: &Finding, now: Micros) {
        let Some(host) = self.hosts.get_mut(address) else { return };
        match finding {
            Finding::Well(_) | Finding::Ours(_) => (host.throttled, host.refused) = (0, 0),
            Finding::Throttled => {
                host.throttled = host.throttled.saturating_add(1);
                host.not_before = self.rhythm.back_off(host.place, now, host.throttled);
            }
            Finding::Failed(failure) => {
                host.throttled = 0;
                if is_refused(failure.reason) {
                    host.refused = host.refused.saturating_add(1);
                }
            }
        }
    }

    /// Whether it is this watcher that speaks for all of them.
    pub fn is_speaker(&self) -> bool {
        owner(&self.members, "") == Some(&self.me)
    }

    /// Which of our hosts are due.
    pub fn plan(&self, now: Micros) -> Plan {
        let frozen = self.frozen();
        let asked = self.asked(now, &frozen);
        let mut due = Vec::new();
        let mut next = None;
        for (address, host) in &self.hosts {
            if !host.ours || !self.is_watched(address, host) {
                continue;
            }
            let is_frozen = self.is_any(&frozen, address);
            let regular = self.due(host, now, is_frozen);
            let soon = if asked.contains(address.as_str()) { now } else { regular };
            match soon.min(regular).max(host.not_before) {
                time if time <= now => due.push((time, address.clone(), host.last_check())),
                time => next = Some(next.map_or(time, |next: Micros| next.min(time))),
            }
        }
        due.sort_unstable();
        let due = due.into_iter().map(|(_, address, last)| (address, last)).collect();
        let raises = frozen.iter().any(|scope| !self.alarmed.contains(scope));
        Plan { due, next, raises }
    }

    fn is_watched(&self, address: &str, host: &Watched) -> bool {
        !is_left_alone(host.status, &host.reason) && !self.operated.contains(address)
    }

    fn due(&self, host: &Watched, now: Micros, frozen: bool) -> Micros {
        let last = host.checked_at().map(|checked| checked.line);
        let count = host.failing.count;
        // What is not decided by now is waited for, at the shortest pause; what is frozen can wait.
        let retry = match (last, frozen && count >= self.failures) {
            (Some(last), false)
                if count > 0 && is_retried_soon(&host.failing.reason, host.status) =>
            {
                let pause = if count < self.failures { count } else { 1 };
                self.rhythm.retry(host.place, last, pause)
            }
            _ => None,
        };
        let regular = || self.rhythm.regular(host.place, last, host.since, now);
        match last {
            Some(last) if host.is_lost() => {
                self.rhythm.unreachable(host.place, last, host.since, now)
            }
            Some(last) if host.is_fenced() => regular().max(last + CLAIM_PAUSE),
            // Also when it was another watcher that was refused.
            Some(last) if host.refusals() >= REFUSALS => regular().max(last + REFUSED_PAUSE),
            _ => retry.unwrap_or_else(regular),
        }
    }
}

/// A moment of the wall clock as records have it.
pub(crate) fn stamp(time: Micros) -> Stamp {
    jiff::Timestamp::from_microsecond(time).map(Stamp::of).unwrap_or_default()
}

/// The moment of a record's `last_check`.
pub fn moment(stamp: &Stamp) -> Option<Micros> {
    stamp.timestamp().map(jiff::Timestamp::as_microsecond)
}

#[cfg(test)]
mod tests;
