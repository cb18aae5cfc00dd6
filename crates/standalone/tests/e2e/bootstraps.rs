//! Hosts of every kind are set up, each in its own way, and those that must not be are left as they are.

use std::path::Path;
use std::process::ExitStatus;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testbed::Testbed;

use crate::processes::Form;
use crate::server::{Server, soon};

/// What the hosts are here, by their numbers.
const FLAVOURS: [&str; 7] = ["debian", "centos", "rhel7", "ostree", "fedora", "debian", "debian"];
const DEBIAN: usize = 0;
const CENTOS: usize = 1;
const RHEL_7: usize = 2;
const OSTREE: usize = 3;
const BUSY: usize = 4;
const WITHOUT_PYTHON: usize = 5;
const UNKNOWN: usize = 6;

/// Those that are set up.
const SET_UP: [usize; 4] = [DEBIAN, CENTOS, RHEL_7, OSTREE];

/// Debian 12 has no flannel, and test hosts reach no mirror: a repository on the host itself, with packages
/// that are units which sleep, for the real apt-get.
const REPOSITORY: &str = r#"set -eu
mkdir -p /srv/apt && cd /srv/apt
for pair in flannel:flanneld docker.io:docker; do
  package=${pair%:*} unit=${pair#*:}
  mkdir -p "$package/DEBIAN" "$package/usr/lib/systemd/system"
  printf 'Package: %s\nVersion: 1.0\nArchitecture: all\nMaintainer: test <test@example.com>\nDescription: sleeps\n' \
    "$package" >"$package/DEBIAN/control"
  printf '[Service]\nEnvironmentFile=/etc/default/%s\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n' \
    "$unit" >"$package/usr/lib/systemd/system/$unit.service"
  dpkg-deb --build --root-owner-group "$package" >/dev/null
  cat "$package/DEBIAN/control"
  printf 'Filename: ./%s.deb\nSize: %s\nSHA256: %s\n\n' "$package" "$(stat -c %s "$package.deb")" \
    "$(sha256sum "$package.deb" | cut -d' ' -f1)"
done >Packages
rm -rf /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/apt ./' >/etc/apt/sources.list"#;

/// All that a bootstrap may touch, and whether a service has been started again. The directory with the generation mark, which
/// the watcher confirms, is left out.
const TRACES: &str = "systemctl show --property MainPID,ActiveState flanneld docker
  stat -c '%n %a %U %Y %s' /etc/sysconfig/* /etc/default/* /etc/commissaire/etcd/* /var/lib/commissaire/* 2>/dev/null | grep -v '^/var/lib/commissaire/units '
  grep -v -e rpm-ostree -e ' rpm ' /var/log/stand-in.log; cat /var/log/dpkg.log 2>/dev/null; true";

const FLANNEL: &str = "\
FLANNEL_ETCD_ENDPOINTS=\"https://10.0.0.1:2379\"
FLANNEL_ETCD_PREFIX=\"/atomic01/network\"
FLANNEL_ETCD=\"https://10.0.0.1:2379\"
FLANNEL_ETCD_KEY=\"/atomic01/network\"
FLANNEL_OPTIONS=\"--etcd-cafile=/etc/commissaire/etcd/ca.pem --etcd-certfile=/etc/commissaire/etcd/client.pem --etcd-keyfile=/etc/commissaire/etcd/client-key.pem\"";

#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_every_kind_are_set_up_each_in_its_own_way() {
    let test = "hosts_of_every_kind_are_set_up_each_in_its_own_way";
    let Some(testbed) = Testbed::up_booted(test, &FLAVOURS) else { return };
    let files = tempfile::tempdir().unwrap();
    let mut server = Server::start(Form::OneProcess, config(files.path())).await;
    server.put("/network/fl", json!({"type": "flannel_etcd"})).await;
    server.put("/cluster/c1", json!({"network": "fl"})).await;
    testbed.exec(DEBIAN, REPOSITORY);
    testbed.exec(BUSY, "dnf install -y docker && systemctl enable --now docker");
    testbed.exec(WITHOUT_PYTHON, "rm /usr/bin/python3*");
    testbed.exec(UNKNOWN, "sed -i 's/^ID=.*/ID=slackware/' /usr/lib/os-release");
    let busy = testbed.exec(BUSY, TRACES);
    for host in 0..FLAVOURS.len() {
        // What `auto` would leave alone: no flannel is known for Debian 12 and CentOS 9.
        let full = [DEBIAN, CENTOS, WITHOUT_PYTHON].contains(&host);
        let bootstrap = if full { "full" } else { "auto" };
        let user = if [CENTOS, RHEL_7].contains(&host) { "ops" } else { "root" };
        let more = json!({"cluster": "c1", "bootstrap": bootstrap, "remote_user": user});
        server.register(&testbed, host, more).await;
    }

    for (host, os) in SET_UP.into_iter().zip(["debian", "centos", "rhel", "fedora"]) {
        let status = status(&server, &testbed, host).await;
        assert_eq!(status["status"], "disassociated", "{os}: {status}");
        assert_eq!(status["detail"], "set up for the network fl", "{os}");
        let record = server.get(&format!("/host/{}", testbed.address(host).0)).await;
        assert_eq!(record["os"], os);
        is_set_up(&testbed, host);
    }
    commands_were_those_of_each_kind(&testbed);
    left_alone(&server, &testbed, &busy).await;
    again_without_a_change(&mut server, &testbed).await;
}

fn config(files: &Path) -> Value {
    let file = |name: &str| {
        let path = files.join(name);
        std::fs::write(&path, name).unwrap();
        path
    };
    json!({"investigator": {
        "flannel": {
            "endpoints": ["https://10.0.0.1:2379"],
            "certificate-ca-path": file("ca"),
            "certificate-path": file("certificate"),
            "certificate-key-path": file("key"),
        },
        "registry-mirror": {"host": "10.0.0.9", "port": 5000},
    }})
}

async fn status(server: &Server, testbed: &Testbed, host: usize) -> Value {
    server.settled(testbed.address(host).0).await["host"].clone()
}

/// The right files, and services that run now and after the next boot.
fn is_set_up(testbed: &Testbed, host: usize) {
    let (directory, selinux) = if host == DEBIAN {
        ("/etc/default", "")
    } else {
        ("/etc/sysconfig", "--selinux-enabled ")
    };
    let file = |name: &str| testbed.exec(host, &format!("grep -v '^#' {directory}/{name}"));
    assert_eq!(file("flanneld"), FLANNEL);
    let mirror = "--registry-mirror=http://10.0.0.9:5000";
    let docker = format!("OPTIONS=\"{selinux}{mirror}\"\nDOCKER_OPTS=\"{mirror}\"");
    assert_eq!(file("docker"), docker);
    let etcd =
        "cd /etc/commissaire/etcd && stat -c '%n %a %U' * && cat ca.pem client.pem client-key.pem";
    assert_eq!(
        testbed.exec(host, etcd),
        "ca.pem 644 root\nclient-key.pem 600 root\nclient.pem 644 root\ncacertificatekey"
    );
    assert_eq!(testbed.exec(host, "systemctl is-active flanneld docker"), "active\nactive");
    assert_eq!(testbed.exec(host, "systemctl is-enabled flanneld docker"), "enabled\nenabled");
}

fn commands_were_those_of_each_kind(testbed: &Testbed) {
    let log =
        |host| testbed.exec(host, "cut -d' ' -f2- /var/log/stand-in.log | grep -v '^rpm '; true");
    assert_eq!(
        log(CENTOS),
        "dnf install -y python3-libselinux\ndnf install -y flannel\ndnf install -y docker"
    );
    let enabled = "--enable rhel-7-server-extras-rpms --enable rhel-7-server-optional-rpms";
    assert_eq!(
        log(RHEL_7),
        format!(
            "subscription-manager repos {enabled}\nyum install -y libselinux-python\n\
             yum install -y flannel\nyum install -y docker"
        )
    );
    assert_eq!(log(OSTREE), "", "it has all in its tree");
    let installed =
        "dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\\n' flannel docker.io";
    assert_eq!(testbed.exec(DEBIAN, installed), "docker.io 1.0 installed\nflannel 1.0 installed");
}

/// One that runs containers already, one that Ansible cannot work on, and one that nobody knows.
async fn left_alone(server: &Server, testbed: &Testbed, busy: &str) {
    let status_of = async |host| status(server, testbed, host).await;
    let seen = status_of(BUSY).await;
    assert_eq!(seen["status"], "disassociated", "{seen}");
    assert!(seen["detail"].as_str().unwrap().contains("docker runs on it"), "{seen}");
    assert_eq!(testbed.exec(BUSY, TRACES), busy, "nothing was touched");

    let seen = status_of(WITHOUT_PYTHON).await;
    assert_eq!(
        (&seen["status"], &seen["reason"]),
        (&json!("failed"), &json!("no-python")),
        "{seen}"
    );
    let seen = status_of(UNKNOWN).await;
    assert_eq!(
        (&seen["status"], &seen["reason"]),
        (&json!("failed"), &json!("unknown-os")),
        "{seen}"
    );
    let known =
        "fedora, centos, rhel, redhat, atomic, rocky, almalinux, debian, ubuntu, opensuse, sles";
    for word in ["slackware", known] {
        assert!(seen["detail"].as_str().unwrap().contains(word), "{seen}");
    }
}

/// Once more for all of them, and told to stop in the middle of it: no key is left behind, and nothing changes.
async fn again_without_a_change(server: &mut Server, testbed: &Testbed) {
    let before = SET_UP.map(|host| testbed.exec(host, TRACES));
    for host in SET_UP {
        let path = format!("/host/{}/investigate", testbed.address(host).0);
        assert_eq!(server.call(Method::POST, &path, json!({})).await.0, StatusCode::ACCEPTED);
    }
    soon("keys are in use", async || (!server.keys_in_use().is_empty()).then_some(())).await;
    let ends = server.processes.terminate_all().await;
    assert!(ends.iter().all(ExitStatus::success), "{ends:?}");
    assert!(server.keys_in_use().is_empty(), "{:?}", server.keys_in_use());
    server.start_again().await;
    for (host, before) in SET_UP.into_iter().zip(before) {
        let status = status(server, testbed, host).await;
        assert_eq!(status["status"], "disassociated", "{status}");
        assert_eq!(status["detail"], "set up for the network fl: nothing had to be changed");
        assert_eq!(testbed.exec(host, TRACES), before);
    }
    // The watcher may be looking at one just now.
    soon("no key is in use", async || server.keys_in_use().is_empty().then_some(())).await;
}
