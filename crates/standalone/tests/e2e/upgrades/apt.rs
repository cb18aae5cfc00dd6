//! Real upgrades by `apt-get` and `dpkg`, from a repository on the host itself, cut off in the middle.

use serde_json::{Value, json};
use testbed::Testbed;

use super::{cluster, host};
use crate::processes::Form;
use crate::server::{Server, eventually};

/// Two packages with a newer version, one of which needs a third. The other one's configuration begins,
/// and goes on when it is told to.
const REPOSITORY: &str = r#"
set -e
mkdir -p /srv/repo
cd /srv/repo
deb() { # NAME VERSION MORE
    root=$(mktemp -d)
    chmod 755 "$root"
    mkdir "$root/DEBIAN"
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: nobody <root@localhost>\nDescription: test\n' "$1" "$2" >"$root/DEBIAN/control"
    [ -z "$3" ] || echo "$3" >>"$root/DEBIAN/control"
    if [ "$1-$2" = slow-2.0 ]; then
        cat >"$root/DEBIAN/postinst" <<'POSTINST'
#!/bin/sh
echo begun >>/root/configuring
until [ -e /root/go ]; do sleep 0.1; done
echo done >>/root/configured
POSTINST
        chmod 755 "$root/DEBIAN/postinst"
    fi
    dpkg-deb --build "$root" "$1_$2.deb"
}
deb slow 1.0 ''
deb quick 1:1.0 ''
dpkg --install *.deb
rm *.deb
deb slow 2.0 ''
deb quick 1:1.1 'Depends: extra'
deb extra 3 ''
for file in *.deb; do
    dpkg-deb --field "$file"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$file" "$(stat -c %s "$file")" "$(sha256sum "$file" | cut -d' ' -f1)"
done >Packages
rm -f /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/repo ./' >/etc/apt/sources.list
"#;

const CONFIGURING: &str = "until [ -e /root/configuring ]; do sleep 0.05; done";
const ENDED: &str =
    "until [ -e /var/lib/commissaire/units/commissaire-*/result ]; do sleep 0.05; done";
const RUNS: &str = "cat /var/lib/commissaire/units/commissaire-*/runs | wc -l";

/// Holds the lock that dpkg and apt-get take first.
const HOLD_LOCK: &str = r#"
cat >/root/hold.py <<'HOLD'
import fcntl, os, time
lock = open("/var/lib/dpkg/lock-frontend", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
open("/root/holder.new", "w").write(str(os.getpid()))
os.rename("/root/holder.new", "/root/holder")
time.sleep(600)
HOLD
setsid -f python3 /root/hold.py </dev/null >/dev/null 2>&1
until [ -e /root/holder ]; do sleep 0.05; done
"#;

/// What the upgrade has changed, as the operation says.
fn expected() -> Value {
    json!({
        "packages": {
            "installed": [{"name": "extra", "after": "3"}],
            "upgraded": [
                {"name": "quick", "before": "1:1.0", "after": "1:1.1"},
                {"name": "slow", "before": "1.0", "after": "2.0"},
            ],
            "removed": [],
            "total": 3,
        },
        "reboot_required": false,
    })
}

/// Waits until an executor has taken the host over for the nth time.
async fn taken_over(server: &Server, times: usize) {
    eventually("it is taken over", || async {
        let events = server.events().await.into_iter();
        let count = events.filter(|event| event["outcome"] == "resumed").count();
        (count >= times).then_some(())
    })
    .await;
}

async fn upgraded_well(server: &Server, testbed: &Testbed) {
    let record = server.ended("upgrade").await;
    assert_eq!(record["status"], "finished", "{record}");
    let operation = server.operation().await;
    let mut result = host(&operation, testbed.address(0).0)["result"].clone();
    let age = result.as_object_mut().unwrap().remove("lists_age_seconds");
    assert!(age.as_ref().is_some_and(Value::is_u64), "{operation}");
    assert_eq!(result, expected(), "{operation}");
    assert_eq!(testbed.exec(0, "dpkg --audit"), "");
    assert_eq!(testbed.exec(0, "cat /root/configured"), "done");
}

async fn killed_in_the_middle_of_apt_get(form: Form) {
    let test = "killed_in_the_middle_of_apt_get";
    let Some(testbed) = Testbed::up_booted(test, &["debian"]) else { return };
    testbed.exec(0, REPOSITORY);
    let mut server = Server::start(form, json!({"lease-ttl": 8})).await;
    cluster(&server, &testbed).await;
    server.put("/cluster/c1/upgrade", json!({})).await;
    testbed.exec(0, CONFIGURING);
    server.processes.kill_all();
    testbed.exec(0, "systemctl is-active --quiet 'commissaire-*-apply.service'");
    server.start_again().await;
    taken_over(&server, 1).await;
    // Now with one that waits for what another began; and it ends while nobody waits.
    server.processes.kill_all();
    testbed.exec(0, &format!("touch /root/go; {ENDED}"));
    server.start_again().await;
    upgraded_well(&server, &testbed).await;
    let journal = "journalctl --unit 'commissaire-*' --output cat | grep -c '^Started'";
    assert_eq!(testbed.exec(0, journal), "1", "the unit ran once");
    assert_eq!([testbed.exec(0, RUNS), testbed.exec(0, "wc -l </root/configuring")], ["1", "1"]);

    // Now another process keeps it waiting, which is named.
    testbed.exec(0, HOLD_LOCK);
    let holder = testbed.exec(0, "cat /root/holder");
    server.put("/cluster/c1/upgrade", json!({})).await;
    let event = server.event("waiting").await;
    let named = format!("/var/lib/dpkg/lock-frontend, held by python3 (pid {holder})");
    assert!(event["detail"].as_str().unwrap().contains(&named), "{event}");
    testbed.exec(0, &format!("kill {holder}"));
    assert_eq!(server.ended("upgrade").await["status"], "finished");
    let operation = server.operation().await;
    let events = server.events().await;
    assert!(events.iter().any(|event| event["detail"] == "nothing was changed"), "{events:?}");
    assert_eq!(host(&operation, testbed.address(0).0)["result"]["packages"]["total"], 0);

    testbed.exec(0, "mv /srv/repo /srv/lost");
    server.put("/cluster/c1/upgrade", json!({})).await;
    let record = server.ended("upgrade").await;
    let failure = &record["failures"][0];
    assert_eq!((&record["status"], &failure["step"]), (&json!("failed"), &json!("apply")));
    assert!(failure["reason"].as_str().unwrap().contains("Failed to fetch"), "{record}");
}

forms!(
    both: [],
    one_process: [killed_in_the_middle_of_apt_get],
    distributed: [],
    full: [],
);

#[tokio::test(flavor = "multi_thread")]
async fn a_power_failure_in_the_middle_of_apt_get_is_made_good() {
    let test = "a_power_failure_in_the_middle_of_apt_get_is_made_good";
    let Some(testbed) = Testbed::up_booted(test, &["debian"]) else { return };
    testbed.exec(0, REPOSITORY);
    let server = Server::start(Form::OneProcess, json!({})).await;
    cluster(&server, &testbed).await;
    server.put("/cluster/c1/upgrade", json!({})).await;
    testbed.exec(0, CONFIGURING);
    testbed.run(&["kill", &testbed.hosts()[0]]);
    testbed.run(&["start", &testbed.hosts()[0]]);
    assert_ne!(testbed.exec(0, "dpkg --audit"), "", "it was cut off");
    testbed.exec(0, "touch /root/go");
    upgraded_well(&server, &testbed).await;
    assert_eq!([testbed.exec(0, RUNS), testbed.exec(0, "wc -l </root/configuring")], ["2", "2"]);
}
