//! A host with a real systemd.

use std::fs;

use service_core::model::Outcome;
use testbed::Testbed;

use super::settling::{at_verify_from, logged, noted, settled, until};
use super::*;

const TEST: &str =
    "clusterexec-svc executor::tests::booted::a_system_has_settled_once_systemd_has_started_it";

/// Units that systemd starts with the system: one fails, one takes until the test lets it end.
const UNITS: &str = r#"
for unit in old:false new:false "slow:sh -c 'until [ -e /run/go ]; do sleep 0.1; done'"; do
    printf '[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=%s\n[Install]\nWantedBy=multi-user.target\n' \
        "/usr/bin/${unit#*:}" >"/etc/systemd/system/${unit%%:*}.service"
done
systemctl -q enable old new slow
systemctl start old || systemctl is-failed old"#;

#[tokio::test]
async fn a_system_has_settled_once_systemd_has_started_it() {
    let Some(testbed) = Testbed::up_booted(TEST, &["debian"]) else { return };
    let (address, port) = testbed.address(0);
    let own_key = fs::read_to_string(testbed.key()).unwrap().into();
    let hosts = vec![(address.to_owned(), port)];
    let fixture = fixture_of(hosts, Setup { own_key, ..Setup::default() }).await;
    let (held, operation) = accepted(&fixture, "o1", json!({"settle": 1})).await;
    let execution = Execution::new(&fixture.service, &held, operation);
    testbed.exec(0, UNITS);
    noted(&execution).await;
    assert_eq!(execution.host(0).failed_units_before.unwrap(), ["old.service"]);

    at_verify_from(&execution, &testbed.boot_id(0)).await;
    testbed.run(&["reboot", &testbed.hosts()[0]]);
    let starts = async {
        until(|| execution.host(0).step == Step::Settle).await;
        // Longer than it has to stay up.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(execution.host(0).step, Step::Settle, "its system is starting");
        testbed.exec(0, "touch /run/go");
    };
    let (progress, ()) = tokio::join!(settled(&execution), starts);
    assert_eq!((progress.step, progress.failure), (Step::Done, None));
    assert_eq!(progress.boot_id_after.unwrap(), testbed.boot_id(0));
    assert_eq!(progress.result.unwrap().failed_units, ["new.service"]);
    let outcomes: Vec<_> = logged(&fixture, Step::Settle).await.into_iter().map(|l| l.0).collect();
    assert_eq!(outcomes, [Outcome::Started, Outcome::Ok]);
}
