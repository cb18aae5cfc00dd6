//! A host that is registered while its `sshd` turns connections away.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use service_core::model::{Bootstrap, HostCreds, HostState, Network, Status};
use testbed::sshd::{self, Sshds};
use tokio::time::Instant;

use crate::registration::Fixture;

const PATIENCE: Duration = Duration::from_mins(2);

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_at_its_limit_of_log_ins_is_asked_again_and_does_not_fail() {
    let fixture = Fixture::new().await;
    let sshds = Sshds::start(1, "MaxStartups 3:100:3\nLogLevel VERBOSE");
    let address = sshds.addresses()[0];
    let key = BASE64.encode(std::fs::read(sshds.key()).unwrap());
    let creds = HostCreds {
        ssh_priv_key: key.into(),
        remote_user: sshd::user(),
        ssh_port: sshds.port(),
        ..HostCreds::new(address)
    };
    let state =
        HostState { address: address.into(), bootstrap: Bootstrap::None, ..HostState::default() };
    fixture.storage.save(&creds).await.unwrap();
    fixture.storage.save(&state).await.unwrap();
    fixture.host(address, Status::Investigating).await;
    let network: Network =
        serde_json::from_value(serde_json::json!({"name": Network::DEFAULT, "type": "none"}))
            .unwrap();
    fixture.storage.save(&network).await.unwrap();
    let full = sshds.occupy(3);
    fixture.start().await;
    // Once more than what makes a host `failed` that does not answer.
    let turned_away = || sshds.log().matches("past MaxStartups").count();
    until("it is turned away four times", async || turned_away() >= 4).await;
    assert_eq!(fixture.status(address).await, Status::Investigating);
    assert_eq!(fixture.state(address).await.reason, "");
    drop(full);
    until("it is set up", async || fixture.status(address).await == Status::Disassociated).await;
    assert_eq!(sshds.log().matches("Accepted publickey").count(), 1);
}
