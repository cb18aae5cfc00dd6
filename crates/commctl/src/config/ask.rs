//! Asking the person at the terminal.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::Path;

use secrecy::SecretString;

use super::ConfigError;

/// Asks for single values, where there is somebody to ask.
pub(crate) struct Asker {
    /// Somebody sees the question.
    sees: bool,
    /// And can answer it on standard input, which may be a file. Passwords are read from the
    /// terminal itself.
    types: bool,
}

/// A value the configuration lacks.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) name: &'static str,
    /// How to write it into the configuration.
    pub(super) example: &'static str,
}

impl Asker {
    /// Whoever sits at the terminal, if there is one.
    pub(crate) fn of_this_process() -> Self {
        Self { sees: std::io::stderr().is_terminal(), types: std::io::stdin().is_terminal() }
    }

    #[cfg(test)]
    pub(super) fn without_terminal() -> Self {
        Self { sees: false, types: false }
    }

    /// Asks for a value that may be seen.
    pub(super) fn line(&self, wanted: Wanted, config: &Path) -> Result<String, ConfigError> {
        ask(wanted, config, self.is_at_a_terminal(), || prompt(wanted.name))
    }

    /// Whether a question that is answered on standard input is seen, and answered by a person.
    pub(crate) fn is_at_a_terminal(&self) -> bool {
        self.sees && self.types
    }

    /// Asks for a value that may not.
    pub(super) fn hidden(
        &self,
        wanted: Wanted,
        config: &Path,
    ) -> Result<SecretString, ConfigError> {
        ask(wanted, config, self.sees, || rpassword::prompt_password(format!("{}: ", wanted.name)))
            .map(SecretString::from)
    }
}

/// Asks on the terminal; the answer is one line, without blanks around it.
pub(crate) fn prompt(question: &str) -> std::io::Result<String> {
    eprint!("{question}: ");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

fn ask(
    Wanted { name, example }: Wanted,
    config: &Path,
    somebody: bool,
    ask: impl FnOnce() -> std::io::Result<String>,
) -> Result<String, ConfigError> {
    let missing = || ConfigError::Missing { name, example, path: config.to_owned() };
    if !somebody {
        return Err(missing());
    }
    match ask() {
        Ok(answer) if answer.is_empty() => Err(missing()),
        Ok(answer) => Ok(answer),
        Err(source) => Err(ConfigError::Ask { name, source }),
    }
}
