//! A connection that is in use: its channels, and the requests that wait for their answers on it.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, Consumer, PublisherConfirm};
use secrecy::SecretString;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::connection::{Socket, is_refusal};
use super::pending::{Outcome, Pending, Waiting};
use super::{message, queues};
use runtime::{Clock, Outage, random};

use crate::error::{Error, Kind, Result};
use crate::topology::{self, Queue};
use crate::unserved;

/// The part that errors name when there is no connection to the broker.
pub(crate) const BROKER: &str = "broker";

/// How long taking leave of the broker may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// A connection is not given up for a message that a queue did not take before it is that old.
const REJECTED_AFTER: Duration = Duration::from_secs(1);

/// RabbitMQ's name for "the channel that asked": no queue has to be declared for answers.
pub(super) const DIRECT_REPLY: &str = "amq.rabbitmq.reply-to";

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) exchange: ShortString,
    /// The `user-id` of every message: the broker refuses those with another one than that of the connection.
    pub(super) account: Option<ShortString>,
    pub(super) pending: Arc<Pending>,
    socket: Socket,
    /// Publishes requests and takes their answers: direct reply-to wants one channel for both.
    pub(super) requests: Channel,
    /// Jobs go one after the other, so that each is sure which confirmation is its own.
    jobs: tokio::sync::Mutex<Channel>,
    notifications: Channel,
    broken: CancellationToken,
    blocked: Outage,
    pub(super) opened: Instant,
}

/// What the broker answers requests with, and whatever else reads from it.
pub(super) type Answers = Consumer;

impl Link {
    /// Makes a connection ready for use.
    pub(super) async fn open(
        connection: Connection,
        socket: Socket,
        exchange: &ShortString,
        account: Option<ShortString>,
    ) -> lapin::Result<(Arc<Self>, Answers)> {
        queues::declare_exchange(&connection, exchange).await?;
        let requests = connection.create_channel().await?;
        requests.confirm_select(ConfirmSelectOptions::default()).await?;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let none = FieldTable::default();
        let answers = requests.basic_consume(DIRECT_REPLY.into(), "".into(), options, none).await?;
        let jobs = connection.create_channel().await?;
        jobs.confirm_select(ConfirmSelectOptions::default()).await?;
        let link = Self {
            notifications: connection.create_channel().await?,
            requests,
            jobs: tokio::sync::Mutex::new(jobs),
            connection,
            socket,
            exchange: exchange.clone(),
            account,
            pending: Pending::new(),
            broken: CancellationToken::new(),
            blocked: Outage::new("publishing to the message broker"),
            opened: Instant::now(),
        };
        Ok((Arc::new(link), answers))
    }

    /// Ends it: whoever waits for something learns of it now.
    pub(super) fn fail(&self) {
        self.broken.cancel();
        self.pending.fail();
        self.socket.shut();
    }

    /// Takes leave of the broker, which may be gone, or never answer.
    pub(super) async fn close(&self) {
        let closing = self.connection.close(200, "goodbye".into());
        match tokio::time::timeout(GOODBYE, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "no orderly end");
            }
            Err(_) => tracing::debug!("the broker did not say goodbye"),
        }
        self.fail();
    }

    /// Resolves when the connection is lost.
    pub(super) fn lost(&self) -> impl Future<Output = ()> + use<'_> {
        self.broken.cancelled()
    }

    /// Publishes a request and waits for its answer, or for the news that there will be none. The `params` of a confidential
    /// request are not in its body.
    pub(super) async fn request(
        self: &Arc<Self>,
        key: ShortString,
        id: Uuid,
        body: &[u8],
        properties: BasicProperties,
        params: Option<SecretString>,
    ) -> Result<Vec<u8>> {
        if self.connection.status().blocked() {
            let why = "the message broker takes no messages now: its memory or its disk is full";
            self.blocked.failed("", why);
            return Err(Error::unavailable(why).of_part(BROKER));
        }
        self.blocked.succeeded();
        let queue = queues::of_requests(self.exchange.as_str(), key.as_str()).into();
        if self.pending.unserved().contains(&queue) {
            return Err(unserved(key.as_str()));
        }
        let (_waiting, mut receiver) = self.pending.request(id, queue, params)?;
        let to = key.clone();
        let properties = properties
            .with_correlation_id(id.to_string().into())
            .with_reply_to(DIRECT_REPLY.into());
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let published =
            self.requests.basic_publish(self.exchange.clone(), key, options, body, properties);
        let mut confirm = Confirm::new(self, published.await.map_err(lost)?);
        let outcome = tokio::select! {
            biased;
            outcome = &mut receiver => outcome,
            confirmed = confirm.wait() => {
                confirmed?;
                (&mut receiver).await
            }
        };
        match outcome {
            Ok(Outcome::Answer(body)) => Ok(body),
            Ok(Outcome::Unroutable) => Err(unserved(to.as_str())),
            Ok(Outcome::Abandoned) => Err(abandoned(to.as_str())),
            Err(_) => Err(connection_lost()),
        }
    }

    /// Publishes a notification that asks for answers; they go into `answers` until the result is dropped.
    pub(super) async fn gather(
        self: &Arc<Self>,
        key: ShortString,
        body: &[u8],
        properties: BasicProperties,
        answers: mpsc::Sender<Value>,
    ) -> Result<Waiting> {
        let id = random::uuid();
        let waiting = self.pending.gathering(id, answers)?;
        let properties = properties
            .with_correlation_id(id.to_string().into())
            .with_reply_to(DIRECT_REPLY.into());
        let options = BasicPublishOptions::default();
        let published =
            self.requests.basic_publish(self.exchange.clone(), key, options, body, properties);
        Confirm::new(self, published.await.map_err(lost)?).wait().await?;
        Ok(waiting)
    }

    /// Answers a notification that asked for it.
    pub(super) async fn reply(
        &self,
        reply_to: &ShortString,
        correlation_id: Option<&ShortString>,
        body: &[u8],
    ) -> Result<()> {
        let properties = message::answer_properties(correlation_id, self.account.as_ref());
        let options = BasicPublishOptions::default();
        let published = self.notifications.basic_publish(
            "".into(),
            reply_to.clone(),
            options,
            body,
            properties,
        );
        published.await.map(drop).map_err(|e| self.failed(e))
    }

    /// The broker has seen a request. What it hands back with that may be another's: lapin counts, and
    /// RabbitMQ confirms many at a time.
    fn confirmed(&self, confirmation: lapin::Result<Confirmation>) -> Result<()> {
        match confirmation.map_err(lost)? {
            Confirmation::Ack(None) | Confirmation::NotRequested => Ok(()),
            Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
                let id = returned.properties.correlation_id().as_ref();
                self.pending.settle(id, Outcome::Unroutable);
                Ok(())
            }
            Confirmation::Nack(None) => Err(self.rejected("the request")),
        }
    }

    /// Publishes a job; it is safe with the broker when this returns. Where its queue is missing it is declared.
    pub(super) async fn job(
        &self,
        queue: &Queue,
        key: ShortString,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<()> {
        let jobs = self.jobs.lock().await;
        // Persistent.
        let properties = properties.with_delivery_mode(2);
        if self.is_routed(&jobs, key.clone(), body, properties.clone()).await? {
            return Ok(());
        }
        let declared = queues::declare(&self.connection, &self.exchange, queue).await;
        declared.map_err(|error| {
            if !is_refusal(&error) {
                return lost(error);
            }
            Error::unavailable(format!("the message broker refuses the queue for {key}"))
                .with_source(error)
        })?;
        if self.is_routed(&jobs, key.clone(), body, properties).await? {
            return Ok(());
        }
        Err(Error::unavailable(format!("the message broker has no queue for {key}")))
    }

    /// Publishes a job; whether there is a queue for it, which then has it.
    async fn is_routed(
        &self,
        jobs: &Channel,
        key: ShortString,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<bool> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let published = jobs.basic_publish(self.exchange.clone(), key, options, body, properties);
        let confirmed = async { published.await?.await };
        match confirmed.await.map_err(|e| self.failed(e))? {
            Confirmation::Ack(None) => Ok(true),
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => Ok(false),
            Confirmation::Nack(None) | Confirmation::NotRequested => Err(self.rejected("the job")),
        }
    }

    /// Publishes a notification to whoever is subscribed.
    pub(super) async fn notification(
        &self,
        key: ShortString,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<()> {
        let options = BasicPublishOptions::default();
        let exchange = self.exchange.clone();
        let published = self.notifications.basic_publish(exchange, key, options, body, properties);
        published.await.map(drop).map_err(|e| self.failed(e))
    }

    /// A queue did not take a message. In RabbitMQ 3.10 a channel that has published to a quorum queue in the moment in
    /// which the node of its leader was lost never finds the next leader: all of it is built anew then.
    fn rejected(&self, what: &str) -> Error {
        if self.opened.elapsed() >= REJECTED_AFTER {
            self.broken.cancel();
        }
        Error::unavailable(format!("the message broker could not take {what}")).of_part(BROKER)
    }

    /// A channel that failed stays so: all of it is built anew.
    fn failed(&self, error: lapin::Error) -> Error {
        self.broken.cancel();
        lost(error)
    }
}

/// The wall clock, which deadlines of messages are in: they are read by other processes, and messages hold nothing else.
pub(super) fn now_ms() -> i64 {
    Clock::System.wall().as_millisecond()
}

/// There is no connection now.
pub(super) fn not_connected() -> Error {
    Error::unavailable("there is no connection to the message broker").of_part(BROKER)
}

/// There was one, and it failed.
pub(super) fn lost(error: lapin::Error) -> Error {
    connection_lost().with_source(error)
}

pub(super) fn connection_lost() -> Error {
    Error::unavailable("the connection to the message broker was lost").of_part(BROKER)
}

/// The error of a request that was handed to a queue without consumers.
fn abandoned(key: &str) -> Error {
    let service = topology::service_of(key);
    let message = format!(
        "no replica of the {service} service takes {key} at present, or answers it: whether it was \
         carried out, or will be until its deadline, is unknown"
    );
    Error::new(Kind::Timeout, message).of_part(service)
}

/// The confirmation of a request: awaited to its end, by a task where the answer was faster or nobody
/// waits for it any more, for it may bring somebody else's message back.
pub(super) struct Confirm<'a> {
    link: &'a Arc<Link>,
    confirm: Option<PublisherConfirm>,
}

impl<'a> Confirm<'a> {
    pub(super) fn new(link: &'a Arc<Link>, confirm: PublisherConfirm) -> Self {
        Self { link, confirm: Some(confirm) }
    }

    pub(super) async fn wait(&mut self) -> Result<()> {
        let Some(confirm) = &mut self.confirm else { return Ok(()) };
        let confirmation = confirm.await;
        self.confirm = None;
        self.link.confirmed(confirmation)
    }
}

impl Drop for Confirm<'_> {
    #[expect(clippy::disallowed_methods, reason = "it ends by itself, and holds up no shutdown")]
    fn drop(&mut self) {
        let Some(confirm) = self.confirm.take() else { return };
        if tokio::runtime::Handle::try_current().is_ok() {
            let link = Arc::clone(self.link);
            tokio::spawn(async move { drop(link.confirmed(confirm.await)) });
        }
    }
}
