//! An AMQP client with the stolen account of one daemon.

use std::time::Duration;

use daemons::Daemon;
use futures_util::StreamExt as _;
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
    QueuePurgeOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ErrorKind, ExchangeKind};
use runtime::random;
use serde_json::{Value, json};

use super::{Installation, short};

/// The hang guard of one answer.
const HANG: Duration = Duration::from_mins(1);

/// The refusals of RabbitMQ that are expected.
const REFUSALS: [AMQPSoftError; 2] =
    [AMQPSoftError::ACCESSREFUSED, AMQPSoftError::PRECONDITIONFAILED];

/// The queue that each service serves; the gateway has none.
const REQUESTS: [(Daemon, &str); 4] = [
    (Daemon::Storage, "storage"),
    (Daemon::Clusterexec, "clusterexec"),
    (Daemon::Investigator, "hosts"),
    (Daemon::Containermgr, "containermgr"),
];

/// The routing keys that daemons send to, besides those of storage, which all do.
const SENT: [(&str, &[Daemon]); 8] = [
    ("jobs.clusterexec.restart", &[Daemon::Server]),
    ("jobs.investigate", &[Daemon::Server, Daemon::Watcher]),
    ("jobs.watcher", &[Daemon::Server]),
    ("hosts.try_login", &[Daemon::Server]),
    ("container.remove_node", &[Daemon::Server, Daemon::Investigator, Daemon::Clusterexec]),
    ("container.remove_all_nodes", &[Daemon::Server, Daemon::Clusterexec]),
    ("container.uncordon", &[Daemon::Server, Daemon::Clusterexec]),
    ("notify.storage.Host.deleted", &[Daemon::Storage]),
];

/// Records and the accounts that may write and read them.
const RECORDS: [(&str, &[Daemon], &[Daemon]); 7] = [
    (
        "HostCreds",
        &[Daemon::Server, Daemon::Investigator, Daemon::Watcher],
        &[Daemon::Server, Daemon::Investigator, Daemon::Watcher, Daemon::Clusterexec],
    ),
    ("ContainerManagerSecret", &[Daemon::Server], &[Daemon::Server, Daemon::Containermgr]),
    ("Network", &[Daemon::Server], &[Daemon::Server, Daemon::Investigator]),
    (
        "CordonDebt",
        &[Daemon::Clusterexec, Daemon::Containermgr],
        &[Daemon::Server, Daemon::Clusterexec, Daemon::Containermgr],
    ),
    ("Freeze", &[Daemon::Server], &[Daemon::Server, Daemon::Watcher, Daemon::Clusterexec]),
    ("ApiToken", &[Daemon::Server], &[Daemon::Server]),
    ("Operation", &[Daemon::Clusterexec], &[Daemon::Server, Daemon::Watcher, Daemon::Clusterexec]),
];

/// See the module.
pub(super) struct Thief<'a> {
    installation: &'a Installation,
    daemon: Daemon,
    connection: Connection,
}

impl<'a> Thief<'a> {
    pub(super) async fn with(installation: &'a Installation, daemon: Daemon) -> Self {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(&installation.uri(daemon), properties).await.unwrap();
        Self { installation, daemon, connection }
    }

    pub(super) async fn tries_everything(&self) {
        self.speaks_in_the_name_of_others().await;
        self.declares_deletes_and_reads_queues().await;
        self.hears_notifications().await;
        self.sends_by_the_exchange().await;
        self.sends_past_the_exchange().await;
        self.asks_the_storage_service().await;
        self.answers_in_the_place_of_others().await;
    }

    /// A new channel: a refusal closes it.
    async fn channel(&self) -> Channel {
        let channel = self.connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        channel
    }

    fn account(&self) -> String {
        format!("commissaire-{}", short(self.daemon))
    }

    fn queue(&self, name: &str) -> String {
        format!("{}.{name}", self.installation.exchange)
    }

    fn own_queue(&self) -> String {
        format!("{}-{}", self.daemon.config(), random::uuid())
    }

    fn check<T>(&self, outcome: lapin::Result<T>, allowed: bool, what: &str) {
        let (outcome, who) = (outcome.map(drop), self.account());
        match &outcome {
            Ok(()) => assert!(allowed, "{who} can {what}"),
            Err(error) => {
                let ErrorKind::ProtocolError(protocol) = error.kind() else { panic!("{error}") };
                let refused = REFUSALS.iter().any(|refusal| {
                    matches!(protocol.kind(), AMQPErrorKind::Soft(soft) if soft == refusal)
                });
                assert!(refused && !allowed, "{who} cannot {what}: {error}");
            }
        }
    }

    async fn publishes(
        &self,
        (exchange, key): (&str, &str),
        account: &str,
        body: &[u8],
    ) -> lapin::Result<()> {
        let properties = BasicProperties::default().with_user_id(account.into());
        let options = BasicPublishOptions::default();
        let channel = self.channel().await;
        let sent = channel.basic_publish(exchange.into(), key.into(), options, body, properties);
        sent.await?.await.map(drop)
    }

    async fn speaks_in_the_name_of_others(&self) {
        let exchange = &self.installation.exchange;
        for other in Daemon::ALL.into_iter().filter(|other| *other != self.daemon) {
            let account = format!("commissaire-{}", short(other));
            let sent = self.publishes((exchange, "storage.nothing"), &account, b"{}").await;
            self.check(sent, false, &format!("send as {account}"));
        }
    }

    async fn declares_deletes_and_reads_queues(&self) {
        let exclusive = QueueDeclareOptions { exclusive: true, ..Default::default() };
        let (channel, none) = (self.channel().await, FieldTable::default());
        let declared = channel.queue_declare(self.queue("mine").into(), exclusive, none).await;
        self.check(declared, false, "declare queues of other names");
        let (kind, options) = (ExchangeKind::Fanout, ExchangeDeclareOptions::default());
        let (channel, none) = (self.channel().await, FieldTable::default());
        let declared = channel.exchange_declare("mine".into(), kind, options, none).await;
        self.check(declared, false, "declare exchanges");

        let jobs = ["jobs.investigator", "jobs.watcher", "investigator.dead", "watcher.dead"];
        let requests = REQUESTS.map(|(daemon, name)| (format!("requests.{name}"), Some(daemon)));
        let jobs = jobs.map(|name| (name.to_owned(), None));
        for (name, owner) in requests.into_iter().chain(jobs) {
            let is_own = owner == Some(self.daemon);
            let reads = match name.as_str() {
                "jobs.investigator" => self.daemon == Daemon::Investigator,
                "jobs.watcher" => self.daemon == Daemon::Watcher,
                "investigator.dead" | "watcher.dead" => self.daemon == Daemon::Server,
                _ => is_own,
            };
            if reads {
                continue;
            }
            let queue = self.queue(&name);
            let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
            let channel = self.channel().await;
            let consumed =
                channel.basic_consume(queue.as_str().into(), "".into(), options, none).await;
            self.check(consumed, false, &format!("consume from {name}"));
            let options = BasicGetOptions::default();
            let got = self.channel().await.basic_get(queue.as_str().into(), options).await;
            self.check(got, false, &format!("get from {name}"));
            let options = QueuePurgeOptions::default();
            let purged = self.channel().await.queue_purge(queue.as_str().into(), options).await;
            self.check(purged, false, &format!("empty {name}"));
            let options = QueueDeleteOptions::default();
            let deleted = self.channel().await.queue_delete(queue.as_str().into(), options).await;
            self.check(deleted, false, &format!("delete {name}"));
        }
    }

    async fn binds(&self, pattern: &str) -> lapin::Result<()> {
        let (channel, queue) = (self.channel().await, self.own_queue());
        let exclusive = QueueDeclareOptions { exclusive: true, ..Default::default() };
        channel.queue_declare(queue.as_str().into(), exclusive, FieldTable::default()).await?;
        let (exchange, options) =
            (self.installation.exchange.as_str(), QueueBindOptions::default());
        let none = FieldTable::default();
        channel.queue_bind(queue.into(), exchange.into(), pattern.into(), options, none).await
    }

    async fn hears_notifications(&self) {
        for (pattern, allowed) in [
            ("notify.ping", true),
            ("notify.storage.OperationEvent.created", self.daemon == Daemon::Server),
            ("notify.storage.Host.*", self.daemon == Daemon::Watcher),
            ("notify.#", false),
            ("#", false),
            // Copies of requests.
            ("hosts.*", self.daemon == Daemon::Investigator),
            ("storage.*", self.daemon == Daemon::Storage),
            ("storage.save", false),
            ("jobs.#", false),
        ] {
            self.check(self.binds(pattern).await, allowed, &format!("bind to {pattern}"));
        }
    }

    async fn sends_by_the_exchange(&self) {
        let exchange = &self.installation.exchange;
        for (key, senders) in SENT {
            let sent = self.publishes((exchange, key), &self.account(), b"{}").await;
            self.check(sent, senders.contains(&self.daemon), &format!("send {key}"));
        }
    }

    /// The default exchange, where answers go, takes messages for every queue; the services do not obey them.
    async fn sends_past_the_exchange(&self) {
        for (queue, key, allowed) in [
            ("requests.clusterexec", "restart", &[Daemon::Server][..]),
            ("requests.hosts", "try_login", &[Daemon::Server, Daemon::Watcher]),
            (
                "requests.containermgr",
                "remove_node",
                &[Daemon::Server, Daemon::Investigator, Daemon::Clusterexec],
            ),
        ] {
            if allowed.contains(&self.daemon) {
                continue;
            }
            let answer = self.asks(("", &self.queue(queue)), key, json!({})).await;
            assert_eq!(answer["error"]["code"], -20004, "{} {queue}: {answer}", self.account());
        }
        let body = json!({"jsonrpc": "2.0", "method": "investigator"}).to_string();
        let (queue, account) = (self.queue("jobs.investigator"), self.account());
        let sent = self.publishes(("", &queue), &account, body.as_bytes()).await;
        self.check(sent, true, "send to a queue");
    }

    /// Sends a request and returns its answer.
    async fn asks(&self, (exchange, key): (&str, &str), method: &str, params: Value) -> Value {
        let channel = self.channel().await;
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let (replies, none) = ("amq.rabbitmq.reply-to", FieldTable::default());
        let consumer = channel.basic_consume(replies.into(), "".into(), options, none).await;
        let properties = BasicProperties::default()
            .with_reply_to(replies.into())
            .with_correlation_id("1".into())
            .with_user_id(self.account().into());
        // By the default exchange the routing key is the name of the queue, and the method its last word.
        let method = if exchange.is_empty() { key.rsplit('.').next().unwrap() } else { method };
        let body = json!({"jsonrpc": "2.0", "id": "1", "method": method, "params": params});
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let body = body.to_string();
        let sent = channel.basic_publish(
            exchange.into(),
            key.into(),
            options,
            body.as_bytes(),
            properties,
        );
        sent.await.unwrap().await.unwrap();
        let answer = tokio::time::timeout(HANG, consumer.unwrap().next()).await.expect("an answer");
        serde_json::from_slice(&answer.unwrap().unwrap().data).unwrap()
    }

    async fn storage(&self, method: &str, params: Value) -> Value {
        let key = format!("storage.{method}");
        self.asks((&self.installation.exchange, &key), method, params).await
    }

    async fn asks_the_storage_service(&self) {
        for (model, writers, readers) in RECORDS {
            let id = json!({"address": "nobody", "name": "nobody", "id": "nobody"});
            let one = json!({"model_type_name": model, "model_json_data": id});
            let changes = |name: &str, change: Value| {
                let mut transaction = json!({"checks": [], "saves": [], "deletes": []});
                transaction[name] = json!([change]);
                transaction
            };
            let check = json!({"model_type_name": model, "key": "nobody", "revision": null});
            let delete = json!({"model_type_name": model, "key": "nobody"});
            let list = json!({"model_type_name": format!("{model}s")});
            let mut denied = vec![];
            if !writers.contains(&self.daemon) {
                denied.push(self.storage("save", one.clone()).await);
                denied.push(self.storage("transact", changes("saves", one.clone())).await);
                denied.push(self.storage("delete", one.clone()).await);
                denied.push(self.storage("transact", changes("deletes", delete)).await);
            }
            if readers.contains(&self.daemon) {
                let answer = self.storage("get", one).await;
                assert_ne!(answer["error"]["code"], -20004, "{answer}");
            } else {
                denied.push(self.storage("get", one).await);
                denied.push(self.storage("transact", changes("checks", check)).await);
                if !["HostCreds", "Freeze"].contains(&model) {
                    denied.push(self.storage("list", list).await);
                }
            }
            for answer in denied {
                let error = &answer["error"];
                assert_eq!(error["code"], -20004, "{} {model}: {answer}", self.account());
                let message = error["message"].as_str().unwrap();
                assert!(message.contains(&self.account()) && message.contains(model), "{message}");
            }
        }
    }

    /// The reply address is known only to the receiver of the request.
    async fn answers_in_the_place_of_others(&self) {
        let sent =
            self.publishes(("", "amq.rabbitmq.reply-to.guess"), &self.account(), b"{}").await;
        self.check(sent, true, "send answers");
    }
}
