//! The exchange and the queues at the broker: declared by whoever needs them, always in the same way.

use lapin::options::{
    BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ExchangeKind};

use crate::bus::topology::{EXCHANGE, Queue};

/// A job that is begun and not finished this many times is dead: it takes its consumers with it.
const DELIVERY_LIMIT: i64 = 20;

/// Dead letters may be looked at as often as anybody likes. (RabbitMQ 4 would drop them after 20 times.)
const NO_DELIVERY_LIMIT: i64 = 1_000_000_000;

/// The name of a queue: two installations can share a broker by exchanges of their own.
pub(crate) fn name(exchange: &str, queue: &Queue) -> String {
    if exchange == EXCHANGE { queue.name.to_owned() } else { format!("{exchange}.{}", queue.name) }
}

/// The name of the queue for the dead letters of a job queue.
pub(crate) fn dead_name(exchange: &str, queue: &Queue) -> String {
    format!("{}.dead", name(exchange, queue))
}

pub(super) async fn declare_exchange(
    channel: &Channel,
    exchange: &ShortString,
) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let none = FieldTable::default();
    channel.exchange_declare(exchange.clone(), ExchangeKind::Topic, options, none).await
}

/// Declares a queue and binds it.
pub(crate) async fn declare(
    channel: &Channel,
    exchange: &ShortString,
    queue: &Queue,
) -> lapin::Result<()> {
    let name = ShortString::from(name(exchange.as_str(), queue));
    if queue.jobs {
        let dead = dead_name(exchange.as_str(), queue);
        let arguments = quorum(NO_DELIVERY_LIMIT);
        channel.queue_declare(dead.clone().into(), durable(false), arguments).await?;
        let mut arguments = quorum(DELIVERY_LIMIT);
        // By the default exchange, straight to that queue.
        arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
        arguments.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(dead.into()));
        channel.queue_declare(name.clone(), durable(false), arguments).await?;
    } else {
        // Durable although its messages are not: RabbitMQ gives up transient queues that are shared.
        channel.queue_declare(name.clone(), durable(true), FieldTable::default()).await?;
    }
    bind(channel, &name, exchange, queue.binding.into()).await
}

/// Declares the queue of one subscriber: it is gone with its connection.
pub(super) async fn declare_own(
    channel: &Channel,
    exchange: &ShortString,
    name: &ShortString,
    pattern: ShortString,
) -> lapin::Result<()> {
    let options = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    channel.queue_declare(name.clone(), options, FieldTable::default()).await?;
    bind(channel, name, exchange, pattern).await
}

/// A channel for a consumer that has at most so many messages in hand.
pub(super) async fn consumer_channel(
    connection: &Connection,
    prefetch: u16,
) -> lapin::Result<Channel> {
    let channel = connection.create_channel().await?;
    channel.basic_qos(prefetch, BasicQosOptions { global: false }).await?;
    Ok(channel)
}

async fn bind(
    channel: &Channel,
    queue: &ShortString,
    exchange: &ShortString,
    pattern: ShortString,
) -> lapin::Result<()> {
    let (options, none) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(queue.clone(), exchange.clone(), pattern, options, none).await
}

fn durable(auto_delete: bool) -> QueueDeclareOptions {
    QueueDeclareOptions { durable: true, auto_delete, ..QueueDeclareOptions::default() }
}

fn quorum(delivery_limit: i64) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(delivery_limit));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::topology::INVESTIGATOR;

    #[test]
    fn installations_on_one_broker_keep_apart() {
        assert_eq!(name(EXCHANGE, &INVESTIGATOR), "investigator");
        assert_eq!(name("lab", &INVESTIGATOR), "lab.investigator");
        assert_eq!(dead_name("lab", &INVESTIGATOR), "lab.investigator.dead");
    }
}
