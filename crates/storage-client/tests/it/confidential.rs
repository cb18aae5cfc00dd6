//! Records with secrets: what is in a queue may be on the disk of the broker.

use std::time::Duration;

use bus::amqp::Options;
use bus::{Call, Context, topology};
use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, Consumer};
use model::{ContainerManagerConfig, HostCreds};
use runtime::Lifecycle;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use storage_client::{StorageClient, Transaction};

use crate::support::{connected, options};

const SECRET: &str = "in-no-queue";
const SOON: Duration = Duration::from_secs(10);

/// Reads copies of all requests to the storage service from a queue of its own.
async fn copies(options: &Options) -> (Connection, Consumer) {
    let uri = options.uri.expose_secret();
    let connection = Connection::connect(uri, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare("".into(), exclusive, FieldTable::default()).await;
    let queue = queue.unwrap().name().clone();
    let (exchange, key) = (options.exchange.as_str().into(), topology::STORAGE.binding.into());
    let (bound, none) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(queue.clone(), exchange, key, bound, none).await.unwrap();
    let no_ack = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let messages = channel.basic_consume(queue, "".into(), no_ack, FieldTable::default()).await;
    (connection, messages.unwrap())
}

#[tokio::test]
async fn records_with_secrets_are_saved_confidentially() {
    let (options, life) = (options(), Lifecycle::new());
    let storage = StorageClient::new(connected(&options).await, Context::service("test"));
    let service = connected(&options).await;
    let (_connection, mut copies) = copies(&options).await;
    let handler = |call: Call| async move {
        let params = call.params.value();
        assert!(params.to_string().contains(SECRET));
        Ok(match &params["model_json_data"] {
            Value::Null => json!({"revision": 1}),
            record => record.clone(),
        })
    };
    service.serve(topology::STORAGE, 1, &life, handler).await.unwrap();
    let creds = HostCreds { ssh_priv_key: SECRET.into(), ..HostCreds::new("10.0.0.1") };
    let manager = json!({"name": "k", "type": "kubernetes", "options": {"token": SECRET}});
    let manager: ContainerManagerConfig = serde_json::from_value(manager).unwrap();
    storage.save(&creds).await.unwrap();
    storage.save(&manager).await.unwrap();
    storage.transact(&Transaction::default().save(&creds).unwrap()).await.unwrap();
    for _ in 0..3 {
        let copy = tokio::time::timeout(SOON, copies.next()).await.expect("a message");
        let copy = copy.unwrap().unwrap();
        let text = String::from_utf8_lossy(&copy.data);
        assert!(!text.contains(SECRET), "{text}");
    }
    life.shutdown(SOON).await;
}
