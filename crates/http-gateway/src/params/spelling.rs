//! Fields that misspell one that a body takes: ignored like other unknown fields, a misspelt `cluster` would leave a
//! host outside, and a misspelt `dry_run` would restart a fleet.

use serde::de::value::Error;
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::{Map, Value};

/// Refuses a field that misspells one of `T`. A field that the API has anywhere (`is_known`) is not misspelt: clients may
/// send a record back that they have read.
///
/// # Errors
/// A sentence that names both.
pub(super) fn check<'de, T: Deserialize<'de>>(
    body: &Map<String, Value>,
    is_known: impl Fn(&str) -> bool,
) -> Result<(), String> {
    let fields = fields_of::<T>();
    let unknown = body.keys().filter(|name| !fields.contains(&name.as_str()));
    let mut misspelt = unknown.filter_map(|name| Some((name, nearest(name, fields)?)));
    match misspelt.find(|(name, _)| !is_known(name)) {
        Some((name, meant)) => Err(format!("{} Nothing was changed.", question(name, meant))),
        None => Ok(()),
    }
}

/// The sentence about a misspelt field; the caller adds that nothing was changed or started.
pub(crate) fn question(name: &str, meant: &str) -> String {
    format!("unknown field {name:?}; did you mean {meant:?}?")
}

/// The field that a name misspells: two edits away, or one from a field of at most five letters; with three letters
/// or fewer, one edit makes another word. Two letters in the wrong order are one edit; `-` counts as `_`.
pub(crate) fn nearest(name: &str, fields: &[&'static str]) -> Option<&'static str> {
    let name = name.replace('-', "_");
    let letters = name.chars().count();
    let near = fields.iter().filter_map(|field| {
        let allowed = match field.len() {
            0..=3 => 0,
            4..=5 => 1,
            _ => 2,
        };
        // Long names are not compared: bodies are a mebibyte.
        if field.len().abs_diff(letters) > allowed {
            return None;
        }
        let edits = strsim::osa_distance(field, &name);
        (edits <= allowed).then_some((edits, *field))
    });
    near.min().map(|(_, field)| field)
}

/// The names that serde's derived code reads, or none where fields are flattened.
fn fields_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut fields: &[&str] = &[];
    // The fields are known before there is a value: no value follows.
    let _no_value = T::deserialize(Fields(&mut fields));
    fields
}

/// Takes the names of a struct's fields, and holds no value.
struct Fields<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        Err(Error::custom("only the names of the fields are read"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("only the names of a struct's fields can be read"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only the names of the fields count")]
    struct Sample {
        cluster: Option<String>,
        #[serde(rename = "type")]
        kind: Option<String>,
        hosts: Vec<String>,
        old: Vec<String>,
    }

    fn checked(body: &Value) -> Result<(), String> {
        check::<Sample>(body.as_object().unwrap(), |name| name == "host")
    }

    #[test]
    fn field_within_the_allowed_edits_is_refused_with_the_one_it_misspells() {
        for (name, meant) in [
            ("clustr", "cluster"),
            ("clusetr", "cluster"),
            ("Cluster", "cluster"),
            ("typ", "type"),
            ("tpye", "type"),
            ("hots", "hosts"),
        ] {
            assert_eq!(
                checked(&json!({name: 1})).unwrap_err(),
                format!("unknown field {name:?}; did you mean {meant:?}? Nothing was changed.")
            );
        }
    }

    #[test]
    fn known_distant_and_short_fields_are_accepted() {
        for name in ["cluster", "type", "comment", "", "lustt", "tepy", "odl", "olds", "ol"] {
            assert_eq!(checked(&json!({name: 1})), Ok(()), "{name:?}");
        }
        // An answer shows it.
        assert_eq!(nearest("host", &["hosts"]), Some("hosts"));
        assert_eq!(checked(&json!({"host": "10.0.0.1"})), Ok(()));
        assert_eq!(checked(&json!({"x".repeat(1 << 20): 1})), Ok(()));
    }

    #[test]
    fn hyphen_counts_as_underscore() {
        assert_eq!(nearest("ssh-prot", &["ssh_port", "ssh_host_key"]), Some("ssh_port"));
        assert_eq!(nearest("ssh-port", &["ssh_port"]), Some("ssh_port"));
    }
}
