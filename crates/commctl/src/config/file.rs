//! The configuration file as it is written.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use secrecy::SecretString;
use serde_json::Value;

use super::ConfigError;
use crate::output::Format;

const KNOWN: [&str; 9] = [
    "username",
    "password",
    "endpoint",
    "kubeconfig",
    "identity_provider",
    "certificate_authority",
    "client_certificate",
    "client_key",
    "output",
];

/// The members as given; nothing is checked but their types.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) username: Option<String>,
    pub(super) password: Option<SecretString>,
    pub(super) endpoints: Option<Vec<String>>,
    pub(super) kubeconfig: Option<String>,
    pub(super) identity_provider: Option<String>,
    pub(super) certificate_authority: Option<String>,
    pub(super) client_certificate: Option<String>,
    pub(super) client_key: Option<String>,
    pub(super) output: Option<Format>,
}

/// Whether anyone but the owner can read the file.
pub(super) fn is_open_to_others(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o044 != 0)
}

/// Reads the members; `-` and `_` are the same in their names.
pub(super) fn parse(text: &str, path: &Path) -> Result<Members, ConfigError> {
    let value = serde_json::from_str(text)
        .map_err(|source| ConfigError::Syntax { path: path.to_owned(), source })?;
    let Value::Object(given) = value else {
        return Err(ConfigError::NotAnObject { path: path.to_owned() });
    };
    let mut members = Members::default();
    let mut seen = Vec::new();
    for (spelling, value) in given {
        let name = known(&spelling, path)?;
        if seen.contains(&name) {
            return Err(ConfigError::Twice { path: path.to_owned(), name });
        }
        seen.push(name);
        members.set(name, value).map_err(|expected| ConfigError::Type {
            path: path.to_owned(),
            name,
            expected,
        })?;
    }
    Ok(members)
}

fn known(spelling: &str, path: &Path) -> Result<&'static str, ConfigError> {
    let name = spelling.replace('-', "_");
    KNOWN.into_iter().find(|known| *known == name).ok_or_else(|| ConfigError::Unknown {
        path: path.to_owned(),
        name: spelling.to_owned(),
        nearest: nearest(&name),
    })
}

/// The known member someone may have meant.
fn nearest(name: &str) -> Option<&'static str> {
    KNOWN
        .into_iter()
        .map(|known| (strsim::jaro_winkler(&name.to_lowercase(), known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

impl Members {
    /// Takes one member in; the error is what was expected instead.
    fn set(&mut self, name: &'static str, value: Value) -> Result<(), &'static str> {
        match name {
            "username" => self.username = Some(text(value)?),
            "password" => self.password = Some(text(value)?.into()),
            "endpoint" => self.endpoints = Some(texts(value)?),
            "kubeconfig" => self.kubeconfig = Some(text(value)?),
            "identity_provider" => self.identity_provider = Some(text(value)?),
            "certificate_authority" => self.certificate_authority = Some(text(value)?),
            "client_certificate" => self.client_certificate = Some(text(value)?),
            "client_key" => self.client_key = Some(text(value)?),
            "output" => self.output = Some(format(&value)?),
            other => unreachable!("{other} is in KNOWN but not here"),
        }
        Ok(())
    }
}

fn text(value: Value) -> Result<String, &'static str> {
    match value {
        Value::String(text) if !text.is_empty() => Ok(text),
        _ => Err("a string that is not empty"),
    }
}

fn format(value: &Value) -> Result<Format, &'static str> {
    value.as_str().and_then(Format::of_word).ok_or(Format::WORDS)
}

fn texts(value: Value) -> Result<Vec<String>, &'static str> {
    const EXPECTED: &str = "a string or a list of strings, none empty";
    match value {
        Value::Array(items) if !items.is_empty() => {
            items.into_iter().map(text).collect::<Result<_, _>>().map_err(|_| EXPECTED)
        }
        value => text(value).map(|one| vec![one]).map_err(|_| EXPECTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        parse(text, Path::new("c.json")).unwrap_err().to_string()
    }

    #[test]
    fn misspelt_members_are_recognised() {
        assert_eq!(
            refusal(r#"{"endpiont": "http://h"}"#),
            "c.json: unknown member \"endpiont\"; did you mean \"endpoint\"?"
        );
        assert_eq!(
            refusal(r#"{"client-cert": "c"}"#),
            "c.json: unknown member \"client-cert\"; did you mean \"client_certificate\"?"
        );
        assert_eq!(refusal(r#"{"zzz": 1}"#), "c.json: unknown member \"zzz\"");
    }

    #[test]
    fn types_are_checked_without_showing_values() {
        assert_eq!(
            refusal(r#"{"password": 12345}"#),
            "c.json: \"password\" must be a string that is not empty"
        );
        assert!(refusal(r#"{"endpoint": []}"#).contains("a list of strings"));
        assert_eq!(
            refusal(r#"{"output": "xml"}"#),
            "c.json: \"output\" must be yaml, json, table, wide or name"
        );
        assert!(refusal(r#"["a"]"#).contains("not a JSON object"));
        assert!(refusal("{").contains("not valid JSON"));
        assert!(refusal(r#"{"client-key": "a", "client_key": "b"}"#).contains("given twice"));
    }

    #[test]
    fn every_known_member_is_taken_in() {
        for name in KNOWN {
            let value = if name == "output" { "json" } else { "x" };
            assert!(Members::default().set(name, value.into()).is_ok());
        }
    }
}
