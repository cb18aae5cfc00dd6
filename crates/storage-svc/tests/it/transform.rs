//! The table by which `commissaire transform` finds names in records, and the record types of this service.

use std::collections::{BTreeMap, BTreeSet};

use backup::transform::{AddressMap, NameMap, Transform, known_types, unclassified};
use backup::{Backup, Header, Record};
use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use storage_svc::kinds::Kind;

const RECORDS: &str = include_str!("formats/records-2.json");

fn examples() -> impl Iterator<Item = (&'static Kind, Value)> {
    let examples: BTreeMap<String, Vec<Value>> = serde_json::from_str(RECORDS).unwrap();
    examples.into_iter().flat_map(|(name, values)| {
        let kind = Kind::named(&name).unwrap();
        values.into_iter().map(move |value| (kind, value))
    })
}

#[test]
fn table_has_every_record_type_and_no_other() {
    let types: BTreeSet<_> = Kind::all().map(|kind| kind.type_name).collect();
    assert_eq!(known_types().collect::<BTreeSet<_>>(), types);
}

#[test]
fn table_has_every_field_that_holds_text() {
    for (kind, example) in examples() {
        let (_, written) = kind.check(&example.to_string()).unwrap();
        for text in [to_raw_value(&example).unwrap(), written] {
            let missing = unclassified(kind.type_name, &text).unwrap();
            let name = kind.type_name;
            assert!(
                missing.is_empty(),
                "say in the table what {missing:?} of a {name} hold: {text}"
            );
        }
    }
    let later = RawValue::from_string(r#"{"address": "a", "rack": {"at": ["x"]}}"#.into()).unwrap();
    assert_eq!(unclassified("Host", &later).unwrap(), ["rack.at[]"]);
}

/// The examples that are one of a kind by their keys, as lines of a backup.
fn backup() -> Backup {
    let (mut records, mut keys) = (Vec::new(), BTreeSet::new());
    for (kind, example) in examples() {
        let text = if kind.secret {
            r#"{"sealed":"x","key_id":"k","nonce":"n","ciphertext":"c"}"#.to_owned()
        } else {
            example.to_string()
        };
        let key = kind.key_of(&example).unwrap();
        if keys.insert(key.clone()) {
            let value = RawValue::from_string(text).unwrap();
            records.push(Record { kind: kind.type_name.into(), key, sealed_for: None, value });
        }
    }
    let (header, sha256) = (Header::default(), String::new());
    let mut backup = Backup { header, keys: None, records, sha256 };
    backup.count();
    backup
}

fn transform(addresses: &[String], clusters: &[String], users: &[String]) -> Transform {
    Transform {
        addresses: AddressMap::new(addresses.iter().map(|text| text.parse().unwrap())).unwrap(),
        clusters: NameMap::of_clusters(clusters.iter().map(|text| text.parse().unwrap())).unwrap(),
        users: NameMap::of_users(users.iter().map(|text| text.parse().unwrap())).unwrap(),
        ..Transform::default()
    }
}

/// Checks each line as a restore does.
fn check(backup: &Backup) {
    for record in &backup.records {
        let Record { kind, key, value, .. } = record;
        let kind = Kind::named(kind).unwrap();
        assert!(kind.id_in(key).is_some(), "{key}");
        if !kind.secret {
            let (own_key, _) = kind.check(value.get()).unwrap_or_else(|e| panic!("{key}: {e}"));
            assert_eq!(own_key, *key, "{value}");
        }
    }
}

fn text(backup: &Backup) -> String {
    String::from_utf8(backup.write(Vec::new()).unwrap().1).unwrap()
}

#[test]
fn no_record_keeps_an_address_that_is_mapped() {
    let networks = ["10.0.0.0/16=10.1.0.0/16", "192.168.0.0/16=192.169.0.0/16"];
    let networks = networks.map(str::to_owned);
    let result = transform(&networks, &[], &[]).apply(backup()).unwrap().backup;
    check(&result);
    let rest = text(&result).replace("\"sealed_for\":\"/commissaire/secrets/hosts/10.0.0.1\"", "");
    assert!(!rest.contains("10.0.") && !rest.contains("192.168."), "{rest}");
}

fn other_address() -> impl Strategy<Value = String> {
    prop_oneof![
        (11_u8..100, any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| format!("{a}.{b}.{c}.{d}")),
        any::<u64>().prop_map(|low| {
            std::net::Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(low)).to_string()
        }),
        "[a-z][a-z0-9]{1,8}\\.test",
    ]
}

proptest! {
    #[test]
    fn records_of_all_types_stay_valid_and_come_back(
        hosts in prop::collection::btree_set(other_address(), 5),
        cluster in "[a-z]{6,9}",
        user in "[a-z]{6,9}",
    ) {
        let old = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.1", "web1.example.com"];
        let pair = |(old, new): (&str, &String)| (format!("{old}={new}"), format!("{new}={old}"));
        let (forth, back): (Vec<_>, Vec<_>) = old.into_iter().zip(&hosts).map(pair).unzip();
        let (to_cluster, from_cluster) = pair(("web", &cluster));
        let (to_user, from_user) = pair(("ann", &user));
        let before = backup();
        let there = transform(&forth, &[to_cluster], &[to_user]).apply(before.clone()).unwrap();
        check(&there.backup);
        let again = transform(&back, &[from_cluster], &[from_user]).apply(there.backup).unwrap();
        prop_assert_eq!(text(&again.backup), text(&before));
    }
}
