//! Against booted hosts with a systemd: each test has hosts of its own.

#![expect(clippy::print_stdout, reason = "how long each step took is part of what is looked for")]

use std::time::Duration;

use host_access::{
    Ansible, BootstrapOptions, Facts, FlannelEtcd, FlannelTls, Hosts as _, NetworkSetup, Os,
    Playbook, PlaybookError, RegistryMirror, RunDir, Ssh, SshSession, Summary, Target, TaskEvent,
    boot_id, bootstrap_vars, gather,
};
use serde_json::{Map, Value, json};
use testbed::Testbed;
use tokio::time::Instant;

use crate::sshd::{CONNECT, RUN, run_dir};

const DEADLINE: Duration = Duration::from_mins(2);

/// The only host, as `user` sees it.
fn target(testbed: &Testbed, user: &str) -> Target {
    Target {
        address: testbed.address(0).0.to_owned(),
        port: 22,
        user: user.to_owned(),
        private_key: std::fs::read_to_string(testbed.key()).unwrap().into(),
        host_keys: Vec::new(),
    }
}

async fn connect(run_dir: &RunDir, target: &Target) -> SshSession {
    let start = Instant::now();
    let session = SshSession::connect(run_dir, target, CONNECT).await.unwrap();
    println!("connected to {} in {:?}", target.address, start.elapsed());
    session
}

async fn play(
    run_dir: &RunDir,
    session: &SshSession,
    playbook: Playbook,
    vars: &Map<String, Value>,
) -> Result<Summary, PlaybookError> {
    let ansible = Ansible::new(None);
    let start = Instant::now();
    let show = |event: TaskEvent| println!("  {:?} {:?}", start.elapsed(), event);
    let result = ansible.run(run_dir, session, playbook, vars, DEADLINE, show).await;
    println!("{playbook} in {:?}: {result:?}", start.elapsed());
    result
}

fn vars(value: Value) -> Map<String, Value> {
    let Value::Object(vars) = value else { panic!("an object") };
    vars
}

fn flannel_etcd() -> (NetworkSetup, BootstrapOptions) {
    let etcd = FlannelEtcd {
        endpoints: vec!["http://192.168.152.1:2379".into()],
        ..FlannelEtcd::default()
    };
    let mirror = RegistryMirror { host: "192.168.152.1".into(), port: 5000 };
    let options = BootstrapOptions { registry_mirror: Some(mirror), ..BootstrapOptions::default() };
    (NetworkSetup::FlannelEtcd(etcd), options)
}

async fn facts(session: &SshSession) -> Facts {
    let start = Instant::now();
    let facts = gather(session, RUN).await.unwrap();
    println!("facts in {:?}: {facts:?}", start.elapsed());
    facts
}

async fn bootstrap(run_dir: &RunDir, session: &SshSession, network: &NetworkSetup) -> Summary {
    let facts = facts(session).await;
    let (_, options) = flannel_etcd();
    let vars = bootstrap_vars(facts.os, &facts.version, facts.ostree, network, &options).unwrap();
    play(run_dir, session, Playbook::Bootstrap, &vars).await.unwrap()
}

#[tokio::test]
async fn a_bootstrap_twice_changes_nothing_the_second_time() {
    let Some(testbed) =
        Testbed::up_booted("a_bootstrap_twice_changes_nothing_the_second_time", &["fedora"])
    else {
        return;
    };
    for user in ["ops", "root"] {
        let (_base, run_dir) = run_dir();
        let session = connect(&run_dir, &target(&testbed, user)).await;
        let reset = "dnf remove -y flannel docker python3-libselinux; rm -rf /var/lib/commissaire";
        assert_eq!(session.run_privileged(reset, RUN).await.unwrap().status, 0);
        let (network, _) = flannel_etcd();
        assert!(bootstrap(&run_dir, &session, &network).await.changed > 0);
        assert_eq!(facts(&session).await.container_runtime.as_deref(), Some("docker"));
        assert_eq!(bootstrap(&run_dir, &session, &network).await.changed, 0);

        // Another network: flannel is restarted, docker is not.
        let since = "systemctl show -p MainPID flanneld docker; cat /etc/sysconfig/flanneld";
        let before = session.run(since, RUN).await.unwrap().stdout;
        let server = NetworkSetup::FlannelServer { address: "192.168.152.1:8888".into() };
        assert_eq!(bootstrap(&run_dir, &session, &server).await.changed, 2);
        let after = session.run(since, RUN).await.unwrap().stdout;
        let pids = |text: &str| -> Vec<String> {
            text.lines().filter(|line| line.starts_with("MainPID")).map(str::to_owned).collect()
        };
        assert_ne!(pids(&before)[0], pids(&after)[0]);
        assert_eq!(pids(&before)[1], pids(&after)[1]);
        assert!(after.contains("--remote=192.168.152.1:8888"), "{after}");
    }
}

#[tokio::test]
async fn a_package_that_does_not_exist_fails_the_bootstrap_with_its_message() {
    let Some(testbed) = Testbed::up_booted(
        "a_package_that_does_not_exist_fails_the_bootstrap_with_its_message",
        &["debian"],
    ) else {
        return;
    };
    let (_base, run_dir) = run_dir();
    let session = connect(&run_dir, &target(&testbed, "root")).await;
    let facts = facts(&session).await;
    assert_eq!(facts.os, Os::Debian);
    let (network, options) = flannel_etcd();
    let mut vars =
        bootstrap_vars(facts.os, &facts.version, facts.ostree, &network, &options).unwrap();
    // Debian 12 has none; without an update, so that it needs no network.
    vars.insert("commissaire_prepare_packages".into(), json!(""));
    let error = play(&run_dir, &session, Playbook::Bootstrap, &vars).await.unwrap_err();
    assert!(error.to_string().contains("Unable to locate package flannel"), "{error}");
}

#[tokio::test]
async fn a_restart_happens_once_though_asked_for_twice() {
    let Some(testbed) =
        Testbed::up_booted("a_restart_happens_once_though_asked_for_twice", &["debian"])
    else {
        return;
    };
    for user in ["root", "ops"] {
        let target = target(&testbed, user);
        let (_base, run_dir) = run_dir();
        let session = connect(&run_dir, &target).await;
        let old = boot_id(&session).await.unwrap();
        let vars = vars(json!({
            "commissaire_boot_id": old,
            "commissaire_restart_command": "systemctl reboot",
        }));
        play(&run_dir, &session, Playbook::Restart, &vars).await.unwrap();
        let start = Instant::now();
        let (session, new) = loop {
            if let Ok(session) = SshSession::connect(&run_dir, &target, CONNECT).await
                && let Ok(new) = boot_id(&session).await
                && new != old
            {
                break (session, new);
            }
        };
        println!("back after {:?}", start.elapsed());
        let summary = play(&run_dir, &session, Playbook::Restart, &vars).await.unwrap();
        assert_eq!(summary.changed, 0);
        assert_eq!(boot_id(&session).await.unwrap(), new);
    }
}

/// Units that systemd starts with the system: two fail, one takes until the test lets it end.
const UNITS: &str = r#"
for unit in old:false new:false "slow:sh -c 'until [ -e /run/go ]; do sleep 0.1; done'"; do
    printf '[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=%s\n[Install]\nWantedBy=multi-user.target\n' \
        "/usr/bin/${unit#*:}" >"/etc/systemd/system/${unit%%:*}.service"
done
systemctl -q enable old new slow
systemctl start old || systemctl is-failed old"#;

#[tokio::test]
async fn a_restart_by_hand_waits_for_the_host_and_its_system_has_started_once_systemd_says_so() {
    let test =
        "a_restart_by_hand_waits_for_the_host_and_its_system_has_started_once_systemd_says_so";
    let Some(testbed) = Testbed::up_booted(test, &["debian"]) else { return };
    let target = target(&testbed, "root");
    let (_base, run_dir) = run_dir();
    let hosts = Ssh::new(run_dir, Ansible::new(None));
    testbed.exec(0, UNITS);
    let session = hosts.connect(&target, CONNECT).await.unwrap();
    let before = session.system_state().await.unwrap();
    assert_eq!((before.is_up(), before.failed_units), (true, vec!["old.service".to_owned()]));
    let played = session.play(Playbook::Restart, &Map::new(), DEADLINE, &mut |_| {}).await;
    played.unwrap();

    let session = hosts.connect(&target, CONNECT).await.unwrap();
    let starting = session.system_state().await.unwrap();
    assert_ne!(starting.boot_id, before.boot_id);
    assert!(!starting.is_up(), "{starting:?}");
    testbed.exec(0, "touch /run/go");
    let started = async {
        loop {
            let state = session.system_state().await.unwrap();
            if state.is_up() {
                break state;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let mut state = tokio::time::timeout(DEADLINE, started).await.unwrap();
    state.failed_units.sort_unstable();
    assert_eq!(state.failed_units, ["new.service", "old.service"]);
}

#[tokio::test]
async fn a_user_without_sudo_is_told_so() {
    let Some(testbed) = Testbed::up_booted("a_user_without_sudo_is_told_so", &["debian"]) else {
        return;
    };
    let (_base, run_dir) = run_dir();
    let session = connect(&run_dir, &target(&testbed, "plain")).await;
    let error = session.run_privileged("id -u", RUN).await.unwrap_err();
    assert_eq!(error.reason().word(), "no-sudo", "{error}");
    let session = connect(&run_dir, &target(&testbed, "ops")).await;
    assert_eq!(session.run_privileged("id -u", RUN).await.unwrap().stdout, "0\n");
}

#[tokio::test]
async fn a_deployed_version_is_what_is_booted() {
    let Some(testbed) = Testbed::up_booted("a_deployed_version_is_what_is_booted", &["ostree"])
    else {
        return;
    };
    let target = target(&testbed, "root");
    let (_base, run_dir) = run_dir();
    let session = connect(&run_dir, &target).await;
    assert!(facts(&session).await.ostree);
    let version = format!("42.{}", &boot_id(&session).await.unwrap()[..8]);
    let staged =
        vars(json!({ "commissaire_deploy_version": version, "commissaire_reboot": "never" }));
    let summary = play(&run_dir, &session, Playbook::Deploy, &staged).await.unwrap();
    assert_eq!(summary.data["commissaire_reboot_required"], true, "{summary:?}");
    let booted = vars(json!({ "commissaire_deploy_version": version }));
    let summary = play(&run_dir, &session, Playbook::Deploy, &booted).await.unwrap();
    assert_eq!(summary.data["commissaire_reboot_required"], false, "{summary:?}");
    let session = connect(&run_dir, &target).await;
    let again = play(&run_dir, &session, Playbook::Deploy, &booted).await.unwrap();
    assert_eq!(again.changed, 0);
    let upgrade = vars(json!({ "commissaire_upgrade_command": "rpm-ostree upgrade" }));
    play(&run_dir, &session, Playbook::Upgrade, &upgrade).await.unwrap();
}

#[tokio::test]
async fn an_upgrade_of_packages_says_whether_a_reboot_is_needed() {
    let Some(testbed) =
        Testbed::up_booted("an_upgrade_of_packages_says_whether_a_reboot_is_needed", &["fedora"])
    else {
        return;
    };
    let (_base, run_dir) = run_dir();
    let session = connect(&run_dir, &target(&testbed, "ops")).await;
    let upgrade = vars(json!({ "commissaire_upgrade_command": "dnf upgrade -y" }));
    for (prepare, expected) in [("rm -f", false), ("touch", true)] {
        let script = format!("{prepare} /var/lib/stand-in/reboot-required");
        session.run_privileged(&script, RUN).await.unwrap();
        let summary = play(&run_dir, &session, Playbook::Upgrade, &upgrade).await.unwrap();
        assert_eq!(summary.data["commissaire_reboot_required"], expected, "{summary:?}");
    }
    session.run_privileged("rm -f /var/lib/stand-in/reboot-required", RUN).await.unwrap();
}

#[tokio::test]
async fn the_etcd_credentials_are_copied_and_new_ones_restart_flannel() {
    let Some(testbed) = Testbed::up_booted(
        "the_etcd_credentials_are_copied_and_new_ones_restart_flannel",
        &["fedora"],
    ) else {
        return;
    };
    let files = tempfile::TempDir::new().unwrap();
    let file = |name: &str| Some(files.path().join(name).to_str().unwrap().to_owned());
    let write = |text: &str| {
        for name in ["ca", "certificate", "key"] {
            std::fs::write(files.path().join(name), format!("{name} {text}")).unwrap();
        }
    };
    write("old");
    let (network, _) = flannel_etcd();
    let NetworkSetup::FlannelEtcd(etcd) = network else { panic!("flannel_etcd") };
    let tls = FlannelTls {
        ca_path: file("ca"),
        certificate_path: file("certificate"),
        key_path: file("key"),
    };
    let network = NetworkSetup::FlannelEtcd(FlannelEtcd { tls, ..etcd });

    let (_base, run_dir) = run_dir();
    let session = connect(&run_dir, &target(&testbed, "ops")).await;
    bootstrap(&run_dir, &session, &network).await;
    assert_eq!(bootstrap(&run_dir, &session, &network).await.changed, 0);
    let look = "cd /etc/commissaire/etcd && stat -c '%n %a %U' * && cat client-key.pem";
    let seen = session.run_privileged(look, RUN).await.unwrap().stdout;
    assert_eq!(seen, "ca.pem 644 root\nclient-key.pem 600 root\nclient.pem 644 root\nkey old");
    write("new");
    // The copies, and the restart that they make necessary.
    assert_eq!(bootstrap(&run_dir, &session, &network).await.changed, 2);
    let seen = session.run_privileged(look, RUN).await.unwrap().stdout;
    assert!(seen.ends_with("key new"), "{seen}");
}
