//! Which configuration is used: a file that is named, or a context.
//!
//! A context is a server and a log-in there. The one called `default` is `~/.commissaire.json`; each other one has a file of
//! the same format in `~/.commissaire`.

use std::fmt;
use std::fs::read_dir;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::ConfigError;
use crate::files::{
    WriteError, delete_file, directory_of, is_missing, make_private_directory, write_private,
};

/// The context that is used when no other one is chosen.
const DEFAULT: &str = "default";

/// The configuration of that context, below the home directory.
const DEFAULT_FILE: &str = ".commissaire.json";

/// The directory of all other contexts, below the home directory.
const DIRECTORY: &str = ".commissaire";

/// The file in it with the name of the current context.
const CURRENT: &str = "current";

/// The variable that names a context.
const VARIABLE: &str = "COMMCTL_CONTEXT";

/// The variable that names a file.
const FILE_VARIABLE: &str = "COMMCTL_CONFIG";

/// The most characters of a name.
const NAME_MAX: usize = 63;

/// The name of a context.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ContextName(String);

/// A configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file that was named.
    File(PathBuf),
    Context(ContextName),
}

impl ContextName {
    pub(crate) fn default() -> Self {
        Self(DEFAULT.to_owned())
    }

    pub(crate) fn is_default(&self) -> bool {
        self.0 == DEFAULT
    }

    /// The configuration.
    pub(crate) fn path(&self) -> PathBuf {
        if self.is_default() {
            return home().join(DEFAULT_FILE);
        }
        directory().join(format!("{self}.json"))
    }

    /// The current context: the one that was chosen last.
    pub(crate) fn current() -> Result<Self, ConfigError> {
        let path = directory().join(CURRENT);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                text.trim().parse().map_err(|problem| ConfigError::CurrentContext { path, problem })
            }
            Err(error) if is_missing(&error) => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read { path, source }),
        }
    }

    /// Makes it the current context.
    pub(crate) fn make_current(&self) -> Result<(), WriteError> {
        let path = directory().join(CURRENT);
        if self.is_default() {
            return delete_file(&path).map(drop);
        }
        write_private(&path, &format!("{self}\n"))
    }

    /// All contexts that have a file, sorted by name, the one called `default` first.
    pub(crate) fn all() -> Result<Vec<Self>, ConfigError> {
        let path = directory();
        let entries = match read_dir(&path) {
            Ok(entries) => entries.collect::<io::Result<Vec<_>>>(),
            Err(error) if is_missing(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        let entries = entries.map_err(|source| ConfigError::Read { path, source })?;
        let names = entries.iter().filter_map(|entry| {
            let name = entry.file_name();
            let name: Self = name.to_str()?.strip_suffix(".json")?.parse().ok()?;
            (!name.is_default()).then_some(name)
        });
        let mut names: Vec<_> = names.collect();
        names.sort();
        let default = Some(Self::default()).filter(|context| context.path().exists());
        Ok(default.into_iter().chain(names).collect())
    }
}

impl FromStr for ContextName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_valid = text.len() <= NAME_MAX
            && text.bytes().next().is_some_and(is_name)
            && text.bytes().all(|byte| is_name(byte) || byte == b'.' || byte == b'-');
        if is_valid {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "the name of a context is up to {NAME_MAX} of a-z, 0-9, \".\" and \"-\", and begins with a letter or digit"
        ))
    }
}

impl fmt::Display for ContextName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Source {
    /// The file or the context that the command line or the environment names; else the current context.
    pub(crate) fn resolve(
        file: Option<PathBuf>,
        context: Option<ContextName>,
    ) -> Result<Self, ConfigError> {
        let context = match (context, std::env::var_os(VARIABLE)) {
            (None, Some(name)) if !name.is_empty() => {
                let parsed = name.to_string_lossy().parse();
                Some(parsed.map_err(|problem| ConfigError::Variable { name: VARIABLE, problem })?)
            }
            (context, _) => context,
        };
        match (file, context) {
            (Some(_), Some(_)) => Err(ConfigError::FileAndContext),
            (Some(file), None) => Ok(Self::File(file)),
            (None, Some(context)) => Ok(Self::Context(context)),
            (None, None) => ContextName::current().map(Self::Context),
        }
    }

    /// The file.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Context(context) => context.path(),
        }
    }

    /// The command that logs in to this configuration.
    pub(crate) fn login_command(&self) -> String {
        match self {
            Self::File(path) => {
                format!("commctl --config {} login", quoted(&path.to_string_lossy()))
            }
            Self::Context(context) if context.is_default() => "commctl login".to_owned(),
            Self::Context(context) => format!("commctl --context {context} login"),
        }
    }

    /// The context, unless it is the one called `default`: that needs no mention.
    pub(crate) fn named_context(&self) -> Option<&ContextName> {
        match self {
            Self::Context(context) if !context.is_default() => Some(context),
            _ => None,
        }
    }

    /// The error for a file that is not there; `None` where there need not be one.
    pub(super) fn missing(&self, source: io::Error) -> Option<ConfigError> {
        match self {
            Self::File(path) => Some(ConfigError::Read { path: path.clone(), source }),
            Self::Context(context) if context.is_default() => None,
            Self::Context(context) => Some(ConfigError::NoContext { name: context.clone() }),
        }
    }

    /// Makes the directory of the contexts, if the file is in it.
    pub(super) fn make_directory(&self) -> Result<(), WriteError> {
        if self.named_context().is_none() {
            return Ok(());
        }
        make_private_directory(&directory())
    }
}

/// The environment variable that chooses a configuration instead of the current context.
pub(crate) fn variable_in_effect() -> Option<&'static str> {
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    [FILE_VARIABLE, VARIABLE].into_iter().find(is_set)
}

/// Where the authority of a log-in is kept, beside its configuration.
pub(super) fn authority_file(config: &Path) -> PathBuf {
    let stem = config.file_stem().unwrap_or_default().to_string_lossy();
    directory_of(config).join(format!("{stem}-ca.pem"))
}

/// Deletes the configuration of a context, and the authority of its log-in.
pub(crate) fn delete(name: &ContextName) -> Result<(), WriteError> {
    let path = name.path();
    delete_file(&authority_file(&path))?;
    delete_file(&path).map(drop)
}

/// A word of a shell command.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./@%+=:,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn home() -> PathBuf {
    std::env::home_dir().unwrap_or_default()
}

fn directory() -> PathBuf {
    home().join(DIRECTORY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_command_names_its_configuration() {
        let context = |name: &str| Source::Context(name.parse().unwrap()).login_command();
        assert_eq!(context("default"), "commctl login");
        assert_eq!(context("prod"), "commctl --context prod login");
        let file = |path: &str| Source::File(path.into()).login_command();
        assert_eq!(file("/a/b.json"), "commctl --config /a/b.json login");
        assert_eq!(file("it's"), r"commctl --config 'it'\''s' login");
    }

    #[test]
    fn names_of_contexts_are_names_of_files() {
        for good in ["a", "0", "prod.eu-1", "default", &"a".repeat(63)] {
            assert!(good.parse::<ContextName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".a", "-a", "A", "a/b", "a_b", "é", "a\n", &"a".repeat(64)] {
            assert!(bad.parse::<ContextName>().is_err(), "{bad:?}");
        }
    }
}
