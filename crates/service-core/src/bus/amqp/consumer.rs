//! Serving a queue: takes messages, has them worked on, answers, and takes up again what a lost
//! connection interrupts.

use std::sync::Arc;

use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions,
    BasicPublishOptions, BasicRejectOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Consumer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::backoff::Backoff;
use super::connection::is_refusal;
use super::link::Link;
use super::message::{self, Received, Unreadable};
use super::{Amqp, queues};
use crate::Clock;
use crate::bus::topology::Queue;
use crate::bus::{Fitness, Handler, unserved};
use crate::error::{Error, Kind, Result, chain};
use crate::jsonrpc::Answer;
use crate::lifecycle::Lifecycle;

/// What a consumer of a queue needs, whichever connection it is on.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) amqp: Amqp,
    pub(super) queue: Queue,
    pub(super) prefetch: u16,
    pub(super) fitness: Fitness,
    pub(super) lifecycle: Lifecycle,
    pub(super) handler: Handler,
}

/// A consumer on one connection.
struct Session {
    link: Arc<Link>,
    channel: Channel,
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
    /// it is reported, and tried again.
    async fn begin(&self, first: bool) -> Result<Session> {
        let (mut backoff, mut reported) = (Backoff::default(), !first);
        let begun = async {
            loop {
                let link = self.amqp.wait_for_link().await?;
                let error = match self.session(link).await {
                    Ok(session) => return Ok(session),
                    Err(error) => error,
                };
                if is_refusal(&error) {
                    let refused =
                        format!("the message broker refuses the queue {}", self.queue.name);
                    let refused = Error::unavailable(refused).with_source(error);
                    if first {
                        return Err(refused);
                    } else if std::mem::replace(&mut reported, false) {
                        tracing::error!(error = chain(&refused), "cannot serve the queue");
                    }
                }
                backoff.pause().await;
            }
        };
        tokio::select! {
            session = begun => session,
            () = self.lifecycle.stopping() => Err(Error::unavailable("the service is stopping")),
        }
    }

    async fn session(&self, link: Arc<Link>) -> lapin::Result<Session> {
        let channel = queues::consumer_channel(&link.connection, self.prefetch).await?;
        queues::declare(&channel, &link.exchange, &self.queue).await?;
        let name = ShortString::from(queues::name(link.exchange.as_str(), &self.queue));
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer = channel.basic_consume(name, "".into(), options, none).await?;
        let slots = Arc::new(Semaphore::new(self.prefetch.into()));
        Ok(Session { link, channel, consumer, slots, taken: None })
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
        let (server, channel) = (self.clone(), session.channel.clone());
        self.lifecycle.spawn("bus.call", async move {
            server.work(&channel, delivery).await;
            drop(slot);
        });
    }

    async fn work(&self, channel: &Channel, delivery: Delivery) {
        let Delivery { delivery_tag, routing_key, properties, data, .. } = delivery;
        let received = message::receive(routing_key.as_str(), &properties, &data, self.queue.bare);
        drop(data);
        let (id, result) = match received {
            Err(Unreadable { id, error }) => (id, Err(error)),
            Ok(Received { id, deadline: Some(deadline), .. }) if deadline <= now_ms() => {
                (id, Err(Error::new(Kind::Timeout, "it was not begun before its deadline")))
            }
            Ok(Received { id, call, .. }) => (id, (self.handler)(call).await),
        };
        let settled = async {
            if self.queue.jobs {
                self.settle(channel, delivery_tag, result.as_ref().err()).await?;
            }
            if let Some(reply_to) = properties.reply_to() {
                reply(channel, reply_to, &properties, id, result).await?;
            }
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

    /// Takes no more. What was received and not begun is not handed back: where this was the last consumer the
    /// queue is gone, and those requests would wait for their deadlines. Requests that have begun go on, on
    /// this channel.
    async fn leave(&self, mut session: Session) {
        session.acknowledge();
        let Session { channel, mut consumer, .. } = session;
        let left = async {
            channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await?;
            while let Some(delivery) = consumer.next().await {
                let Delivery { delivery_tag, routing_key, properties, data, .. } = delivery?;
                if self.queue.jobs {
                    let options = BasicNackOptions { requeue: true, multiple: false };
                    channel.basic_nack(delivery_tag, options).await?;
                    continue;
                }
                channel.basic_ack(delivery_tag, BasicAckOptions::default()).await?;
                let key = routing_key.as_str();
                let id = message::receive(key, &properties, &data, self.queue.bare).ok();
                if let Some(reply_to) = properties.reply_to() {
                    let (id, refused) = (id.and_then(|received| received.id), Err(unserved(key)));
                    reply(&channel, reply_to, &properties, id, refused).await?;
                }
            }
            Ok::<(), lapin::Error>(())
        };
        if let Err(error) = left.await {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(queue = self.queue.name, error, "the consumer had no orderly end");
        }
    }

    /// Takes no more, hands back what is not begun, and waits for what is.
    async fn stop(&self, mut session: Session) {
        session.acknowledge();
        let Session { channel, mut consumer, slots, .. } = session;
        let stopped = async {
            channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await?;
            while let Some(delivery) = consumer.next().await {
                let options = BasicNackOptions { requeue: true, multiple: false };
                channel.basic_nack(delivery?.delivery_tag, options).await?;
            }
            Ok::<(), lapin::Error>(())
        };
        if let Err(error) = stopped.await {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(queue = self.queue.name, error, "the consumer had no orderly end");
        }
        drop(slots.acquire_many(self.prefetch.into()).await);
    }
}

impl Session {
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

/// Answers, in the name of the service, to the queue that the request names.
async fn reply(
    channel: &Channel,
    reply_to: &ShortString,
    request: &BasicProperties,
    id: Option<String>,
    result: Result<Answer>,
) -> lapin::Result<()> {
    let correlation_id = request.correlation_id().clone();
    let id = id.or_else(|| correlation_id.as_ref().map(|id| id.as_str().to_owned()));
    let body = message::response(id, result).unwrap_or_default();
    let properties = BasicProperties::default().with_content_type("application/json".into());
    let properties = match correlation_id {
        Some(id) => properties.with_correlation_id(id),
        None => properties,
    };
    let options = BasicPublishOptions::default();
    channel.basic_publish("".into(), reply_to.clone(), options, &body, properties).await?;
    Ok(())
}

/// The wall clock, which deadlines of messages are in: they are read by other processes, and messages hold nothing else.
pub(super) fn now_ms() -> i64 {
    Clock::System.wall().as_millisecond()
}
