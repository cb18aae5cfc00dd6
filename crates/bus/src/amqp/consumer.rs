//! Serving a queue: takes messages, has them worked on, answers, and takes up again what a lost
//! connection interrupts.

use std::sync::Arc;

use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions,
    BasicPublishOptions, BasicRejectOptions, QueueDeleteOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Consumer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::is_refusal;
use super::link::{Link, now_ms};
use super::message::{self, Received, Unreadable};
use super::{Amqp, queues};
use runtime::Outage;
use runtime::lifecycle::Lifecycle;
use runtime::retry::Schedule;

use crate::error::{Error, Kind, Result, chain};
use crate::jsonrpc::Answer;
use crate::outages::SETTLING;
use crate::topology::Queue;
use crate::{Call, Fitness, Handler, unserved};

/// What a consumer of a queue needs, whichever connection it is on.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) amqp: Amqp,
    pub(super) queue: Queue,
    pub(super) prefetch: u16,
    pub(super) fitness: Fitness,
    pub(super) lifecycle: Lifecycle,
    pub(super) handler: Handler,
    /// Of the queue.
    pub(super) outage: Arc<Outage>,
}

/// A consumer on one connection.
struct Session {
    link: Arc<Link>,
    channel: Channel,
    /// Its name at the broker.
    queue: ShortString,
    consumer: Consumer,
    /// One for each message that may be worked on at a time.
    slots: Arc<Semaphore>,
    /// The last request that was taken and is not yet acknowledged, with all before it.
    taken: Option<u64>,
}

enum End {
    Stopping,
    Unfit,
    Lost,
}

impl Server {
    /// Serves from now on; returns when messages for the queue find it, or at once where it is not fit yet.
    pub(super) async fn start(self) -> Result<()> {
        let session = if self.fitness.is_fit() { Some(self.begin(true).await?) } else { None };
        let lifecycle = self.lifecycle.clone();
        lifecycle.spawn_critical("bus.consumer", self.run(session));
        Ok(())
    }

    async fn run(mut self, mut session: Option<Session>) {
        loop {
            if let Some(mut begun) = session.take() {
                match self.consume(&mut begun).await {
                    End::Stopping => return self.stop(begun).await,
                    End::Unfit => self.leave(begun).await,
                    End::Lost => tracing::debug!(queue = self.queue.name, "consumer lost"),
                }
            }
            tokio::select! {
                () = self.lifecycle.stopping() => return,
                () = self.fitness.becomes(true) => {}
            }
            match self.begin(false).await {
                Ok(begun) => session = Some(begun),
                // Told to stop.
                Err(_) => return,
            }
        }
    }

    /// Begins to consume as soon as there is a connection. At the first time a refusal is the end; later
    /// it is logged, and tried again.
    async fn begin(&self, first: bool) -> Result<Session> {
        let mut backoff = Schedule::BROKER.pauses();
        let begun = async {
            loop {
                let link = self.amqp.wait_for_link().await?;
                match self.session(link).await {
                    Ok(session) => {
                        self.outage.succeeded();
                        return Ok(session);
                    }
                    Err(error) if is_refusal(&error) && first => {
                        let refused =
                            format!("the message broker refuses the queue {}", self.queue.name);
                        return Err(Error::unavailable(refused).with_source(error));
                    }
                    Err(error) => self.failed(&error),
                }
                backoff.sleep().await;
            }
        };
        tokio::select! {
            session = begun => session,
            () = self.lifecycle.stopping() => Err(Error::unavailable("the service is stopping")),
        }
    }

    /// Soon after the connection was made, a queue may not be ready yet; nor can it be used when the connection is lost.
    fn failed(&self, error: &lapin::Error) {
        let why = chain(error);
        if is_refusal(error) {
            self.outage.failed("refused", &why);
        } else if self.amqp.connected_for() >= SETTLING {
            self.outage.failed("", &why);
        } else {
            self.outage.failed_as_expected("", &why);
        }
    }

    async fn session(&self, link: Arc<Link>) -> lapin::Result<Session> {
        let name = ShortString::from(queues::name(link.exchange.as_str(), &self.queue));
        // A queue of jobs that exists may be left to an account without the permission to configure it.
        if !self.queue.jobs || queues::look(&link.connection, &name).await?.is_none() {
            queues::declare(&link.connection, &link.exchange, &self.queue).await?;
        }
        let channel = queues::consumer_channel(&link.connection, self.prefetch).await?;
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer = channel.basic_consume(name.clone(), "".into(), options, none).await?;
        if !self.queue.jobs {
            // A replica that leaves at the same moment may have removed the binding before it could see this consumer.
            queues::bind(&channel, &name, &link.exchange, self.queue.binding.into()).await?;
        }
        let slots = Arc::new(Semaphore::new(self.prefetch.into()));
        Ok(Session { link, channel, queue: name, consumer, slots, taken: None })
    }

    async fn consume(&self, session: &mut Session) -> End {
        let stopping = self.lifecycle.stopping();
        let mut fitness = self.fitness.clone();
        let unfit = fitness.becomes(false);
        tokio::pin!(stopping, unfit);
        loop {
            let next = tokio::select! {
                biased;
                () = &mut stopping => return End::Stopping,
                () = &mut unfit => return End::Unfit,
                next = session.next() => next,
            };
            match next {
                Some((delivery, slot)) => self.take(session, delivery, slot),
                None => return End::Lost,
            }
        }
    }

    /// Begins the work on a message. A request is the consumer's from here on; a job stays the broker's
    /// until it is done.
    fn take(&self, session: &mut Session, delivery: Delivery, slot: OwnedSemaphorePermit) {
        if !self.queue.jobs {
            session.taken = Some(delivery.delivery_tag);
        }
        let (server, back) = (self.clone(), session.way_back());
        self.lifecycle.spawn("bus.call", async move {
            server.work(&back, delivery).await;
            drop(slot);
        });
    }

    async fn work(&self, back: &WayBack, delivery: Delivery) {
        let Delivery { delivery_tag, routing_key, properties, data, redelivered, .. } = delivery;
        let received = message::receive(routing_key.as_str(), &properties, &data, self.queue.bare);
        drop(data);
        let (id, result) = match received {
            Err(Unreadable { id, error }) => (id, Err(error)),
            Ok(Received { id, deadline: Some(deadline), .. }) if deadline <= now_ms() => {
                (id, Err(Error::new(Kind::Timeout, "it was not begun before its deadline")))
            }
            // The connection of the replica that had it was lost, and with it perhaps its acknowledgement.
            Ok(Received { id, .. }) if redelivered && !self.queue.jobs => {
                (id, Err(delivered_before()))
            }
            Ok(Received { id, call, confidential: true, deadline }) => {
                let result = match back.link.params(&properties, deadline).await {
                    Ok(params) => (self.handler)(Call { params, ..call }).await,
                    Err(error) => Err(error),
                };
                (id, result)
            }
            Ok(Received { id, call, .. }) => (id, (self.handler)(call).await),
        };
        let settled = async {
            if self.queue.jobs {
                self.settle(&back.channel, delivery_tag, result.as_ref().err()).await?;
            }
            back.reply(&properties, id, result).await?;
            Ok::<(), lapin::Error>(())
        };
        if let Err(error) = settled.await {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(queue = self.queue.name, error, "the outcome did not reach the broker");
        }
    }

    /// Tells the broker what became of a job. One that failed is not tried again: it would fail again.
    async fn settle(
        &self,
        channel: &Channel,
        tag: u64,
        error: Option<&Error>,
    ) -> lapin::Result<()> {
        let Some(error) = error else {
            return channel.basic_ack(tag, BasicAckOptions::default()).await;
        };
        let dead = queues::dead_name(self.amqp.exchange(), &self.queue);
        tracing::warn!(
            queue.dead = dead,
            error = chain(error),
            "job failed, kept as a dead letter"
        );
        channel.basic_reject(tag, BasicRejectOptions { requeue: false }).await
    }

    /// Takes no more while the replica is unfit: requests that were received and not begun are refused, those that
    /// have begun go on.
    async fn leave(&self, mut session: Session) {
        let left = async {
            let unbegun = session.cancel().await?;
            for delivery in unbegun {
                if self.queue.jobs {
                    session.hand_back(delivery.delivery_tag).await?;
                } else {
                    session
                        .channel
                        .basic_ack(delivery.delivery_tag, BasicAckOptions::default())
                        .await?;
                    session.way_back().refuse(&delivery).await?;
                }
            }
            self.close_queue(&session).await
        };
        self.note_end(left.await);
        let server = self.clone();
        self.lifecycle.spawn("bus.leaving", async move { server.finish(session).await });
    }

    /// Takes no more, hands back jobs that have not begun, and carries out all requests that were received: handed
    /// back, they could not be told from those that another replica may have begun.
    async fn stop(&self, mut session: Session) {
        let stopped = async {
            let unbegun = session.cancel().await?;
            for delivery in unbegun {
                if self.queue.jobs {
                    session.hand_back(delivery.delivery_tag).await?;
                } else if let Ok(slot) = Arc::clone(&session.slots).acquire_owned().await {
                    self.take(&mut session, delivery, slot);
                }
            }
            session.acknowledge();
            self.close_queue(&session).await
        };
        self.note_end(stopped.await);
        self.finish(session).await;
    }

    /// Waits for what has begun, and removes the queue of requests then if nobody else consumes from it: as long as it
    /// is there, nobody gives up a request that this replica may still answer.
    async fn finish(&self, session: Session) {
        drop(session.slots.acquire_many(self.prefetch.into()).await);
        if self.queue.jobs {
            return;
        }
        let removed = async {
            if session.is_unused().await? {
                let (name, options) = (session.queue.clone(), QueueDeleteOptions::default());
                session.channel.queue_delete(name, options).await?;
            }
            Ok(())
        };
        self.note_end(removed.await);
    }

    /// Where this was the last consumer of requests, the broker returns further ones from now on to those who ask;
    /// those that have come in the meantime are refused.
    async fn close_queue(&self, session: &Session) -> lapin::Result<()> {
        let Session { link, channel, queue, .. } = session;
        if self.queue.jobs || !session.is_unused().await? {
            return Ok(());
        }
        let (exchange, binding) = (&link.exchange, ShortString::from(self.queue.binding));
        let (from, key) = (exchange.clone(), binding.clone());
        channel.queue_unbind(queue.clone(), from, key, FieldTable::default()).await?;
        if !session.is_unused().await? {
            // Another replica has begun in between, and may have bound it before.
            return queues::bind(channel, queue, exchange, binding).await;
        }
        let options = BasicGetOptions { no_ack: true };
        while let Some(message) = channel.basic_get(queue.clone(), options).await? {
            session.way_back().refuse(&message.delivery).await?;
        }
        Ok(())
    }

    fn note_end(&self, end: lapin::Result<()>) {
        if let Err(error) = end {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(queue = self.queue.name, error, "the consumer had no orderly end");
        }
    }
}

impl Session {
    /// Ends the consumer; what was received and not begun.
    async fn cancel(&mut self) -> lapin::Result<Vec<Delivery>> {
        self.acknowledge();
        self.channel.basic_cancel(self.consumer.tag(), BasicCancelOptions::default()).await?;
        let mut unbegun = Vec::new();
        while let Some(delivery) = self.consumer.next().await {
            unbegun.push(delivery?);
        }
        Ok(unbegun)
    }

    async fn hand_back(&self, tag: u64) -> lapin::Result<()> {
        let options = BasicNackOptions { requeue: true, multiple: false };
        self.channel.basic_nack(tag, options).await
    }

    async fn is_unused(&self) -> lapin::Result<bool> {
        let found = queues::look(&self.link.connection, &self.queue).await?;
        Ok(found.is_some_and(|found| found.consumer_count() == 0))
    }

    fn way_back(&self) -> WayBack {
        WayBack { channel: self.channel.clone(), link: Arc::clone(&self.link) }
    }

    /// The next message, once it may be worked on; none when the connection is lost. What was taken is
    /// acknowledged before anything is waited for, many requests at a time when they come fast.
    async fn next(&mut self) -> Option<(Delivery, OwnedSemaphorePermit)> {
        let slot = if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            slot
        } else {
            self.acknowledge();
            tokio::select! {
                slot = Arc::clone(&self.slots).acquire_owned() => slot.ok()?,
                () = self.link.lost() => return None,
            }
        };
        let delivery = if let Some(delivery) = self.consumer.next().now_or_never() {
            delivery
        } else {
            self.acknowledge();
            self.consumer.next().await
        };
        Some((delivery?.ok()?, slot))
    }

    fn acknowledge(&mut self) {
        let Some(last) = self.taken.take() else { return };
        // Queued for lapin's thread by the first poll. Not waited for: if it does not get through, the
        // messages come again, and their deadlines will tell.
        drop(self.channel.basic_ack(last, BasicAckOptions { multiple: true }).now_or_never());
    }
}

/// How answers get to those who asked.
struct WayBack {
    channel: Channel,
    link: Arc<Link>,
}

impl WayBack {
    /// Answers to the queue that the request names, if it names one.
    async fn reply(
        &self,
        request: &BasicProperties,
        id: Option<String>,
        result: Result<Answer>,
    ) -> lapin::Result<()> {
        let Some(reply_to) = request.reply_to() else { return Ok(()) };
        let correlation_id = request.correlation_id().as_ref();
        let id = id.or_else(|| correlation_id.map(|id| id.as_str().to_owned()));
        let body = message::response(id, result).unwrap_or_default();
        let properties = message::answer_properties(correlation_id, self.link.account.as_ref());
        let (to, options) = (reply_to.clone(), BasicPublishOptions::default());
        self.channel.basic_publish("".into(), to, options, &body, properties).await?;
        Ok(())
    }

    /// Answers a request that is not begun because the replica leaves.
    async fn refuse(&self, request: &Delivery) -> lapin::Result<()> {
        let key = request.routing_key.as_str();
        let id = message::receive(key, &request.properties, &request.data, false).ok();
        let id = id.and_then(|received| received.id);
        let error = if request.redelivered { delivered_before() } else { unserved(key) };
        self.reply(&request.properties, id, Err(error)).await
    }
}

fn delivered_before() -> Error {
    let message = "another replica has had the request: whether it was carried out is unknown";
    Error::new(Kind::Timeout, message)
}
