//! A bare request over AMQP: mandatory, on a channel with confirms, answered by direct reply-to.

use std::collections::HashMap;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::Setup;
use crate::process::Process;

const QUEUE: &str = "bench.echo";
const DIRECT_REPLY: &str = "amq.rabbitmq.reply-to";

/// How long the echo may take to start, and an answer to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// The pause between looks for the echo.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

type Pending = Arc<Mutex<HashMap<String, oneshot::Sender<Vec<u8>>>>>;

/// See the module; the process that answers ends with it.
#[derive(Debug)]
pub struct Requester {
    channel: Channel,
    pending: Pending,
    _answers: JoinSet<()>,
    _connection: Connection,
    _echo: Process,
}

impl Requester {
    /// Starts the process that answers, and connects.
    ///
    /// # Errors
    /// When either does not work.
    pub async fn start(setup: &Setup, uri: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(&setup.own);
        command.args(["--serve-echo", QUEUE]);
        let mut echo = Process::start(&mut command, setup.folder.path().join("echo.log"))?;
        echo.tell(&format!("{uri}\n"))?;

        let connection = Connection::connect(uri, ConnectionProperties::default()).await;
        let connection = connection.context("cannot connect to the broker")?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let none = FieldTable::default();
        let answers = channel.basic_consume(DIRECT_REPLY.into(), "".into(), options, none).await?;
        let pending = Pending::default();
        let mut task = JoinSet::new();
        task.spawn(pump(answers, Arc::clone(&pending)));
        let this = Self { channel, pending, _answers: task, _connection: connection, _echo: echo };
        this.await_echo().await?;
        Ok(this)
    }

    async fn await_echo(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while timeout(LOOK_AGAIN, self.request(b"?")).await.is_err() {
            ensure!(begun.elapsed() < PATIENCE, "nobody echoes");
        }
        Ok(())
    }

    /// Sends a body and waits until it is back.
    ///
    /// # Errors
    /// When that does not happen.
    pub async fn request(&self, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        let id = runtime::random::uuid().to_string();
        let (sender, receiver) = oneshot::channel();
        lock(&self.pending).insert(id.clone(), sender);
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_correlation_id(id.into())
            .with_reply_to(DIRECT_REPLY.into());
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let published =
            self.channel.basic_publish("".into(), QUEUE.into(), options, body, properties);
        // The confirmation comes by itself: the answer is what is waited for.
        drop(published.await?);
        match timeout(PATIENCE, receiver).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => bail!("no answer over AMQP"),
        }
    }

    /// Keeps so many requests under way for a while; says how many answers came.
    ///
    /// # Errors
    /// When one does not come back.
    pub async fn busy_turn(
        &self,
        body: &[u8],
        outstanding: usize,
        turn: Duration,
    ) -> anyhow::Result<u32> {
        let end = Instant::now() + turn;
        let busy = (0..outstanding).map(async |_| {
            let mut answers = 0_u32;
            while Instant::now() < end {
                self.request(body).await?;
                answers += 1;
            }
            anyhow::Ok(answers)
        });
        Ok(futures_util::future::try_join_all(busy).await?.into_iter().sum())
    }
}

async fn pump(mut answers: Consumer, pending: Pending) {
    while let Some(Ok(answer)) = answers.next().await {
        let id = answer.properties.correlation_id().as_ref();
        let waiting = id.and_then(|id| lock(&pending).remove(id.as_str()));
        if let Some(waiting) = waiting {
            // Whoever has given up waiting says so.
            drop(waiting.send(answer.data));
        }
    }
}

fn lock(pending: &Pending) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Vec<u8>>>> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}
