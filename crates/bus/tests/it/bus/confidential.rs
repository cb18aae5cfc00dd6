//! Requests whose parameters hold secrets: what is in a queue may be on the disk of the broker.

use std::time::Duration;

use bus::{Bus, Context, Result};
use futures_util::StreamExt as _;
use lapin::Consumer;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};
use runtime::{Clock, Lifecycle};
use serde_json::{Value, json};
use testbed::rabbitmq;

use super::foreign::{Foreigner, reader};
use super::{ECHO, SOON, serve_echo};
use crate::support::{connected, options};

const SECRET: &str = "in-no-queue";

async fn next(copies: &mut Consumer) -> Delivery {
    let delivery = tokio::time::timeout(SOON, copies.next()).await.expect("a message");
    let delivery = delivery.unwrap().unwrap();
    let text = String::from_utf8_lossy(&delivery.data);
    assert!(!text.contains(SECRET), "{text}");
    delivery
}

async fn ask(bus: &Bus, params: &Value) -> Result<Value> {
    bus.confidential().request("echo.params", params, &Context::service("test")).await
}

#[tokio::test]
async fn parameters_reach_the_service_and_no_queue_and_are_given_once() {
    let options = options(&rabbitmq::shared_uri());
    let (client, service) = (connected(&options).await, connected(&options).await);
    let life = Lifecycle::new();
    let (mut thief, mut copies) = reader(&options, "copies", ECHO.binding).await;
    serve_echo(&service, &life, 4).await;
    let params = json!({"key": SECRET});
    assert_eq!(ask(&client, &params).await.unwrap(), params);
    // Client and service on one connection.
    assert_eq!(ask(&service, &params).await.unwrap(), params);
    let copy = next(&mut copies).await;
    assert_eq!(thief.params_of(&copy.properties, Duration::from_millis(200)).await, None);
    life.shutdown(SOON).await;
}

#[tokio::test]
async fn a_service_in_any_language_asks_for_the_parameters() {
    let options = options(&rabbitmq::shared_uri());
    let client = connected(&options).await;
    let (mut service, mut requests) = reader(&options, "requests.echo", ECHO.binding).await;
    let params = json!({"key": SECRET});
    let (answer, ()) = tokio::join!(ask(&client, &params), async {
        let request = next(&mut requests).await;
        let given = service.params_of(&request.properties, SOON).await.unwrap();
        assert_eq!(given, json!({"jsonrpc": "2.0", "id": "p-1", "result": params}));
        // Once.
        assert_eq!(service.params_of(&request.properties, Duration::from_millis(200)).await, None);
        service.answer(&request.properties, json!("done")).await;
    });
    assert_eq!(answer.unwrap(), "done");
}

#[tokio::test]
async fn without_the_parameters_nothing_is_carried_out() {
    let options = options(&rabbitmq::shared_uri());
    let (service, life) = (connected(&options).await, Lifecycle::new());
    let mut foreigner = Foreigner::connect(&options).await;
    let echo = serve_echo(&service, &life, 4).await;
    let mut headers = FieldTable::default();
    headers.insert("confidential".into(), AMQPValue::Boolean(true));
    let deadline = Clock::System.wall().as_millisecond() + 2_000;
    headers.insert("deadline".into(), AMQPValue::LongLongInt(deadline));
    let request = br#"{"jsonrpc": "2.0", "id": "1", "method": "params"}"#;
    let question = foreigner.ask_raw("echo.params", request, headers).await;
    assert_eq!(question["method"], "params", "{question}");
    let answer = foreigner.next_answer().await;
    assert_eq!(answer["error"]["code"], -20003, "{answer}");
    assert_eq!(echo.calls(), 0);
    life.shutdown(SOON).await;
}
