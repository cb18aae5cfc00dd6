//! Data on standard output.

mod table;

use std::io::{ErrorKind, Write as _};

use clap::ValueEnum;
use serde_json::Value;

use crate::error::Error;

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Block style with sorted keys, as the Python commctl prints it
    Yaml,
    /// Indented, with sorted keys
    Json,
    /// For people
    Table,
}

/// Prints a value; `item` heads the column when it is a mere list of names.
pub(crate) fn print(format: Option<Format>, value: &Value, item: &str) -> Result<(), Error> {
    let text = match format.unwrap_or(Format::Yaml) {
        Format::Yaml => pyyaml_emitter::to_string(value),
        Format::Json => json(value),
        Format::Table => table::to_string(value, item),
    };
    write(&text)
}

/// Prints one bare line.
pub(crate) fn print_line(line: &str) -> Result<(), Error> {
    write(&format!("{line}\n"))
}

/// Prints text as it is.
pub(crate) fn write(text: &str) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // The reader has seen enough (`| head -1`).
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(Error::Write),
    }
}

fn json(value: &Value) -> String {
    let mut sorted = value.clone();
    sorted.sort_all_objects();
    format!("{sorted:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_sorted_keys() {
        let value = serde_json::json!({"b": [], "a": {"d": 1, "c": null}});
        assert_eq!(
            json(&value),
            "{\n  \"a\": {\n    \"c\": null,\n    \"d\": 1\n  },\n  \"b\": []\n}\n"
        );
    }
}
