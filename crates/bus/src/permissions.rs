//! Whether an account of the broker may do what a daemon does, checked without a change at the broker.
//!
//! AMQP has no method that shows permissions, so each is tried in a way that the broker checks first and that has no
//! effect then (RabbitMQ 3.10 and later):
//!
//! - to send: a message in a transaction that is rolled back;
//! - to subscribe: a binding of a queue that does not exist;
//! - to declare a queue, and to read from one: with an invalid argument.

use std::future::ready;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ExchangeDeclareOptions, QueueDeclareOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ErrorKind, Event, ExchangeKind};
use runtime::random;
use tokio::time::timeout;

use crate::amqp::{ConnectError, Options, Target, message, queues};
use crate::topology::Queue;

/// How long the broker may take for one check.
const LIMIT: Duration = Duration::from_secs(5);

/// Something that a daemon does at the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It sends to this routing key.
    Send(String),
    /// It answers requests.
    Answer,
    /// It subscribes to notifications of this topic pattern.
    Subscribe(String),
    /// It serves the queue of requests.
    Serve(Queue),
    /// It takes jobs from the queue.
    TakeJobs(Queue),
    /// It looks after the dead letters of the queue.
    ReadDeadLetters(Queue),
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Send(key) => write!(f, "send to {key}"),
            Self::Answer => f.write_str("answer requests"),
            Self::Subscribe(pattern) => write!(f, "subscribe to {pattern}"),
            Self::Serve(queue) => write!(f, "serve {}", queue.binding),
            Self::TakeJobs(queue) => write!(f, "take jobs of the queue {}", queue.name),
            Self::ReadDeadLetters(queue) => {
                write!(f, "read dead letters of the queue {}", queue.name)
            }
        }
    }
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// The account may do that.
    Granted,
    /// The account may not do that; the broker's words.
    Denied(String),
    /// The exchange or the queue does not exist; a daemon that may declare it does so at its start. The broker's words.
    Missing(String),
    /// The broker did not say; why.
    Unknown(String),
}

/// A connection with the account of a daemon.
#[derive(Debug)]
pub struct Permissions {
    connection: Connection,
    exchange: ShortString,
    name: String,
    account: Option<ShortString>,
}

impl Permissions {
    /// Connects; a broker that is unavailable is not waited for.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(options: &Options) -> Result<Self, ConnectError> {
        let target = Target::new(options)?;
        let (connection, account) = target.connect().await?;
        let (exchange, name) = (options.exchange.as_str().into(), options.name.clone());
        Ok(Self { connection, exchange, name, account })
    }

    /// The account, unless a certificate says which it is.
    pub fn account(&self) -> Option<&str> {
        self.account.as_ref().map(ShortString::as_str)
    }

    /// Whether the topic exchange exists.
    pub async fn exchange(&self) -> Permission {
        let declared = async {
            let options =
                ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
            let (exchange, none) = (self.exchange.clone(), FieldTable::default());
            self.channel()
                .await?
                .exchange_declare(exchange, ExchangeKind::Topic, options, none)
                .await
        };
        judge(timeout(LIMIT, declared).await, false)
    }

    /// Whether the account may do that.
    pub async fn check(&self, action: &Action) -> Permission {
        match action {
            Action::Send(key) => {
                judge(timeout(LIMIT, self.send(self.exchange.clone(), key)).await, false)
            }
            Action::Answer => judge(timeout(LIMIT, self.send("".into(), &self.own())).await, false),
            Action::Subscribe(pattern) => {
                // The queue is missing, as intended, unless the exchange is.
                match judge(timeout(LIMIT, self.bind(pattern)).await, false) {
                    Permission::Missing(said) if !said.contains("exchange") => Permission::Granted,
                    found => found,
                }
            }
            Action::Serve(queue) => {
                let name = queues::name(self.exchange.as_str(), queue);
                match judge(timeout(LIMIT, self.declare(name)).await, true) {
                    Permission::Granted => {
                        Box::pin(self.check(&Action::Subscribe(queue.binding.to_owned()))).await
                    }
                    found => found,
                }
            }
            Action::TakeJobs(queue) => self.read(queues::name(self.exchange.as_str(), queue)).await,
            Action::ReadDeadLetters(queue) => {
                self.read(queues::dead_name(self.exchange.as_str(), queue)).await
            }
        }
    }

    /// Closes the connection.
    pub async fn close(self) {
        if let Err(error) = self.connection.close(200, "goodbye".into()).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "no orderly end");
        }
    }

    /// A channel of its own for each check: an error closes it.
    async fn channel(&self) -> lapin::Result<Channel> {
        self.connection.create_channel().await
    }

    /// The name of a queue that this daemon could have for notifications, and that does not exist.
    fn own(&self) -> String {
        format!("{}-{}", self.name, random::uuid())
    }

    async fn send(&self, exchange: ShortString, key: &str) -> lapin::Result<()> {
        let channel = self.channel().await?;
        channel.tx_select().await?;
        let events = self.connection.events_listener();
        let properties = message::signed(BasicProperties::default(), self.account.as_ref());
        let options = BasicPublishOptions::default();
        channel.basic_publish(exchange, key.into(), options, b"", properties).await?;
        // The broker has checked the message by the time that it answers.
        match channel.tx_rollback().await {
            // It has closed the channel already: the reason is an event.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidChannelState(..)) => {
                let reasons = events.filter_map(|event| match event {
                    Event::Error(reason) => ready(Some(reason)),
                    _ => ready(None),
                });
                Err(pin!(reasons).next().await.unwrap_or(error))
            }
            rolled_back => rolled_back,
        }
    }

    async fn bind(&self, pattern: &str) -> lapin::Result<()> {
        let (channel, queue) = (self.channel().await?, self.own().into());
        queues::bind(&channel, &queue, &self.exchange, pattern.into()).await
    }

    async fn declare(&self, queue: String) -> lapin::Result<()> {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let arguments = text_argument("x-expires");
        self.channel().await?.queue_declare(queue.into(), options, arguments).await.map(drop)
    }

    async fn read(&self, queue: String) -> Permission {
        match timeout(LIMIT, queues::look(&self.connection, &queue.as_str().into())).await {
            Ok(Ok(None)) => return Permission::Missing(format!("there is no queue {queue}")),
            Ok(Ok(Some(_))) => {}
            Ok(Err(error)) => return judge(Ok(Err(error)), false),
            Err(elapsed) => return judge(Err(elapsed), false),
        }
        let consume = async {
            let (options, tag) = (BasicConsumeOptions::default(), "".into());
            let arguments = text_argument("x-priority");
            self.channel().await?.basic_consume(queue.into(), tag, options, arguments).await
        };
        judge(timeout(LIMIT, async { consume.await.map(drop) }).await, true)
    }
}

/// A number is expected.
fn text_argument(name: &'static str) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert(name.into(), AMQPValue::LongString("invalid".into()));
    arguments
}

/// What the outcome of a check means; `is_invalid`: that the arguments are rejected shows the permission, since the broker
/// checks that first.
fn judge(
    outcome: Result<lapin::Result<()>, tokio::time::error::Elapsed>,
    is_invalid: bool,
) -> Permission {
    let error = match outcome {
        Ok(Ok(())) if is_invalid => {
            return Permission::Unknown("it takes invalid arguments".to_owned());
        }
        Ok(Ok(())) => return Permission::Granted,
        Ok(Err(error)) => error,
        Err(_) => return Permission::Unknown(format!("no answer within {} s", LIMIT.as_secs())),
    };
    let ErrorKind::ProtocolError(refusal) = error.kind() else {
        return Permission::Unknown(error.to_string());
    };
    let said = refusal.get_message().to_string();
    match refusal.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => Permission::Denied(said),
        AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Permission::Missing(said),
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) if is_invalid => Permission::Granted,
        _ => Permission::Unknown(said),
    }
}
