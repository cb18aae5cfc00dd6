//! Leases while the storage service is unavailable.

use std::time::Duration;

use bus::{Bus, Call, Context, Error, topology};
use runtime::Lifecycle;
use serde_json::Value;
use storage_client::StorageClient;
use storage_client::lease::{Leases, TTL};
use testbed::log::Log;
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn renewals_of_leases_that_fail_in_an_outage_have_no_line_of_their_own() {
    let (log, bus, life) = (Log::capture(), Bus::memory(), Lifecycle::new());
    let storage = StorageClient::new(bus.clone(), Context::service("test"));
    let leases = Leases::new(storage, life.clone(), "test".to_owned(), TTL);
    let held: Vec<_> = (0..20)
        .map(|number| leases.adopt(leases.fresh(&format!("l{number}").into()), 1, Instant::now()))
        .collect();
    sleep(Duration::from_mins(1)).await;
    assert!(held.iter().all(|held| held.check().is_err()));
    let lines = log.from_info();
    assert!(
        lines.len() == 1 && lines[0].contains("the storage service is unavailable"),
        "{lines:?}"
    );
    // A refusal is no outage.
    let refuse = |_: Call| async { Err::<Value, _>(Error::denied("not for you")) };
    bus.serve(topology::STORAGE, 16, &Lifecycle::new(), refuse).await.unwrap();
    sleep(TTL).await;
    let refused = log.from_warn().iter().filter(|line| line.contains("not for you")).count();
    assert!(refused >= 20, "{:?}", log.from_warn());
}
