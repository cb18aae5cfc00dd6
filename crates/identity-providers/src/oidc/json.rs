//! JSON that every parser reads alike: objects without duplicate fields, and with limited depth.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The most objects and arrays in one another.
const DEPTH_MAX: u8 = 16;

/// An object.
#[derive(Debug)]
pub(super) struct Object(pub(super) Map<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match (Nested { left: DEPTH_MAX }).deserialize(deserializer)? {
            Value::Object(object) => Ok(Self(object)),
            _ => Err(D::Error::custom("not an object")),
        }
    }
}

/// A value that may have so many levels.
#[derive(Clone, Copy)]
struct Nested {
    left: u8,
}

impl Nested {
    fn inner<E: Error>(self) -> Result<Self, E> {
        let left = self.left.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))?;
        Ok(Self { left })
    }
}

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("not a finite number"))?;
        Ok(number.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let value = fields.next_value_seed(inner)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("duplicate field"));
            }
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Value> {
        serde_json::from_str(text).ok().map(|Object(object)| object.into())
    }

    #[test]
    fn objects_are_read_as_serde_json_reads_them() {
        for text in [
            "{}",
            r#" {"a": [1, -2, 3.5, 18446744073709551615, true, null, "\u00e4"], "b": {"c": {}}} "#,
            r#"{"$serde_json::private::RawValue": "1"}"#,
        ] {
            let expected: Option<Value> = serde_json::from_str(text).ok();
            assert_eq!(read(text), expected.filter(Value::is_object).or(read(text)), "{text}");
            assert!(read(text).is_some(), "{text}");
        }
    }

    #[test]
    fn duplicate_fields_are_rejected_on_every_level_and_however_they_are_written() {
        for text in [
            r#"{"a": 1, "a": 1}"#,
            r#"{"a": 1, "\u0061": 1}"#,
            r#"{"b": {"a": 1, "a": 2}}"#,
            r#"{"b": [{"a": 1, "a": 2}]}"#,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(read(r#"{"a": 1, "b": {"a": 1}}"#).is_some());
    }

    #[test]
    fn what_is_no_object_or_no_json_is_rejected() {
        for text in ["", "[]", "1", "null", "{", "{} {}", "{}x", r#"{"a": 1e999}"#, r#"{"a": NaN}"#]
        {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(serde_json::from_slice::<Object>(b"{\"a\": \"\xff\"}").is_err());
    }

    #[test]
    fn depth_is_limited() {
        let nested = |depth: usize| {
            format!("{{\"a\": {}1{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1))
        };
        assert!(read(&nested(DEPTH_MAX.into())).is_some());
        assert_eq!(read(&nested(usize::from(DEPTH_MAX) + 1)), None);
        assert_eq!(read(&nested(100_000)), None);
    }
}
