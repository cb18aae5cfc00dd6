//! The simulated bus: it encodes and decodes every message, delays and loses messages, and runs each request in a task of
//! its consumer, as a broker between processes does.
//!
//! - `api`: the connections of container managers to an API server

pub(crate) mod api;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::jsonrpc::Answer;
use bus::topology::{Queue, matches, service_of};
use bus::transport::{Pending, Transport};
use bus::{Call, Error, Fitness, Handler, Kind, Notification, Result, unserved};
use runtime::Lifecycle;
use serde_json::Value;
use simulated_hosts::SimulatedHosts;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use crate::fate::{Fate, Fault, MessageFaults, Point};
use crate::reads::read;
use crate::truth::Truth;

/// How long broker or store are unavailable by a fault at a step.
const OUTAGE: Duration = Duration::from_secs(20);

/// The bus that all processes are connected to; clones share it.
#[derive(Clone)]
pub(crate) struct Network(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    seed: u64,
    truth: Truth,
    hosts: SimulatedHosts,
    /// What steps of processes do to processes and hosts, for the world to carry out.
    incidents: mpsc::UnboundedSender<Incident>,
}

/// What a step of a process leads to.
#[derive(Debug)]
pub(crate) enum Incident {
    /// The process with this name crashes.
    Crash(String),
    /// The host with this address loses power.
    HostFails(String),
}

struct State {
    faults: MessageFaults,
    /// Requests fail until then: the broker, or the store, is unavailable.
    broker_down_until: Option<Instant>,
    store_down_until: Option<Instant>,
    queues: Vec<QueueState>,
    subscribers: Vec<Subscriber>,
    next_consumer: u64,
}

struct QueueState {
    queue: Queue,
    /// The front one gets the next message.
    consumers: VecDeque<Arc<Consumer>>,
    /// Jobs without a consumer.
    waiting: VecDeque<Call>,
}

struct Consumer {
    id: u64,
    link: Link,
    handler: Handler,
    slots: Semaphore,
    lifecycle: Lifecycle,
}

struct Subscriber {
    pattern: String,
    link: Link,
    sender: mpsc::Sender<Notification>,
}

/// The connections of one process, to the bus and to hosts.
#[derive(Clone)]
pub(crate) struct Link {
    network: Network,
    process: Arc<str>,
    is_cut: Arc<AtomicBool>,
    hosts: SimulatedHosts,
    /// Steps of this process so far: requests to the bus and contacts with hosts.
    steps: Arc<AtomicU64>,
    /// Faults at single steps.
    points: Arc<[Point]>,
    /// All steps wait until then.
    stalled_until: Arc<Mutex<Option<Instant>>>,
}

impl Network {
    pub(crate) fn new(
        seed: u64,
        truth: &Truth,
        hosts: &SimulatedHosts,
    ) -> (Self, mpsc::UnboundedReceiver<Incident>) {
        let (incidents, received) = mpsc::unbounded_channel();
        let state = State {
            faults: MessageFaults::default(),
            broker_down_until: None,
            store_down_until: None,
            queues: bus::topology::JOBS.map(QueueState::new).into(),
            subscribers: Vec::new(),
            next_consumer: 0,
        };
        let (truth, hosts) = (truth.clone(), hosts.clone());
        (
            Self(Arc::new(Shared { state: Mutex::new(state), seed, truth, hosts, incidents })),
            received,
        )
    }

    /// The connections of a process with this name, and faults at its steps.
    pub(crate) fn link(&self, process: &str, points: &[Point]) -> Link {
        let link = Link {
            network: self.clone(),
            process: process.into(),
            is_cut: Arc::default(),
            hosts: self.0.hosts.clone(),
            steps: Arc::default(),
            points: points.into(),
            stalled_until: Arc::default(),
        };
        let (observer, is_cut) = (link.clone(), Arc::clone(&link.is_cut));
        let contact = move |address: &str| observer.contact(address);
        Link { hosts: self.0.hosts.handle_of(process, is_cut, contact), ..link }
    }

    pub(crate) fn set_faults(&self, faults: MessageFaults) {
        self.state().faults = faults;
    }

    /// Forgets all connections, which otherwise keep one another.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.queues.clear();
        state.subscribers.clear();
    }

    /// Ends all faults of messages and all outages.
    pub(crate) fn heal(&self) {
        let mut state = self.state();
        state.faults = MessageFaults::default();
        (state.broker_down_until, state.store_down_until) = (None, None);
    }

    /// Makes the broker unavailable for some time: requests fail, and subscriptions end.
    pub(crate) fn broker_outage(&self, lasts: Duration) {
        let mut state = self.state();
        state.broker_down_until = Some(Instant::now() + lasts);
        state.subscribers.clear();
    }

    /// Makes the store unavailable for some time.
    pub(crate) fn store_outage(&self, lasts: Duration) {
        self.state().store_down_until = Some(Instant::now() + lasts);
    }

    fn fate(&self, process: &str, step: u64) -> Fate {
        Fate::new(self.state().faults, self.0.seed, process, step)
    }

    fn report(&self, incident: Incident) {
        // An error means that the run has ended.
        drop(self.0.incidents.send(incident));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a request with this key fails at once.
    fn is_unavailable(&self, key: &str) -> bool {
        let now = Instant::now();
        let is_down = |until: Option<Instant>| until.is_some_and(|until| until > now);
        is_down(self.broker_down_until)
            || (key.starts_with("storage.") && is_down(self.store_down_until))
    }

    fn queue(&mut self, queue: Queue) -> &mut QueueState {
        let index = self.queues.iter().position(|known| known.queue == queue);
        let index = index.unwrap_or_else(|| {
            self.queues.push(QueueState::new(queue));
            self.queues.len() - 1
        });
        &mut self.queues[index]
    }

    /// The consumer that gets the next message for `key`.
    fn consumer(&mut self, key: &str) -> Option<Arc<Consumer>> {
        let shared = self.queues.iter_mut().find(|shared| matches(shared.queue.binding, key))?;
        shared.consumers.retain(|consumer| !consumer.link.is_cut());
        let consumer = shared.consumers.pop_front()?;
        shared.consumers.push_back(Arc::clone(&consumer));
        Some(consumer)
    }

    fn deliver_job(&mut self, call: Call) {
        if let Some(consumer) = self.consumer(&call.key) {
            consumer.take_job(call);
        } else if let Some(shared) =
            self.queues.iter_mut().find(|shared| matches(shared.queue.binding, &call.key))
            && shared.queue.jobs
        {
            shared.waiting.push_back(call);
        }
    }

    fn publish(&mut self, call: &Call, answers: Option<&mpsc::Sender<Value>>) {
        self.subscribers.retain(|subscriber| {
            if subscriber.link.is_cut() {
                return false;
            }
            let notification =
                || Notification::new(call.key.clone(), call.params.value(), answers.cloned());
            !matches(&subscriber.pattern, &call.key)
                || subscriber.sender.try_send(notification()).is_ok()
        });
    }
}

impl QueueState {
    fn new(queue: Queue) -> Self {
        Self { queue, consumers: VecDeque::new(), waiting: VecDeque::new() }
    }

    fn join(&mut self, consumer: &Arc<Consumer>) {
        for call in std::mem::take(&mut self.waiting) {
            consumer.take_job(call);
        }
        self.consumers.push_back(Arc::clone(consumer));
    }
}

impl Consumer {
    /// Carries a job out. When the process crashes, the job goes to another consumer.
    fn take_job(self: &Arc<Self>, call: Call) {
        let (consumer, network) = (Arc::clone(self), self.link.network.clone());
        let mut redelivery = Redelivery { network, call: Some(call.clone()) };
        self.lifecycle.spawn("bus.call", async move {
            let Ok(_slot) = consumer.slots.acquire().await else { return };
            drop((consumer.handler)(call).await);
            redelivery.is_not_needed();
        });
    }

    /// Carries a request out in a task of this process; `None` if the process crashes.
    async fn carry_out(self: &Arc<Self>, call: Call, deadline: Instant) -> Option<Result<Answer>> {
        let (sender, receiver) = oneshot::channel();
        let consumer = Arc::clone(self);
        self.lifecycle.spawn("bus.call", async move {
            let answer = consumer.answer(call, deadline).await;
            drop(sender.send(answer));
        });
        receiver.await.ok()
    }

    async fn answer(&self, call: Call, deadline: Instant) -> Result<Answer> {
        let late = || Error::new(Kind::Timeout, "it was not begun before its deadline");
        let _slot = self.slots.acquire().await.map_err(|_| late())?;
        if Instant::now() >= deadline {
            return Err(late());
        }
        let _about_node = self.link.network.0.truth.call(&call.key, &call.params.value());
        let answer = (self.handler)(call).await?;
        let value: Value = answer
            .parse()
            .map_err(|error| Error::internal("the answer is not JSON").with_source(error))?;
        Ok(Answer::Value(value))
    }
}

/// Delivers a job again unless it was carried out: its consumer has crashed.
struct Redelivery {
    network: Network,
    call: Option<Call>,
}

impl Redelivery {
    fn is_not_needed(&mut self) {
        self.call = None;
    }
}

impl Drop for Redelivery {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.network.state().deliver_job(call);
        }
    }
}

impl Link {
    /// The hosts, as this process reaches them.
    pub(crate) fn hosts(&self) -> &SimulatedHosts {
        &self.hosts
    }

    /// The number of steps of this process so far.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(Ordering::SeqCst)
    }

    /// Ends the connections for good: nothing of the process reaches the bus or a host any more.
    pub(crate) fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
    }

    fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::SeqCst)
    }

    /// Never returns once the connections are cut.
    async fn unless_cut(&self) {
        if self.is_cut() {
            std::future::pending::<()>().await;
        }
    }

    /// The number of the next step, and the fault at it, if any.
    fn step(&self) -> (u64, Option<Fault>) {
        let step = self.steps.fetch_add(1, Ordering::SeqCst);
        let point = self.points.iter().find(|point| point.step == step);
        (step, point.map(|point| point.fault))
    }

    fn crash(&self) {
        self.cut();
        self.network.report(Incident::Crash(self.process.to_string()));
    }

    /// Lets all steps wait until then, as if the process was stopped.
    pub(crate) fn stall(&self, until: Instant) {
        *self.stalled_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    fn stalled_until(&self) -> Option<Instant> {
        let until = *self.stalled_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.filter(|until| *until > Instant::now())
    }

    /// A contact with a host, before its effect there; returns until when that has to wait.
    fn contact(&self, address: &str) -> Option<Instant> {
        match self.step().1 {
            Some(Fault::CrashBefore) => self.crash(),
            Some(Fault::RequestLost) => self.network.0.hosts.cut(address),
            Some(Fault::HostFails) => self.network.report(Incident::HostFails(address.to_owned())),
            Some(Fault::StoreOutage) => self.network.store_outage(OUTAGE),
            Some(Fault::BrokerOutage) => self.network.broker_outage(OUTAGE),
            // These are about requests.
            Some(Fault::CrashAfter | Fault::AnswerLost | Fault::Repeated) | None => {}
        }
        self.stalled_until()
    }

    async fn carry_out(&self, call: Call, deadline: Instant, fate: Fate) -> Result<Answer> {
        if self.network.state().is_unavailable(&call.key) {
            let service = service_of(&call.key);
            return Err(Error::unavailable("the message broker is unavailable").of_part(service));
        }
        sleep(fate.before).await;
        if fate.fault == Some(Fault::RequestLost) {
            return std::future::pending().await;
        }
        if fate.fault == Some(Fault::Repeated)
            && let Some(consumer) = self.network.state().consumer(&call.key)
        {
            let first = call.clone();
            let again = Arc::clone(&consumer);
            consumer.lifecycle.spawn("bus.call", async move {
                drop(again.answer(first, deadline).await);
            });
        }
        loop {
            let consumer = self.network.state().consumer(&call.key);
            let Some(consumer) = consumer else { return Err(unserved(&call.key)) };
            // A broker delivers the request again when the connection of its consumer is lost.
            if let Some(answer) = consumer.carry_out(call.clone(), deadline).await {
                if fate.fault == Some(Fault::AnswerLost) {
                    return std::future::pending().await;
                }
                sleep(fate.after).await;
                return answer;
            }
        }
    }

    /// Has the truth check what a request has read.
    fn check(&self, key: &str, params: &Value, answer: &Result<Answer>, since: u64) {
        let truth = &self.network.0.truth;
        let answer = match answer {
            Ok(Answer::Value(answer)) => Ok(answer),
            Ok(_) => return,
            Err(error) => Err(error),
        };
        if let Some(read) = read(key, params, answer) {
            truth.check_read(&self.process, &read, since);
        }
    }

    async fn keep(self, queue: Queue, consumer: Arc<Consumer>, mut fitness: Fitness) {
        let stopping = consumer.lifecycle.stopping();
        tokio::pin!(stopping);
        let network = self.network.clone();
        loop {
            let is_in = {
                let mut state = network.state();
                state.queue(queue).consumers.iter().any(|other| other.id == consumer.id)
            };
            let stops = tokio::select! {
                biased;
                () = &mut stopping => true,
                () = fitness.becomes(!is_in) => false,
            };
            let mut state = network.state();
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

impl Transport for Link {
    fn request(&self, call: Call, deadline: Instant) -> Pending<Answer> {
        let link = self.clone();
        Box::pin(async move {
            if let Some(until) = link.stalled_until() {
                sleep_until(until).await;
            }
            link.unless_cut().await;
            let (step, fault) = link.step();
            match fault {
                Some(Fault::CrashBefore) => {
                    link.crash();
                    link.unless_cut().await;
                }
                Some(Fault::StoreOutage) => link.network.store_outage(OUTAGE),
                Some(Fault::BrokerOutage) => link.network.broker_outage(OUTAGE),
                _ => {}
            }
            let fate = link.network.fate(&link.process, step);
            let fate = Fate { fault: fault.or(fate.fault), ..fate };
            let truth = link.network.0.truth.clone();
            let (key, params, since) = (call.key.clone(), call.params.value(), truth.commits());
            truth.trace().detail(&link.process, &key);
            truth.learn_owner(&link.process, &params);
            let answer = link.carry_out(call, deadline, fate).await;
            if fault == Some(Fault::CrashAfter) {
                link.crash();
            }
            link.unless_cut().await;
            link.check(&key, &params, &answer, since);
            answer
        })
    }

    fn notify(&self, call: Call) -> Pending<()> {
        let link = self.clone();
        Box::pin(async move {
            link.unless_cut().await;
            if link.network.state().is_unavailable(&call.key) {
                return Err(Error::unavailable("the message broker is unavailable"));
            }
            let (step, _) = link.step();
            sleep(link.network.fate(&link.process, step).before).await;
            link.unless_cut().await;
            let mut state = link.network.state();
            state.publish(&call, None);
            state.deliver_job(call);
            Ok(())
        })
    }

    fn gather(&self, call: Call, answers: mpsc::Sender<Value>) -> Pending<()> {
        let link = self.clone();
        Box::pin(async move {
            link.unless_cut().await;
            link.network.state().publish(&call, Some(&answers));
            Ok(())
        })
    }

    fn subscribe(&self, pattern: &str, sender: mpsc::Sender<Notification>) -> Pending<()> {
        let subscriber = Subscriber { pattern: pattern.to_owned(), link: self.clone(), sender };
        Box::pin(async move {
            let link = subscriber.link.clone();
            link.unless_cut().await;
            if link.network.state().is_unavailable("") {
                return Err(Error::unavailable("the message broker is unavailable"));
            }
            link.network.state().subscribers.push(subscriber);
            Ok(())
        })
    }

    fn serve(
        &self,
        queue: Queue,
        prefetch: usize,
        fitness: Fitness,
        lifecycle: &Lifecycle,
        handler: Handler,
    ) {
        let mut state = self.network.state();
        state.next_consumer += 1;
        let consumer = Arc::new(Consumer {
            id: state.next_consumer,
            link: self.clone(),
            handler,
            slots: Semaphore::new(prefetch),
            lifecycle: lifecycle.clone(),
        });
        if fitness.is_fit() {
            state.queue(queue).join(&consumer);
        }
        drop(state);
        lifecycle.spawn("bus.consumer", self.clone().keep(queue, consumer, fitness));
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.process).finish()
    }
}
