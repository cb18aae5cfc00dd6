//! Taking over the original's data. `dump.json` is what an etcd 3.4 with `--enable-v2` answered.

use bus::error::chain;
use model::{Cluster, ContainerManagerConfig, Host, HostCreds, Network, Status};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use storage_svc::migrate::{self, MigrateError, Report};

use crate::service::{Fixture, config, host, start_with};

const DUMP: &str = include_str!("dump.json");

async fn take_over(fixture: &Fixture, dump: &str) -> Result<Report, MigrateError> {
    migrate::run(&config(fixture.folder.path()), dump.as_bytes()).await
}

async fn start() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    start_with(folder, &config).await
}

#[tokio::test]
async fn the_originals_records_are_taken_over_and_the_second_time_are_there() {
    let fixture = start().await;
    let report = take_over(&fixture, DUMP).await.unwrap();
    let taken = [
        ("Cluster", 1),
        ("ClusterMember", 2),
        ("ContainerManagerConfig", 1),
        ("ContainerManagerSecret", 1),
        ("Host", 2),
        ("HostCreds", 2),
        ("Network", 2),
    ];
    assert_eq!(report.taken, taken.into());
    let text = report.to_string();
    for says in ["2 HostCreds", "left out: 3", "hosts/192.168.152.112: unknown", "past operations"]
    {
        assert!(text.contains(says), "{text}");
    }
    assert!(!text.contains("canary") && !text.contains("Y2FuYXJ5"));

    let storage = &fixture.storage;
    let one = storage.get::<Host>("192.168.152.110").await.unwrap().record;
    assert_eq!((one.status, one.os.as_str(), one.memory), (Status::Active, "fedora", 1_020_464));
    let creds = storage.get::<HostCreds>("192.168.152.111").await.unwrap().record;
    assert_eq!(creds.ssh_priv_key.expose_secret(), "Y2FuYXJ5LXR3bw==");
    assert_eq!((creds.remote_user.as_str(), creds.ssh_port), ("cloud-user", 22));
    let cluster = storage.get::<Cluster>("datacenter1").await.unwrap().record;
    assert_eq!(cluster.hostset, ["192.168.152.110", "192.168.152.111"]);
    assert_eq!(cluster.container_manager, "prod_openshift");
    assert!(storage.find::<ContainerManagerConfig>("prod_openshift").await.unwrap().is_some());
    assert_eq!(storage.list::<Network>().await.unwrap().len(), 2);
    for file in std::fs::read_dir(fixture.folder.path()).unwrap() {
        let content =
            String::from_utf8_lossy(&std::fs::read(file.unwrap().path()).unwrap()).into_owned();
        assert!(!content.contains("canary") && !content.contains("Y2FuYXJ5"));
    }

    let again = take_over(&fixture, DUMP).await.unwrap();
    assert_eq!((again.taken.len(), again.present), (0, taken.into()));
}

#[tokio::test]
async fn nothing_is_overwritten_nor_written_beside_it() {
    let fixture = start().await;
    fixture.storage.save(&host("192.168.152.111")).await.unwrap();
    let error = take_over(&fixture, DUMP).await.unwrap_err();
    let MigrateError::Present(keys) = &error else { panic!("{error}") };
    assert_eq!(keys, &["/commissaire/hosts/192.168.152.111"]);
    assert_eq!(fixture.storage.list::<Host>().await.unwrap().len(), 1);
    assert!(fixture.storage.list::<Network>().await.unwrap().is_empty());
    // Out of its way it goes through: also what a run that was cut off has left.
    fixture.storage.delete::<Host>("192.168.152.111").await.unwrap();
    fixture.ask("save", json!(["Network", {"name": "default"}])).await.unwrap();
    let report = take_over(&fixture, DUMP).await.unwrap();
    assert_eq!((report.taken["Host"], report.present["Network"]), (2, 1));
}

#[tokio::test]
async fn many_records_are_written_in_parts() {
    let fixture = start().await;
    let hosts = (0..130).map(|n| {
        let value = json!({"address": format!("h{n}"), "ssh_priv_key": ""}).to_string();
        json!({"key": format!("/commissaire/hosts/h{n}"), "value": value})
    });
    let hosts: Value = hosts.collect();
    let dump = json!({"node": {"key": "/commissaire", "dir": true, "nodes": hosts}}).to_string();
    assert_eq!(take_over(&fixture, &dump).await.unwrap().taken["Host"], 130);
    assert_eq!(fixture.storage.list::<HostCreds>().await.unwrap().len(), 130);
}

#[tokio::test]
async fn what_is_no_dump_changes_nothing() {
    let fixture = start().await;
    for (dump, says) in [
        ("", "is not what"),
        (r#"{"errorCode": 100, "message": "Key not found"}"#, "Key not found"),
        (r#"{"node": {"key": "/kubernetes", "value": "x"}}"#, "no keys below /commissaire"),
    ] {
        let error = chain(&take_over(&fixture, dump).await.unwrap_err());
        assert!(error.contains(says), "{error}");
    }
}
