//! Other addresses, clusters and users.

use backup::transform::{ChangeKind, TransformError};
use proptest::prelude::*;
use serde_json::json;

use crate::examples::{
    backup, change, keys, read, record, refused, text, transform, transformed, value,
};

#[test]
fn every_place_that_names_a_host_is_mapped() {
    let result = transformed(&[("address", "10.0.0.0/24=10.1.0.0/24")]);
    let new = &result.backup;
    for key in ["hosts/10.1.0.1", "cluster_members/10.1.0.2", "secrets/hosts/10.1.0.3"] {
        assert!(keys(new).contains(&key), "{key}");
    }
    assert_eq!(value(new, "leases/investigation.10.1.0.2")["name"], "investigation.10.1.0.2");
    assert_eq!(value(new, "operation_hosts/0d9a.10.1.0.2")["id"], "0d9a.10.1.0.2");
    let hosts = json!(["10.1.0.2", "10.1.0.1"]);
    assert_eq!(value(new, "operations/0d9a")["hosts"], hosts, "in the order of the work");
    let event = value(new, "operation_events/0d9a.0000000001");
    assert_eq!(event["detail"], "10.1.0.2: it did not come back");
    let state = value(new, "host_state/10.1.0.2");
    assert_eq!(state["detail"], "ssh: connect to host 10.1.0.2 port 22, not 10.1.0.25");
    assert_eq!(state["addresses"], json!(["172.17.0.1"]));
    let manager = value(new, "container_managers/k8s");
    assert_eq!(manager["options"]["server_url"], "https://10.1.0.8:6443");
    let from = json!(["10.1.0.0/28", "10.0.0.0/8"]);
    assert_eq!(value(new, "enrollments/e1")["from"], from);
    assert!(result.notes[0].contains("the network 10.0.0.0/8 stays"), "{:?}", result.notes);
    let rest = text(new)
        .replace("10.0.0.0/8", "")
        .replace(r#""sealed_for":"/commissaire/secrets/hosts/10.0.0."#, "");
    assert!(!rest.contains("10.0.0."), "{rest}");
    // What is not mapped is as it was written.
    assert!(rest.contains(r#""share":0.10"#), "{rest}");
}

#[test]
fn sealed_record_keeps_its_envelope_and_the_key_that_opens_it() {
    let moved = transformed(&[("address", "10.0.0.1=10.1.0.1")]).backup;
    let find = |backup: &backup::Backup, key: &str| {
        backup.records.iter().find(|record| record.key.ends_with(key)).unwrap().clone()
    };
    let original = find(&backup(), "secrets/hosts/10.0.0.1");
    let first = find(&moved, "secrets/hosts/10.1.0.1");
    assert_eq!(first.sealed_for.as_deref(), Some(original.key.as_str()));
    assert_eq!(first.value.get(), original.value.get());
    let again = transform(&[("address", "10.1.0.1=10.2.0.1")]).apply(moved).unwrap().backup;
    let second = find(&again, "secrets/hosts/10.2.0.1");
    assert_eq!(second.sealed_for, first.sealed_for, "it still opens under the first key only");
    let back = transform(&[("address", "10.2.0.1=10.0.0.1")]).apply(again).unwrap().backup;
    assert_eq!(find(&back, "secrets/hosts/10.0.0.1").sealed_for, None);
}

#[test]
fn lists_that_are_searched_stay_sorted() {
    let mut backup = backup();
    let change = r#"{"kind":"changing","hostset":["10.0.0.1","10.0.0.2"]}"#;
    let line = format!(r#"Cluster clusters/c {{"name":"c","change":{change}}}"#);
    backup.records.push(record(&line));
    let map = transform(&[("address", "10.0.0.1=10.9.0.1")]);
    let new = map.apply(backup).unwrap().backup;
    assert_eq!(value(&new, "clusters/c")["change"]["hostset"], json!(["10.0.0.2", "10.9.0.1"]));
}

#[test]
fn clusters_are_mapped_by_their_fields_and_not_in_texts() {
    let result = transformed(&[("cluster", "web=shop")]);
    let new = &result.backup;
    for (key, field) in [
        ("clusters/shop", "name"),
        ("cluster_members/10.0.0.1", "cluster"),
        ("operations/0d9a", "cluster"),
        ("cluster/shop/restart", "name"),
        ("enrollments/e1", "cluster"),
        ("cordon_debts/k.w1", "cluster"),
    ] {
        assert_eq!(value(new, key)[field], "shop", "{key}");
    }
    assert_eq!(value(new, "leases/operation.shop")["name"], "operation.shop");
    assert_eq!(value(new, "alarms/cluster.shop")["scope"], "cluster.shop");
    assert_eq!(value(new, "bindings/ann")["clusters"], json!(["shop", "we*"]));
    assert_eq!(value(new, "clusters/db"), value(&backup(), "clusters/db"));
    let [note] = result.notes.as_slice() else { panic!("{:?}", result.notes) };
    assert!(note.contains("bindings/ann") && note.contains("\"we*\" stays"), "{note}");
}

#[test]
fn users_are_mapped_as_principals_and_owners_of_tokens() {
    let result = transformed(&[("user", "ann=corp:ann"), ("user", "corp:bob=rob")]);
    let new = &result.backup;
    assert_eq!(value(new, "operations/0d9a")["started_by"], "corp:ann");
    assert_eq!(value(new, "operations/0d9b")["started_by"], "token:ci/rob");
    assert_eq!(value(new, "cordon_debts/k.w1")["cordoned_by"], "6b2f/manual/corp:ann");
    let binding = value(new, "bindings/ann");
    assert_eq!([&binding["subject"], &binding["changed_by"]], ["corp:ann", "corp:ann"]);
    assert_eq!(binding["name"], "ann", "the name of the binding is another name");
    assert_eq!(value(new, "bindings/group")["subject"], "ann", "a group");
    let merged = transformed(&[("user", "root=ann")]);
    assert!(merged.notes[0].contains("ann and root become one"), "{:?}", merged.notes);
}

#[test]
fn names_that_would_be_merged_are_refused() {
    let error = refused(&[("address", "10.0.0.1=10.0.0.9")]);
    assert!(matches!(error, TransformError::HostsMerged { .. }), "{error}");
    for part in ["10.0.0.1 ", "10.0.0.9 "] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let error = refused(&[("cluster", "web=db")]).to_string();
    assert!(error.contains("web") && error.contains("db"), "{error}");
    // An exchange is none.
    let result = transformed(&[("address", "10.0.0.1=10.0.0.2"), ("address", "10.0.0.2=10.0.0.1")]);
    assert_eq!(value(&result.backup, "operations/0d9a")["hosts"], json!(["10.0.0.1", "10.0.0.2"]));
}

#[test]
fn mapping_that_applies_to_nothing_is_reported() {
    let options =
        [("address", "11.7.0.0/24=11.8.0.0/24"), ("cluster", "wbe=shop"), ("user", "nan=ann")];
    let result = transformed(&options);
    assert!(result.changes.is_empty());
    let expected = ["--map-address 11.7.0.0/24", "--map-cluster wbe", "--map-user nan"];
    assert_eq!(result.notes.len(), expected.len());
    for (note, option) in result.notes.iter().zip(expected) {
        assert!(note.starts_with(option), "{note}");
    }
}

#[test]
fn unknown_types_and_fields_are_refused_when_names_are_mapped() {
    for (line, says) in [
        ("Gadget gadgets/a {}", "type Gadget"),
        ("Unknown x {}", "--exclude Unknown"),
        (r#"Host hosts/10.0.0.5 {"address":"10.0.0.5","rack":["10.0.0.1"]}"#, "\"rack[0]\""),
        (r#"Host clusters/10.0.0.5 {"address":"10.0.0.5"}"#, "a key that no Host has"),
    ] {
        let mut backup = backup();
        let record = record(line);
        let kind = record.kind.clone();
        backup.records.push(record);
        let map = ("address", "10.0.0.1=10.1.0.1");
        let error = transform(&[map]).apply(backup.clone()).unwrap_err().to_string();
        assert!(error.contains(says), "{line}: {error}");
        assert!(transform(&[]).apply(backup.clone()).is_ok(), "nothing is mapped");
        assert!(transform(&[map, ("exclude", &kind)]).apply(backup).is_ok());
    }
    let mut backup = backup();
    backup.records.push(record(r#"Host hosts/10.0.0.5 "no object 10.0.0.1""#));
    let result = transform(&[("address", "10.0.0.1=10.1.0.1")]).apply(backup).unwrap();
    assert!(result.notes.iter().any(|note| note.contains("damaged")), "{:?}", result.notes);
}

#[test]
fn diff_names_keys_and_fields_and_shows_nothing_sealed() {
    let options = [("address", "10.0.0.1=10.1.0.1"), ("user", "ann=eve"), ("exclude", "Alarm")];
    let result = transformed(&options);
    let shown = |key| change(&result, key).to_string();
    let host = "- /commissaire/hosts/10.0.0.1\n+ /commissaire/hosts/10.1.0.1\n    address: \
                \"10.0.0.1\" -> \"10.1.0.1\"\n";
    assert_eq!(shown("hosts/10.0.0.1"), host);
    let operation = shown("operations/0d9a");
    for line in [
        "~ /commissaire/operations/0d9a\n",
        "    started_by: \"ann\" -> \"eve\"\n",
        "    hosts[1]: \"10.0.0.1\" -> \"10.1.0.1\"\n",
    ] {
        assert!(operation.contains(line), "{operation}");
    }
    assert_eq!(shown("alarms/cluster.web"), "- /commissaire/alarms/cluster.web\n");
    let sealed = change(&result, "secrets/hosts/10.0.0.1");
    assert!(sealed.sealed && sealed.fields.is_empty() && sealed.change == ChangeKind::Moved);
    assert!(sealed.to_string().contains("(sealed: "));
    let written = serde_json::to_value(sealed).unwrap();
    assert_eq!(written["new_key"], "/commissaire/secrets/hosts/10.1.0.1");
    let damaged = result.backup.header.not_included;
    assert!(damaged.iter().any(|sentence| sentence.contains("1 Alarm")), "{damaged:?}");
}

proptest! {
    #[test]
    fn inverse_mapping_gives_the_backup_back(network in any::<[u8; 3]>(), one in "[a-z]{3,9}\\.test", cluster in "[a-z]{5,9}", user in "[a-z]{5,9}") {
        prop_assume!(network[0] != 10 && network[0] != 172);
        let network = network.map(|byte| byte.to_string()).join(".");
        let pairs = [
            ("address", "10.0.0.0/24".to_owned(), format!("{network}.0/24")),
            ("address", "10.0.0.2".to_owned(), one),
            ("cluster", "web".to_owned(), cluster),
            ("user", "ann".to_owned(), user),
        ];
        let forth = pairs.clone().map(|(option, old, new)| (option, format!("{old}={new}")));
        let back = pairs.map(|(option, old, new)| (option, format!("{new}={old}")));
        let apply = |options: &[(&str, String)], backup| {
            let options: Vec<_> = options.iter().map(|(o, text)| (*o, text.as_str())).collect();
            transform(&options).apply(backup).unwrap().backup
        };
        let there = text(&apply(&forth, backup()));
        prop_assert_ne!(&there, &text(&backup()));
        prop_assert_eq!(text(&apply(&back, read(&there))), text(&backup()));
    }

    #[test]
    fn identity_changes_nothing(index in 0_usize..4) {
        let option = [
            ("address", "10.0.0.0/24=10.0.0.0/24"), ("address", "10.0.0.1=10.0.0.1"),
            ("cluster", "web=web"), ("user", "ann=ann"),
        ][index];
        let result = transformed(&[option]);
        prop_assert!(result.changes.is_empty());
        prop_assert_eq!(text(&result.backup), text(&backup()));
    }
}
