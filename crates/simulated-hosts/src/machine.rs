//! One host: how it behaves, whether it is up, and its boots.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use host_access::{
    AccessError, Claim, Facts, FactsError, Os, Playbook, PlaybookError, Refusal, SeenMarks, Target,
    generation,
};
use model::host_keys::fingerprint;
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use crate::playbooks::Answer;

/// The key that a host shows unless it is changed.
const HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// How many changes of its availability a host remembers.
const AVAILABILITY: usize = 16;

/// How a host answers a log-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogIn {
    /// It accepts the key.
    Accepted,
    /// It rejects the key, or the user.
    Refused,
    /// Its `sshd` drops connections at the moment.
    Throttled,
    /// It accepts connections, and never says anything.
    Silent,
}

/// What an upgrade or a deployment does.
#[derive(Debug, Clone)]
pub struct Apply {
    /// How long it takes.
    pub takes: Duration,
    /// What the playbook reports, or the message of the task that fails.
    pub result: Result<Map<String, Value>, String>,
    /// What it reports to be waiting for, such as a package lock.
    pub waits: Vec<String>,
}

/// A host; its fields are how it behaves, and may be changed at any time.
#[expect(clippy::struct_excessive_bools, reason = "each is a way to behave by itself")]
#[derive(Debug)]
pub struct Machine {
    /// From a command to reboot until its connections end.
    pub shutdown: Duration,
    /// From then until its `sshd` listens; `None`: it does not come back.
    pub boot: Option<Duration>,
    /// From then until systemd has started everything.
    pub start: Duration,
    /// Whether it has a systemd.
    pub has_systemd: bool,
    /// Units that have failed.
    pub failed_units: Vec<String>,
    /// Whether it reports that it needs a restart.
    pub needs_reboot: bool,
    /// What it is and has; the boot id in it does not count.
    pub facts: Facts,
    /// The boot id that it reports in place of its own.
    pub reported_boot_id: Option<String>,
    /// The key that it shows.
    pub host_key: String,
    /// How it answers log-ins.
    pub log_in: LogIn,
    /// Whether its `sshd` runs; without it, connections are refused.
    pub has_sshd: bool,
    /// Whether packets reach it. Connections stay open meanwhile, but nothing is answered.
    pub is_reachable: bool,
    /// How long Ansible takes until its first task runs.
    pub play_start: Duration,
    /// How much later than sent a go-ahead arrives.
    pub go_ahead_delay: Duration,
    /// How many times the connection is lost right before the command to reboot.
    pub loses_commands: usize,
    /// How many times it is lost right after that, so that the executor cannot know whether it was carried out.
    pub loses_answers: usize,
    /// Whether a command to reboot has no effect.
    pub ignores_commands: bool,
    /// What an upgrade or a deployment does.
    pub apply: Apply,
    /// Whether it boots the tree from before instead of the one that was deployed.
    pub falls_back: bool,
    /// How long after its next boot on command it reboots once more by itself.
    pub reboots_again: Option<Duration>,
    /// The key that it shows from its next boot on.
    pub next_host_key: Option<String>,
    /// The exit status of commands that operators have run on it.
    pub command_status: i32,
    /// What they print.
    pub command_output: String,
    /// The error of each log-in.
    pub log_in_error: Option<fn(&Target) -> AccessError>,
    /// The error of each question for its facts.
    pub facts_error: Option<fn(&str) -> FactsError>,
    /// The error of each playbook.
    pub playbook_error: Option<fn(Playbook) -> PlaybookError>,
    /// The generation marks of installations, by the ids of these.
    pub marks: BTreeMap<String, String>,
    /// When they were last confirmed.
    pub confirmed: BTreeMap<String, Instant>,
    number: usize,
    boots: usize,
    boot_id: String,
    booted: Instant,
    power: Power,
    /// When it reboots by itself.
    reboots_at: Option<Instant>,
    /// Whether it reboots on command.
    is_commanded: bool,
    /// When it became available or unavailable, the last few times; never empty.
    availability: VecDeque<(Instant, bool)>,
    /// Changes when all connections end.
    connections: usize,
    /// Tasks that wait for their go-ahead.
    pub(crate) waiting: HashMap<Uuid, oneshot::Sender<Answer>>,
    /// Units of upgrades and deployments, and when each ends.
    pub(crate) units: HashMap<String, Instant>,
    /// Units of upgrades and deployments that were completed, each with the boot that it was completed in.
    pub(crate) completed: HashMap<String, usize>,
    /// How many upgrades and deployments have begun.
    pub(crate) begun: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    On,
    /// It shuts down: up until this moment.
    GoingDown(Instant),
    /// Its `sshd` listens from this moment on.
    Booting(Instant),
    Off,
}

impl Machine {
    pub(crate) fn new(number: usize, now: Instant) -> Self {
        let nothing =
            Apply { takes: Duration::from_mins(1), result: Ok(Map::new()), waits: Vec::new() };
        let mut machine = Self {
            shutdown: Duration::from_secs(2),
            boot: Some(Duration::from_secs(20)),
            start: Duration::ZERO,
            has_systemd: true,
            failed_units: Vec::new(),
            needs_reboot: true,
            facts: debian(),
            reported_boot_id: None,
            host_key: HOST_KEY.to_owned(),
            log_in: LogIn::Accepted,
            has_sshd: true,
            is_reachable: true,
            play_start: Duration::from_secs(3),
            go_ahead_delay: Duration::ZERO,
            loses_commands: 0,
            loses_answers: 0,
            ignores_commands: false,
            apply: nothing,
            falls_back: false,
            reboots_again: None,
            next_host_key: None,
            command_status: 0,
            command_output: String::new(),
            log_in_error: None,
            facts_error: None,
            playbook_error: None,
            marks: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            number,
            boots: 0,
            boot_id: String::new(),
            booted: now,
            power: Power::On,
            reboots_at: None,
            is_commanded: false,
            availability: VecDeque::from([(now, true)]),
            connections: 0,
            waiting: HashMap::new(),
            units: HashMap::new(),
            completed: HashMap::new(),
            begun: 0,
        };
        machine.boots_at(now);
        machine
    }

    /// Begins and ends shutdowns and boots whose time has come by `now`.
    pub(crate) fn advance_to(&mut self, now: Instant) {
        while let Some(at) = self.next_change().filter(|at| *at <= now) {
            match self.power {
                Power::On => {
                    self.reboots_at = None;
                    self.power = Power::GoingDown(at + self.shutdown);
                }
                Power::GoingDown(_) => {
                    self.stop();
                    self.power = self.boot.map_or(Power::Off, |boot| Power::Booting(at + boot));
                }
                Power::Booting(_) => self.boots_at(at),
                Power::Off => return,
            }
            self.note_availability(at);
        }
    }

    /// When its power changes next.
    fn next_change(&self) -> Option<Instant> {
        match self.power {
            Power::On => self.reboots_at,
            Power::GoingDown(end) | Power::Booting(end) => Some(end),
            Power::Off => None,
        }
    }

    /// Whether clients are served: it is reachable, its `sshd` listens, and no reboot was commanded.
    fn is_available(&self) -> bool {
        self.listens() == Some(true) && !self.is_commanded
    }

    /// Remembers whether it is available since `now`, if that has changed.
    pub(crate) fn note_availability(&mut self, now: Instant) {
        let is_available = self.is_available();
        if self.availability.back().is_some_and(|(_, before)| *before != is_available) {
            self.availability.push_back((now, is_available));
            if self.availability.len() > AVAILABILITY {
                self.availability.pop_front();
            }
        }
    }

    /// Whether it was available at some moment since `then`.
    pub(crate) fn was_available_since(&self, then: Instant) -> bool {
        let before = self.availability.iter().rposition(|(at, _)| *at <= then);
        self.availability.range(before.unwrap_or_default()..).any(|(_, is_available)| *is_available)
    }

    /// Since when it is unavailable; `None` if it is available.
    pub(crate) fn unavailable_since(&self) -> Option<Instant> {
        let (at, is_available) = self.availability.back()?;
        (!is_available).then_some(*at)
    }

    fn boots_at(&mut self, now: Instant) {
        if std::mem::take(&mut self.is_commanded) {
            self.reboots_at = self.reboots_again.take().map(|after| now + after);
        }
        if let Some(key) = self.next_host_key.take() {
            self.host_key = key;
        }
        self.boots += 1;
        self.boot_id = format!("{:08x}-0000-4000-8000-{:012x}", self.number, self.boots);
        self.booted = now;
        self.power = Power::On;
    }

    fn stop(&mut self) {
        self.cut();
        self.waiting.clear();
        self.units.clear();
    }

    /// Ends all connections.
    pub(crate) fn cut(&mut self) {
        self.connections += 1;
    }

    pub(crate) fn power_off(&mut self) {
        self.stop();
        self.power = Power::Off;
    }

    pub(crate) fn power_on(&mut self, now: Instant) {
        if self.power == Power::Off {
            self.power = Power::Booting(now + self.boot.unwrap_or_default());
        }
    }

    pub(crate) fn reboot(&mut self, now: Instant) {
        if self.power == Power::On && !self.ignores_commands {
            self.power = Power::GoingDown(now + self.shutdown);
        }
    }

    pub(crate) fn reboot_on_command(&mut self, now: Instant) {
        self.is_commanded |= self.power == Power::On && !self.ignores_commands;
        self.reboot(now);
        self.note_availability(now);
    }

    /// Whether it is up and to stay so.
    pub fn is_up(&self) -> bool {
        self.power == Power::On && self.is_reachable
    }

    /// Whether a connection to its SSH port is accepted or refused; `None` when nothing answers.
    pub(crate) fn listens(&self) -> Option<bool> {
        match self.power {
            _ if !self.is_reachable => None,
            Power::On | Power::GoingDown(_) => Some(self.has_sshd),
            Power::Booting(_) => Some(false),
            Power::Off => None,
        }
    }

    /// Accepts or rejects a log-in; the number of the present connections, which changes when they end.
    pub(crate) fn accept_log_in(&self, target: &Target) -> Result<usize, AccessError> {
        let address = target.address.clone();
        if !self.is_up() {
            return Err(AccessError::Disconnected { address });
        }
        if let Some(error) = self.log_in_error {
            return Err(error(target));
        }
        if self.log_in == LogIn::Throttled {
            return Err(AccessError::Throttled { address, detail: "connection closed".to_owned() });
        }
        if !target.host_keys.is_empty() && !target.host_keys.contains(&self.host_key) {
            return Err(AccessError::KeyChanged {
                address,
                pinned_fingerprints: prints(&target.host_keys),
                seen_fingerprint: prints(std::slice::from_ref(&self.host_key)).concat(),
                seen_key: Some(self.host_key.clone()),
            });
        }
        if self.log_in == LogIn::Refused {
            let (user, detail) = (target.user.clone(), "Permission denied (publickey)".to_owned());
            return Err(AccessError::AuthRefused { address, user, detail });
        }
        Ok(self.connections)
    }

    /// Whether a connection still exists.
    pub(crate) fn has(&self, connection: usize) -> bool {
        self.connections == connection
    }

    pub(crate) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// The boot id that clients see.
    pub(crate) fn shown_boot_id(&self) -> String {
        self.reported_boot_id.clone().unwrap_or_else(|| self.boot_id.clone())
    }

    pub(crate) fn uptime(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.booted)
    }

    /// What `systemctl is-system-running` prints.
    pub(crate) fn system_state(&self, now: Instant) -> &'static str {
        match self.power {
            _ if !self.has_systemd => "none",
            Power::GoingDown(_) => "stopping",
            _ if self.boots > 1 && self.uptime(now) < self.start => "starting",
            _ if self.failed_units.is_empty() => "running",
            _ => "degraded",
        }
    }

    /// Compares a claim with the mark, which may change.
    pub(crate) fn claim(&mut self, claim: &Claim) -> Result<(), Refusal> {
        let mark = self.marks.get(&claim.instance).map(String::as_str);
        let confirmed = self.seen_marks(&claim.instance).confirmed.unwrap_or_default();
        let (written, answer) = generation::compare(mark, confirmed.as_secs(), claim);
        if written.is_some() || answer.is_ok() {
            self.confirmed.insert(claim.instance.clone(), Instant::now());
        }
        if let Some(written) = written {
            self.marks.insert(claim.instance.clone(), written);
        }
        answer
    }

    /// The mark of an installation.
    pub(crate) fn seen_marks(&self, instance: &str) -> SeenMarks {
        let Some(mark) = self.marks.get(instance) else { return SeenMarks::default() };
        let age = self.confirmed.get(instance).map_or(0, |at| at.elapsed().as_secs());
        SeenMarks::parse(&format!("{age}\n{mark}"))
    }

    /// Notes that the unit of an upgrade or a deployment is complete; whether the host has been rebooted since.
    pub(crate) fn complete(&mut self, unit: &str) -> bool {
        *self.completed.entry(unit.to_owned()).or_insert(self.boots) != self.boots
    }

    /// How many upgrades and deployments have begun on it.
    pub fn upgrades_begun(&self) -> usize {
        self.begun
    }
}

fn prints(keys: &[String]) -> Vec<String> {
    keys.iter().filter_map(|key| fingerprint(key)).collect()
}

fn debian() -> Facts {
    Facts {
        os: Os::Debian,
        version: "13".to_owned(),
        cpus: 2,
        memory_mib: 2048,
        space: 20_000_000_000,
        boot_id: String::new(),
        machine_id: String::new(),
        rebooters: Vec::new(),
        ostree: false,
        container_runtime: None,
        kubelet: false,
        python: Some((3, 13)),
        machine: "x86_64".to_owned(),
    }
}
