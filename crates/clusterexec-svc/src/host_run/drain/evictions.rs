//! Which pods of a node are evicted next, and why the others are still there. Pure.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use model::messages::{EvictedPod, Eviction};
use model::{DrainOptions, PodClass, PodState, abridged};
use tokio::time::Instant;

/// The pause between two requests to evict the same pod.
const AGAIN: Duration = Duration::from_secs(5);

/// The grace period of pods on a node whose kubelet does not answer: they cannot end in an orderly way.
const UNREACHABLE_GRACE: u64 = 1;

/// The evictions of one drain.
#[derive(Debug, Default)]
pub(crate) struct Evictions {
    /// The last request for each pod, by its uid.
    requests: HashMap<String, Request>,
    /// The pods that tolerate a cordon and were there at the beginning, by their uids: their replacements stay.
    tolerating: Option<HashSet<String>>,
    /// Whether the node's kubelet has been silent for so long that pods are not waited for.
    pub(crate) is_unreachable: bool,
}

#[derive(Debug)]
struct Request {
    /// When the next one may be sent.
    next: Instant,
    /// What the API server said; empty once it has accepted the eviction.
    refusal: Refusal,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    None,
    Budget(String),
    Other(String),
}

/// The state of a drain after its pods were listed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Round {
    /// The pods to be evicted now.
    pub(crate) evict: Vec<EvictedPod>,
    /// Pods that the drain waits for, or that block it.
    pub(crate) remaining: usize,
    /// Pods without a controller and pods with local data, each with its reason.
    pub(crate) blockers: Vec<String>,
    /// What the API server refuses to evict, each with its reason; empty while nothing is refused.
    pub(crate) refused: Vec<String>,
    /// The number of pods that it refuses to evict.
    pub(crate) refused_pods: usize,
    /// Pods that are being deleted, each with its grace period.
    pub(crate) terminating: Vec<String>,
    /// The longest grace period of a pod that is being deleted, or whose eviction was accepted, in seconds. A pod that is not
    /// evicted does not extend the drain.
    pub(crate) grace_period: u64,
}

impl Evictions {
    /// The next round, by a list of the pods on the node.
    pub(crate) fn next(
        &mut self,
        pods: &[PodState],
        options: &DrainOptions,
        now: Instant,
    ) -> Round {
        let tolerating = self.tolerating.get_or_insert_with(|| {
            pods.iter().filter(|pod| pod.tolerates_cordon).map(|pod| pod.uid.clone()).collect()
        });
        let mut round = Round::default();
        let mut refusals: Vec<(Refusal, Vec<String>)> = Vec::new();
        for pod in pods {
            match pod.class(options) {
                PodClass::Stays => continue,
                PodClass::EvictOnce if !tolerating.contains(&pod.uid) => continue,
                PodClass::NoController => {
                    round.blockers.push(format!("{} has no controller", pod.full_name()));
                }
                PodClass::LocalData => {
                    round.blockers.push(format!("{} has local data", pod.full_name()));
                }
                PodClass::Terminating if self.is_unreachable => continue,
                PodClass::Terminating => {
                    let grace = pod.grace_period;
                    round.terminating.push(format!("{} (grace period {grace} s)", pod.full_name()));
                    round.grace_period = round.grace_period.max(grace);
                }
                PodClass::Evict | PodClass::EvictOnce => {
                    let request = self.requests.get(&pod.uid);
                    if request.is_some_and(|request| request.refusal == Refusal::None) {
                        round.grace_period = round.grace_period.max(pod.grace_period);
                    }
                    if request.is_none_or(|request| request.next <= now) {
                        round.evict.push(eviction_of(pod, self.is_unreachable));
                    }
                    match request.map(|request| &request.refusal) {
                        None | Some(Refusal::None) => {}
                        Some(refusal) => add(&mut refusals, refusal, pod.full_name()),
                    }
                }
            }
            round.remaining += 1;
        }
        round.refused_pods = refusals.iter().map(|(_, pods)| pods.len()).sum();
        round.refused = refusals.into_iter().map(|(refusal, pods)| refusal.text(&pods)).collect();
        round
    }

    /// Notes that the eviction of these pods is requested; with the outcomes, what the API server said. `jitter` is
    /// between 0 and 1.
    pub(crate) fn note(
        &mut self,
        pods: &[EvictedPod],
        outcomes: &[Eviction],
        now: Instant,
        jitter: f64,
    ) {
        for (index, pod) in pods.iter().enumerate() {
            let (pause, refusal) = match outcomes.get(index) {
                None | Some(Eviction::Accepted | Eviction::Gone) => (AGAIN, Refusal::None),
                Some(Eviction::Budget { message }) => (AGAIN, Refusal::Budget(message.clone())),
                Some(Eviction::Later { seconds, message }) => {
                    (AGAIN.max(Duration::from_secs(*seconds)), Refusal::Other(message.clone()))
                }
                Some(Eviction::Impossible { message } | Eviction::Denied { message }) => {
                    (AGAIN, Refusal::Other(message.clone()))
                }
            };
            let next = now + pause.mul_f64(1.0 + jitter / 2.0);
            self.requests.insert(pod.uid.clone(), Request { next, refusal });
        }
    }
}

fn eviction_of(pod: &PodState, is_unreachable: bool) -> EvictedPod {
    EvictedPod {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        grace_period: is_unreachable.then_some(UNREACHABLE_GRACE),
    }
}

impl Refusal {
    fn text(&self, pods: &[String]) -> String {
        let pods = abridged(pods, ", ");
        match self {
            Self::None => pods,
            Self::Budget(message) | Self::Other(message) => format!("{message} ({pods})"),
        }
    }
}

/// Adds a pod to those that are refused for the same reason.
fn add(refusals: &mut Vec<(Refusal, Vec<String>)>, refusal: &Refusal, pod: String) {
    match refusals.iter_mut().find(|(other, _)| other == refusal) {
        Some((_, pods)) => pods.push(pod),
        None => refusals.push((refusal.clone(), vec![pod])),
    }
}

impl Round {
    /// Whether all pods that have to go are gone.
    pub(crate) fn is_done(&self) -> bool {
        self.remaining == 0
    }

    /// Whether a pod needs an operator, and not only time.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.refused.is_empty() || !self.blockers.is_empty()
    }

    /// Why the drain has not ended.
    pub(crate) fn sentence(&self, node: &str) -> String {
        let pods = |count: usize| match count {
            1 => "1 pod".to_owned(),
            _ => format!("{count} pods"),
        };
        let mut parts = Vec::new();
        let blocked = self.refused_pods + self.blockers.len();
        let evicted = self.remaining - self.terminating.len() - blocked;
        if self.is_blocked() {
            let why: Vec<_> = self.refused.iter().chain(&self.blockers).collect();
            parts.push(format!("{} cannot be evicted: {}", pods(blocked), abridged(why, "; ")));
        }
        if evicted > 0 {
            parts.push(format!("{} being evicted", pods(evicted)));
        }
        if !self.terminating.is_empty() {
            let terminating = abridged(&self.terminating, ", ");
            parts
                .push(format!("{} still terminating: {terminating}", pods(self.terminating.len())));
        }
        format!("drain of node {node}: {}", parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, more: Value) -> PodState {
        let mut pod = json!({"namespace": "shop", "name": name, "uid": name, "grace_period": 30,
                             "controller": {"kind": "ReplicaSet", "name": "web"}});
        let (Value::Object(all), Value::Object(more)) = (&mut pod, more) else { panic!("objects") };
        all.extend(more);
        all.retain(|_, value| !value.is_null());
        serde_json::from_value(pod).unwrap()
    }

    fn names(round: &Round) -> Vec<&str> {
        round.evict.iter().map(|pod| pod.name.as_str()).collect()
    }

    fn budget() -> Eviction {
        let message = "disruption budget shop/web needs 10 healthy pods and has 10".to_owned();
        Eviction::Budget { message }
    }

    #[test]
    fn pod_is_evicted_once_in_five_seconds_until_it_is_gone() {
        let (mut evictions, start) = (Evictions::default(), Instant::now());
        let options = DrainOptions::default();
        let pods = [pod("web-1", json!({}))];
        let first = evictions.next(&pods, &options, start);
        assert_eq!(names(&first), ["web-1"]);
        evictions.note(&first.evict, &[budget()], start, 0.0);
        for seconds in 0..5 {
            let round = evictions.next(&pods, &options, start + Duration::from_secs(seconds));
            assert!(round.evict.is_empty() && round.is_blocked() && !round.is_done());
            assert_eq!(round.grace_period, 0, "it was not accepted");
        }
        let again = evictions.next(&pods, &options, start + AGAIN);
        assert_eq!(names(&again), ["web-1"]);
        evictions.note(&again.evict, &[Eviction::Accepted], start, 1.0);
        let round = evictions.next(&pods, &options, start + AGAIN);
        assert!(round.evict.is_empty() && !round.is_blocked());
        assert_eq!(round.grace_period, 30);
        assert!(evictions.next(&[], &options, start + AGAIN).is_done());
    }

    #[test]
    fn answer_that_says_when_is_obeyed() {
        let (mut evictions, start) = (Evictions::default(), Instant::now());
        let pods = [pod("web-1", json!({}))];
        let first = evictions.next(&pods, &DrainOptions::default(), start);
        let later = Eviction::Later { seconds: 10, message: "it is busy".to_owned() };
        evictions.note(&first.evict, &[later], start, 0.0);
        let mut at = |seconds| {
            evictions.next(&pods, &DrainOptions::default(), start + Duration::from_secs(seconds))
        };
        assert_eq!((at(9).evict.len(), at(10).evict.len()), (0, 1));
    }

    #[test]
    fn replacement_of_a_pod_that_tolerates_the_cordon_stays() {
        let (mut evictions, start) = (Evictions::default(), Instant::now());
        let tolerates = json!({"tolerates_cordon": true});
        let before = [pod("agent-1", tolerates.clone())];
        assert_eq!(evictions.next(&before, &DrainOptions::default(), start).evict.len(), 1);
        let after = [pod("agent-2", tolerates)];
        assert!(evictions.next(&after, &DrainOptions::default(), start).is_done());
    }

    #[test]
    fn sentence_names_pods_budgets_and_grace_periods() {
        let (mut evictions, start) = (Evictions::default(), Instant::now());
        let options = DrainOptions::default();
        let pods = [
            pod("web-1", json!({})),
            pod("web-7", json!({})),
            pod(
                "pg-0",
                json!({"namespace": "db", "grace_period": 600,
                               "deleted_at": "2026-11-30T12:00:00.000000"}),
            ),
            pod("log-1", json!({"kind": "daemon_set"})),
        ];
        let round = evictions.next(&pods, &options, start);
        assert_eq!((round.grace_period, round.is_blocked()), (600, false));
        assert_eq!(
            round.sentence("w3"),
            "drain of node w3: 2 pods being evicted; 1 pod still terminating: db/pg-0 (grace period 600 s)"
        );
        evictions.note(&round.evict, &[budget(), budget()], start, 0.0);
        assert_eq!(
            evictions.next(&pods, &options, start).sentence("w3"),
            "drain of node w3: 2 pods cannot be evicted: disruption budget shop/web needs 10 healthy pods and \
             has 10 (shop/web-1, shop/web-7); 1 pod still terminating: db/pg-0 (grace period 600 s)"
        );
    }

    #[test]
    fn pods_without_a_controller_block() {
        let mut evictions = Evictions::default();
        let pods = [pod("naked", json!({"controller": null}))];
        let round = evictions.next(&pods, &DrainOptions::default(), Instant::now());
        assert!(round.evict.is_empty() && round.is_blocked());
        assert_eq!(
            round.sentence("w1"),
            "drain of node w1: 1 pod cannot be evicted: shop/naked has no controller"
        );
    }

    #[test]
    fn pods_of_an_unreachable_node_are_not_waited_for() {
        let mut evictions = Evictions { is_unreachable: true, ..Evictions::default() };
        let deleted = json!({"deleted_at": "2026-11-30T12:00:00.000000"});
        let pods = [pod("web-1", json!({})), pod("web-2", deleted)];
        let round = evictions.next(&pods, &DrainOptions::default(), Instant::now());
        assert_eq!(round.evict[0].grace_period, Some(1));
        assert_eq!(round.remaining, 1);
    }
}
