//! Error messages of Go's standard library that appear in responses.

use std::fmt::Write as _;

use serde_json::Value;

/// The error of Go's JSON decoder for a body that is no JSON.
pub(crate) fn json_error(body: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let at = error.column().saturating_sub(1);
    let line = body.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1));
    let byte = line.and_then(|line| line.get(at)).copied().unwrap_or_default();
    invalid_character(byte)
}

/// The error of Go's JSON decoder for a text that begins with `byte`.
pub(crate) fn invalid_character(byte: u8) -> String {
    let character = match byte {
        0x20..=0x7e => char::from(byte).to_string(),
        _ => format!("\\u{byte:04x}"),
    };
    format!("invalid character '{character}' looking for beginning of value")
}

/// A JSON value as Go's `%v` prints it.
pub(crate) fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(elements) => {
            format!("[{}]", elements.iter().map(printed).collect::<Vec<_>>().join(" "))
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name}:{}", printed(value)));
            format!("map[{}]", fields.collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

/// Go's name for the type of a JSON value.
pub(crate) fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The error for an invalid number in a query; `function` is a function of Go's package `strconv`.
pub(crate) fn number_error(function: &str, text: &str) -> String {
    format!("strconv.{function}: parsing {text:?}: invalid syntax")
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        let _infallible = write!(digits, "{byte:02x}");
        digits
    })
}

/// The excerpt of a body that is quoted in decoding errors: text if it starts with `{`, else hexadecimal.
pub(crate) fn excerpt(body: &[u8]) -> String {
    const LENGTH: usize = 30;
    let start = &body[..body.len().min(LENGTH)];
    let mut excerpt = match body.first() {
        None => return "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(start).into_owned(),
        Some(_) => hex(start),
    };
    if body.len() > LENGTH {
        excerpt.push_str(" ...");
    }
    excerpt
}
