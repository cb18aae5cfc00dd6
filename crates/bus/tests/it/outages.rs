//! What is logged when a service on the bus is unavailable.

use std::time::Duration;

use bus::topology::{self, CLUSTEREXEC, STORAGE};
use bus::{Bus, Call, Context, Error, Kind, Result};
use runtime::Lifecycle;
use serde_json::{Value, json};
use testbed::log::Log;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

async fn ask(bus: &Bus, key: &str) -> Result<Value> {
    bus.request(key, &json!({}), &Context::service("test")).await
}

/// A service that answers `answer` to whatever it is asked, `after` that time.
async fn serve(
    bus: &Bus,
    queue: topology::Queue,
    after: Duration,
    answer: Result<Value>,
) -> Lifecycle {
    let life = Lifecycle::new();
    let handler = move |_: Call| {
        let answer = answer.clone();
        async move {
            sleep(after).await;
            answer
        }
    };
    bus.serve(queue, 16, &life, handler).await.unwrap();
    life
}

#[tokio::test(start_paused = true)]
async fn a_hundred_failed_requests_are_one_line_and_the_first_answer_is_one() {
    let (log, bus) = (Log::capture(), Bus::memory());
    let begun = Instant::now();
    for key in [topology::STORAGE_GET, topology::STORAGE_LIST].into_iter().cycle().take(100) {
        let error = ask(&bus.with_timeout(SECOND), key).await.unwrap_err();
        assert!(error.is_outage());
        sleep(SECOND).await;
    }
    let _life = serve(&bus, STORAGE, Duration::ZERO, Ok(json!(1))).await;
    for _ in 0..10 {
        ask(&bus, topology::STORAGE_GET).await.unwrap();
    }
    assert_eq!(begun.elapsed().as_secs(), 100);
    assert_eq!(
        log.from_info(),
        [
            " WARN the storage service is unavailable: no replica of the storage service takes storage.get: none is \
             running (start commissaire-storage-service), or none is able to work (its log says why); trying again",
            " INFO the storage service is available again after 100 s",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_silent_is_unavailable_and_a_slow_answer_beside_others_is_none() {
    let (log, bus) = (Log::capture(), Bus::memory());
    let quick = bus.with_timeout(SECOND);
    let life = serve(&bus, STORAGE, 10 * SECOND, Ok(json!(1))).await;
    let (slow, ()) = tokio::join!(ask(&quick, topology::STORAGE_GET), async {
        sleep(SECOND / 2).await;
        // Answers of another service do not count.
        let _other = serve(&bus, CLUSTEREXEC, Duration::ZERO, Err(Error::conflict("no"))).await;
        ask(&quick, "jobs.clusterexec.restart").await.unwrap_err();
    });
    assert_eq!(slow.unwrap_err().kind(), Kind::Timeout);
    let silence = " WARN the storage service is unavailable: no answer to storage.get within 1 s; trying again";
    assert_eq!(log.from_info(), [silence]);
    life.shutdown(60 * SECOND).await;

    let bus = Bus::memory();
    let handler = |call: Call| async move {
        sleep(if call.method == "list" { 10 * SECOND } else { Duration::ZERO }).await;
        Ok(json!(1))
    };
    bus.serve(STORAGE, 16, &Lifecycle::new(), handler).await.unwrap();
    let quick = bus.with_timeout(SECOND);
    let (slow, ()) = tokio::join!(ask(&quick, topology::STORAGE_LIST), async {
        sleep(SECOND / 2).await;
        ask(&quick, topology::STORAGE_GET).await.unwrap();
    });
    let slow = slow.unwrap_err();
    assert!(slow.kind() == Kind::Timeout && !slow.is_outage(), "{slow:?}");
    assert_eq!(log.from_info().len(), 1, "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn the_part_that_an_error_names_is_unavailable_and_not_the_service_that_answers() {
    let (log, bus) = (Log::capture(), Bus::memory());
    let unavailable = Error::unavailable("the store \"etcd\" does not answer").of_part("store");
    let _life = serve(&bus, CLUSTEREXEC, Duration::ZERO, Err(unavailable)).await;
    let error = ask(&bus, "jobs.clusterexec.restart").await.unwrap_err();
    assert!(error.is_outage());
    let outage = " WARN the storage service is unavailable: the store \"etcd\" does not answer; trying again";
    assert_eq!(log.from_warn()[1..], [outage]);

    // One that names none is the answer of a service that works.
    let bus = Bus::memory();
    let unavailable = Error::unavailable("the container manager k1 cannot answer now");
    let _life = serve(&bus, CLUSTEREXEC, Duration::ZERO, Err(unavailable)).await;
    let error = ask(&bus, "jobs.clusterexec.restart").await.unwrap_err();
    assert!(!error.is_outage());
    let lines = log.from_warn();
    assert!(lines.len() == 3 && lines[2].contains("request failed"), "{lines:?}");
}
