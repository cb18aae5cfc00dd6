//! Registering a host while other requests delete it.

use futures_util::future::join_all;
use model::{Host, HostCreds, HostState};
use serde_json::json;

use crate::support::Gateway;

/// What a registration reads when the host is deleted between its two reads: the host, and no credentials.
#[tokio::test]
async fn a_registration_that_keeps_losing_against_deletions_is_503_with_retry_after() {
    let gateway = Gateway::start().await;
    let host = Host { address: "10.0.0.1".into(), ..Host::default() };
    gateway.storage.save(&host).await.unwrap();
    let answer = gateway.put("/host/10.0.0.1", json!({})).await;
    answer.refused(503, "keeps being deleted");
    assert!(answer.header("retry-after").parse::<u64>().is_ok());
    gateway.get("/host/10.0.0.1/creds").await.refused(404, "there is no host 10.0.0.1");
}

#[tokio::test]
async fn registrations_and_deletions_of_one_host_at_once_are_never_a_missing_record() {
    let gateway = &Gateway::start().await;
    let client = |number: usize| async move {
        for _ in 0..50 {
            if number.is_multiple_of(2) {
                let answer = gateway.put("/host/10.0.0.1", json!({})).await;
                assert!([201, 503].contains(&answer.status), "{}", answer.text());
            } else {
                let answer = gateway.delete("/host/10.0.0.1").await;
                assert!([200, 404].contains(&answer.status), "{}", answer.text());
            }
        }
    };
    join_all((0..8).map(client)).await;
    let host = gateway.stored::<Host>("10.0.0.1").await.is_some();
    assert_eq!(gateway.stored::<HostCreds>("10.0.0.1").await.is_some(), host);
    assert_eq!(gateway.stored::<HostState>("10.0.0.1").await.is_some(), host);
}
