//! A host that is registered while its `sshd` turns connections away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::{Bootstrap, HostCreds, HostState, Network, Status};
use serde_json::json;
use simulated_hosts::LogIn;

use crate::registration::{Fixture, eventually};

const BUSY: &str = "10.0.0.1";
const DOWN: &str = "10.0.0.2";

#[tokio::test(start_paused = true)]
async fn a_host_at_its_limit_of_log_ins_is_asked_again_and_does_not_fail() {
    let mut fixture = Fixture::new().await;
    let log_ins = Arc::<Mutex<BTreeMap<String, usize>>>::default();
    let observed = Arc::clone(&log_ins);
    fixture.hosts = fixture.hosts.observed(move |address| {
        *observed.lock().unwrap().entry(address.to_owned()).or_default() += 1;
    });
    let log_ins = |address| log_ins.lock().unwrap().get(address).copied().unwrap_or_default();
    for address in [BUSY, DOWN] {
        fixture.hosts.add(address);
        let (address, bootstrap) = (address.to_owned(), Bootstrap::None);
        fixture.storage.save(&HostCreds::new(&address)).await.unwrap();
        fixture.host(&address, Status::Investigating).await;
        let state = HostState { address: address.into(), bootstrap, ..HostState::default() };
        fixture.storage.save(&state).await.unwrap();
    }
    let network: Network =
        serde_json::from_value(json!({"name": Network::DEFAULT, "type": "none"})).unwrap();
    fixture.storage.save(&network).await.unwrap();
    fixture.hosts.edit(BUSY, |machine| machine.log_in = LogIn::Throttled);
    fixture.hosts.power_off(DOWN);
    fixture.start().await;
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!((fixture.status(DOWN).await, log_ins(DOWN)), (Status::Failed, 3));
    // It is asked about once a minute in the end.
    assert_eq!(fixture.status(BUSY).await, Status::Investigating);
    assert_eq!(fixture.state(BUSY).await.reason, "");
    assert!((14..=28).contains(&log_ins(BUSY)), "{}", log_ins(BUSY));
    let rejected = log_ins(BUSY);
    fixture.hosts.edit(BUSY, |machine| machine.log_in = LogIn::Accepted);
    eventually("it is set up", async || fixture.status(BUSY).await == Status::Disassociated).await;
    assert_eq!(log_ins(BUSY), rejected + 1);
}
