//! Messages of serde in the words of JSON: a client knows numbers, lists and objects, and no types of Rust.

/// The words of serde for its types, each with what it is in JSON; longer ones first.
const TYPES: [(&str, &str); 16] = [
    ("a sequence", "a list"),
    ("sequence", "a list"),
    ("a map", "an object"),
    ("map", "an object"),
    ("newtype struct", "an object"),
    ("tuple struct", "a list"),
    ("struct", "an object"),
    ("unit", "null"),
    ("usize", "a whole number"),
    ("u64", "a whole number"),
    ("u32", "a whole number from 0 to 4294967295"),
    ("u16", "a whole number from 0 to 65535"),
    ("u8", "a whole number from 0 to 255"),
    ("i64", "a whole number"),
    ("f64", "a number"),
    ("Option value", "a value"),
];

/// The message of an error of serde, without the names of Rust's types: `invalid type: a list, expected a whole number`.
pub fn message(error: &impl ToString) -> String {
    let message = error.to_string();
    let Some((before, expected)) = message.split_once("expected ") else { return message };
    let before = match before.split_once("invalid type: ") {
        Some((head, found)) => format!("{head}invalid type: {}", renamed(found)),
        None => before.to_owned(),
    };
    format!("{before}expected {}", renamed(expected))
}

/// The message of an error of serde about a text that the reader does not see: without the place in it.
pub fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&place).unwrap_or(&message).to_owned()
}

/// A phrase whose first words are a type of serde, with that type's name in JSON. The name of a struct is dropped.
fn renamed(phrase: &str) -> String {
    for (name, json) in TYPES {
        let Some(rest) = phrase.strip_prefix(name) else { continue };
        if rest.starts_with(|next: char| next.is_alphanumeric() || next == '_') {
            continue;
        }
        let rest = if name.ends_with("struct") { after_name(rest) } else { rest };
        return format!("{json}{rest}");
    }
    phrase.to_owned()
}

/// The text after a type's name: ` Options with 3 elements at line 1` becomes ` with 3 elements at line 1`.
fn after_name(rest: &str) -> &str {
    let rest = rest.trim_start();
    rest.find([' ', ',']).map_or("", |end| &rest[end..])
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read")]
    struct Sample {
        soak: u64,
        port: Option<u16>,
        hosts: Vec<String>,
        inner: Option<Box<Sample>>,
    }

    #[test]
    fn types_of_rust_become_words_of_json() {
        let of = |value: Value| message(&serde_json::from_value::<Sample>(value).unwrap_err());
        let with = |field: &str, value: Value| {
            let mut sample = json!({"soak": 1, "hosts": []});
            sample[field] = value;
            of(sample)
        };
        let number = "invalid type: string \"x\", expected a whole number";
        assert_eq!(with("soak", json!("x")), number);
        assert_eq!(with("soak", json!(-1)), "invalid value: integer `-1`, expected a whole number");
        assert_eq!(with("soak", json!([])), "invalid type: a list, expected a whole number");
        assert_eq!(with("soak", json!({})), "invalid type: an object, expected a whole number");
        assert_eq!(
            with("port", json!(70_000)),
            "invalid value: integer `70000`, expected a whole number from 0 to 65535"
        );
        assert_eq!(with("hosts", json!("x")), "invalid type: string \"x\", expected a list");
        assert_eq!(with("hosts", json!([7])), "invalid type: integer `7`, expected a string");
        assert_eq!(with("inner", json!(7)), "invalid type: integer `7`, expected an object");
        assert_eq!(of(json!({"hosts": []})), "missing field `soak`");
        let error = serde_json::from_str::<Sample>("[").unwrap_err();
        assert_eq!(message(&error), error.to_string());
        let error = serde_json::from_str::<Sample>("{\"soak\": true}").unwrap_err();
        assert_eq!(
            message(&error),
            "invalid type: boolean `true`, expected a whole number at line 1 column 13"
        );
        assert_eq!(message(&"a unit of time"), "a unit of time");
    }
}
