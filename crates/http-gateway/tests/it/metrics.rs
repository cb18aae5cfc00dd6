//! Metrics of the fleet, and the names of metrics in the alerts, the dashboard and the manual.

use std::collections::BTreeSet;
use std::path::Path;

use model::{CordonDebt, Lease, LeasePurpose, Status};
use serde_json::json;

use crate::support::Gateway;

#[tokio::test]
async fn the_fleet_is_counted_by_cluster_and_operation() {
    let gateway = Gateway::start().await;
    for (address, status) in [
        ("10.0.0.1", Status::Active),
        ("10.0.0.2", Status::Active),
        ("10.0.0.3", Status::Failed),
        ("10.0.0.4", Status::Disassociated),
    ] {
        gateway.host(address, status).await;
    }
    gateway.cluster("c1", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]).await;
    let hosts = json!({"hosts": ["10.0.0.1", "10.0.0.2"], "options": {"max_unavailable": "50%"}});
    gateway.operation("op", hosts).await;
    gateway.progress("op", "10.0.0.1", json!({"step": "reboot"})).await;
    let (name, owner) = (LeasePurpose::Operation("c1").name(), "executor".to_owned());
    let operation = "op".to_owned();
    let lease = Lease { name, owner, counter: 1, ttl_ms: 60_000, operation };
    gateway.storage.save(&lease).await.unwrap();
    let debt = json!({"id": "k.node", "container_manager": "k", "node": "node", "node_uid": "u",
        "address": "10.0.0.9", "cordoned_by": "i/op", "state": "due"});
    let debt: CordonDebt = serde_json::from_value(debt).unwrap();
    gateway.storage.save(&debt).await.unwrap();

    let text = gateway.send("GET", "/metrics", "").await.text();
    for line in [
        r#"commissaire_hosts{cluster="c1",status="active"} 2"#,
        r#"commissaire_hosts{cluster="c1",status="failed"} 1"#,
        r#"commissaire_hosts{cluster="",status="disassociated"} 1"#,
        r#"commissaire_operation_hosts{cluster="c1",kind="restart",step="reboot"} 1"#,
        r#"commissaire_operation_hosts{cluster="c1",kind="restart",step="pending"} 1"#,
        r#"commissaire_operation_unavailable_hosts{cluster="c1",kind="restart"} 2"#,
        r#"commissaire_operation_max_unavailable_hosts{cluster="c1",kind="restart"} 1"#,
        r#"commissaire_operation_started_timestamp_seconds{cluster="c1",kind="restart"} 1"#,
        r#"commissaire_leases{purpose="operation"} 1"#,
        r#"commissaire_cordoned_nodes{state="due"} 1"#,
        r#"commissaire_cordoned_nodes{state="held"} 0"#,
        r#"commissaire_service_replicas{service="storage","#,
        r#"commissaire_part_up{part="store"} 1"#,
        "commissaire_fleet_readable 1",
        "commissaire_frozen 0",
    ] {
        assert!(text.contains(line), "{line} is missing: {text}");
    }
    assert!(
        text.contains(r#"commissaire_operations{cluster="c1",kind="restart",state=""#),
        "{text}"
    );

    // An operation without a lease is not in process.
    gateway.storage.delete::<Lease>(&lease.name).await.unwrap();
    let text = gateway.send("GET", "/metrics", "").await.text();
    assert!(!text.contains("commissaire_operation_hosts"), "{text}");
}

/// The names of metrics in a text, without the suffixes of histograms.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let words = words.filter(|word| word.starts_with("commissaire_"));
    let suffixes = ["_bucket", "_sum", "_count"];
    let name = |word: &str| {
        suffixes.iter().find_map(|suffix| word.strip_suffix(suffix)).unwrap_or(word).to_owned()
    };
    words.map(name).collect()
}

/// The names in the code of all crates.
fn measured() -> BTreeSet<String> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut folders: Vec<_> =
        crates.read_dir().unwrap().map(|entry| entry.unwrap().path().join("src")).collect();
    let mut found = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for call in ["gauge!(", "counter!(", "histogram!("] {
                // The name is what comes first, perhaps on the next line.
                let names = text
                    .split(call)
                    .skip(1)
                    .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
                found.extend(
                    names.filter(|name| name.starts_with("commissaire_")).map(str::to_owned),
                );
            }
        }
    }
    found
}

#[test]
fn alerts_dashboard_and_manual_name_what_is_measured() {
    let read = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
        std::fs::read_to_string(path).unwrap()
    };
    let measured = measured();
    assert_eq!(names(&read("docs/monitoring.md")), measured);
    for file in ["conf/prometheus/alerts.yaml", "conf/grafana/commissaire.json"] {
        let named = names(&read(file));
        let unknown: Vec<_> = named.difference(&measured).collect();
        assert!(!named.is_empty() && unknown.is_empty(), "{file}: {unknown:?}");
    }
}
