//! The files that a bootstrap writes, rendered by the real Ansible.

use std::fs;
use std::time::Duration;

use host_access::{
    Ansible, BootstrapOptions, FlannelEtcd, FlannelTls, NetworkSetup, Os, Playbook, RegistryMirror,
    bootstrap_vars,
};
use serde_json::{Map, Value};

use crate::sshd::{Sshd, run_dir};

const RENDER: &str = "
- hosts: all
  gather_facts: false
  vars: {become: false}
  tasks:
    - ansible.builtin.template:
        src: \"{{ item }}\"
        dest: \"{{ commissaire_flanneld_config | dirname }}/{{ item | basename }}.rendered\"
      loop: [\"{{ commissaire_flanneld_config_local }}\", \"{{ commissaire_docker_config_local }}\"]
";

fn vars(os: Os, network: &NetworkSetup, options: &BootstrapOptions) -> Map<String, Value> {
    bootstrap_vars(os, "41", false, network, options).unwrap()
}

fn tls() -> FlannelTls {
    FlannelTls {
        ca_path: Some("/etc/ca.pem".into()),
        certificate_path: Some("/etc/flannel.pem".into()),
        key_path: Some("/etc/flannel-key.pem".into()),
    }
}

fn mirrored() -> BootstrapOptions {
    let mirror = RegistryMirror { host: "10.0.0.9".into(), port: 5000 };
    BootstrapOptions { registry_mirror: Some(mirror), ..BootstrapOptions::default() }
}

/// With all that can be said of etcd.
fn etcd() -> NetworkSetup {
    NetworkSetup::FlannelEtcd(FlannelEtcd {
        endpoints: vec!["https://10.0.0.1:2379".into(), "https://10.0.0.2:2379".into()],
        tls: tls(),
        key_prefix: String::new(),
    })
}

/// The variables of `network` on top of those of etcd, as an operator's own may have them.
fn with_etcds(network: &NetworkSetup) -> Map<String, Value> {
    let mut all = vars(Os::Fedora, &etcd(), &mirrored());
    all.extend(vars(Os::Fedora, network, &mirrored()));
    all
}

/// What flannel's and docker's files hold, without comments.
async fn rendered(mut vars: Map<String, Value>) -> [String; 2] {
    let directory = tempfile::TempDir::new().unwrap();
    fs::write(directory.path().join("bootstrap.yaml"), RENDER).unwrap();
    let templates = concat!(env!("CARGO_MANIFEST_DIR"), "/../../playbooks/templates");
    std::os::unix::fs::symlink(templates, directory.path().join("templates")).unwrap();
    let config = directory.path().join("flanneld").to_str().unwrap().into();
    vars.insert("commissaire_flanneld_config".into(), config);

    let sshd = Sshd::start();
    let (_base, run_dir) = run_dir();
    let session = sshd.session(&run_dir).await;
    let ansible = Ansible::new(Some(directory.path().to_owned()));
    let deadline = Duration::from_secs(90);
    ansible.run(&run_dir, &session, Playbook::Bootstrap, &vars, deadline, |_| ()).await.unwrap();
    ["flanneld", "docker"].map(|name| {
        let text = fs::read_to_string(directory.path().join(format!("{name}.rendered"))).unwrap();
        text.split_inclusive('\n').filter(|line| !line.starts_with('#')).collect()
    })
}

#[tokio::test]
async fn flannel_with_etcd() {
    let [flannel, docker] = rendered(vars(Os::Fedora, &etcd(), &mirrored())).await;
    assert_eq!(
        flannel,
        "\
FLANNEL_ETCD_ENDPOINTS=\"https://10.0.0.1:2379,https://10.0.0.2:2379\"
FLANNEL_ETCD_PREFIX=\"/atomic01/network\"
FLANNEL_ETCD=\"https://10.0.0.1:2379,https://10.0.0.2:2379\"
FLANNEL_ETCD_KEY=\"/atomic01/network\"
FLANNEL_OPTIONS=\"--etcd-cafile=/etc/commissaire/etcd/ca.pem --etcd-certfile=/etc/commissaire/etcd/client.pem --etcd-keyfile=/etc/commissaire/etcd/client-key.pem\"
"
    );
    assert_eq!(
        docker,
        "\
OPTIONS=\"--selinux-enabled --registry-mirror=http://10.0.0.9:5000\"
DOCKER_OPTS=\"--registry-mirror=http://10.0.0.9:5000\"
"
    );
}

#[tokio::test]
async fn flannel_with_a_server() {
    let network = NetworkSetup::FlannelServer { address: "10.0.0.1:8888".into() };
    let [flannel, docker] =
        rendered(vars(Os::Debian, &network, &BootstrapOptions::default())).await;
    assert_eq!(flannel, "FLANNEL_OPTIONS=\"--remote=10.0.0.1:8888\"\n");
    assert_eq!(docker, "OPTIONS=\"\"\nDOCKER_OPTS=\"\"\n");
}

/// A server that it asks over plain HTTP has no use for etcd's certificates.
#[tokio::test]
async fn flannel_with_a_server_beside_certificates_for_etcd() {
    let network = NetworkSetup::FlannelServer { address: "10.0.0.1:8888".into() };
    let [flannel, docker] = rendered(with_etcds(&network)).await;
    assert_eq!(flannel, "FLANNEL_OPTIONS=\"--remote=10.0.0.1:8888\"\n");
    assert_eq!(
        docker,
        "\
OPTIONS=\"--selinux-enabled --registry-mirror=http://10.0.0.9:5000\"
DOCKER_OPTS=\"--registry-mirror=http://10.0.0.9:5000\"
"
    );
}

#[tokio::test]
async fn flannel_with_etcd_without_tls() {
    let etcd = FlannelEtcd {
        endpoints: vec!["http://10.0.0.1:2379".into()],
        key_prefix: "/coreos.com/network".into(),
        ..FlannelEtcd::default()
    };
    let network = NetworkSetup::FlannelEtcd(etcd);
    let [flannel, docker] =
        rendered(vars(Os::Centos, &network, &BootstrapOptions::default())).await;
    assert_eq!(
        flannel,
        "\
FLANNEL_ETCD_ENDPOINTS=\"http://10.0.0.1:2379\"
FLANNEL_ETCD_PREFIX=\"/coreos.com/network\"
FLANNEL_ETCD=\"http://10.0.0.1:2379\"
FLANNEL_ETCD_KEY=\"/coreos.com/network\"
FLANNEL_OPTIONS=\"\"
"
    );
    assert_eq!(docker, "OPTIONS=\"--selinux-enabled \"\nDOCKER_OPTS=\"\"\n");
}

#[tokio::test]
async fn flannel_with_etcd_that_only_its_ca_is_known_of() {
    let tls = FlannelTls { ca_path: Some("/etc/ca.pem".into()), ..FlannelTls::default() };
    let endpoints = vec!["https://etcd.example.com:2379".into()];
    let etcd = FlannelEtcd { endpoints, tls, key_prefix: String::new() };
    let network = NetworkSetup::FlannelEtcd(etcd);
    let [flannel, docker] =
        rendered(vars(Os::Opensuse, &network, &BootstrapOptions::default())).await;
    let options = flannel.lines().last().unwrap();
    assert_eq!(options, "FLANNEL_OPTIONS=\"--etcd-cafile=/etc/commissaire/etcd/ca.pem\"");
    assert_eq!(docker, "OPTIONS=\"\"\nDOCKER_OPTS=\"\"\n");
}

#[tokio::test]
async fn flannel_with_etcd_that_a_public_authority_vouches_for() {
    let tls = FlannelTls { ca_path: None, ..tls() };
    let endpoints = vec!["https://etcd.example.com:2379".into()];
    let network =
        NetworkSetup::FlannelEtcd(FlannelEtcd { endpoints, tls, key_prefix: String::new() });
    let [flannel, docker] =
        rendered(vars(Os::Ubuntu, &network, &BootstrapOptions::default())).await;
    assert_eq!(
        flannel.lines().last().unwrap(),
        "FLANNEL_OPTIONS=\" --etcd-certfile=/etc/commissaire/etcd/client.pem --etcd-keyfile=/etc/commissaire/etcd/client-key.pem\""
    );
    assert_eq!(docker, "OPTIONS=\"\"\nDOCKER_OPTS=\"\"\n");
}

/// With certificates and a mirror configured, too: nothing is made of them.
#[tokio::test]
async fn a_network_of_none_renders_nothing() {
    let sshd = Sshd::start();
    let (_base, run_dir) = run_dir();
    let session = sshd.session(&run_dir).await;
    for vars in
        [vars(Os::Fedora, &NetworkSetup::None, &mirrored()), with_etcds(&NetworkSetup::None)]
    {
        let (ansible, deadline) = (Ansible::new(None), Duration::from_secs(90));
        let unexpected = |event| panic!("{event:?}");
        let run = ansible.run(&run_dir, &session, Playbook::Bootstrap, &vars, deadline, unexpected);
        assert_eq!(run.await.unwrap().changed, 0);
    }
}
