//! Dead letters: jobs that nobody could read, or whose work failed, until somebody looks at them.
//!
//! For a command that a person gives, over a connection of its own that is not rebuilt when it fails. A
//! job is only a word that a record waits for somebody (see the specification of the bus); so a dead
//! letter tells of a defect or of a stranger's message, and dropping it loses no work.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions,
    QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio::time::Instant;

use super::amqp::{ConnectError, Options, Target, message, queues};
use super::topology::Queue;
use crate::error::{Error, Result};

/// The header in which RabbitMQ tells of deaths, the last one first.
const DEATHS: &str = "x-death";

/// How long messages may take to be back in their queue, unless somebody else took them meanwhile.
const PUT_BACK: Duration = Duration::from_secs(2);

/// The pause between looks at that.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A job that died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The queue in which it died.
    pub queue: String,
    /// The routing key that it was sent to.
    pub routing_key: String,
    /// Why, in RabbitMQ's words: `rejected` (it could not be read, or its work failed), or
    /// `delivery_limit` (whoever took it died with it, again and again).
    pub reason: String,
    /// When, to the second.
    pub time: Option<Timestamp>,
    /// What it says; bytes that are no text are replaced.
    pub body: String,
}

/// The dead letters at a broker.
#[derive(Debug)]
pub struct DeadLetters {
    connection: Connection,
    exchange: ShortString,
    /// The account that replays them: the broker refuses a message in the name of another one.
    account: Option<ShortString>,
}

impl DeadLetters {
    /// Connects; a broker that is not there is not waited for.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(options: &Options) -> Result<Self, ConnectError> {
        let target = Target::new(options)?;
        let exchange = options.exchange.as_str().into();
        let (connection, account) = target.connect().await?;
        Ok(Self { connection, exchange, account })
    }

    /// How many there are of a job queue.
    ///
    /// # Errors
    /// [`Kind::Unavailable`](crate::Kind::Unavailable), as of all of these.
    pub async fn count(&self, queue: &Queue) -> Result<u32> {
        let found = queues::look(&self.connection, &self.name(queue)).await.map_err(failed)?;
        // Nobody has ever used it where it is missing.
        Ok(found.map_or(0, |found| found.message_count()))
    }

    /// The oldest ones of a job queue, oldest first; they stay where they are.
    ///
    /// # Errors
    /// See [`Self::count`].
    pub async fn read(&self, queue: &Queue, limit: usize) -> Result<Vec<DeadLetter>> {
        let letters = self.take(queue, limit).await?;
        let read: Vec<_> = letters.taken.iter().map(|letter| self.letter(queue, letter)).collect();
        letters.put_back().await?;
        self.wait_until_back(queue, read.len()).await?;
        Ok(read)
    }

    /// A quorum queue puts messages back a little after it is told to; whoever asks next is to find them.
    async fn wait_until_back(&self, queue: &Queue, put_back: usize) -> Result<()> {
        let until = Instant::now() + PUT_BACK;
        while usize::try_from(self.count(queue).await?).is_ok_and(|count| count < put_back)
            && Instant::now() < until
        {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Sends the oldest ones of a job queue on their way again; how many. Each is safe in its queue
    /// before it is taken from here; one that nobody can route, and all after it, stay.
    ///
    /// # Errors
    /// See [`Self::count`].
    pub async fn replay(&self, queue: &Queue, limit: usize) -> Result<usize> {
        let mut letters = self.take(queue, limit).await?;
        let channel = letters.channel.clone();
        let confirms = ConfirmSelectOptions::default();
        channel.confirm_select(confirms).await.map_err(failed)?;
        let mut replayed = 0;
        while let Some(letter) = letters.taken.pop_front() {
            if let Err(error) = self.publish(&channel, queue, &letter).await {
                letters.taken.push_front(letter);
                letters.put_back().await?;
                return Err(error);
            }
            let acknowledged = channel.basic_ack(letter.delivery_tag, BasicAckOptions::default());
            acknowledged.await.map_err(failed)?;
            replayed += 1;
        }
        letters.put_back().await?;
        Ok(replayed)
    }

    /// Drops all of a job queue; how many.
    ///
    /// # Errors
    /// See [`Self::count`].
    pub async fn drop_all(&self, queue: &Queue) -> Result<u32> {
        let channel = self.channel().await?;
        match channel.queue_purge(self.name(queue), QueuePurgeOptions::default()).await {
            Ok(dropped) => Ok(dropped),
            Err(error) if queues::is_not_found(&error) => Ok(0),
            Err(error) => Err(failed(error)),
        }
    }

    /// Takes leave of the broker.
    pub async fn close(self) {
        if let Err(error) = self.connection.close(200, "goodbye".into()).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "no orderly end");
        }
    }

    /// A channel that an error may close: each task has its own.
    async fn channel(&self) -> Result<Channel> {
        self.connection.create_channel().await.map_err(failed)
    }

    fn name(&self, queue: &Queue) -> ShortString {
        queues::dead_name(self.exchange.as_str(), queue).into()
    }

    /// Takes some in hand; whatever is not acknowledged goes back, at the latest with the channel.
    async fn take(&self, queue: &Queue, limit: usize) -> Result<Letters> {
        let limit = limit.min(self.count(queue).await?.try_into().unwrap_or(usize::MAX));
        let mut letters = Letters { channel: self.channel().await?, taken: VecDeque::new() };
        while letters.taken.len() < limit {
            let got = letters.channel.basic_get(self.name(queue), BasicGetOptions::default());
            let Some(letter) = got.await.map_err(failed)? else { break };
            letters.taken.push_back(letter);
        }
        Ok(letters)
    }

    fn letter(&self, queue: &Queue, letter: &BasicGetMessage) -> DeadLetter {
        let death = last_death(&letter.properties);
        let text = |name| death.and_then(|death| message::text(death.inner().get(name)?));
        let known = |text: Option<&str>| text.unwrap_or("unknown").to_owned();
        let time = match death.and_then(|death| death.inner().get("time")) {
            Some(AMQPValue::Timestamp(seconds)) => i64::try_from(*seconds).ok(),
            _ => None,
        };
        let queue_name = queues::name(self.exchange.as_str(), queue);
        DeadLetter {
            queue: text("queue").map_or(queue_name, ToOwned::to_owned),
            routing_key: known(death.and_then(routing_key)),
            reason: known(text("reason")),
            time: time.and_then(|seconds| Timestamp::from_second(seconds).ok()),
            body: String::from_utf8_lossy(&letter.data).into_owned(),
        }
    }

    async fn publish(
        &self,
        channel: &Channel,
        queue: &Queue,
        letter: &BasicGetMessage,
    ) -> Result<()> {
        // The binding of a job queue is its one routing key.
        let key = last_death(&letter.properties).and_then(routing_key).unwrap_or(queue.binding);
        let key = message::short("the routing key", key)?;
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = replayed(&letter.properties);
        let properties = message::signed(properties, self.account.as_ref());
        let exchange = self.exchange.clone();
        let published = channel.basic_publish(exchange, key, options, &letter.data, properties);
        match published.await.map_err(failed)?.await.map_err(failed)? {
            Confirmation::Ack(None) => Ok(()),
            _ => Err(Error::unavailable("the message broker did not take a dead letter back")),
        }
    }
}

/// Dead letters in hand.
struct Letters {
    channel: Channel,
    /// Not acknowledged.
    taken: VecDeque<BasicGetMessage>,
}

impl Letters {
    /// Puts them back.
    async fn put_back(self) -> Result<()> {
        if let Some(last) = self.taken.back() {
            let options = BasicNackOptions { multiple: true, requeue: true };
            self.channel.basic_nack(last.delivery_tag, options).await.map_err(failed)?;
        }
        self.channel.close(200, "done".into()).await.map_err(failed)
    }
}

fn last_death(properties: &BasicProperties) -> Option<&FieldTable> {
    match properties.headers().as_ref()?.inner().get(DEATHS)? {
        AMQPValue::FieldArray(deaths) => match deaths.as_slice().first()? {
            AMQPValue::FieldTable(death) => Some(death),
            _ => None,
        },
        _ => None,
    }
}

fn routing_key(death: &FieldTable) -> Option<&str> {
    match death.inner().get("routing-keys")? {
        AMQPValue::FieldArray(keys) => message::text(keys.as_slice().first()?),
        _ => None,
    }
}

/// The message as it was before it died, from nobody yet; dead once more, it tells of that death.
fn replayed(properties: &BasicProperties) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in properties.headers().iter().flatten() {
        let is_ours = !name.as_str().starts_with("x-");
        if is_ours {
            headers.insert(name.clone(), value.clone());
        }
    }
    let replayed = BasicProperties::default().with_headers(headers).with_delivery_mode(2);
    match properties.content_type() {
        Some(content_type) => replayed.with_content_type(content_type.clone()),
        None => replayed,
    }
}

fn failed(error: lapin::Error) -> Error {
    Error::unavailable("the message broker did not do it").with_source(error)
}
