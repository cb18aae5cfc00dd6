//! Configuration: JSON objects, read once, checked once. The crate `etcd-access` reads them from etcd.
//!
//! `-` and `_` in member names are the same. A member nobody knows is an error that suggests the
//! nearest known one.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use model::json;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The file that a key is read from: the one that systemd hands over (`LoadCredential=NAME`) where there is one, else
/// the configured one.
pub fn key_file(name: &str, configured: &Path) -> PathBuf {
    key_file_of(std::env::var_os("CREDENTIALS_DIRECTORY"), name, configured)
}

fn key_file_of(credentials: Option<OsString>, name: &str, configured: &Path) -> PathBuf {
    let loaded = credentials.map(|directory| PathBuf::from(directory).join(name));
    loaded.filter(|file| file.exists()).unwrap_or_else(|| configured.to_owned())
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a JSON object.
    #[error("the configuration {} is not a JSON object", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why, if it is no JSON at all.
        source: Option<serde_json::Error>,
    },
    /// A member is unknown or has the wrong type.
    #[error("the configuration {} is wrong: {message}", path.display())]
    Member {
        /// The file.
        path: PathBuf,
        /// Which member, and what was expected.
        message: String,
    },
}

/// Reads the members of a configuration file; `-` is standard input. With `required` unset a missing
/// file is an empty object: that is for the default path, not for one that somebody named.
///
/// # Errors
/// [`ConfigError::Read`], [`ConfigError::Parse`].
pub fn read(path: &Path, required: bool) -> Result<Map<String, Value>, ConfigError> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    let text = match text {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => {
            return Ok(Map::new());
        }
        Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
        Ok(text) => text,
    };
    object(path, text.as_bytes())
}

/// The members of a configuration that is the JSON object `text`. `path` is for the error.
///
/// # Errors
/// [`ConfigError::Parse`].
pub fn object(path: &Path, text: &[u8]) -> Result<Map<String, Value>, ConfigError> {
    let parse = |source| ConfigError::Parse { path: path.to_owned(), source };
    match serde_json::from_slice(text) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(parse(None)),
        Err(error) => Err(parse(Some(error))),
    }
}

/// Makes a configuration of its members. `path` is for the error; `T` should deny unknown fields.
///
/// # Errors
/// [`ConfigError::Member`].
pub fn parse<T: DeserializeOwned>(
    path: &Path,
    mut members: Map<String, Value>,
) -> Result<T, ConfigError> {
    if members.remove("logging").is_some() {
        tracing::warn!(
            "the configuration's member `logging` is the original's and is ignored: see --debug"
        );
    }
    let value = underscored(Value::Object(members));
    serde_path_to_error::deserialize(value).map_err(|error| {
        let at = error.path().to_string();
        let problem = json::message(error.inner());
        let message = with_suggestion(&problem);
        // An unknown field is named by the message already.
        let at = if problem.starts_with("unknown field") {
            at.rsplit_once('.').map_or(".", |(above, _)| above)
        } else {
            &at
        };
        let message = if matches!(at, "." | "") { message } else { format!("{at}: {message}") };
        ConfigError::Member { path: path.to_owned(), message }
    })
}

/// Members whose own members are named by somebody else: they stay as they are.
const FREE: [&str; 6] =
    ["users", "options", "accounts", "roles", "required-claims", "required_claims"];

/// The same with `_` for `-` in the names of members, at every depth.
fn underscored(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let member = |(name, value): (String, Value)| {
                let value = if FREE.contains(&name.as_str()) { value } else { underscored(value) };
                (name.replace('-', "_"), value)
            };
            Value::Object(members.into_iter().map(member).collect())
        }
        Value::Array(items) => items.into_iter().map(underscored).collect(),
        other => other,
    }
}

/// serde's message about an unknown field, with the nearest known one added.
fn with_suggestion(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    if !message.starts_with("unknown field") {
        return message.to_owned();
    }
    let Some(unknown) = quoted.next() else { return message.to_owned() };
    let nearest = quoted.min_by_key(|known| strsim::levenshtein(unknown, known));
    match nearest.filter(|known| strsim::levenshtein(unknown, known) <= 1 + unknown.len() / 3) {
        Some(known) => format!("unknown member `{unknown}`: did you mean `{known}`?"),
        None => message.replacen("unknown field", "unknown member", 1),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        listen_port: u16,
        #[serde(default)]
        debug: bool,
        #[serde(default)]
        limits: Limits,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Limits {
        connections: usize,
    }

    fn parsed(members: Value) -> Result<Sample, String> {
        let Value::Object(members) = members else { panic!("an object") };
        parse(Path::new("x.conf"), members).map_err(|e| e.to_string())
    }

    #[test]
    fn dashes_are_underscores() {
        let expected = Sample { listen_port: 1, ..Sample::default() };
        assert_eq!(parsed(json!({"listen-port": 1, "logging": {}})).unwrap(), expected);
        assert_eq!(parsed(json!({"listen_port": 1})).unwrap(), expected);
    }

    #[test]
    fn dashes_are_underscores_at_every_depth_but_in_names_of_others() {
        let given = json!({"a-b": [{"c-d": 1}], "users": {"e-f": {}}});
        assert_eq!(underscored(given), json!({"a_b": [{"c_d": 1}], "users": {"e-f": {}}}));
    }

    #[test]
    fn an_unknown_member_suggests_the_nearest() {
        assert_eq!(
            parsed(json!({"listen-prot": 1})).unwrap_err(),
            "the configuration x.conf is wrong: \
             unknown member `listen_prot`: did you mean `listen_port`?"
        );
        assert!(
            parsed(json!({"colour": 1})).unwrap_err().contains("expected one of `listen_port`")
        );
        let nested = parsed(json!({"listen-port": 1, "limits": {"connectoins": 1}}));
        assert_eq!(
            nested.unwrap_err(),
            "the configuration x.conf is wrong: limits: \
             unknown member `connectoins`: did you mean `connections`?"
        );
    }

    #[test]
    fn a_value_of_a_wrong_type_is_named_by_its_path() {
        for (value, at) in [
            (json!({"listen-port": "x"}), "listen_port: invalid type: string \"x\""),
            (
                json!({"listen-port": 1, "limits": {"connections": -1}}),
                "limits.connections: invalid",
            ),
        ] {
            let error = parsed(value).unwrap_err();
            assert!(error.contains(&format!("x.conf is wrong: {at}")), "{error}");
        }
        let error = parsed(json!({})).unwrap_err();
        assert_eq!(error, "the configuration x.conf is wrong: missing field `listen_port`");
    }

    #[test]
    fn a_missing_file_is_fine_only_by_default() {
        let missing = Path::new("/nonexistent/x.conf");
        assert!(read(missing, false).unwrap().is_empty());
        assert!(matches!(read(missing, true), Err(ConfigError::Read { .. })));
    }

    #[test]
    fn the_key_that_systemd_hands_over_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let (path, configured) = (folder.path().join("secret.key"), Path::new("/x/secret.key"));
        let credentials = || Some(folder.path().into());
        assert_eq!(key_file_of(None, "secret.key", configured), configured);
        assert_eq!(key_file_of(credentials(), "secret.key", configured), configured);
        std::fs::write(&path, "").unwrap();
        assert_eq!(key_file_of(credentials(), "secret.key", configured), path);
        assert_eq!(key_file_of(credentials(), "id_ed25519", configured), configured);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for text in ["[]", "null", "{", ""] {
            std::fs::write(file.path(), text).unwrap();
            assert!(matches!(read(file.path(), true), Err(ConfigError::Parse { .. })), "{text}");
        }
    }
}
