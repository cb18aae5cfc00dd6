//! Jobs that cannot be done, and what an operator can do about them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bus::amqp::Options;
use bus::dead_letters::{DeadLetter, DeadLetters};
use bus::topology::{INVESTIGATE, INVESTIGATOR, WATCHER};
use bus::{Call, Error};
use lapin::BasicProperties;
use runtime::{Clock, Lifecycle};
use serde_json::{Value, json};
use testbed::rabbitmq;
use tokio::sync::mpsc;

use super::foreign::Foreigner;
use super::who;
use crate::support::{connected, options};

const SOON: Duration = Duration::from_secs(10);

async fn counts(letters: &DeadLetters, expected: u32) {
    let counted = async {
        while letters.count(&INVESTIGATOR).await.unwrap() != expected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, counted).await.expect("the number of dead letters");
}

/// An investigator that does its work only once it is told that it can.
struct Investigator {
    able: Arc<AtomicBool>,
    done: mpsc::UnboundedReceiver<Value>,
    life: Lifecycle,
}

impl Investigator {
    async fn start(options: &Options) -> Self {
        let (bus, life) = (connected(options).await, Lifecycle::new());
        let (sender, done) = mpsc::unbounded_channel();
        let able = Arc::new(AtomicBool::new(false));
        let is_able = Arc::clone(&able);
        let handler = move |call: Call| {
            let able = is_able.load(Ordering::SeqCst);
            if able {
                sender.send(call.params.value()).unwrap();
            }
            async move { if able { Ok(Value::Null) } else { Err(Error::invalid("I can't")) } }
        };
        bus.serve(INVESTIGATOR, 4, &life, handler).await.unwrap();
        Self { able, done, life }
    }
}

#[tokio::test]
async fn jobs_that_fail_are_kept_read_replayed_and_dropped() {
    let options = options(&rabbitmq::shared_uri());
    let mut investigator = Investigator::start(&options).await;
    let letters = DeadLetters::connect(&options).await.unwrap();
    counts(&letters, 0).await;

    let bus = connected(&options).await;
    bus.notify(INVESTIGATE, &json!({"address": "h"}), &who()).await.unwrap();
    counts(&letters, 1).await;
    let foreigner = Foreigner::connect(&options).await;
    foreigner.publish(INVESTIGATE, b"not JSON \xff", BasicProperties::default()).await;
    counts(&letters, 2).await;
    let wrong = br#"{"jsonrpc": "2.0", "method": "destroy"}"#;
    foreigner.publish(INVESTIGATE, wrong, BasicProperties::default()).await;
    counts(&letters, 3).await;

    let read = letters.read(&INVESTIGATOR, 2).await.unwrap();
    let [failed, unreadable] = read.as_slice() else { panic!("{read:?}") };
    let DeadLetter { queue, routing_key, reason, time, body } = failed;
    assert_eq!(queue, &format!("{}.jobs.investigator", options.exchange));
    assert_eq!((routing_key.as_str(), reason.as_str()), (INVESTIGATE, "rejected"));
    assert_eq!(Clock::System.wall().duration_since(time.unwrap()).as_secs() / 60, 0);
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["params"], json!({"address": "h"}));
    assert_eq!(unreadable.body, "not JSON \u{fffd}");
    counts(&letters, 3).await;
    assert_eq!(letters.read(&INVESTIGATOR, 10).await.unwrap()[..2], read);

    // Replayed, what is wrong with the jobs themselves stays wrong.
    investigator.able.store(true, Ordering::SeqCst);
    assert_eq!(letters.replay(&INVESTIGATOR, usize::MAX).await.unwrap(), 3);
    let done = tokio::time::timeout(SOON, investigator.done.recv()).await.unwrap();
    assert_eq!(done, Some(json!({"address": "h"})));
    counts(&letters, 2).await;
    let read = letters.read(&INVESTIGATOR, 10).await.unwrap();
    assert!(read.iter().all(|letter| letter.routing_key == INVESTIGATE), "{read:?}");

    assert_eq!(letters.drop_all(&INVESTIGATOR).await.unwrap(), 2);
    counts(&letters, 0).await;
    letters.close().await;
    investigator.life.shutdown(SOON).await;
}

#[tokio::test]
async fn a_queue_that_was_never_used_has_no_dead_letters() {
    let options = options(&rabbitmq::shared_uri());
    let letters = DeadLetters::connect(&options).await.unwrap();
    assert_eq!(letters.count(&WATCHER).await.unwrap(), 0);
    assert_eq!(letters.read(&WATCHER, 10).await.unwrap(), []);
    assert_eq!(letters.replay(&WATCHER, 10).await.unwrap(), 0);
    assert_eq!(letters.drop_all(&WATCHER).await.unwrap(), 0);
}
