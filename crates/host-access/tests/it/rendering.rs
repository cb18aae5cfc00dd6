//! The files that a bootstrap writes, rendered by the real Ansible.

use std::fs;
use std::time::Duration;

use host_access::{
    Ansible, BootstrapOptions, FlannelEtcd, FlannelTls, NetworkSetup, Os, Playbook, RegistryMirror,
    bootstrap_vars,
};

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

/// What flannel's and docker's files hold, without comments.
async fn rendered(os: Os, network: NetworkSetup, options: BootstrapOptions) -> [String; 2] {
    let directory = tempfile::TempDir::new().unwrap();
    fs::write(directory.path().join("bootstrap.yaml"), RENDER).unwrap();
    let templates = concat!(env!("CARGO_MANIFEST_DIR"), "/../../playbooks/templates");
    std::os::unix::fs::symlink(templates, directory.path().join("templates")).unwrap();
    let mut vars = bootstrap_vars(os, "41", false, &network, &options).unwrap();
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
    let tls = FlannelTls {
        ca_path: Some("/etc/ca.pem".into()),
        certificate_path: Some("/etc/flannel.pem".into()),
        key_path: Some("/etc/flannel-key.pem".into()),
    };
    let etcd = FlannelEtcd {
        endpoints: vec!["https://10.0.0.1:2379".into(), "https://10.0.0.2:2379".into()],
        tls,
        key_prefix: String::new(),
    };
    let mirror = RegistryMirror { host: "10.0.0.9".into(), port: 5000 };
    let options = BootstrapOptions { registry_mirror: Some(mirror), ..BootstrapOptions::default() };
    let [flannel, docker] = rendered(Os::Fedora, NetworkSetup::FlannelEtcd(etcd), options).await;
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
    let [flannel, docker] = rendered(Os::Debian, network, BootstrapOptions::default()).await;
    assert_eq!(flannel, "FLANNEL_OPTIONS=\"--remote=10.0.0.1:8888\"\n");
    assert_eq!(docker, "OPTIONS=\"\"\nDOCKER_OPTS=\"\"\n");
}

#[tokio::test]
async fn flannel_with_etcd_without_tls() {
    let etcd = FlannelEtcd {
        endpoints: vec!["http://10.0.0.1:2379".into()],
        key_prefix: "/coreos.com/network".into(),
        ..FlannelEtcd::default()
    };
    let network = NetworkSetup::FlannelEtcd(etcd);
    let [flannel, docker] = rendered(Os::Centos, network, BootstrapOptions::default()).await;
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
    let [flannel, docker] = rendered(Os::Opensuse, network, BootstrapOptions::default()).await;
    let options = flannel.lines().last().unwrap();
    assert_eq!(options, "FLANNEL_OPTIONS=\"--etcd-cafile=/etc/commissaire/etcd/ca.pem\"");
    assert_eq!(docker, "OPTIONS=\"\"\nDOCKER_OPTS=\"\"\n");
}

/// With certificates and a mirror configured, too: nothing is made of them.
#[tokio::test]
async fn a_network_of_none_renders_nothing() {
    let mirror = RegistryMirror { host: "10.0.0.9".into(), port: 5000 };
    let options = BootstrapOptions { registry_mirror: Some(mirror), ..BootstrapOptions::default() };
    let vars = bootstrap_vars(Os::Fedora, "41", false, &NetworkSetup::None, &options).unwrap();
    let sshd = Sshd::start();
    let (_base, run_dir) = run_dir();
    let session = sshd.session(&run_dir).await;
    let (ansible, deadline) = (Ansible::new(None), Duration::from_secs(90));
    let unexpected = |event| panic!("{event:?}");
    let run = ansible.run(&run_dir, &session, Playbook::Bootstrap, &vars, deadline, unexpected);
    assert_eq!(run.await.unwrap().changed, 0);
}
