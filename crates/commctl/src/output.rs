//! Data on standard output.

mod cell;
mod filter;
mod object;
mod screen;
mod table;
mod view;
pub(crate) mod views;

use std::io::{ErrorKind, IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde_json::Value;

pub(crate) use self::cell::utc;
pub(crate) use self::filter::Filters;
pub(crate) use self::screen::Screen;
pub(crate) use self::view::View;
use crate::config::ConfigError;
use crate::error::Error;

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Block style with sorted keys, as the Python commctl prints it
    Yaml,
    /// Indented, with sorted keys
    Json,
    /// For people, as wide as the terminal
    Table,
    /// A table with all columns, however wide
    Wide,
    /// Names, addresses or ids only, one a line
    Name,
}

impl Format {
    /// All words, for messages.
    pub(crate) const WORDS: &str = "yaml, json, table, wide or name";

    /// The format of this word.
    pub(crate) fn of_word(word: &str) -> Option<Self> {
        Self::from_str(word, false).ok()
    }

    /// The format where none is chosen: a table for people, YAML for programs.
    pub(crate) fn of_stdout() -> Self {
        if std::io::stdout().is_terminal() { Self::Table } else { Self::Yaml }
    }

    /// Whether people read it, and not programs that know the API.
    pub(crate) fn is_for_people(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// The variable that names a format.
const VARIABLE: &str = "COMMCTL_OUTPUT";

/// The format that the environment names.
pub(crate) fn preset() -> Result<Option<Format>, ConfigError> {
    let Some(word) = std::env::var_os(VARIABLE).filter(|word| !word.is_empty()) else {
        return Ok(None);
    };
    let problem = || ConfigError::Variable {
        name: VARIABLE,
        problem: format!("unknown format {:?}; it is {}", word.to_string_lossy(), Format::WORDS),
    };
    word.to_str().and_then(Format::of_word).map(Some).ok_or_else(problem)
}

/// Prints a value: a record, a list of records, or a list of names.
pub(crate) fn print(
    format: Format,
    value: &Value,
    view: &View,
    screen: &Screen,
) -> Result<(), Error> {
    let text = match format {
        Format::Yaml => pyyaml_emitter::to_string(value),
        Format::Json => json(value),
        Format::Table => table::of(value, view, screen),
        Format::Wide => table::of(value, view, &screen.unlimited()),
        Format::Name => table::names(value, view),
    };
    write(&text)
}

/// Prints one bare line.
pub(crate) fn print_line(line: &str) -> Result<(), Error> {
    write(&format!("{line}\n"))
}

/// Prints one line, as wide as the screen at most.
pub(crate) fn print_fitted(line: &str, format: Format, screen: &Screen) -> Result<(), Error> {
    match (format, screen.width) {
        (Format::Table, Some(width)) => print_line(&table::shortened(line, width, screen)),
        _ => print_line(line),
    }
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

    #[test]
    fn words_are_all_formats() {
        for format in Format::value_variants() {
            let word = format.to_possible_value().unwrap();
            assert!(Format::WORDS.contains(word.get_name()), "{format:?}");
        }
    }
}
