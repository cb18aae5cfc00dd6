//! A connection that is in use: its channels, and the requests that wait for their answers on it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, Consumer, PublisherConfirm};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::connection::Socket;
use super::{message, queues};
use crate::bus::topology::Queue;
use crate::bus::unserved;
use crate::error::{Error, Result};
use crate::random;

/// How long taking leave of the broker may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// RabbitMQ's name for "the channel that asked": no queue has to be declared for answers.
const DIRECT_REPLY: &str = "amq.rabbitmq.reply-to";

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) exchange: ShortString,
    socket: Socket,
    /// Publishes requests and takes their answers: direct reply-to wants one channel for both.
    requests: Channel,
    jobs: Channel,
    notifications: Channel,
    /// Jobs go one after the other, so that each is sure which confirmation is its own.
    job_turn: tokio::sync::Mutex<Vec<Queue>>,
    /// Requests without an answer yet; none once the connection is lost.
    pending: Mutex<Option<HashMap<Uuid, Pending>>>,
    broken: CancellationToken,
}

/// Who waits for answers.
#[derive(Debug)]
enum Pending {
    /// A request: one answer.
    Request(oneshot::Sender<Outcome>),
    /// A question to all replicas: as many answers as the channel takes.
    Gathering(mpsc::Sender<Value>),
}

/// What became of a request.
#[derive(Debug)]
enum Outcome {
    Answer(Vec<u8>),
    Unroutable,
}

/// What the broker answers requests with, and whatever else reads from it.
pub(super) type Answers = Consumer;

impl Link {
    /// Makes a connection ready for use.
    pub(super) async fn open(
        connection: Connection,
        socket: Socket,
        exchange: &ShortString,
    ) -> lapin::Result<(Arc<Self>, Answers)> {
        let requests = connection.create_channel().await?;
        queues::declare_exchange(&requests, exchange).await?;
        requests.confirm_select(ConfirmSelectOptions::default()).await?;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let none = FieldTable::default();
        let answers = requests.basic_consume(DIRECT_REPLY.into(), "".into(), options, none).await?;
        let jobs = connection.create_channel().await?;
        jobs.confirm_select(ConfirmSelectOptions::default()).await?;
        let link = Self {
            notifications: connection.create_channel().await?,
            requests,
            jobs,
            connection,
            socket,
            exchange: exchange.clone(),
            job_turn: tokio::sync::Mutex::default(),
            pending: Mutex::new(Some(HashMap::new())),
            broken: CancellationToken::new(),
        };
        Ok((Arc::new(link), answers))
    }

    /// Hands answers to those who wait for them until the connection is lost; says why it was.
    pub(super) async fn pump(&self, answers: &mut Answers) -> Option<lapin::Error> {
        let broken = self.broken.cancelled();
        tokio::pin!(broken);
        loop {
            tokio::select! {
                biased;
                answer = answers.next() => match answer {
                    Some(Ok(delivery)) => {
                        let id = delivery.properties.correlation_id().as_ref();
                        self.settle(id, Outcome::Answer(delivery.data));
                    }
                    Some(Err(error)) => return Some(error),
                    None => return None,
                },
                () = &mut broken => return None,
            }
        }
    }

    /// Ends it: whoever waits for something learns of it now.
    pub(super) fn fail(&self) {
        self.broken.cancel();
        drop(self.pending.lock().unwrap_or_else(PoisonError::into_inner).take());
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

    /// Publishes a request and waits for its answer, or for the news that there will be none.
    pub(super) async fn request(
        self: &Arc<Self>,
        key: ShortString,
        id: Uuid,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<Vec<u8>> {
        if self.connection.status().blocked() {
            return Err(Error::unavailable(
                "the message broker takes no messages now: its memory or its disk is full",
            ));
        }
        let (sender, mut receiver) = oneshot::channel();
        let _waiting = self.wait_for(id, Pending::Request(sender))?;
        let unroutable = unserved(key.as_str());
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
            Ok(Outcome::Unroutable) => Err(unroutable),
            Err(_) => Err(Error::unavailable("the connection to the message broker was lost")
                .of_part("broker")),
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
        let waiting = self.wait_for(id, Pending::Gathering(answers))?;
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
        let properties = BasicProperties::default().with_content_type("application/json".into());
        let properties = match correlation_id {
            Some(id) => properties.with_correlation_id(id.clone()),
            None => properties,
        };
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

    fn wait_for(self: &Arc<Self>, id: Uuid, who: Pending) -> Result<Waiting> {
        match self.pending.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(pending) => drop(pending.insert(id, who)),
            None => return Err(not_connected()),
        }
        Ok(Waiting { link: Arc::clone(self), id })
    }

    /// Ends the waiting for an answer; one that nobody waits for any more is dropped.
    fn settle(&self, correlation_id: Option<&ShortString>, outcome: Outcome) {
        let id = correlation_id.and_then(|id| Uuid::parse_str(id.as_str()).ok());
        let Some(id) = id else { return };
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pending) = pending.as_mut() else { return };
        match (pending.remove(&id), outcome) {
            (Some(Pending::Request(waiting)), outcome) => drop(waiting.send(outcome)),
            (Some(Pending::Gathering(answers)), Outcome::Answer(body)) => {
                // More answers than there is room for are dropped, and so is one that is no answer.
                if let Ok(answer) = message::answer(&body)
                    && let Ok(value) = answer.parse()
                {
                    drop(answers.try_send(value));
                }
                pending.insert(id, Pending::Gathering(answers));
            }
            (Some(Pending::Gathering(_)), Outcome::Unroutable) | (None, _) => {}
        }
    }

    /// The broker has seen a request. What it hands back with that may be another's: lapin counts, and
    /// RabbitMQ confirms many at a time.
    fn confirmed(&self, confirmation: lapin::Result<Confirmation>) -> Result<()> {
        match confirmation.map_err(lost)? {
            Confirmation::Ack(None) | Confirmation::NotRequested => Ok(()),
            Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
                let id = returned.properties.correlation_id().as_ref();
                self.settle(id, Outcome::Unroutable);
                Ok(())
            }
            Confirmation::Nack(None) => {
                Err(Error::unavailable("the message broker could not take the request"))
            }
        }
    }

    /// Publishes a job; it is safe with the broker when this returns.
    pub(super) async fn job(
        &self,
        queue: &Queue,
        key: ShortString,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<()> {
        let mut declared = self.job_turn.lock().await;
        if !declared.contains(queue) {
            queues::declare(&self.jobs, &self.exchange, queue).await.map_err(|e| self.failed(e))?;
            declared.push(*queue);
        }
        let unroutable = format!("the message broker has no queue for {key}");
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        // Persistent.
        let properties = properties.with_delivery_mode(2);
        let published =
            self.jobs.basic_publish(self.exchange.clone(), key, options, body, properties);
        let confirmed = async { published.await?.await };
        match confirmed.await.map_err(|e| self.failed(e))? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
                declared.retain(|known| known != queue);
                Err(Error::unavailable(unroutable))
            }
            Confirmation::Nack(None) | Confirmation::NotRequested => {
                Err(Error::unavailable("the message broker could not take the job"))
            }
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

    /// A channel that failed stays so: all of it is built anew.
    fn failed(&self, error: lapin::Error) -> Error {
        self.broken.cancel();
        lost(error)
    }
}

/// There is no connection now.
pub(super) fn not_connected() -> Error {
    Error::unavailable("there is no connection to the message broker").of_part("broker")
}

/// There was one, and it failed.
pub(super) fn lost(error: lapin::Error) -> Error {
    Error::unavailable("the connection to the message broker was lost")
        .with_source(error)
        .of_part("broker")
}

/// A place among the requests that wait; given up when it is dropped.
#[derive(Debug)]
pub(in crate::bus) struct Waiting {
    link: Arc<Link>,
    id: Uuid,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut pending = self.link.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pending) = pending.as_mut() {
            pending.remove(&self.id);
        }
    }
}

/// The confirmation of a request: awaited to its end, by a task where the answer was faster or nobody
/// waits for it any more, for it may bring somebody else's message back.
struct Confirm<'a> {
    link: &'a Arc<Link>,
    confirm: Option<PublisherConfirm>,
}

impl<'a> Confirm<'a> {
    fn new(link: &'a Arc<Link>, confirm: PublisherConfirm) -> Self {
        Self { link, confirm: Some(confirm) }
    }

    async fn wait(&mut self) -> Result<()> {
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
