//! What an API server refuses, and what it does not answer.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::{Api, Fault, Fixture};

#[tokio::test]
async fn a_wrong_token_and_none_are_told_apart() {
    let api = Api::start().await;
    let fixture = Fixture::start().await;
    let mut options = api.options();
    options["token"] = "expired".into();
    fixture.configure("k", "kubernetes", options).await;
    let message = fixture.refused("register_node", "10.0.0.1").await;
    assert!(message.contains("not accepted: Unauthorized (Unauthorized)"), "{message}");
    assert!(!message.contains("expired"));
    assert_eq!(api.seen().len(), 1);

    let fixture = Fixture::start().await;
    fixture.configure("k", "kubernetes", api.options_without_token()).await;
    let message = fixture.refused("register_node", "10.0.0.1").await;
    assert!(message.contains("system:anonymous") && message.contains("(Forbidden)"), "{message}");
}

#[tokio::test]
async fn names_that_no_node_can_have_are_refused_before_they_are_sent() {
    let api = Api::start().await;
    let fixture = Fixture::with(&api).await;
    for (address, says) in
        [("2001:db8::1", "IPv6"), ("web_1", "lower case letters"), ("web-", "begins and ends")]
    {
        let message = fixture.refused("register_node", address).await;
        assert!(message.contains(says), "{message}");
        // It may still be an address of a node of another name.
        assert!(fixture.refused("node_registered", address).await.contains("not registered"));
        fixture.call("remove_node", address).await.unwrap();
    }
    assert_eq!(api.count("POST"), 0);
    api.add(Api::registered("worker-1", "2001:db8::1"));
    fixture.call("register_node", "2001:db8::1").await.unwrap();
}

#[tokio::test]
async fn what_the_server_finds_invalid_is_passed_on() {
    let api = Api::start().await;
    let fixture = Fixture::with(&api).await;
    api.fault("POST", &[Fault::Recorded("node-create-badname-01-422")]);
    let message = fixture.refused("register_node", "10.0.0.1").await;
    assert!(message.contains("metadata.name: Invalid value") && message.contains("(Invalid)"));
    assert_eq!(api.count("POST"), 1);
}

#[tokio::test]
async fn a_url_that_leads_elsewhere_is_no_missing_node() {
    let api = Api::start().await;
    let fixture = Fixture::start().await;
    let mut options = api.options();
    options["server_url"] = format!("https://{}/console/", api.address).into();
    fixture.configure("k", "kubernetes", options).await;
    for method in ["register_node", "remove_node", "node_registered"] {
        let message = fixture.refused(method, "10.0.0.1").await;
        assert!(
            message.contains("HTTP status 404") && message.contains("`server_url`"),
            "{message}"
        );
    }
    assert!(api.seen()[0].target.starts_with("/console/api/v1/nodes/"));
    // A page for browsers may come with any status.
    api.fault("GET", &[Fault::Recorded("healthz-200")]);
    let message = fixture.refused("node_registered", "10.0.0.1").await;
    assert!(message.contains("not that of the Kubernetes API"), "{message}");
    assert!(message.contains("`server_url`"), "{message}");
}

#[tokio::test]
async fn nodes_that_are_not_to_be_created_are_their_kubelets_to_register() {
    let api = Api::start().await;
    let fixture = Fixture::start().await;
    let mut options = api.options();
    options["create_nodes"] = false.into();
    fixture.configure("k", "kubernetes", options).await;
    let message = fixture.refused("register_node", "10.0.0.1").await;
    assert!(message.contains("its kubelet has to register it"), "{message}");
    assert_eq!(api.count("POST"), 0);
    api.add(Api::registered("worker-1", "10.0.0.1"));
    fixture.call("register_node", "10.0.0.1").await.unwrap();
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    let api = Api::start().await;
    let fixture = Fixture::with(&api).await;
    api.fault(
        "GET",
        &[
            Fault::Recorded("etcddown-get-3x-504"),
            Fault::Recorded("etcddown-get-1x-noanswer"),
            Fault::Like("node-create-rv-set-500", 503, None),
        ],
    );
    api.fault(
        "POST",
        &[Fault::Recorded("etcddown-create-1x-504"), Fault::Recorded("node-create-rv-set-500")],
    );
    fixture.call("register_node", "10.0.0.1").await.unwrap();
    assert_eq!(api.count("POST"), 3);
    api.fault("DELETE", &[Fault::Close, Fault::Recorded("etcddown-delete-1x-504")]);
    fixture.call("remove_node", "10.0.0.1").await.unwrap();
    assert!(api.nodes().is_empty());
}

#[tokio::test]
async fn a_server_that_says_when_to_come_back_is_obeyed() {
    let api = Api::start().await;
    let fixture = Fixture::with(&api).await;
    let busy = Fault::Like("evict-pdb-unprocessed-429", 429, Some("1"));
    api.fault("GET", std::slice::from_ref(&busy));
    api.fault("POST", &[busy]);
    let begun = Instant::now();
    fixture.call("register_node", "10.0.0.1").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(2));
    // A longer pause than requests last: the error is returned without a second attempt.
    api.fault("GET", &[Fault::Recorded("evict-pdb-unprocessed-429")]);
    api.seen();
    let message = fixture.unavailable("node_registered", "10.0.0.1").await;
    assert!(message.contains("(TooManyRequests)"), "{message}");
    assert_eq!(api.seen().len(), 1);
}

#[tokio::test]
async fn what_lasts_is_given_up() {
    let api = Api::start().await;
    let fixture = Fixture::with(&api).await;
    for fault in [Fault::Close, Fault::Recorded("etcddown-get-3x-504")] {
        api.seen();
        api.fault("GET", &[fault.clone(), fault.clone(), fault.clone(), fault]);
        fixture.unavailable("node_registered", "10.0.0.1").await;
        assert_eq!(api.seen().len(), 4);
    }
    let message = fixture.refused("node_registered", "10.0.0.1").await;
    assert!(message.contains("not registered"), "{message}");
}

#[tokio::test]
async fn a_server_that_hangs_is_waited_for_so_long() {
    let api = Api::start().await;
    let fixture = Fixture::with(&api).await;
    api.fault("GET", &[Fault::Hang]);
    let message = fixture.unavailable("register_node", "10.0.0.1").await;
    assert!(message.contains("did not answer within 4 s"), "{message}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let fixture = Fixture::start().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = json!({"server_url": format!("https://{closed}"), "token": "canary-token"});
    fixture.configure("k", "kubernetes", options).await;
    let message = fixture.unavailable("register_node", "10.0.0.1").await;
    assert!(message.contains("does not answer"), "{message}");
}
