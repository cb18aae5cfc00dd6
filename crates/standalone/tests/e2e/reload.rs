//! SIGHUP: the files that the configuration names are read again, and nobody is cut off.

use std::sync::Mutex;

use daemons::Daemon;
use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::json;

use crate::processes::Form;
use crate::server::{Server, eventually};

async fn users_are_read_again(form: Form) {
    let server = Server::start(form, json!({})).await;
    let users = server.folder().join("users.json");
    let before = std::fs::read_to_string(&users).unwrap();
    let ask = async || server.call(Method::GET, "/hosts", json!({})).await.0;
    assert_eq!(ask().await, StatusCode::OK);

    std::fs::write(&users, "{}").unwrap();
    let gateway = (form != Form::OneProcess).then_some(Daemon::Server);
    let ended = reloaded(&server, gateway).await;
    assert_eq!(ended, "READY=1\nSTATUS=serving\n");
    assert_eq!(ask().await, StatusCode::FORBIDDEN, "the user is removed when the reload has ended");
    // A file that is invalid changes nothing, and is named.
    std::fs::write(&users, "{").unwrap();
    let ended = reloaded(&server, gateway).await;
    let failed = "READY=1\nSTATUS=serving; reload failed: authentication stays as it was: ";
    assert!(ended.starts_with(failed) && ended.contains("users.json"), "{ended}");
    assert!(server.log().contains("reload failed: authentication stays as it was"));
    assert_eq!(ask().await, StatusCode::FORBIDDEN);
    std::fs::write(&users, before).unwrap();
    assert_eq!(reloaded(&server, gateway).await, "READY=1\nSTATUS=serving\n");
    assert_eq!(ask().await, StatusCode::OK);
}

/// Sends SIGHUP; what a process tells systemd when it has read its files again.
async fn reloaded(server: &Server, daemon: Option<Daemon>) -> String {
    let sent = Mutex::new(server.processes.notifications(daemon));
    sent.lock().unwrap().clear();
    server.processes.signal_all(Signal::HUP);
    eventually("the reload has ended", || async {
        sent.lock().unwrap().extend(server.processes.notifications(daemon));
        (sent.lock().unwrap().len() >= 2).then_some(())
    })
    .await;
    let sent = sent.into_inner().unwrap();
    assert!(sent[0].starts_with("RELOADING=1\nSTATUS=reloading\nMONOTONIC_USEC="), "{sent:?}");
    sent[1].clone()
}

forms!(
    both: [users_are_read_again],
    one_process: [],
    distributed: [],
    full: [],
);
