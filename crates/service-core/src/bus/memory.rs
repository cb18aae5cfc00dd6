//! The bus inside one process: what `commissaire` runs on.
//!
//! A message goes straight to a task of the consumer that takes it; values are passed, not bytes.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::topology::{JOBS, Queue, matches};
use super::{Call, Handler, Notification};
use crate::error::{Error, Result};
use crate::lifecycle::Lifecycle;

/// See the module.
#[derive(Clone)]
pub(super) struct Memory(Arc<Mutex<State>>);

impl Default for Memory {
    fn default() -> Self {
        let queues = JOBS.map(QueueState::new).into();
        Self(Arc::new(Mutex::new(State { queues, subscribers: Vec::new(), consumers_made: 0 })))
    }
}

struct State {
    queues: Vec<QueueState>,
    subscribers: Vec<(String, mpsc::Sender<Notification>)>,
    consumers_made: u64,
}

struct QueueState {
    queue: Queue,
    /// Taken in turn: the front one gets the next message.
    consumers: VecDeque<Consumer>,
    /// Jobs that wait for a consumer.
    waiting: Vec<Delivery>,
}

impl QueueState {
    fn new(queue: Queue) -> Self {
        Self { queue, consumers: VecDeque::new(), waiting: Vec::new() }
    }
}

#[derive(Clone)]
struct Consumer {
    id: u64,
    handler: Handler,
    slots: Arc<Semaphore>,
    lifecycle: Lifecycle,
}

struct Delivery {
    call: Call,
    /// Present for requests: until when, and to whom the answer goes.
    reply: Option<(Instant, oneshot::Sender<Result<Value>>)>,
}

impl Memory {
    // A std mutex: it is held for a few map operations and never across an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn request(
        &self,
        call: Call,
        deadline: Instant,
    ) -> impl Future<Output = Result<Value>> + use<> {
        let key = call.key.clone();
        let (sender, receiver) = oneshot::channel();
        let routed = self.state().deliver(Delivery { call, reply: Some((deadline, sender)) });
        async move {
            if !routed {
                return Err(Error::unavailable(format!("no service serves {key}")));
            }
            receiver.await.unwrap_or_else(|_| {
                Err(Error::unavailable(format!("the service that served {key} has stopped")))
            })
        }
    }

    pub(super) fn notify(&self, call: &Call) {
        let mut state = self.state();
        state.subscribers.retain(|(pattern, sender)| {
            let notification =
                || Notification { key: call.key.clone(), params: call.params.0.clone() };
            // A full or closed channel ends the subscription: its reader lists again.
            !matches(pattern, &call.key) || sender.try_send(notification()).is_ok()
        });
        state.deliver(Delivery { call: call.clone(), reply: None });
    }

    pub(super) fn subscribe(&self, pattern: &str, sender: mpsc::Sender<Notification>) {
        self.state().subscribers.push((pattern.to_owned(), sender));
    }

    pub(super) fn serve(
        &self,
        queue: Queue,
        prefetch: usize,
        lifecycle: &Lifecycle,
        handler: Handler,
    ) {
        let mut state = self.state();
        state.consumers_made += 1;
        let consumer = Consumer {
            id: state.consumers_made,
            handler,
            slots: Arc::new(Semaphore::new(prefetch)),
            lifecycle: lifecycle.clone(),
        };
        let id = consumer.id;
        let shared = state.queue(queue);
        for delivery in std::mem::take(&mut shared.waiting) {
            consumer.take(delivery);
        }
        shared.consumers.push_back(consumer);
        drop(state);

        let (memory, stopping) = (self.clone(), lifecycle.stopping());
        lifecycle.spawn("bus.consumer", async move {
            stopping.await;
            memory.state().queue(queue).consumers.retain(|consumer| consumer.id != id);
        });
    }
}

impl State {
    /// The state of a queue, declared where it is not yet.
    fn queue(&mut self, queue: Queue) -> &mut QueueState {
        let index = self.queues.iter().position(|known| known.queue == queue);
        let index = index.unwrap_or_else(|| {
            self.queues.push(QueueState::new(queue));
            self.queues.len() - 1
        });
        &mut self.queues[index]
    }

    /// Hands a message to a consumer; false when there is none and the queue does not keep it.
    fn deliver(&mut self, delivery: Delivery) -> bool {
        let key = &delivery.call.key;
        let Some(shared) = self.queues.iter_mut().find(|q| matches(q.queue.binding, key)) else {
            return false;
        };
        if let Some(consumer) = shared.consumers.pop_front() {
            consumer.take(delivery);
            shared.consumers.push_back(consumer);
            return true;
        }
        if shared.queue.jobs {
            shared.waiting.push(delivery);
        }
        shared.queue.jobs
    }
}

impl Consumer {
    fn take(&self, delivery: Delivery) {
        let Self { handler, slots, lifecycle, .. } = self.clone();
        lifecycle.spawn("bus.call", async move {
            let Ok(_slot) = slots.acquire().await else { return };
            let Delivery { call, reply } = delivery;
            match reply {
                None => drop(handler(call).await),
                Some((deadline, _)) if Instant::now() >= deadline => {}
                // Whether the caller still waits is its own business: the work is done either way.
                Some((_, sender)) => drop(sender.send(handler(call).await)),
            }
        });
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}
