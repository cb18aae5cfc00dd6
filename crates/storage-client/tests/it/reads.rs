//! Reads that are put together, over a real broker: a storage service of the test's own counts requests.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::{Bus, Call, Context, Error, Kind, Result, topology};
use futures_util::future::join_all;
use model::Host;
use runtime::Lifecycle;
use serde_json::{Value, json};
use storage_client::{Reads, StorageClient};

use crate::support::{connected, options};

/// A storage service that has the host `10.0.0.1` and no other.
#[derive(Default)]
struct Storage {
    requests: AtomicUsize,
    cpus: AtomicUsize,
    /// Does not answer the next request.
    silent_once: AtomicBool,
    held: Mutex<Vec<Value>>,
}

impl Storage {
    async fn answer(&self, call: Call) -> Result<Value> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let wanted = call.params.value();
        let cpus = self.cpus.load(Ordering::SeqCst);
        if self.silent_once.swap(false, Ordering::SeqCst) {
            self.held.lock().unwrap().push(wanted);
            return std::future::pending().await;
        }
        let found = |address: &Value| {
            let host = json!({"address": "10.0.0.1", "cpus": cpus});
            (address == "10.0.0.1").then(|| json!({"record": host, "revision": 7}))
        };
        match &wanted["ids"] {
            Value::Array(ids) => Ok(ids.iter().map(|id| json!(found(id))).collect()),
            _ => found(&wanted["model_json_data"]["address"])
                .ok_or_else(|| Error::not_found("there is no such host")),
        }
    }
}

async fn start() -> (StorageClient, Arc<Storage>, Bus) {
    let (bus, life, storage) =
        (connected(&options()).await, Lifecycle::new(), Arc::new(Storage::default()));
    let service = Arc::clone(&storage);
    let handler = move |call| {
        let service = Arc::clone(&service);
        async move { service.answer(call).await }
    };
    bus.serve(topology::STORAGE, 256, &life, handler).await.unwrap();
    let asking = bus.with_timeout(Duration::from_secs(3));
    let reads = Reads::start(&asking, Context::service("test"), &life);
    assert!(reads.is_some());
    let client = StorageClient::new(asking, Context::service("test")).with_reads(reads);
    (client, storage, bus)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_many_ask_for_at_once_takes_few_requests() {
    let (client, storage, _bus) = start().await;
    storage.cpus.store(4, Ordering::SeqCst);
    let asked = (0..200).map(|_| client.get::<Host>("10.0.0.1"));
    for found in join_all(asked).await {
        let found = found.unwrap();
        assert_eq!((found.record.cpus, found.revision), (4, 7));
    }
    let requests = storage.requests.load(Ordering::SeqCst);
    assert!(requests <= 20, "{requests} requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_gets_its_own_answer() {
    let (client, ..) = start().await;
    let asked = (0..40).map(|i| {
        let client = client.clone();
        async move {
            let there = i % 2 == 0;
            let address = if there { "10.0.0.1" } else { "10.0.0.2" };
            match client.get::<Host>(address).await {
                Ok(found) => assert!(there && found.record.address == address),
                Err(error) => assert!(!there && error.kind() == Kind::NotFound, "{error}"),
            }
        }
    });
    join_all(asked).await;
}

/// What was written before the asking is in the answer, whatever is under way.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_never_joins_an_earlier_one() {
    let (client, storage, _bus) = start().await;
    for cpus in 1..=50 {
        let earlier: Vec<_> = (0..20)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { client.get::<Host>("10.0.0.1").await.map(drop) })
            })
            .collect();
        tokio::task::yield_now().await;
        storage.cpus.store(cpus, Ordering::SeqCst);
        let found = client.get::<Host>("10.0.0.1").await.unwrap();
        assert_eq!(found.record.cpus, u32::try_from(cpus).unwrap());
        for earlier in earlier {
            earlier.await.unwrap().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_come_holds_up_nobody_else() {
    let (client, storage, _bus) = start().await;
    storage.silent_once.store(true, Ordering::SeqCst);
    let first = client.clone();
    let first = tokio::spawn(async move { first.get::<Host>("10.0.0.1").await });
    while storage.held.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for found in join_all((0..20).map(|_| client.get::<Host>("10.0.0.1"))).await {
        found.unwrap();
    }
    assert!(!first.is_finished());
    assert_eq!(first.await.unwrap().unwrap_err().kind(), Kind::Timeout);
}

#[tokio::test]
async fn inside_one_process_there_is_nothing_to_put_together() {
    assert!(Reads::start(&Bus::memory(), Context::default(), &Lifecycle::new()).is_none());
}
