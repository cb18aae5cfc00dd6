//! The least that can answer requests over AMQP: a consumer that sends back what it gets, on a runtime and
//! with a prefetch as the storage service has them.

use std::io::{BufRead as _, Read as _};

use anyhow::Context as _;
use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

/// As many threads as a daemon has.
const WORKERS: usize = 2;

/// As the storage service has it.
const PREFETCH: u16 = 256;

/// Answers what comes into the queue until the standard input ends: so it does not outlive whoever started
/// it. The first line of that is the URI of the broker.
///
/// # Errors
/// When it cannot serve.
pub fn run(queue: &str) -> anyhow::Result<()> {
    let mut uri = String::new();
    std::io::stdin().lock().read_line(&mut uri).context("cannot read the URI")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let parent = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
        tokio::select! {
            served = serve(uri.trim(), queue) => served,
            _ = parent => Ok(()),
        }
    })
}

async fn serve(uri: &str, queue: &str) -> anyhow::Result<()> {
    let connection = Connection::connect(uri, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    // As of those that take requests.
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-expires".into(), AMQPValue::LongLongInt(60_000));
    channel.queue_declare(queue.into(), options, arguments).await?;
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = channel.basic_consume(queue.into(), "".into(), options, none).await?;
    while let Some(delivery) = consumer.next().await {
        let (channel, delivery) = (channel.clone(), delivery?);
        #[expect(clippy::disallowed_methods, reason = "ends with the process, like all of it")]
        tokio::spawn(async move {
            if let Err(error) = answer(&channel, &delivery).await {
                eprintln!("error: {error}");
            }
        });
    }
    Ok(())
}

async fn answer(channel: &Channel, delivery: &Delivery) -> lapin::Result<()> {
    channel.basic_ack(delivery.delivery_tag, BasicAckOptions::default()).await?;
    let Some(reply_to) = delivery.properties.reply_to() else { return Ok(()) };
    let properties = match delivery.properties.correlation_id() {
        Some(id) => BasicProperties::default().with_correlation_id(id.clone()),
        None => BasicProperties::default(),
    };
    let (options, body) = (BasicPublishOptions::default(), &delivery.data);
    channel.basic_publish("".into(), reply_to.clone(), options, body, properties).await.map(drop)
}
