//! Some of the records.

use backup::transform::TransformError;

use crate::examples::{backup, keys, record, refused, transform, transformed, value};

/// The records that every restore needs.
const BASE: [&str; 5] =
    ["instance/all", "networks/default", "server_keys/all", "bindings/ann", "bindings/group"];

/// The records that belong to the cluster web.
const WEB: [&str; 18] = [
    "clusters/web",
    "cluster_members/10.0.0.1",
    "cluster_members/10.0.0.2",
    "hosts/10.0.0.1",
    "hosts/10.0.0.2",
    "secrets/hosts/10.0.0.1",
    "host_state/10.0.0.2",
    "operations/0d9a",
    "operation_hosts/0d9a.10.0.0.2",
    "operation_events/0d9a.0000000001",
    "cluster/web/restart",
    "leases/investigation.10.0.0.2",
    "leases/operation.web",
    "alarms/cluster.web",
    "container_managers/k8s",
    "secrets/container_managers/k8s",
    "enrollments/e1",
    "cordon_debts/k.w1",
];

#[test]
fn only_a_cluster_keeps_its_hosts_its_operations_and_what_a_restore_needs() {
    let result = transformed(&[("only", "cluster:web")]).backup;
    // In the order of the backup.
    let kept: Vec<_> = BASE.into_iter().chain(WEB).collect();
    let original = backup();
    let expected: Vec<_> = keys(&original).into_iter().filter(|key| kept.contains(key)).collect();
    assert_eq!(keys(&result), expected);
    assert!(result.keys.is_some());
    assert_eq!(result.header.records, expected.len() as u64);
    assert_eq!(result.header.counts["Host"], 2);
}

#[test]
fn exclude_a_cluster_is_the_complement() {
    let result = transformed(&[("exclude", "cluster:web")]).backup;
    let original = backup();
    let expected: Vec<_> = keys(&original).into_iter().filter(|key| !WEB.contains(key)).collect();
    assert_eq!(keys(&result), expected);
    // A container manager that others use stays.
    let mut shared = backup();
    shared.records.push(record(r#"Cluster clusters/x {"name":"x","container_manager":"k8s"}"#));
    let result = transform(&[("exclude", "cluster:web")]).apply(shared).unwrap().backup;
    assert_eq!(value(&result, "container_managers/k8s")["name"], "k8s");
}

#[test]
fn hosts_are_chosen_by_address_and_network() {
    let result = transformed(&[("only", "host:10.0.0.2/31")]).backup;
    let expected = [
        "instance/all",
        "networks/default",
        "server_keys/all",
        "hosts/10.0.0.2",
        "hosts/10.0.0.3",
        "secrets/hosts/10.0.0.3",
        "host_state/10.0.0.2",
        "host_state/10.0.0.3",
        "leases/investigation.10.0.0.2",
        "bindings/ann",
        "bindings/group",
    ];
    assert_eq!(keys(&result), expected, "no membership of a cluster that is left out");
    let result = transformed(&[("only", "cluster:web"), ("exclude", "host:10.0.0.1")]).backup;
    let gone = [
        "cluster_members/10.0.0.1",
        "hosts/10.0.0.1",
        "secrets/hosts/10.0.0.1",
        "cordon_debts/k.w1",
    ];
    let kept: Vec<_> = BASE.into_iter().chain(WEB).filter(|key| !gone.contains(key)).collect();
    let original = backup();
    let expected: Vec<_> = keys(&original).into_iter().filter(|key| kept.contains(key)).collect();
    assert_eq!(keys(&result), expected);
}

#[test]
fn types_and_the_keys_are_chosen_by_name() {
    let result = transformed(&[("only", "Network"), ("only", "ServerKeys")]);
    assert_eq!(keys(&result.backup), ["networks/default", "server_keys/all"]);
    assert!(result.keys_left_out && result.backup.keys.is_none());
    let result = transformed(&[("only", "Network"), ("only", "keys")]);
    assert!(!result.keys_left_out && result.backup.keys.is_some());
    let result = transformed(&[("exclude", "keys"), ("exclude", "Alarm")]);
    assert!(result.keys_left_out && result.backup.records.len() + 1 == backup().records.len());
    let not_included = result.backup.header.not_included;
    assert!(not_included[0].contains("--with-key"), "as `restore` looks for it: {not_included:?}");
}

#[test]
fn what_is_left_out_is_not_looked_at_when_names_are_mapped() {
    let merged = ("address", "10.0.0.1=10.0.0.9");
    assert!(transform(&[merged, ("exclude", "host:10.0.0.9")]).apply(backup()).is_ok());
}

#[test]
fn choosing_nothing_is_an_error() {
    for what in ["cluster:wbe", "host:10.0.0.77", "host:10.7.0.0/16", "Hosts"] {
        for option in ["only", "exclude"] {
            let error = refused(&[(option, what)]);
            assert!(matches!(error, TransformError::NothingChosen(_)), "{error}");
            assert!(error.to_string().contains(what), "{error}");
        }
    }
    assert!(transform(&[("exclude", "CheckReport")]).apply(backup()).is_ok(), "known, and none");
}
