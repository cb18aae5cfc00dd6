//! SIGHUP: the files that the configuration names are read again, and nobody is cut off.

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
    server.processes.signal_all(Signal::HUP);
    eventually("a user that is gone is refused", || async {
        (ask().await == StatusCode::FORBIDDEN).then_some(())
    })
    .await;
    // A file that cannot be read changes nothing.
    std::fs::write(&users, "{").unwrap();
    server.processes.signal_all(Signal::HUP);
    eventually("it is told", || async {
        server.log().contains("authentication stays as it was").then_some(())
    })
    .await;
    assert_eq!(ask().await, StatusCode::FORBIDDEN);
    std::fs::write(&users, before).unwrap();
    server.processes.signal_all(Signal::HUP);
    eventually("the user is back", || async { (ask().await == StatusCode::OK).then_some(()) })
        .await;
}

forms!(
    both: [users_are_read_again],
    one_process: [],
    distributed: [],
    full: [],
);
