//! A small backup, and what to do with it.

use backup::transform::{
    AddressMap, AddressMapping, Change, Criterion, NameMap, Transform, TransformError, Transformed,
};
use backup::{Backup, FORMAT, Header, Record, Verification};
use model::RECORD_FORMAT;
use serde_json::Value;
use serde_json::value::RawValue;

/// `TYPE KEY VALUE`; the cluster web has two hosts, the cluster db one, and 10.0.0.9 is in none.
const LINES: &str = r#"
Instance instance/all {"name":"all","id":"6b2f","generation":1}
Network networks/default {"name":"default","type":"none","options":{}}
ServerKeys server_keys/all {"name":"all","fingerprints":[]}
Cluster clusters/web {"name":"web","status":"","network":"default","container_manager":"k8s"}
Cluster clusters/db {"name":"db","status":"","network":"default","container_manager":""}
ClusterMember cluster_members/10.0.0.1 {"address":"10.0.0.1","cluster":"web"}
ClusterMember cluster_members/10.0.0.2 {"address":"10.0.0.2","cluster":"web"}
ClusterMember cluster_members/10.0.0.3 {"address":"10.0.0.3","cluster":"db"}
Host hosts/10.0.0.1 {"address":"10.0.0.1","status":"active"}
Host hosts/10.0.0.2 {"address":"10.0.0.2","status":"failed"}
Host hosts/10.0.0.3 {"address":"10.0.0.3","status":"active"}
Host hosts/10.0.0.9 {"address":"10.0.0.9","status":"active"}
HostCreds secrets/hosts/10.0.0.1 {"sealed":"x","key_id":"k","nonce":"n","ciphertext":"c"}
HostCreds secrets/hosts/10.0.0.3 {"sealed":"x","key_id":"k","nonce":"n","ciphertext":"d"}
HostState host_state/10.0.0.2 {"address":"10.0.0.2","reason":"unreachable","detail":"ssh: connect to host 10.0.0.2 port 22, not 10.0.0.25","addresses":["172.17.0.1"]}
HostState host_state/10.0.0.3 {"address":"10.0.0.3","reason":"","addresses":["172.17.0.1"]}
Operation operations/0d9a {"id":"0d9a","cluster":"web","kind":"restart","reason":"","started_by":"ann","started_at":"t","hosts":["10.0.0.2","10.0.0.1"]}
OperationHost operation_hosts/0d9a.10.0.0.2 {"id":"0d9a.10.0.0.2","address":"10.0.0.2","step":"failed"}
OperationEvent operation_events/0d9a.0000000001 {"id":"0d9a.0000000001","seq":1,"time":"t","host":"10.0.0.2","step":"verify","outcome":"failed","detail":"10.0.0.2: it did not come back"}
Operation operations/0d9b {"id":"0d9b","cluster":"db","kind":"restart","started_by":"token:ci/corp:bob","started_at":"t","hosts":["10.0.0.3"]}
ClusterRestart cluster/web/restart {"name":"web","operation":"0d9a"}
Lease leases/investigation.10.0.0.2 {"name":"investigation.10.0.0.2","owner":"i","counter":0,"ttl_ms":1}
Lease leases/operation.web {"name":"operation.web","owner":"c","counter":0,"ttl_ms":1}
Alarm alarms/cluster.web {"scope":"cluster.web","since":"t","share":0.10,"reason":"1 of 2"}
ContainerManagerConfig container_managers/k8s {"name":"k8s","type":"kubernetes","options":{"server_url":"https://10.0.0.8:6443"}}
ContainerManagerSecret secrets/container_managers/k8s {"sealed":"x","key_id":"k","nonce":"n","ciphertext":"e"}
Binding bindings/ann {"name":"ann","kind":"user","subject":"ann","role":"operator","clusters":["web","we*"],"changed_by":"ann","changed_at":"t"}
Binding bindings/group {"name":"group","kind":"group","subject":"ann","role":"operator","clusters":["*"],"changed_by":"root","changed_at":"t"}
Enrollment enrollments/e1 {"id":"e1","token_hash":"","cluster":"web","from":["10.0.0.0/28","10.0.0.0/8"],"hosts":["10.0.0.1"],"created_by":"ann"}
CordonDebt cordon_debts/k.w1 {"id":"k.w1","container_manager":"k8s","node":"w1","address":"10.0.0.1","cluster":"web","cordoned_by":"6b2f/manual/ann"}
"#;

/// The line of a record.
pub(crate) fn record(line: &str) -> Record {
    let mut parts = line.splitn(3, ' ');
    let mut part = || parts.next().unwrap();
    Record {
        kind: part().to_owned(),
        key: format!("/commissaire/{}", part()),
        sealed_for: None,
        value: RawValue::from_string(part().to_owned()).unwrap(),
    }
}

pub(crate) fn backup() -> Backup {
    let records = LINES.lines().filter(|line| !line.is_empty()).map(record).collect();
    let header = Header {
        commissaire_backup: FORMAT,
        record_format: RECORD_FORMAT,
        version: "0.1.0".to_owned(),
        instance: "6b2f".to_owned(),
        ..Header::default()
    };
    let keys = Some("age".to_owned());
    let mut backup = Backup { header, keys, records, sha256: String::new() };
    backup.count();
    backup
}

/// The lines.
pub(crate) fn text(backup: &Backup) -> String {
    String::from_utf8(backup.write(Vec::new()).unwrap().1).unwrap()
}

pub(crate) fn read(text: &str) -> Backup {
    Backup::read(text.as_bytes(), Verification::Full).unwrap()
}

/// A transformation by options of the command line.
pub(crate) fn transform(options: &[(&str, &str)]) -> Transform {
    let all = |name: &'static str| {
        options.iter().filter(move |(option, _)| *option == name).map(|(_, value)| *value)
    };
    let criteria = |name| all(name).map(|text| text.parse::<Criterion>().unwrap()).collect();
    let addresses = all("address").map(|text| text.parse::<AddressMapping>().unwrap());
    Transform {
        addresses: AddressMap::new(addresses).unwrap(),
        clusters: NameMap::of_clusters(all("cluster").map(|text| text.parse().unwrap())).unwrap(),
        users: NameMap::of_users(all("user").map(|text| text.parse().unwrap())).unwrap(),
        only: criteria("only"),
        exclude: criteria("exclude"),
    }
}

pub(crate) fn transformed(options: &[(&str, &str)]) -> Transformed {
    transform(options).apply(backup()).unwrap()
}

pub(crate) fn refused(options: &[(&str, &str)]) -> TransformError {
    transform(options).apply(backup()).unwrap_err()
}

/// The keys in a backup, without what they all begin with.
pub(crate) fn keys(backup: &Backup) -> Vec<&str> {
    backup.records.iter().map(|record| &record.key["/commissaire/".len()..]).collect()
}

/// The record under a key.
pub(crate) fn value(backup: &Backup, key: &str) -> Value {
    let key = format!("/commissaire/{key}");
    let found = backup.records.iter().find(|record| record.key == key);
    let found = found.unwrap_or_else(|| panic!("no {key}"));
    serde_json::from_str(found.value.get()).unwrap()
}

/// The change of a record.
pub(crate) fn change<'a>(transformed: &'a Transformed, key: &str) -> &'a Change {
    let key = format!("/commissaire/{key}");
    transformed.changes.iter().find(|change| change.key == key).unwrap()
}
