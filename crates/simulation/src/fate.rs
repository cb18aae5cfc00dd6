//! The fate of each message: by the seed, or as a scenario says for a single one. Pure.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

/// The usual time of a message to the broker and on to its consumer.
pub(crate) const LATENCY: Duration = Duration::from_millis(2);

/// The longest time of a message that is delayed.
const DELAY: Duration = Duration::from_secs(4);

/// How often messages meet a fault, while faults are enabled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct MessageFaults {
    /// The share of messages that are delayed.
    pub(crate) delayed: f64,
    /// The share of requests that are lost on their way.
    pub(crate) requests_lost: f64,
    /// The share of answers that are lost after the request was carried out.
    pub(crate) answers_lost: f64,
    /// The share of requests that are carried out twice.
    pub(crate) repeated: f64,
}

/// What happens to a process at one of its steps: a request to the bus, or a contact with a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fault {
    /// The process crashes before the step.
    CrashBefore,
    /// The process crashes after the request. A crash after a contact with a host is one before the next step.
    CrashAfter,
    /// The request is lost, or the connection to the host.
    RequestLost,
    /// The request is carried out, and its answer is lost.
    AnswerLost,
    /// The request is carried out twice.
    Repeated,
    /// The store is unavailable from then on, for some time.
    StoreOutage,
    /// The broker is unavailable from then on, for some time.
    BrokerOutage,
    /// The host loses power, and has it again after some time.
    HostFails,
}

impl Fault {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::CrashBefore,
        Self::CrashAfter,
        Self::RequestLost,
        Self::AnswerLost,
        Self::Repeated,
        Self::StoreOutage,
        Self::BrokerOutage,
        Self::HostFails,
    ];
}

/// A fault at one step of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// The number of the step, from the start of the process.
    pub(crate) step: u64,
    pub(crate) fault: Fault,
}

/// The fate of a message.
#[derive(Debug, PartialEq)]
pub(crate) struct Fate {
    /// The time until its consumer has it.
    pub(crate) before: Duration,
    /// The time until the sender has the answer.
    pub(crate) after: Duration,
    pub(crate) fault: Option<Fault>,
}

impl Fate {
    /// The fate of step `step` of the process `process`, which does not depend on what other processes do.
    pub(crate) fn new(faults: MessageFaults, seed: u64, process: &str, step: u64) -> Self {
        if faults == MessageFaults::default() {
            return Self { before: LATENCY, after: LATENCY, fault: None };
        }
        let mut hasher = DefaultHasher::new();
        (seed, process, step).hash(&mut hasher);
        let mut random = StdRng::seed_from_u64(hasher.finish());
        let delay = |random: &mut StdRng| {
            let is_delayed = random.random_bool(faults.delayed);
            if is_delayed { DELAY.mul_f64(random.random()) } else { LATENCY }
        };
        let (before, after) = (delay(&mut random), delay(&mut random));
        let shares = [
            (faults.requests_lost, Fault::RequestLost),
            (faults.answers_lost, Fault::AnswerLost),
            (faults.repeated, Fault::Repeated),
        ];
        let fault = shares.into_iter().find(|(share, _)| random.random_bool(*share));
        Self { before, after, fault: fault.map(|(_, fault)| fault) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_step_has_the_same_fate_and_faults_have_their_share() {
        let faults = MessageFaults { answers_lost: 0.2, ..MessageFaults::default() };
        let fate = |step| Fate::new(faults, 7, "executor-1", step);
        assert_eq!(fate(3), fate(3));
        let lost = (0..1000).filter(|step| fate(*step).fault == Some(Fault::AnswerLost)).count();
        assert!((120..280).contains(&lost), "{lost}");
        let none = Fate::new(MessageFaults::default(), 7, "executor-1", 3);
        assert_eq!(none, Fate { before: LATENCY, after: LATENCY, fault: None });
    }
}
