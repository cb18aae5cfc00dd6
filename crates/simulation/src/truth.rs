//! The state of store and hosts, independent of what services know, and the invariants, which are checked after each event.

mod coverage;
pub(crate) mod kubernetes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{
    Address, Alarm, ClusterMember, ClusterName, Freeze, Lease, LeaseName, LeasePurpose, Model,
    Operation, OperationControl, OperationEvent, OperationHost, OperationStatus, Step, Wanted,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use simulated_hosts::Effect;
use storage_svc::store::Commit;
use tokio::time::Instant;

use crate::reads::Read;
use crate::trace::Trace;
use coverage::Coverage;
use kubernetes::Nodes;

/// How old the intent of an effect may be: an operator's pause in the meantime does not reach the host any more. The
/// intent is at most a second old when it is decided on, and the go-ahead is valid for 300 ms from then on.
const DECISION: Duration = Duration::from_millis(1500);

/// How soon an operation knows that the members of its cluster have changed.
const MEMBERS_KNOWN: Duration = Duration::from_secs(30);

/// The truth about the records and hosts; clones share it.
#[derive(Clone)]
pub(crate) struct Truth {
    state: Arc<Mutex<State>>,
    trace: Trace,
}

#[derive(Default)]
struct State {
    operations: BTreeMap<String, Operation>,
    parts: BTreeMap<String, OperationHost>,
    events: BTreeMap<String, OperationEvent>,
    controls: BTreeMap<String, OperationControl>,
    /// The cluster of each member.
    members: BTreeMap<String, ClusterName>,
    leases: BTreeMap<LeaseName, Lease>,
    /// Since when an operation, or all of them (the empty name), must start nothing.
    stopped: BTreeMap<String, Instant>,
    /// Since when there is an alarm, by its scope.
    alarms: BTreeMap<String, Instant>,
    /// When each operation last had a host done, and the owner of its lease at that time.
    last_done: BTreeMap<String, (Instant, String)>,
    /// When the members of a cluster changed last.
    members_changed: BTreeMap<ClusterName, Instant>,
    /// All effects, in their order.
    effects: Vec<EffectOnHost>,
    /// The number of commits.
    commits: u64,
    /// Revisions of each key, each with the number of its commit; a deletion has no revision.
    history: BTreeMap<String, Vec<(u64, Option<u64>)>>,
    /// The process of each owner of leases.
    owners: BTreeMap<String, String>,
    /// The key that each host has shown when it was registered.
    host_keys: BTreeMap<String, String>,
    /// The nodes of the Kubernetes, if there is one.
    nodes: Option<Nodes>,
    coverage: Coverage,
    violations: Vec<String>,
}

/// An effect of an operation.
struct EffectOnHost {
    operation: String,
    address: String,
    unit: Option<String>,
    boot_id: String,
}

impl Truth {
    pub(crate) fn new(trace: Trace) -> Self {
        Self { state: Arc::default(), trace }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The violations found so far.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// The waits, failures and pauses of this run.
    pub(crate) fn reached(&self) -> BTreeSet<String> {
        self.state().coverage.0.clone()
    }

    /// Records a violation.
    pub(crate) fn violated(&self, what: String) {
        self.trace.line("checker", &format!("VIOLATION {what}"));
        self.state().violations.push(what);
    }

    /// The ids of operations in process, each with the name of its cluster.
    pub(crate) fn in_process(&self) -> Vec<(String, ClusterName)> {
        let state = self.state();
        let running = state.operations.values().filter(|o| o.status == OperationStatus::InProcess);
        running.map(|o| (o.id.clone(), o.cluster.clone())).collect()
    }

    /// Whether all operations are frozen.
    pub(crate) fn is_frozen(&self) -> bool {
        self.state().stopped.contains_key("")
    }

    /// Whether an operation waits for an operator, with a reason.
    pub(crate) fn is_paused_with_reason(&self, operation: &str) -> bool {
        let state = self.state();
        let control = state.controls.get(operation);
        control
            .is_some_and(|c| c.wanted == Wanted::Pause && !(c.reason.is_empty() && c.by.is_empty()))
    }

    /// The id of the latest operation of a cluster.
    pub(crate) fn latest_operation(&self, cluster: &str) -> Option<String> {
        let state = self.state();
        let of_cluster = state.operations.values().filter(|o| o.cluster == cluster);
        of_cluster.max_by_key(|o| (&o.started_at, &o.id)).map(|o| o.id.clone())
    }

    /// The story.
    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The number of commits so far.
    pub(crate) fn commits(&self) -> u64 {
        self.state().commits
    }

    /// Notes which process owns the leases that a request writes.
    pub(crate) fn learn_owner(&self, process: &str, params: &Value) {
        for save in params["saves"].as_array().into_iter().flatten() {
            if save["model_type_name"] == Lease::TYPE
                && let Some(owner) = save["model_json_data"]["owner"].as_str()
                && !owner.is_empty()
            {
                self.state().owners.insert(owner.to_owned(), process.to_owned());
            }
        }
    }

    /// Notes the key that a host has; `None` if any key may be accepted.
    pub(crate) fn has_key(&self, address: &str, key: Option<String>) {
        let mut state = self.state();
        match key {
            Some(key) => state.host_keys.insert(address.to_owned(), key),
            None => state.host_keys.remove(address),
        };
    }

    /// Checks that an operation that was acknowledged is in the store.
    pub(crate) fn acknowledged(&self, operation: &str) {
        if !self.state().operations.contains_key(operation) {
            self.violated(format!(
                "6: the operation {operation} was acknowledged and is not there"
            ));
        }
    }

    /// Checks that a client who was refused has started nothing: a repeated request gets the answer of the first.
    pub(crate) fn refused(&self, client: &str) {
        let state = self.state();
        let started = state.operations.values().find(|operation| operation.started_by == client);
        let started = started.map(|operation| operation.id.clone());
        drop(state);
        if let Some(id) = started {
            self.violated(format!("2: {client} was refused, and has started {id}"));
        }
    }

    /// Takes a commit of the store.
    pub(crate) fn commit(&self, revision: u64, commit: &Commit) {
        let mut found = Vec::new();
        {
            let mut state = self.state();
            state.commits += 1;
            let number = state.commits;
            for (key, value) in &commit.puts {
                state.history.entry(key.clone()).or_default().push((number, Some(revision)));
                state.put(key, value, &mut found);
            }
            for key in &commit.deletes {
                state.history.entry(key.clone()).or_default().push((number, None));
                state.delete(key);
            }
            state.check_operations(&mut found);
        }
        for (key, value) in &commit.puts {
            self.trace.record(key, value);
        }
        for violation in found {
            self.violated(violation);
        }
    }

    /// Takes an effect on a host at the moment when it happens.
    pub(crate) fn effect(&self, effect: &Effect) {
        let what = effect.unit.as_deref().unwrap_or("reboot");
        let detail = format!(
            "{} gets {what} in boot {}; unavailable besides: {:?}",
            effect.address, effect.boot_id, effect.unavailable
        );
        self.trace.line(&effect.process, &detail);
        let found = self.state().check_effect(effect);
        for violation in found {
            self.violated(violation);
        }
    }

    /// Checks that what was read was so at one moment since commit number `since`.
    pub(crate) fn check_read(&self, process: &str, read: &Read, since: u64) {
        let state = self.state();
        if let Some(at) = state.unexplained(read, since) {
            drop(state);
            self.violated(format!(
                "6: what {process} read was so at no moment since its request, among others {at}"
            ));
        }
    }
}

/// The id of the operation that a host's part or an event belongs to.
fn operation_of(id: &str) -> &str {
    id.split('.').next().unwrap_or_default()
}

fn parsed<M: DeserializeOwned>(value: &str) -> Option<M> {
    serde_json::from_str(value).ok()
}

impl State {
    /// A key of what was read, if no moment since commit number `since` explains all of it.
    fn unexplained(&self, read: &Read, since: u64) -> Option<String> {
        let at = |key: &str, number: u64| {
            let history = self.history.get(key)?;
            history.iter().rev().find(|(commit, _)| *commit <= number)?.1
        };
        let listed: BTreeMap<&str, Option<u64>> =
            read.records.iter().map(|(key, revision)| (key.as_str(), *revision)).collect();
        let differs = |number: u64| -> Option<String> {
            let wrong = read.records.iter().find(|(key, revision)| at(key, number) != *revision);
            if let Some((key, _)) = wrong {
                return Some(key.clone());
            }
            let prefix = read.prefix?;
            let all = self.history.range(prefix.to_owned()..);
            let mut all = all.map(|(key, _)| key).take_while(|key| key.starts_with(prefix));
            all.find(|key| !listed.contains_key(key.as_str()) && at(key, number).is_some()).cloned()
        };
        let mut last = None;
        for number in (since..=self.commits).rev() {
            last = Some(differs(number)?);
        }
        last
    }

    fn put(&mut self, key: &str, value: &str, found: &mut Vec<String>) {
        if let Some(id) = key.strip_prefix(Operation::PREFIX) {
            let Some(operation) = parsed::<Operation>(value) else { return };
            if let Some(before) = self.operations.get(id)
                && before.status != OperationStatus::InProcess
                && before.status != operation.status
            {
                found.push(format!(
                    "6: the operation {id} ended, and is {:?} again",
                    operation.status
                ));
            }
            let by_same = |other: &&Operation| {
                other.id != operation.id && other.started_by == operation.started_by
            };
            if let Some(other) = self.operations.values().find(by_same) {
                let (by, other) = (&operation.started_by, &other.id);
                found.push(format!("2: one request of {by} has started {other} and {id}"));
            }
            self.operations.insert(id.to_owned(), operation);
        } else if let Some(id) = key.strip_prefix(OperationHost::PREFIX) {
            let Some(part) = parsed::<OperationHost>(value) else { return };
            if let Some(before) = self.parts.get(id)
                && before.step == Step::Done
                && part.step.is_under_way()
            {
                found.push(format!("2: the host {id} was done, and is at {} again", part.step));
            }
            self.check_soak(&part, found);
            self.coverage.part(&part);
            self.parts.insert(id.to_owned(), part);
        } else if let Some(id) = key.strip_prefix(OperationEvent::PREFIX) {
            let Some(event) = parsed::<OperationEvent>(value) else { return };
            if self.events.get(id).is_some_and(|before| *before != event) {
                found.push(format!("6: the event {id} was replaced by another one"));
            }
            let operation = operation_of(id);
            let before = OperationEvent::id_of(operation, event.seq.saturating_sub(1));
            if event.seq > 1 && !self.events.contains_key(&before) {
                found.push(format!("6: the event {id} has none before it"));
            }
            self.events.insert(id.to_owned(), event);
        } else if let Some(id) = key.strip_prefix(OperationControl::PREFIX) {
            let Some(control) = parsed::<OperationControl>(value) else { return };
            self.check_reason(&control, found);
            self.coverage.control(&control);
            if control.wanted == Wanted::Run {
                self.stopped.remove(id);
            } else {
                self.stopped.entry(id.to_owned()).or_insert_with(Instant::now);
            }
            self.controls.insert(id.to_owned(), control);
        } else if key.starts_with(Freeze::PREFIX) {
            self.stopped.entry(String::new()).or_insert_with(Instant::now);
        } else if let Some(scope) = key.strip_prefix(Alarm::PREFIX) {
            self.alarms.entry(scope.to_owned()).or_insert_with(Instant::now);
        } else if let Some(name) = key.strip_prefix(Lease::PREFIX) {
            if let Some(lease) = parsed::<Lease>(value) {
                self.leases.insert(name.into(), lease);
            }
        } else if let Some(address) = key.strip_prefix(ClusterMember::PREFIX)
            && let Some(ClusterMember { cluster, .. }) = parsed::<ClusterMember>(value)
        {
            self.members_changed.insert(cluster.clone(), Instant::now());
            self.members.insert(address.to_owned(), cluster);
        } else if let Some(nodes) = &mut self.nodes {
            nodes.put(key, value, found);
        }
    }

    fn delete(&mut self, key: &str) {
        if key.starts_with(Freeze::PREFIX) {
            self.stopped.remove("");
        } else if let Some(scope) = key.strip_prefix(Alarm::PREFIX) {
            self.alarms.remove(scope);
        } else if let Some(id) = key.strip_prefix(OperationControl::PREFIX) {
            self.stopped.remove(id);
            self.controls.remove(id);
        } else if let Some(id) = key.strip_prefix(Operation::PREFIX) {
            self.operations.remove(id);
        } else if let Some(id) = key.strip_prefix(OperationHost::PREFIX) {
            self.parts.remove(id);
        } else if let Some(id) = key.strip_prefix(OperationEvent::PREFIX) {
            self.events.remove(id);
        } else if let Some(name) = key.strip_prefix(Lease::PREFIX) {
            self.leases.remove(name);
        } else if let Some(address) = key.strip_prefix(ClusterMember::PREFIX)
            && let Some(cluster) = self.members.remove(address)
        {
            self.members_changed.insert(cluster, Instant::now());
        } else if let Some(nodes) = &mut self.nodes {
            nodes.delete(key);
        }
    }

    /// The soak time between two hosts does not depend on the wall clock, except after a take-over.
    fn check_soak(&mut self, part: &OperationHost, found: &mut Vec<String>) {
        let Some(operation) = self.operations.get(operation_of(&part.id)) else { return };
        let lease = self.leases.get(&LeasePurpose::Operation(&operation.cluster).name());
        let owner = lease.map(|lease| lease.owner.clone()).unwrap_or_default();
        let before = self.parts.get(&part.id).map_or(Step::Pending, |before| before.step);
        if part.step == Step::Done && before != Step::Done {
            self.last_done.insert(operation.id.clone(), (Instant::now(), owner));
        } else if part.step == Step::Probe
            && before == Step::Pending
            && let Some((done, by)) = self.last_done.get(&operation.id)
            && *by == owner
            && done.elapsed() + DECISION
                < Duration::from_secs(operation.options.soak.unwrap_or_default())
        {
            let (id, elapsed) = (&operation.id, done.elapsed());
            found.push(format!("soak: {} of {id} begins {elapsed:?} after a host", part.address));
        }
    }

    /// Invariant 4: no operation is paused because of a host that is no member of its cluster.
    fn check_reason(&self, control: &OperationControl, found: &mut Vec<String>) {
        let Some(operation) = self.operations.get(&control.id) else { return };
        let is_settled = self
            .members_changed
            .get(&operation.cluster)
            .is_none_or(|changed| changed.elapsed() > MEMBERS_KNOWN);
        let is_named =
            |host: &&Address| control.reason.split([' ', ',']).any(|word| word == host.as_str());
        let is_member =
            |host: &&Address| self.members.get(host.as_str()) == Some(&operation.cluster);
        let other = operation.hosts.iter().find(|host| is_named(host) && !is_member(host));
        if let Some(other) = other.filter(|_| is_settled && control.wanted == Wanted::Pause) {
            let id = &operation.id;
            found.push(format!("4: {id} is paused because of {other}, which is no member"));
        }
    }

    /// Invariant 3: one operation in process for each cluster, under its lease.
    fn check_operations(&self, found: &mut Vec<String>) {
        let mut running: BTreeMap<&str, &str> = BTreeMap::new();
        for operation in self.operations.values() {
            if operation.status != OperationStatus::InProcess {
                continue;
            }
            if let Some(other) = running.insert(&operation.cluster, &operation.id) {
                let (id, cluster) = (&operation.id, &operation.cluster);
                found.push(format!("3: {other} and {id} are in process on the cluster {cluster}"));
            }
            if !self.leases.contains_key(&LeasePurpose::Operation(&operation.cluster).name()) {
                found.push(format!("3: {} is in process without a lease", operation.id));
            }
        }
    }

    /// The operation that an effect on a host belongs to.
    fn operation_on(&self, address: &str) -> Option<&Operation> {
        self.operations.values().find(|operation| {
            let id = OperationHost::id_of(&operation.id, address);
            operation.status == OperationStatus::InProcess
                && self.parts.get(&id).is_some_and(|part| part.step.is_under_way())
        })
    }

    /// Invariants 1, 2, 3, 7 and 8.
    fn check_effect(&mut self, effect: &Effect) -> Vec<String> {
        let mut found = Vec::new();
        let Effect { address, unit, unavailable, .. } = effect;
        let Some(operation) = self.operation_on(address).cloned() else {
            return vec![format!("7: {address} is changed without an operation in process on it")];
        };
        self.check_nodes(effect, &operation, &mut found);
        let (id, cluster) = (operation.id.clone(), operation.cluster.clone());
        let now = Instant::now();
        let of_cluster = |host: &String| self.members.get(host) == Some(&cluster);
        let members = self.members.values().filter(|of| **of == cluster).count();
        let has_just_changed = self
            .members_changed
            .get(&cluster)
            .is_some_and(|changed| now.duration_since(*changed) < DECISION);
        let others = unavailable.iter().filter(|other| of_cluster(other)).count();
        let budget = operation.options.budget(members);
        if others + 1 > budget && !has_just_changed {
            found.push(format!(
                "1: {address} is taken down while {others} of {members} members are unavailable, and {budget} may be"
            ));
        }
        for name in [id.as_str(), ""] {
            let since = self.stopped.get(name);
            if since.is_some_and(|since| now.duration_since(*since) > DECISION) {
                let what = if name.is_empty() { "frozen" } else { "paused or aborted" };
                found.push(format!("7: {address} is changed though {id} is {what}"));
            }
        }
        for scope in [Alarm::FLEET.to_owned(), Alarm::cluster(&cluster)] {
            let since = self.alarms.get(&scope);
            if since.is_some_and(|since| now.duration_since(*since) > DECISION) {
                found.push(format!("7: {address} is changed in an alarm of {scope}"));
            }
        }
        let lease = self.leases.get(&LeasePurpose::Operation(&cluster).name());
        let holder = lease.and_then(|lease| self.owners.get(&lease.owner));
        if holder.is_none_or(|holder| **holder != *effect.process) {
            let process = &effect.process;
            found.push(format!("3: {process} changes {address}, and {holder:?} has the lease"));
        }
        if self.host_keys.get(address).is_some_and(|key| *key != effect.host_key) {
            found.push(format!("8: {address} is changed though it shows another key"));
        }
        // An upgrade that a reboot has cut off is begun again.
        let is_same = |before: &&EffectOnHost| {
            before.operation == id
                && before.address == *address
                && before.unit == *unit
                && (unit.is_none() || before.boot_id == effect.boot_id)
        };
        if self.effects.iter().any(|before| is_same(&before)) {
            let what = unit.as_deref().unwrap_or("reboot");
            found.push(format!("2: {address} gets {what} a second time in {id}"));
        }
        // Another executor that takes over may repeat a command that had no effect: the boot id is the same.
        if !effect.is_ignored {
            self.effects.push(EffectOnHost {
                operation: id,
                address: address.clone(),
                unit: unit.clone(),
                boot_id: effect.boot_id.clone(),
            });
        }
        found
    }
}

#[cfg(test)]
mod tests;
