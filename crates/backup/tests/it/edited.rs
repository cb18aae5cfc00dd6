//! Lines that were edited, and input of any kind.

use backup::{Backup, Verification};
use proptest::prelude::*;

use crate::examples::{backup, read, text, transform};

fn edited(text: &str) -> Backup {
    Backup::read(text.as_bytes(), Verification::EditedLines).unwrap()
}

#[test]
fn edited_lines_are_accepted_for_a_new_trailer_only() {
    let lines = text(&backup());
    let changed = lines.replace(r#""status":"failed""#, r#""status":"active""#);
    let fewer: Vec<_> = lines.lines().filter(|line| !line.contains("/alarms/")).collect();
    let other_format = lines.replace(r#"{"end_of_backup":1,"#, r#"{"end_of_backup":2,"#);
    for input in [changed, fewer.join("\n"), other_format] {
        let refused = Backup::read(input.as_bytes(), Verification::Full).unwrap_err().to_string();
        assert!(refused.contains("transform --reseal"), "{refused}");
        let result = transform(&[]).apply(edited(&input)).unwrap();
        let written = text(&result.backup);
        assert_eq!(text(&read(&written)), written, "it is verified like any other");
        let records = |text: &str| text.lines().filter(|l| l.contains("\"type\":\"")).count();
        assert_eq!(records(&written), records(&input));
    }
}

proptest! {
    #[test]
    fn random_edit_is_noticed(place in any::<prop::sample::Index>(), byte in 32_u8..127) {
        let original = text(&backup());
        let mut bytes = original.clone().into_bytes();
        let place = place.index(bytes.len());
        prop_assume!(bytes[place] != byte && bytes[place] != b'\n');
        bytes[place] = byte;
        let read = Backup::read(bytes.as_slice(), Verification::Full);
        prop_assert!(read.is_err(), "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_input_is_read_or_refused(lines in prop::collection::vec("[ -~]{0,60}|\\PC{0,40}", 0..6), is_headed in any::<bool>()) {
        let head = text(&backup()).lines().next().unwrap().to_owned();
        let mut all = lines;
        if is_headed {
            all.insert(0, head);
        }
        for verification in [Verification::Full, Verification::EditedLines] {
            let read = Backup::read(all.join("\n").as_bytes(), verification);
            prop_assert!(is_headed || read.is_err());
        }
    }

    #[test]
    fn any_record_is_transformed_or_refused(index in 0_usize..30, value in json(), id in "\\PC{0,20}") {
        let mut backup = backup();
        let count = backup.records.len();
        let record = &mut backup.records[index % count];
        record.value = serde_json::value::RawValue::from_string(value).unwrap();
        record.key = format!("{}{id}", record.key);
        let options = [("address", "10.0.0.0/8=11.0.0.0/8"), ("cluster", "web=w"), ("user", "ann=eve")];
        for only in [&[][..], &[("only", "cluster:web")], &[("exclude", "host:10.0.0.0/24")]] {
            let options: Vec<_> = options.iter().chain(only).copied().collect();
            if let Ok(result) = transform(&options).apply(backup.clone()) {
                let written = text(&result.backup);
                prop_assert_eq!(text(&read(&written)), written);
            }
        }
    }
}

/// A JSON value with names of fields that records have, and texts with addresses.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        "(10\\.0\\.0\\.[0-9]|[\\[\\]:./ a-z-]|\\PC){0,8}"
            .prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(80, 200, 4, |inner| {
        let name = "address|cluster|hosts|options|detail|id|name|kind|[a-z]{1,3}";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((name, inner), 0..4).prop_map(|fields| {
                let fields = fields.iter().map(|(name, value)| format!("\"{name}\":{value}"));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}
