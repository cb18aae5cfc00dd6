//! One level of a JSON value, in its order and with its texts as they are: numbers and unchanged parts are never written
//! again.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Problem;

/// The value, one level deep.
#[derive(Debug)]
pub(super) enum Fields<'a> {
    /// The fields of an object.
    Object(Vec<(String, &'a RawValue)>),
    /// The items of a list.
    List(Vec<&'a RawValue>),
    /// A text.
    Text(String),
    /// A number, a truth value, or null.
    Other,
}

/// The value that is nested `depth` deep.
pub(super) fn parse(value: &RawValue, depth: usize, max: usize) -> Result<Fields<'_>, Problem> {
    if depth > max {
        return Err(Problem::Damaged);
    }
    let text = value.get();
    Ok(match text.as_bytes().first() {
        Some(b'{') => Fields::Object(serde_json::from_str::<Object<'_>>(text)?.0),
        Some(b'[') => Fields::List(serde_json::from_str(text)?),
        Some(b'"') => Fields::Text(serde_json::from_str(text)?),
        _ => Fields::Other,
    })
}

struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Object<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Object(fields))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}
