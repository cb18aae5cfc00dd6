//! The requests and pings of one connection that wait for answers.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lapin::types::ShortString;
use secrecy::SecretString;
use serde_json::Value;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use super::link::not_connected;
use super::message;
use crate::error::Result;

/// What waits for answers; nothing can be added once the connection is lost.
#[derive(Debug)]
pub(super) struct Pending {
    waiters: Mutex<Option<HashMap<Uuid, Waiter>>>,
    /// A request was added.
    added: Notify,
    /// Queues without consumers: no request is sent there until they have some.
    unserved: Mutex<HashSet<ShortString>>,
}

#[derive(Debug)]
enum Waiter {
    /// A request: one answer.
    Request(Request),
    /// The parameters of a confidential request that this process serves: one answer.
    Params(oneshot::Sender<Vec<u8>>),
    /// A ping: as many answers as the channel takes.
    Gathering(mpsc::Sender<Value>),
}

#[derive(Debug)]
struct Request {
    answer: oneshot::Sender<Outcome>,
    queue: ShortString,
    since: Instant,
    /// The parameters of a confidential request, until its service has fetched them.
    params: Option<SecretString>,
}

/// What became of a request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was answered.
    Answer(Vec<u8>),
    /// The broker returned it: there is no queue for it.
    Unroutable,
    /// It lies in a queue without consumers, or was lost with that queue.
    Abandoned,
}

/// A place among the waiters; given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    pending: Arc<Pending>,
    id: Uuid,
}

impl Pending {
    pub(super) fn new() -> Arc<Self> {
        let waiters = Mutex::new(Some(HashMap::new()));
        Arc::new(Self { waiters, added: Notify::new(), unserved: Mutex::default() })
    }

    // A std mutex: it is held for a few map operations and never across an await.
    fn waiters(&self) -> MutexGuard<'_, Option<HashMap<Uuid, Waiter>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request that goes to `queue`, with its parameters if it is confidential.
    pub(super) fn request(
        self: &Arc<Self>,
        id: Uuid,
        queue: ShortString,
        params: Option<SecretString>,
    ) -> Result<(Waiting, oneshot::Receiver<Outcome>)> {
        let (answer, receiver) = oneshot::channel();
        let request = Request { answer, queue, since: Instant::now(), params };
        let waiting = self.add(id, Waiter::Request(request))?;
        self.added.notify_one();
        Ok((waiting, receiver))
    }

    /// Adds the question for the parameters of a confidential request.
    pub(super) fn params(
        self: &Arc<Self>,
        id: Uuid,
    ) -> Result<(Waiting, oneshot::Receiver<Vec<u8>>)> {
        let (answer, receiver) = oneshot::channel();
        Ok((self.add(id, Waiter::Params(answer))?, receiver))
    }

    /// The parameters of a confidential request, at the first call.
    pub(super) fn take_params(&self, correlation_id: Option<&ShortString>) -> Option<SecretString> {
        match self.waiters().as_mut()?.get_mut(&parsed(correlation_id)?)? {
            Waiter::Request(request) => request.params.take(),
            Waiter::Params(_) | Waiter::Gathering(_) => None,
        }
    }

    /// Adds a ping.
    pub(super) fn gathering(
        self: &Arc<Self>,
        id: Uuid,
        answers: mpsc::Sender<Value>,
    ) -> Result<Waiting> {
        self.add(id, Waiter::Gathering(answers))
    }

    fn add(self: &Arc<Self>, id: Uuid, waiter: Waiter) -> Result<Waiting> {
        match self.waiters().as_mut() {
            Some(waiters) => drop(waiters.insert(id, waiter)),
            None => return Err(not_connected()),
        }
        Ok(Waiting { pending: Arc::clone(self), id })
    }

    /// Fails all of them: the connection is lost.
    pub(super) fn fail(&self) {
        drop(self.waiters().take());
    }

    /// Hands an outcome to its waiter; one without a waiter is dropped.
    pub(super) fn settle(&self, correlation_id: Option<&ShortString>, outcome: Outcome) {
        let Some(id) = parsed(correlation_id) else { return };
        let mut waiters = self.waiters();
        let Some(waiters) = waiters.as_mut() else { return };
        match (waiters.remove(&id), outcome) {
            (Some(Waiter::Request(request)), outcome) => drop(request.answer.send(outcome)),
            (Some(Waiter::Params(answer)), Outcome::Answer(body)) => drop(answer.send(body)),
            (Some(Waiter::Gathering(answers)), Outcome::Answer(body)) => {
                // More answers than there is room for are dropped, and so is one that is no answer.
                if let Ok(answer) = message::answer(&body)
                    && let Ok(value) = answer.parse()
                {
                    drop(answers.try_send(value));
                }
                waiters.insert(id, Waiter::Gathering(answers));
            }
            (
                Some(Waiter::Params(_) | Waiter::Gathering(_)),
                Outcome::Unroutable | Outcome::Abandoned,
            )
            | (None, _) => {}
        }
    }

    /// The queues that are known to have no consumers.
    pub(super) fn unserved(&self) -> MutexGuard<'_, HashSet<ShortString>> {
        self.unserved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when a request was added since the last call.
    pub(super) async fn added(&self) {
        self.added.notified().await;
    }

    /// The queues of the requests that wait for longer than `age`; `None` when no request waits at all.
    pub(super) fn queues(&self, age: Duration) -> Option<HashSet<ShortString>> {
        let (mut queues, mut any) = (HashSet::new(), false);
        for waiter in self.waiters().iter().flat_map(HashMap::values) {
            let Waiter::Request(request) = waiter else { continue };
            any = true;
            if request.since.elapsed() >= age && !queues.contains(&request.queue) {
                queues.insert(request.queue.clone());
            }
        }
        any.then_some(queues)
    }

    /// Gives up the requests to a queue that wait for longer than `age` and may be among the `untaken` ones that no replica
    /// has taken: the last ones.
    pub(super) fn abandon(&self, queue: &ShortString, age: Duration, untaken: usize) {
        let mut waiters = self.waiters();
        let Some(waiters) = waiters.as_mut() else { return };
        let sent = waiters.iter().filter_map(|(id, waiter)| match waiter {
            Waiter::Request(request) if request.queue == *queue => Some((request.since, *id)),
            _ => None,
        });
        let mut sent: Vec<_> = sent.collect();
        sent.sort_unstable_by(|one, other| other.cmp(one));
        for (since, id) in sent.into_iter().take(untaken) {
            if since.elapsed() >= age
                && let Some(Waiter::Request(request)) = waiters.remove(&id)
            {
                drop(request.answer.send(Outcome::Abandoned));
            }
        }
    }
}

fn parsed(correlation_id: Option<&ShortString>) -> Option<Uuid> {
    Uuid::parse_str(correlation_id?.as_str()).ok()
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(waiters) = self.pending.waiters().as_mut() {
            waiters.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use runtime::random;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_that_a_replica_has_taken_are_not_given_up_with_those_in_the_queue() {
        let (pending, queue) = (Pending::new(), ShortString::from("jobs"));
        let mut sent = Vec::new();
        for _ in 0..3 {
            sent.push(pending.request(random::uuid(), queue.clone(), None).unwrap());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let mut other = pending.request(random::uuid(), ShortString::from("other"), None).unwrap();
        pending.abandon(&queue, Duration::from_secs(1), 2);
        let ended: Vec<_> = sent.iter_mut().map(|(_, answer)| answer.try_recv().is_ok()).collect();
        assert_eq!(ended, [false, true, true]);
        pending.abandon(&queue, Duration::from_secs(9), usize::MAX);
        assert!(sent[0].1.try_recv().is_err());
        pending.abandon(&queue, Duration::from_secs(1), usize::MAX);
        assert!(matches!(sent[0].1.try_recv(), Ok(Outcome::Abandoned)));
        assert!(other.1.try_recv().is_err());
    }
}
