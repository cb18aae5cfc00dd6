//! The state of a host, a cluster, an operation or the installation, and the reason for it. Pure: it decides by the
//! records that it is given. REST, `commctl` and the notifications show the same sentences.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Alarm, Cluster, ClusterChange, CordonDebt, DebtState, FailureReason, Freeze, Host, HostState,
    Operation, OperationControl, OperationHost, OperationStatus, Stamp, Status, Step, Subject,
    Wait, WaitReason, Wanted, Words, abridged,
};

/// The most related explanations that one has.
pub const RELATED: usize = 10;

/// The reason of an operation that was aborted begins with this.
const ABORTED: &str = "aborted by";

/// Why an object is in its state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The kind of object.
    pub kind: Subject,
    /// Its address, name or id; empty for the installation.
    pub id: String,
    /// Its state in one word.
    pub state: String,
    /// The time stamp of the beginning of this state, where it is known.
    #[schema(required, value_type = Option<String>)]
    pub since: Option<Stamp>,
    /// The reason in one stable word; empty where nothing has failed or waits.
    pub reason: String,
    /// The state and its reason, in a sentence.
    pub sentence: String,
    /// What to do about it; empty where nothing has failed or waits.
    pub remedy: String,
    /// The event that ends it; empty where nothing has failed or waits.
    pub ends: String,
    /// Explanations of the objects that it depends on; at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(no_recursion)]
    pub related: Vec<Explanation>,
}

impl Explanation {
    /// An object that nothing is the matter with.
    fn well(kind: Subject, id: &str, state: &str, sentence: String) -> Self {
        Self {
            kind,
            id: id.to_owned(),
            state: state.to_owned(),
            since: None,
            reason: String::new(),
            sentence,
            remedy: String::new(),
            ends: String::new(),
            related: Vec::new(),
        }
    }

    /// An object with a reason. Its sentence is the name, the cause and the detail.
    fn because(
        kind: Subject,
        id: &str,
        state: &str,
        words: Words,
        name: &str,
        detail: &str,
    ) -> Self {
        let Words { word, cause, remedy, ends, .. } = words;
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        Self {
            reason: word.to_owned(),
            remedy: remedy.to_owned(),
            ends: ends.to_owned(),
            ..Self::well(kind, id, state, format!("{name} {cause}{detail}"))
        }
    }

    fn since(mut self, since: Option<&Stamp>) -> Self {
        self.since = since.filter(|since| !since.is_empty()).cloned();
        self
    }

    fn related(mut self, related: impl IntoIterator<Item = Self>) -> Self {
        self.related = related.into_iter().take(RELATED).collect();
        self
    }
}

/// The state of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OperationState {
    /// It works on hosts.
    Running,
    /// It starts no further host because something has to end first, such as the soak time.
    Waiting,
    /// It starts no further host, and some are still under way.
    Pausing,
    /// It starts no further host, and none is under way.
    Paused,
    /// It starts no further host, and ends when none is under way any more.
    Aborting,
    /// It starts no further host until a freeze or an alarm ends.
    Frozen,
    /// No executor is running that carries it out.
    Abandoned,
    /// All its hosts are done or skipped.
    Finished,
    /// It ended because of failed hosts.
    Failed,
    /// It was aborted by an operator.
    Aborted,
}

impl OperationState {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::Aborting => "aborting",
            Self::Frozen => "frozen",
            Self::Abandoned => "abandoned",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
        }
    }
}

/// The records that explain an operation.
#[derive(Debug, Clone, Copy)]
pub struct OperationFacts<'a> {
    /// Its record.
    pub operation: &'a Operation,
    /// The parts of its hosts.
    pub hosts: &'a [OperationHost],
    /// The last request of an operator.
    pub control: Option<&'a OperationControl>,
    /// What its rollout waits for.
    pub wait: Option<&'a Wait>,
    /// The freeze.
    pub freeze: Option<&'a Freeze>,
    /// The alarm that concerns its cluster.
    pub alarm: Option<&'a Alarm>,
    /// Whether an executor is running.
    pub has_executor: bool,
}

/// Explains an operation.
pub fn operation(facts: &OperationFacts<'_>) -> (OperationState, Explanation) {
    let operation = facts.operation;
    let (state, explanation) = match operation.status {
        OperationStatus::InProcess => in_process(facts),
        OperationStatus::Finished => {
            let (done, total) = (count(facts.hosts, Step::Done), operation.hosts.len());
            let state = OperationState::Finished;
            let sentence =
                format!("{} is finished: {done} of {total} hosts are done", name_of(operation));
            (state, Explanation::well(Subject::Operation, &operation.id, state.word(), sentence))
        }
        OperationStatus::Failed => ended_early(facts),
    };
    let since = match explanation.since {
        Some(_) => explanation.since.clone(),
        None => operation.finished_at.clone(),
    };
    let hosts = facts.hosts.iter().filter(|part| {
        operation.status != OperationStatus::Finished
            && (part.step.is_under_way() || part.step == Step::Failed)
    });
    let related = hosts.map(|part| host_part(operation, part));
    (state, Explanation { since, ..explanation }.related(related))
}

fn because(
    operation: &Operation,
    state: OperationState,
    words: Words,
    detail: &str,
) -> (OperationState, Explanation) {
    let (id, name) = (&operation.id, name_of(operation));
    let explanation =
        Explanation::because(Subject::Operation, id, state.word(), words, &name, detail);
    (state, explanation)
}

fn in_process(facts: &OperationFacts<'_>) -> (OperationState, Explanation) {
    let OperationFacts { operation, hosts, control, wait, freeze, alarm, has_executor } = *facts;
    let waits = |state, reason: WaitReason, detail: &str, since: Option<&Stamp>| {
        let (state, explanation) = because(operation, state, reason.words(), detail);
        (state, explanation.since(since))
    };
    if !has_executor {
        return waits(OperationState::Abandoned, WaitReason::ExecutorAway, "", None);
    }
    let under_way = hosts.iter().filter(|host| host.step.is_under_way());
    if let Some(OperationControl { wanted: Wanted::Abort, by, at, .. }) = control {
        let under_way = abridged(under_way.map(|host| &host.address), ", ");
        let detail = format!("{ABORTED} {by}; under way: {under_way}");
        return waits(OperationState::Aborting, WaitReason::Aborting, &detail, Some(at));
    }
    if let Some(OperationControl { wanted: Wanted::Pause, by, at, reason, code, .. }) = control {
        let is_busy = hosts.iter().any(OperationHost::is_worked_on);
        let state = if is_busy { OperationState::Pausing } else { OperationState::Paused };
        let code = WaitReason::from_word(code).unwrap_or(WaitReason::Paused);
        let detail = if reason.is_empty() { format!("by {by}") } else { reason.clone() };
        return waits(state, code, &detail, Some(at));
    }
    if let Some(Freeze { by, at, reason, .. }) = freeze {
        let detail =
            if reason.is_empty() { format!("by {by}") } else { format!("by {by}: {reason}") };
        return waits(OperationState::Frozen, WaitReason::Frozen, &detail, Some(at));
    }
    if let Some(Alarm { since, reason, .. }) = alarm {
        return waits(OperationState::Frozen, WaitReason::Alarm, reason, Some(since));
    }
    let known = wait.and_then(|wait| Some((wait, WaitReason::from_word(&wait.reason)?)));
    if let Some((wait, reason)) = known {
        return waits(OperationState::Waiting, reason, &wait.detail, Some(&wait.since));
    }
    if under_way.clone().next().is_some() && !hosts.iter().any(OperationHost::is_worked_on) {
        let waiting = under_way
            .filter_map(|host| Some(format!("{} ({})", host.address, host.waiting_for.as_ref()?)));
        let (done, total) = (count(hosts, Step::Done), operation.hosts.len());
        let detail = format!("{done} of {total} are done; waiting: {}", abridged(waiting, ", "));
        let since =
            hosts.iter().filter_map(|host| host.wait.as_ref()).map(|wait| &wait.since).min();
        return waits(OperationState::Waiting, WaitReason::HostsWait, &detail, since);
    }
    let under_way =
        abridged(under_way.map(|host| format!("{} ({})", host.address, host.step)), ", ");
    let (done, total) = (count(hosts, Step::Done), operation.hosts.len());
    let under_way = if under_way.is_empty() { "none" } else { &under_way };
    let detail = format!("{done} of {total} are done; under way: {under_way}");
    waits(OperationState::Running, WaitReason::UnderWay, &detail, Some(&operation.started_at))
}

/// Why an operation has failed; `reason` is that of its record.
pub fn end_reason(reason: &str) -> FailureReason {
    if reason.starts_with(ABORTED) {
        FailureReason::Aborted
    } else if reason.starts_with(FailureReason::LostAfter.word()) {
        FailureReason::LostAfter
    } else {
        FailureReason::HostsFailed
    }
}

fn ended_early(facts: &OperationFacts<'_>) -> (OperationState, Explanation) {
    let OperationFacts { operation, hosts, .. } = facts;
    let reason = operation.reason.as_str();
    let state = OperationState::Failed;
    match end_reason(reason) {
        FailureReason::Aborted => {
            let (state, words) = (OperationState::Aborted, FailureReason::Aborted.words());
            return because(operation, state, words, reason);
        }
        FailureReason::LostAfter => {
            let lost = reason.split_once(": ").map_or("", |(_, lost)| lost);
            return because(operation, state, FailureReason::LostAfter.words(), lost);
        }
        _ => {}
    }
    let failed = hosts.iter().filter(|host| host.step == Step::Failed);
    let failed = failed.map(|host| {
        let word = if host.reason.is_empty() { "failed" } else { &host.reason };
        format!("{} ({word})", host.address)
    });
    let failed = abridged(failed, ", ");
    let detail = [failed.as_str(), reason].into_iter().filter(|part| !part.is_empty());
    let detail = detail.collect::<Vec<_>>().join("; ");
    because(operation, state, FailureReason::HostsFailed.words(), &detail)
}

/// An operation as sentences name it.
fn name_of(operation: &Operation) -> String {
    let Operation { id, cluster, kind, .. } = operation;
    let noun = kind.facts().noun;
    format!("the {noun} {id} of the cluster {cluster}")
}

fn count(hosts: &[OperationHost], step: Step) -> usize {
    hosts.iter().filter(|host| host.step == step).count()
}

/// Explains the part of a host in an operation.
fn host_part(operation: &Operation, part: &OperationHost) -> Explanation {
    let (address, step) = (part.address.as_str(), part.step.to_string());
    let name = format!("the host {address}");
    let waits = |reason: WaitReason, detail: &str, since: Option<&Stamp>| {
        Explanation::because(Subject::Host, address, &step, reason.words(), &name, detail)
            .since(since)
    };
    if let Some(failure) = &part.failure {
        return failed(address, &step, &part.reason, &failure.reason)
            .since(part.finished_at.as_ref());
    }
    let known = part.wait.as_ref();
    let known = known.and_then(|wait| Some((wait, WaitReason::from_word(&wait.reason)?)));
    if let Some((wait, reason)) = known {
        return waits(reason, &wait.detail, Some(&wait.since));
    }
    let in_operation = name_of(operation);
    match part.step {
        Step::Pending => match &part.postponed {
            Some(why) => waits(WaitReason::Postponed, why, part.started_at.as_ref()),
            None => waits(WaitReason::Turn, &in_operation, Some(&operation.started_at)),
        },
        Step::Probe => waits(WaitReason::Probing, &in_operation, part.started_at.as_ref()),
        Step::Cordon => waits(WaitReason::Cordoning, &in_operation, part.started_at.as_ref()),
        Step::Drain => {
            let began = part.node.as_ref().and_then(|node| node.drain_began.as_ref());
            waits(WaitReason::Draining, &in_operation, began)
        }
        Step::Apply => waits(WaitReason::Applying, &in_operation, part.started_at.as_ref()),
        Step::Reboot => waits(WaitReason::Rebooting, &in_operation, part.started_at.as_ref()),
        Step::Verify => waits(WaitReason::Returning, &in_operation, part.rebooted_at.as_ref()),
        Step::Settle => waits(WaitReason::Settling, &in_operation, part.rebooted_at.as_ref()),
        Step::Ready => waits(WaitReason::NodeReturning, &in_operation, part.rebooted_at.as_ref()),
        Step::Uncordon => waits(WaitReason::Uncordoning, &in_operation, part.rebooted_at.as_ref()),
        Step::Unknown => {
            let sentence = format!("{name} is in a step of a later version in {in_operation}");
            Explanation::well(Subject::Host, address, &step, sentence)
        }
        Step::Done | Step::Skipped | Step::Failed => {
            let sentence = format!("{name} is {step} in {in_operation}");
            Explanation::well(Subject::Host, address, &step, sentence)
        }
    }
}

/// Explains a failed host. Its detail is a sentence of its own.
fn failed(address: &str, state: &str, reason: &str, detail: &str) -> Explanation {
    let words = FailureReason::from_word(reason).unwrap_or(FailureReason::Internal).words();
    let name = format!("the host {address}");
    let explanation = Explanation::because(Subject::Host, address, state, words, &name, "");
    let sentence = if detail.is_empty() { explanation.sentence.clone() } else { detail.to_owned() };
    // A word of another version stays as it is.
    Explanation { sentence, reason: reason.to_owned(), ..explanation }
}

/// The records that explain a host.
#[derive(Debug, Clone, Copy)]
pub struct HostFacts<'a> {
    /// Its record.
    pub host: &'a Host,
    /// Its state beyond the documented record.
    pub state: Option<&'a HostState>,
    /// Its part in an operation in process.
    pub part: Option<(&'a Operation, &'a OperationHost)>,
    /// The alarm that concerns its cluster.
    pub alarm: Option<&'a Alarm>,
    /// Whether an investigator is running.
    pub has_investigator: bool,
    /// Whether a watcher is running.
    pub has_watcher: bool,
}

/// Explains a host.
pub fn host(facts: &HostFacts<'_>) -> Explanation {
    let HostFacts { host, state, part, alarm, has_investigator, has_watcher } = *facts;
    let address = host.address.as_str();
    let status = match host.status {
        Status::New => "new".to_owned(),
        status => status.to_string(),
    };
    let waits = |reason: WaitReason, detail: &str| {
        let name = format!("the host {address}");
        Explanation::because(Subject::Host, address, &status, reason.words(), &name, detail)
    };
    let (reason, detail) = state.map_or(("", ""), |state| (&state.reason, &state.detail));
    let is_unproven = state.and_then(|state| state.enrolled.as_ref()).is_some_and(|e| !e.proven);
    if host.status.is_under_investigation() {
        return match host.status {
            _ if !has_investigator => waits(WaitReason::InvestigatorAway, ""),
            Status::Bootstrapping => waits(WaitReason::Bootstrapping, ""),
            _ if is_unproven => waits(WaitReason::Unproven, ""),
            _ => waits(WaitReason::Investigating, ""),
        };
    }
    if let Some((operation, part)) = part.filter(|(_, part)| part.step.is_under_way()) {
        return Explanation { state: status, ..host_part(operation, part) };
    }
    if host.status == Status::Failed || !reason.is_empty() {
        let failed_at = state.map(|state| &state.failed_at);
        return failed(address, &status, reason, detail).since(failed_at);
    }
    if let Some(failing) = state.map(|state| &state.failing).filter(|failing| failing.count > 0) {
        let detail = format!("{} in succession ({})", failing.count, failing.reason);
        return match alarm {
            Some(alarm) => waits(WaitReason::StatusHeld, &alarm.reason).since(Some(&alarm.since)),
            None => waits(WaitReason::ChecksFailing, &detail),
        };
    }
    if !has_watcher {
        return waits(WaitReason::WatcherAway, "").since(Some(&host.last_check));
    }
    if let Some((operation, part)) = part.filter(|(_, part)| part.step == Step::Pending) {
        return Explanation { state: status, ..host_part(operation, part) };
    }
    let checked = match host.last_check.as_str() {
        "" => String::new(),
        checked => format!("; its last check was at {checked}"),
    };
    let sentence =
        format!("the host {address} is {status}, and nothing is the matter with it{checked}");
    Explanation::well(Subject::Host, address, &status, sentence)
}

/// The records that explain a cluster.
#[derive(Debug, Clone, Copy)]
pub struct ClusterFacts<'a> {
    /// Its record.
    pub cluster: &'a Cluster,
    /// The number of its failed members.
    pub failed: usize,
    /// Explanations of the first of them.
    pub explained: &'a [Explanation],
    /// Its operation in process.
    pub operation: Option<&'a Explanation>,
    /// The alarm that concerns it.
    pub alarm: Option<&'a Alarm>,
}

/// Explains a cluster. While an operation is in process, it is explained by that one's sentence.
pub fn cluster(facts: &ClusterFacts<'_>) -> Explanation {
    let ClusterFacts { cluster, failed, explained, operation, alarm } = *facts;
    let (id, name) = (cluster.name.as_str(), format!("the cluster {}", cluster.name));
    let waits = |state: &str, reason: WaitReason, detail: &str| {
        Explanation::because(Subject::Cluster, id, state, reason.words(), &name, detail)
    };
    let (members, related) = (cluster.hostset.len(), explained.iter().cloned());
    match &cluster.change {
        Some(ClusterChange::Deleting) => {
            let detail = format!("{members} members are left");
            return waits("deleting", WaitReason::Deleting, &detail);
        }
        Some(ClusterChange::Changing { hostset }) => {
            let detail = format!("it has {members} members, and {} are wanted", hostset.len());
            return waits("changing", WaitReason::MembersChanging, &detail);
        }
        None => {}
    }
    if let Some(operation) = operation {
        let related = std::iter::once(operation.clone()).chain(related);
        let id = id.to_owned();
        return Explanation { kind: Subject::Cluster, id, ..operation.clone() }.related(related);
    }
    if let Some(alarm) = alarm {
        return waits("alarm", WaitReason::AlarmRaised, &alarm.reason)
            .since(Some(&alarm.since))
            .related(related);
    }
    if failed > 0 {
        let named = explained.iter().map(|host| format!("{} ({})", host.id, host.reason));
        let mut named: Vec<_> = named.collect();
        match failed.saturating_sub(named.len()) {
            0 => {}
            1 => named.push("and 1 other".to_owned()),
            others => named.push(format!("and {others} others")),
        }
        let detail = format!("{failed} of {members}: {}", named.join(", "));
        return waits("degraded", WaitReason::MembersFailed, &detail).related(related);
    }
    if members == 0 {
        return waits("empty", WaitReason::Empty, "");
    }
    let members = if members == 1 { "1 member".to_owned() } else { format!("{members} members") };
    let sentence =
        format!("{name} has {members}, none of them failed, and no operation in process");
    Explanation::well(Subject::Cluster, id, "ok", sentence)
}

/// The state of everything that explains the installation.
#[derive(Debug, Clone, Copy)]
pub struct InstallationFacts<'a> {
    /// Parts that the API cannot work without, and that have failed.
    pub failed: &'a [WaitReason],
    /// Services of which no replica is running.
    pub missing: &'a [String],
    /// Whether there is a user who could log in.
    pub has_user: bool,
    /// The freeze.
    pub freeze: Option<&'a Freeze>,
    /// All alarms.
    pub alarms: &'a [Alarm],
    /// The cordons of this installation.
    pub debts: &'a [CordonDebt],
    /// The operations in process.
    pub operations: &'a [Explanation],
}

/// Explains the installation: by the worst of what is the matter with it. The others are related explanations.
pub fn installation(facts: &InstallationFacts<'_>) -> Explanation {
    let InstallationFacts { failed, missing, has_user, freeze, alarms, debts, operations } = *facts;
    let waits = |state: &str, reason: WaitReason, detail: &str| {
        let name = "the installation";
        Explanation::because(Subject::Installation, "", state, reason.words(), name, detail)
    };
    let mut all: Vec<_> = failed.iter().map(|reason| waits("failed", *reason, "")).collect();
    all.extend(missing.iter().map(|name| waits("degraded", WaitReason::ServiceMissing, name)));
    if !has_user {
        all.push(waits("degraded", WaitReason::NoUsableUser, ""));
    }
    all.extend(alarms.iter().map(|alarm| {
        waits("alarm", WaitReason::AlarmRaised, &alarm.reason).since(Some(&alarm.since))
    }));
    if let Some(Freeze { by, at, reason, .. }) = freeze {
        let detail = if reason.is_empty() { by.clone() } else { format!("{by}: {reason}") };
        all.push(waits("frozen", WaitReason::AllFrozen, &detail).since(Some(at)));
    }
    // An operation uncordons the nodes of its hosts under way.
    let debts = debts.iter().filter(|debt| debt.state != DebtState::Held);
    all.extend(debts.map(|debt| {
        let CordonDebt { node, address, operation, reason, since, .. } = debt;
        let mut detail = format!("the node {node} of {address}");
        // The reason of a cordon by an operator names that operator.
        if !operation.is_empty() {
            detail = format!("{detail}, by the operation {operation}");
        }
        if !reason.is_empty() {
            detail = format!("{detail}: {reason}");
        }
        waits("degraded", WaitReason::NodeCordoned, &detail).since(Some(since))
    }));
    let mut all = all.into_iter();
    let worst = all.next().unwrap_or_else(|| {
        let sentence = match operations.len() {
            0 => "all services are running, and no operation is in process".to_owned(),
            1 => "all services are running, and 1 operation is in process".to_owned(),
            count => format!("all services are running, and {count} operations are in process"),
        };
        Explanation::well(Subject::Installation, "", "ok", sentence)
    });
    worst.related(all.chain(operations.iter().cloned()))
}

#[cfg(test)]
mod tests;
