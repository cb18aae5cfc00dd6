//! Counts what a request to the API asks for over the bus: sees every message on the daemons' exchange.

use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::StreamExt as _;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use tokio::time::timeout;

use super::ground::EXCHANGE;

const QUEUE: &str = "bench.counter";
const REQUEST_ID: &str = "request-id";

/// What is sent after the last message that counts.
const END: &str = "bench.end";

/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// See the module.
#[derive(Debug)]
pub struct Counter {
    channel: Channel,
    messages: Consumer,
    _connection: Connection,
}

impl Counter {
    /// Sees everything from now on.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn start(uri: &str) -> anyhow::Result<Self> {
        let connection = Connection::connect(uri, ConnectionProperties::default()).await;
        let connection = connection.context("cannot connect to the broker")?;
        let (channel, none) = (connection.create_channel().await?, FieldTable::default);
        let own = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(QUEUE.into(), own, none()).await?;
        let bind = QueueBindOptions::default();
        channel.queue_bind(QUEUE.into(), EXCHANGE.into(), "#".into(), bind, none()).await?;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let messages = channel.basic_consume(QUEUE.into(), "".into(), options, none()).await?;
        Ok(Self { channel, messages, _connection: connection })
    }

    /// How many requests have been made as part of the API request of that id, which has been answered.
    ///
    /// # Errors
    /// When the broker does not say.
    pub async fn count(&mut self, request_id: &str) -> anyhow::Result<u32> {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        // What was asked is in the queue by now: the answer came after it.
        let end = self.channel.basic_publish(EXCHANGE.into(), END.into(), options, b"", properties);
        drop(end.await?);
        let mut count = 0;
        loop {
            let message = timeout(PATIENCE, self.messages.next()).await;
            let Ok(Some(message)) = message else { bail!("the broker hands on no messages") };
            let message = message?;
            if message.routing_key.as_str() == END {
                return Ok(count);
            }
            let headers = message.properties.headers().as_ref();
            let id = headers.and_then(|headers| headers.inner().get(REQUEST_ID));
            let is_part = matches!(id, Some(AMQPValue::LongString(id)) if id.as_bytes() == request_id.as_bytes());
            if is_part && message.properties.reply_to().is_some() {
                count += 1;
            }
        }
    }
}
