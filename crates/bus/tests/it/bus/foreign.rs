//! Programs that know the specification of the bus and nothing else: here lapin, by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bus::amqp::Options;
use bus::topology::{INVESTIGATE, WATCH, WATCHER};
use bus::{Bus, Call, Context, Kind};
use futures_util::StreamExt as _;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use runtime::{Clock, Lifecycle};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};
use testbed::rabbitmq;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ECHO;
use crate::support::{connected, options};

const SOON: Duration = Duration::from_secs(10);

/// A client with an answer queue of its own.
pub(super) struct Foreigner {
    pub(super) channel: Channel,
    exchange: ShortString,
    answers_to: ShortString,
    answers: Consumer,
    _connection: Connection,
}

impl Foreigner {
    pub(super) async fn connect(options: &Options) -> Self {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(options.uri.expose_secret(), properties).await;
        let connection = connection.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare("".into(), exclusive, FieldTable::default()).await;
        let answers_to = queue.unwrap().name().clone();
        let no_ack = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let name = answers_to.clone();
        let answers = channel.basic_consume(name, "".into(), no_ack, FieldTable::default()).await;
        let exchange = options.exchange.as_str().into();
        Self { channel, exchange, answers_to, answers: answers.unwrap(), _connection: connection }
    }

    pub(super) async fn publish(&self, key: &str, body: &[u8], properties: BasicProperties) {
        let (exchange, options) = (self.exchange.clone(), BasicPublishOptions::default());
        let sent = self.channel.basic_publish(exchange, key.into(), options, body, properties);
        assert!(sent.await.unwrap().await.unwrap().is_ack());
    }

    /// What the sender of a confidential request answers to the question for its parameters, if it answers.
    pub(super) async fn params_of(
        &mut self,
        request: &BasicProperties,
        within: Duration,
    ) -> Option<Value> {
        let properties = BasicProperties::default()
            .with_reply_to(self.answers_to.clone())
            .with_correlation_id(request.correlation_id().clone().unwrap());
        let (sender, none) = (request.reply_to().clone().unwrap(), BasicPublishOptions::default());
        let body = br#"{"jsonrpc": "2.0", "id": "p-1", "method": "params"}"#;
        let sent = self.channel.basic_publish("".into(), sender, none, body, properties);
        sent.await.unwrap().await.unwrap();
        let answer = tokio::time::timeout(within, self.answers.next()).await.ok()?;
        let answer = answer.unwrap().unwrap();
        assert_eq!(answer.properties.correlation_id().as_ref().unwrap().as_str(), "p-1");
        Some(serde_json::from_slice(&answer.data).unwrap())
    }

    /// Answers a request by hand.
    pub(super) async fn answer(&self, request: &BasicProperties, result: Value) {
        let correlation_id = request.correlation_id().clone().unwrap();
        let answer = json!({"jsonrpc": "2.0", "id": correlation_id.as_str(), "result": result});
        let properties = BasicProperties::default().with_correlation_id(correlation_id);
        let (sender, none) = (request.reply_to().clone().unwrap(), BasicPublishOptions::default());
        let body = answer.to_string();
        let sent = self.channel.basic_publish("".into(), sender, none, body.as_bytes(), properties);
        sent.await.unwrap().await.unwrap();
    }

    /// The answer to a message, whatever its body, with its correlation id.
    pub(super) async fn ask_raw(&mut self, key: &str, body: &[u8], headers: FieldTable) -> Value {
        let properties = BasicProperties::default()
            .with_reply_to(self.answers_to.clone())
            .with_correlation_id("c-1".into())
            .with_headers(headers);
        self.publish(key, body, properties).await;
        self.next_answer().await
    }

    pub(super) async fn next_answer(&mut self) -> Value {
        let answer = tokio::time::timeout(SOON, self.answers.next()).await;
        let answer = answer.expect("an answer").unwrap().unwrap();
        assert_eq!(answer.properties.correlation_id().as_ref().unwrap().as_str(), "c-1");
        let kind = answer.properties.content_type().as_ref().unwrap();
        assert_eq!(kind.as_str(), "application/json");
        serde_json::from_slice(&answer.data).unwrap()
    }

    pub(super) async fn ask(&mut self, key: &str, body: Value) -> Value {
        self.ask_raw(key, body.to_string().as_bytes(), FieldTable::default()).await
    }
}

/// Declares a queue of requests as a service does, without a consumer.
pub(super) async fn declare(foreigner: &Foreigner, options: &Options, name: &str, key: &str) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-expires".into(), AMQPValue::LongLongInt(60_000));
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    let name = format!("{}.{name}", options.exchange);
    foreigner.channel.queue_declare(name.as_str().into(), durable, arguments).await.unwrap();
    let (exchange, bound) = (options.exchange.as_str().into(), QueueBindOptions::default());
    let none = FieldTable::default();
    foreigner.channel.queue_bind(name.into(), exchange, key.into(), bound, none).await.unwrap();
}

/// A program that reads all messages to a queue of its own.
pub(super) async fn reader(options: &Options, queue: &str, binding: &str) -> (Foreigner, Consumer) {
    let foreigner = Foreigner::connect(options).await;
    declare(&foreigner, options, queue, binding).await;
    let name = format!("{}.{queue}", options.exchange).into();
    let no_ack = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let messages = foreigner.channel.basic_consume(name, "".into(), no_ack, FieldTable::default());
    let messages = messages.await.unwrap();
    (foreigner, messages)
}

/// A service that answers with what it is asked, and counts.
async fn serve(bus: &Bus, life: &Lifecycle) -> Arc<AtomicUsize> {
    #[derive(Deserialize)]
    struct Two {
        a: Value,
        b: Value,
    }
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let handler = move |call: Call| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            match call.method.as_str() {
                "two" => call.params.parse(&["a", "b"]).map(|Two { a, b }| json!([a, b])),
                "who" => Ok(json!(call.context.principal)),
                _ => Ok(call.params.value()),
            }
        }
    };
    bus.serve(ECHO, 4, life, handler).await.unwrap();
    count
}

async fn set_up() -> (Bus, Lifecycle, Foreigner, Arc<AtomicUsize>) {
    let options = options(&rabbitmq::shared_uri());
    let (bus, life) = (connected(&options).await, Lifecycle::new());
    let count = serve(&bus, &life).await;
    (bus, life, Foreigner::connect(&options).await, count)
}

#[tokio::test]
async fn parameters_come_by_name_or_by_position() {
    let (_bus, life, mut client, _) = set_up().await;
    for params in [json!({"b": "ä", "a": 1}), json!([1, "ä"])] {
        let request = json!({"jsonrpc": "2.0", "id": "1", "method": "two", "params": params});
        let answer = client.ask("echo.two", request).await;
        assert_eq!(answer, json!({"jsonrpc": "2.0", "id": "1", "result": [1, "ä"]}));
    }
    let request = json!({"jsonrpc": "2.0", "id": "1", "method": "two", "params": [1, 2, 3]});
    assert_eq!(client.ask("echo.two", request).await["error"]["code"], -32602);
    life.shutdown(SOON).await;
}

#[tokio::test]
async fn what_is_no_request_is_answered_and_not_begun() {
    let (_bus, life, mut client, count) = set_up().await;
    let answer = client.ask_raw("echo.x", b"{nonsense", FieldTable::default()).await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("c-1"), &json!(-32700)));
    for body in [json!([]), json!({"method": "x"}), json!({"jsonrpc": "2.0", "method": "y"})] {
        assert_eq!(client.ask("echo.x", body).await["error"]["code"], -32600);
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
    life.shutdown(SOON).await;
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_never_begun() {
    let (_bus, life, mut client, count) = set_up().await;
    let now = Clock::System.wall().as_millisecond();
    let request = json!({"jsonrpc": "2.0", "id": "1", "method": "x", "params": {}}).to_string();
    let mut ask = async |deadline: AMQPValue| {
        let mut headers = FieldTable::default();
        headers.insert("deadline".into(), deadline);
        client.ask_raw("echo.x", request.as_bytes(), headers).await
    };
    let late = ask(AMQPValue::LongLongInt(now - 1000)).await;
    assert_eq!(late["error"]["code"], -20003);
    assert_eq!(ask(AMQPValue::LongString("soon".into())).await["error"]["code"], -32600);
    assert_eq!(count.load(Ordering::SeqCst), 0);
    assert_eq!(ask(AMQPValue::LongLongInt(now + 60_000)).await["result"], json!({}));
    life.shutdown(SOON).await;
}

#[tokio::test]
async fn a_message_without_reply_to_is_worked_on_and_not_answered() {
    let (_bus, life, mut client, count) = set_up().await;
    let request = json!({"jsonrpc": "2.0", "method": "x"}).to_string();
    client.publish("echo.x", request.as_bytes(), BasicProperties::default()).await;
    let request = json!({"jsonrpc": "2.0", "id": "2", "method": "who"});
    assert_eq!(client.ask("echo.who", request).await["result"], "unknown");
    assert_eq!(count.load(Ordering::SeqCst), 2);
    life.shutdown(SOON).await;
}

/// A service that is no program of ours, and answers one request.
async fn foreign_service(channel: Channel, exchange: ShortString) {
    let options = QueueDeclareOptions { durable: true, auto_delete: true, ..Default::default() };
    let queue = channel.queue_declare("".into(), options, FieldTable::default()).await.unwrap();
    let (name, none) = (queue.name().clone(), FieldTable::default());
    let bound = QueueBindOptions::default();
    channel.queue_bind(name.clone(), exchange, "foreign.*".into(), bound, none).await.unwrap();
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut requests = channel.basic_consume(name, "".into(), options, none).await.unwrap();
    tokio::spawn(async move {
        let request = requests.next().await.unwrap().unwrap();
        let asked: Value = serde_json::from_slice(&request.data).unwrap();
        let id = request.properties.correlation_id().clone().unwrap();
        assert_eq!(asked["id"], id.as_str());
        assert_eq!(asked["method"], "add");
        let headers = request.properties.headers().as_ref().unwrap().inner();
        assert!(matches!(headers["deadline"], AMQPValue::LongLongInt(_)));
        assert_eq!(headers["principal"], AMQPValue::LongString("service:test".into()));
        let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": asked["params"]});
        let to = request.properties.reply_to().clone().unwrap();
        let properties = BasicProperties::default().with_correlation_id(id);
        let (options, body) = (BasicPublishOptions::default(), answer.to_string());
        let sent = channel.basic_publish("".into(), to, options, body.as_bytes(), properties);
        sent.await.unwrap();
    });
}

#[tokio::test]
async fn a_service_in_another_language_is_asked_like_any_other() {
    let options = options(&rabbitmq::shared_uri());
    let bus = connected(&options).await;
    let foreigner = Foreigner::connect(&options).await;
    foreign_service(foreigner.channel.clone(), options.exchange.as_str().into()).await;
    let answer = bus.request("foreign.add", &[1, 2], &Context::service("test")).await.unwrap();
    assert_eq!(answer, json!([1, 2]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_nobody_knows_at_once_also_among_many() {
    let (bus, life, _client, _) = set_up().await;
    let context = Context::service("test");
    let ask = async |number: usize| {
        let key = if number.is_multiple_of(2) { "echo.x" } else { "nobody.x" };
        let begun = Instant::now();
        let answer = bus.request(key, &json!({"n": number}), &context).await;
        match answer {
            Ok(answer) => assert_eq!((key, &answer["n"]), ("echo.x", &json!(number))),
            Err(error) => assert_eq!((key, error.kind()), ("nobody.x", Kind::Unavailable)),
        }
        begun.elapsed()
    };
    assert!(ask(1).await < Duration::from_secs(1));
    futures_util::future::join_all((0..2000).map(&ask)).await;
    life.shutdown(SOON).await;
}

#[tokio::test]
async fn watcher_jobs_are_bare_records() {
    let options = options(&rabbitmq::shared_uri());
    let (bus, life) = (connected(&options).await, Lifecycle::new());
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let handler = move |call: Call| {
        sender.send(call.params.value()).unwrap();
        async { Ok(Value::Null) }
    };
    bus.serve(WATCHER, 4, &life, handler).await.unwrap();
    let record = json!({"address": "192.0.2.1", "last_check": ""});
    bus.notify(WATCH, &record, &Context::service("test")).await.unwrap();
    let foreigner = Foreigner::connect(&options).await;
    let body = record.to_string();
    foreigner.publish(WATCH, body.as_bytes(), BasicProperties::default()).await;
    for _ in 0..2 {
        let job = tokio::time::timeout(SOON, receiver.recv()).await.unwrap();
        assert_eq!(job, Some(record.clone()));
    }
    life.shutdown(SOON).await;
}

#[tokio::test]
async fn a_notification_is_a_bare_object_in_both_directions() {
    let options = options(&rabbitmq::shared_uri());
    let bus = connected(&options).await;
    let mut subscription = bus.subscribe("notify.storage.#").await.unwrap();
    let foreigner = Foreigner::connect(&options).await;
    let (queue, exchange) = (foreigner.answers_to.clone(), foreigner.exchange.clone());
    let bound = foreigner.channel.queue_bind(
        queue,
        exchange,
        "notify.storage.#".into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    bound.await.unwrap();
    let key = "notify.storage.Host.updated";
    let model = json!({"address": "10.0.0.1"});
    let change = json!({"event": "updated", "class": "Host", "model": model, "revision": 7});
    bus.notify(key, &change, &Context::service("test")).await.unwrap();
    let mut answers = foreigner.answers.clone();
    let seen = tokio::time::timeout(SOON, answers.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&seen.data).unwrap(), change);
    assert_eq!(subscription.next().await.unwrap().params, change);

    let body = json!({"event": "deleted", "class": "Host", "model": model, "revision": 8});
    let text = body.to_string();
    foreigner.publish(key, text.as_bytes(), BasicProperties::default()).await;
    let received = tokio::time::timeout(SOON, subscription.next()).await.unwrap();
    assert_eq!(received.unwrap().params, body);
}

#[tokio::test]
async fn a_job_is_json_rpc_and_persistent() {
    let options = options(&rabbitmq::shared_uri());
    let bus = connected(&options).await;
    bus.notify(INVESTIGATE, &json!({"address": "h"}), &Context::service("test")).await.unwrap();
    let foreigner = Foreigner::connect(&options).await;
    let queue = format!("{}.jobs.investigator", options.exchange);
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = foreigner.channel.basic_consume(queue.into(), "".into(), options, none).await;
    let job = tokio::time::timeout(SOON, consumer.unwrap().next()).await.unwrap();
    let job = job.unwrap().unwrap();
    let body: Value = serde_json::from_slice(&job.data).unwrap();
    let expected = json!({"jsonrpc": "2.0", "method": "investigate", "params": {"address": "h"}});
    assert_eq!(body, expected);
    assert_eq!(*job.properties.delivery_mode(), Some(2));
}

#[tokio::test]
async fn a_queue_that_is_another_kind_of_queue_is_refused() {
    let options = options(&rabbitmq::shared_uri());
    let (bus, life) = (connected(&options).await, Lifecycle::new());
    let foreigner = Foreigner::connect(&options).await;
    let name = format!("{}.requests.echo", options.exchange);
    let exclusive = QueueDeclareOptions { auto_delete: true, ..QueueDeclareOptions::default() };
    let declared = foreigner.channel.queue_declare(name.into(), exclusive, FieldTable::default());
    declared.await.unwrap();
    let error = bus.serve(ECHO, 4, &life, |_| async { Ok(Value::Null) }).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(error.to_string(), "the message broker refuses the queue echo");
}

#[tokio::test]
async fn who_is_not_let_in_is_told_and_does_not_wait() {
    let good = options(&rabbitmq::shared_uri());
    let address = rabbitmq::address(&rabbitmq::shared_uri());
    let password = runtime::random::uuid().to_string();
    for (uri, why) in [
        (format!("amqp://guest:{password}@{address}"), "(the test): it rejects the user name"),
        (format!("amqp://{address}/nowhere"), "(the test): it has no such virtual host"),
    ] {
        let options = Options { uri: uri.into(), ..good.clone() };
        let error = Bus::amqp(&options, &Lifecycle::new()).await.unwrap_err();
        let text = format!("{error:?} {}", bus::error::chain(&error));
        assert!(text.contains(why), "{text}");
        assert!(!text.contains(&password), "{text}");
    }
}
