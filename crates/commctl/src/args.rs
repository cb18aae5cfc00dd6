//! Arguments that several commands take, and the parsers of their values.

use std::time::Duration;

use clap::Args;

/// One object.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// Its name
    #[arg(value_parser = name)]
    pub(crate) name: String,
}

/// One or more objects.
#[derive(Debug, Args)]
pub(crate) struct Several {
    /// Their names
    #[arg(value_name = "NAME", value_parser = name, required = true)]
    pub(crate) names: Vec<String>,
}

/// Refuses what cannot be one segment of a path: a mistyped name must not reach another resource.
pub(crate) fn name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("a name cannot be empty".to_owned());
    }
    if text == "." || text == ".." {
        return Err(format!("a name cannot be {text:?}"));
    }
    match text.chars().find(|c| matches!(c, '/' | '\\') || c.is_control()) {
        Some(c) => Err(format!("a name cannot contain {c:?}")),
        None => Ok(text.to_owned()),
    }
}

/// `90s`, `10m`, `1h 30m`, or a plain number of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text)
            .map_err(|error| format!("{error}; write for example 90s, 10m or 1h30m")),
    }
}

/// A whole number.
pub(crate) fn count(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "write a whole number, for example 20".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_segment() {
        for bad in ["", ".", "..", "a/b", "a\\b", "a\nb", "/"] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
        for good in ["c1", "10.0.0.1", "fe80::1", "a b", "é", "..."] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        assert!(duration("soon").is_err());
    }
}
