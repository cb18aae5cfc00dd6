//! The exchanges and the queues at the broker: declared by whoever needs them, always in the same way.

use lapin::options::{
    BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

use crate::topology::{self, EXCHANGE, Queue};

/// A job that is begun and not finished this many times is dead: it takes its consumers with it.
const DELIVERY_LIMIT: i64 = 20;

/// Dead letters may be looked at as often as anybody likes. (RabbitMQ 4 would drop them after 20 times.)
const NO_DELIVERY_LIMIT: i64 = 1_000_000_000;

/// How long a queue of requests outlives a crash of its last consumer, in ms: longer than a replica that has
/// cancelled its consumer may take for the requests that it has begun.
const EXPIRES: i64 = 60_000;

/// A name in this installation: several can share a broker by exchanges of their own.
fn qualified(exchange: &str, name: &str) -> String {
    if exchange == EXCHANGE { name.to_owned() } else { format!("{exchange}.{name}") }
}

/// The name of a queue.
pub(crate) fn name(exchange: &str, queue: &Queue) -> String {
    if queue.jobs {
        qualified(exchange, &format!("jobs.{}", queue.name))
    } else {
        requests(exchange, queue.name)
    }
}

fn requests(exchange: &str, name: &str) -> String {
    qualified(exchange, &format!("requests.{name}"))
}

/// The name of the queue for the dead letters of a job queue.
pub(crate) fn dead_name(exchange: &str, queue: &Queue) -> String {
    qualified(exchange, &format!("{}.dead", queue.name))
}

/// The direct exchange of dead letters; each queue of them is bound by its name.
fn dead_exchange(exchange: &str) -> String {
    format!("{exchange}.dead")
}

/// The queue that requests for `key` go to, if its service names it as is usual.
pub(super) fn of_requests(exchange: &str, key: &str) -> String {
    let word = || key.split('.').next().unwrap_or(key);
    requests(exchange, topology::request_queue(key).map_or_else(word, |queue| queue.name))
}

/// Whether a queue belongs to a service of Commissaire: those name their queues as is usual.
pub(super) fn is_of_known_service(exchange: &str, queue: &str) -> bool {
    topology::REQUESTS.iter().any(|known| name(exchange, known) == queue)
}

/// Declares the topic exchange where it is missing: an account needs no permission to configure what exists.
pub(super) async fn declare_exchange(
    connection: &Connection,
    exchange: &ShortString,
) -> lapin::Result<()> {
    let declare = async |options| {
        // A channel of its own: an error closes it.
        let channel = connection.create_channel().await?;
        let none = FieldTable::default();
        channel.exchange_declare(exchange.clone(), ExchangeKind::Topic, options, none).await
    };
    let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    match declare(passive).await {
        Err(error) if is_not_found(&error) => declare(durable_exchange()).await,
        declared => declared,
    }
}

/// Declares a queue, and the queue of its dead letters, and binds them.
pub(crate) async fn declare(
    connection: &Connection,
    exchange: &ShortString,
    queue: &Queue,
) -> lapin::Result<()> {
    let channel = connection.create_channel().await?;
    let name = ShortString::from(name(exchange.as_str(), queue));
    let arguments = if queue.jobs {
        let dead = declare_dead(&channel, exchange.as_str(), queue).await?;
        let mut arguments = quorum();
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERY_LIMIT));
        for (argument, value) in [
            ("x-dead-letter-exchange", dead_exchange(exchange.as_str())),
            ("x-dead-letter-routing-key", dead),
        ] {
            arguments.insert(argument.into(), AMQPValue::LongString(value.into()));
        }
        arguments
    } else {
        // No dead letters: an expired request is dropped.
        let mut arguments = quorum();
        arguments.insert("x-expires".into(), AMQPValue::LongLongInt(EXPIRES));
        arguments
    };
    channel.queue_declare(name.clone(), durable(), arguments).await?;
    bind(&channel, &name, exchange, queue.binding.into()).await
}

/// Declares the queue of the dead letters of a job queue; returns its name.
async fn declare_dead(channel: &Channel, exchange: &str, queue: &Queue) -> lapin::Result<String> {
    let (name, exchange) = (dead_name(exchange, queue), dead_exchange(exchange));
    let (kind, none) = (ExchangeKind::Direct, FieldTable::default());
    channel.exchange_declare(exchange.as_str().into(), kind, durable_exchange(), none).await?;
    let mut arguments = quorum();
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(NO_DELIVERY_LIMIT));
    channel.queue_declare(name.as_str().into(), durable(), arguments).await?;
    bind(channel, &name.as_str().into(), &exchange.into(), name.as_str().into()).await?;
    Ok(name)
}

/// How many messages are ready in a queue, and how many consume from it; `None` where it is missing.
pub(crate) async fn look(
    connection: &Connection,
    name: &ShortString,
) -> lapin::Result<Option<lapin::Queue>> {
    // A channel of its own: an error closes it.
    let channel = connection.create_channel().await?;
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match channel.queue_declare(name.clone(), options, FieldTable::default()).await {
        Ok(queue) => Ok(Some(queue)),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
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

pub(crate) async fn bind(
    channel: &Channel,
    queue: &ShortString,
    exchange: &ShortString,
    pattern: ShortString,
) -> lapin::Result<()> {
    let (options, none) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(queue.clone(), exchange.clone(), pattern, options, none).await
}

pub(crate) fn is_not_found(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(error) = error.kind() else { return false };
    matches!(error.kind(), AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
}

fn durable() -> QueueDeclareOptions {
    QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() }
}

fn durable_exchange() -> ExchangeDeclareOptions {
    ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() }
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{CLUSTEREXEC, INVESTIGATOR};

    #[test]
    fn installations_on_one_broker_keep_apart() {
        assert_eq!(name(EXCHANGE, &INVESTIGATOR), "jobs.investigator");
        assert_eq!(name("lab", &INVESTIGATOR), "lab.jobs.investigator");
        assert_eq!(name("lab", &CLUSTEREXEC), "lab.requests.clusterexec");
        assert_eq!(dead_name("lab", &INVESTIGATOR), "lab.investigator.dead");
        assert_eq!(dead_exchange("lab"), "lab.dead");
    }

    #[test]
    fn the_queue_of_a_request_is_known_by_its_key() {
        assert_eq!(of_requests(EXCHANGE, "jobs.clusterexec.restart"), name(EXCHANGE, &CLUSTEREXEC));
        assert_eq!(of_requests("lab", "simple.add"), "lab.requests.simple");
        assert!(is_of_known_service("lab", "lab.requests.clusterexec"));
        assert!(!is_of_known_service("lab", "lab.requests.simple"));
    }
}
