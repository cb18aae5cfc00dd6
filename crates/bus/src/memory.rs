//! The bus inside one process: what `commissaire` runs on.
//!
//! Values are passed, not bytes. A request is carried out by the task that asks, which saves waking
//! another one twice; when that task goes away, the request goes on in a task of the consumer.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::topology::{JOBS, Queue, matches};
use super::{Call, Fitness, Handler, Notification, Reply, unserved};
use runtime::lifecycle::Lifecycle;

use crate::error::{Error, Kind, Result};
use crate::jsonrpc::Answer;

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
    consumers: VecDeque<Arc<Consumer>>,
    /// Jobs that wait for a consumer.
    waiting: Vec<Call>,
}

impl QueueState {
    fn new(queue: Queue) -> Self {
        Self { queue, consumers: VecDeque::new(), waiting: Vec::new() }
    }

    fn has(&self, consumer: &Consumer) -> bool {
        self.consumers.iter().any(|other| other.id == consumer.id)
    }

    /// Adds a consumer, and hands it the jobs that wait for one.
    fn join(&mut self, consumer: &Arc<Consumer>) {
        for call in std::mem::take(&mut self.waiting) {
            consumer.take(call);
        }
        self.consumers.push_back(Arc::clone(consumer));
    }
}

struct Consumer {
    id: u64,
    handler: Handler,
    slots: Semaphore,
    lifecycle: Lifecycle,
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
    ) -> impl Future<Output = Result<Answer>> + use<> {
        let consumer = self.state().consumer(&call.key);
        async move {
            let consumer = consumer.ok_or_else(|| unserved(&call.key))?;
            let work = Arc::clone(&consumer).carry_out(call, deadline).boxed();
            ToTheEnd { work: Some(work), consumer }.await
        }
    }

    pub(super) fn notify(&self, call: &Call) {
        let mut state = self.state();
        state.publish(call, None);
        state.deliver(call.clone());
    }

    pub(super) fn gather(&self, call: &Call, answers: mpsc::Sender<Value>) {
        self.state().publish(call, Some(&Reply::Memory(answers)));
    }

    pub(super) fn subscribe(&self, pattern: &str, sender: mpsc::Sender<Notification>) {
        self.state().subscribers.push((pattern.to_owned(), sender));
    }

    pub(super) fn serve(
        &self,
        queue: Queue,
        prefetch: usize,
        fitness: Fitness,
        lifecycle: &Lifecycle,
        handler: Handler,
    ) {
        let mut state = self.state();
        state.consumers_made += 1;
        let consumer = Consumer {
            id: state.consumers_made,
            handler,
            slots: Semaphore::new(prefetch),
            lifecycle: lifecycle.clone(),
        };
        let consumer = Arc::new(consumer);
        if fitness.is_fit() {
            state.queue(queue).join(&consumer);
        }
        drop(state);
        lifecycle.spawn("bus.consumer", self.clone().keep(queue, consumer, fitness));
    }

    /// Has the consumer among those of the queue while it is fit, until the stop.
    async fn keep(self, queue: Queue, consumer: Arc<Consumer>, mut fitness: Fitness) {
        let stopping = consumer.lifecycle.stopping();
        tokio::pin!(stopping);
        loop {
            let is_in = self.state().queue(queue).has(&consumer);
            let stops = tokio::select! {
                biased;
                () = &mut stopping => true,
                () = fitness.becomes(!is_in) => false,
            };
            let mut state = self.state();
            let shared = state.queue(queue);
            if stops || is_in {
                shared.consumers.retain(|other| other.id != consumer.id);
            } else {
                shared.join(&consumer);
            }
            if stops {
                return;
            }
        }
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

    /// The consumer whose turn it is to take a message for `key`.
    fn consumer(&mut self, key: &str) -> Option<Arc<Consumer>> {
        let shared = self.queues.iter_mut().find(|shared| matches(shared.queue.binding, key))?;
        let consumer = shared.consumers.pop_front()?;
        shared.consumers.push_back(Arc::clone(&consumer));
        Some(consumer)
    }

    /// Hands a notification to all subscribers.
    fn publish(&mut self, call: &Call, reply: Option<&Reply>) {
        self.subscribers.retain(|(pattern, sender)| {
            let (key, params) = (&call.key, &call.params);
            let notification =
                || Notification { key: key.clone(), params: params.value(), reply: reply.cloned() };
            // A full or closed channel ends the subscription: its reader lists again.
            !matches(pattern, key) || sender.try_send(notification()).is_ok()
        });
    }

    /// Hands a message that nobody answers to a consumer; a job waits for one.
    fn deliver(&mut self, call: Call) {
        if let Some(consumer) = self.consumer(&call.key) {
            consumer.take(call);
        } else if let Some(shared) =
            self.queues.iter_mut().find(|shared| matches(shared.queue.binding, &call.key))
            && shared.queue.jobs
        {
            shared.waiting.push(call);
        }
    }
}

impl Consumer {
    fn take(self: &Arc<Self>, call: Call) {
        let consumer = Arc::clone(self);
        self.lifecycle.spawn("bus.call", async move {
            let Ok(_slot) = consumer.slots.acquire().await else { return };
            drop((consumer.handler)(call).await);
        });
    }

    async fn carry_out(self: Arc<Self>, call: Call, deadline: Instant) -> Result<Answer> {
        // A shutdown of the service waits for it, whoever carries it out.
        let _token = self.lifecycle.token();
        let late = || Error::new(Kind::Timeout, "it was not begun before its deadline");
        let _slot = self.slots.acquire().await.map_err(|_| late())?;
        if Instant::now() >= deadline {
            return Err(late());
        }
        (self.handler)(call).await
    }
}

/// Work that is brought to its end: by whoever awaits it, or, when that is gone, by a task.
struct ToTheEnd {
    work: Option<BoxFuture<'static, Result<Answer>>>,
    consumer: Arc<Consumer>,
}

impl Future for ToTheEnd {
    type Output = Result<Answer>;

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.work else {
            return Poll::Ready(Err(Error::internal("asked again after the answer")));
        };
        let answer = std::task::ready!(work.as_mut().poll(context));
        self.work = None;
        Poll::Ready(answer)
    }
}

impl Drop for ToTheEnd {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.consumer.lifecycle.spawn("bus.call", async move { drop(work.await) });
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}
