//! Which services are unavailable, by what becomes of requests to them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::amqp::BROKER;
use super::topology::{self, INVESTIGATOR, REQUESTS, STORAGE};
use runtime::Outage;

use crate::error::{Error, Kind, Result, chain};

/// The part that errors of the storage service name when its store is unavailable.
const STORE: &str = "store";

/// How long after a connection to the broker services may be missing: they connect at the same time, at the start of a
/// machine and after an outage of the broker.
pub(crate) const SETTLING: Duration = Duration::from_secs(5);

/// See the module. The handles of a bus share it.
#[derive(Debug, Default)]
pub(super) struct Outages(Mutex<HashMap<String, Service>>);

#[derive(Debug)]
struct Service {
    outage: Arc<Outage>,
    /// When it last answered.
    answered: Option<Instant>,
}

/// What an error says about who is unavailable.
enum Blamed<'a> {
    /// The connection to the broker, whose outages the task that owns it logs.
    Broker,
    Service(&'a str),
    Nobody,
}

impl Outages {
    /// Takes the outcome of a request into account that was `begun` then. Its error is marked where it is part of an
    /// outage that is logged. `settled`: whether services have had the time to connect to the broker.
    pub(super) fn requested<T>(
        &self,
        key: &str,
        begun: Instant,
        settled: bool,
        outcome: Result<T>,
    ) -> Result<T> {
        let asked = topology::service_of(key);
        let error = match outcome {
            Err(error) if is_unavailable(&error) => error,
            other => {
                self.answered(asked);
                return other;
            }
        };
        // Inside one process the service itself has marked it.
        if error.is_outage() {
            return Err(error);
        }
        let blamed = match blamed(&error, asked) {
            Blamed::Broker => return Err(error.of_outage()),
            Blamed::Service(blamed) => blamed,
            Blamed::Nobody => {
                self.answered(asked);
                return Err(error);
            }
        };
        if blamed != asked {
            self.answered(asked);
        }
        // One that takes long, while others are answered, is no outage.
        if error.kind() == Kind::Timeout && self.has_answered_since(blamed, begun) {
            return Err(error);
        }
        let why = chain(&error);
        let outage = Arc::clone(&service(&mut self.services(), blamed).outage);
        if settled {
            outage.failed("", &why);
        } else {
            outage.failed_as_expected("", &why);
        }
        Err(error.of_outage())
    }

    fn answered(&self, name: &str) {
        let outage = {
            let mut services = self.services();
            let service = service(&mut services, name);
            service.answered = Some(Instant::now());
            Arc::clone(&service.outage)
        };
        outage.succeeded();
    }

    fn has_answered_since(&self, name: &str, begun: Instant) -> bool {
        self.services().get(name).is_some_and(|service| service.answered >= Some(begun))
    }

    // A std mutex: it is held for a few operations, and neither across an await nor while a line is written.
    fn services(&self) -> MutexGuard<'_, HashMap<String, Service>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The names are those of services that this process asks: there are few.
fn service<'a>(services: &'a mut HashMap<String, Service>, name: &str) -> &'a mut Service {
    let outage = || Arc::new(Outage::new(format!("the {name} service")));
    services.entry(name.to_owned()).or_insert_with(|| Service { outage: outage(), answered: None })
}

/// An error of a message that nobody answers: marked where there is no connection to the broker.
pub(super) fn of_broker(error: Error) -> Error {
    if error.part() == Some(BROKER) { error.of_outage() } else { error }
}

fn is_unavailable(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unavailable | Kind::Timeout)
}

fn blamed<'a>(error: &'a Error, asked: &'a str) -> Blamed<'a> {
    let is_known =
        |part: &str| part == INVESTIGATOR.name || REQUESTS.iter().any(|q| q.name == part);
    match error.part() {
        Some(BROKER) => Blamed::Broker,
        Some(STORE) => Blamed::Service(STORAGE.name),
        Some(part) if part == asked || is_known(part) => Blamed::Service(part),
        _ => Blamed::Nobody,
    }
}
