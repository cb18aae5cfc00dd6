//! `commctl passhash`

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};

use crate::error::Error;
use crate::files::{ReadError, read_text};
use crate::output;

/// bcrypt ignores everything behind this many bytes.
const LONGEST: usize = 72;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  commctl passhash                        asks twice, without showing what you type
  commctl passhash --file password.txt
  pwgen 20 1 | commctl passhash --file -
  commctl passhash --rounds 15")]
pub(crate) struct Passhash {
    /// The password itself; it stays in the shell's history and others can see it: better not
    #[arg(short, long, conflicts_with = "file")]
    password: Option<SecretString>,
    /// File that holds the password (- for standard input); a newline at its end does not count
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// Strength: each step doubles the time it takes to check or guess
    #[arg(short, long, value_name = "4-31", default_value_t = 12,
          value_parser = clap::value_parser!(u32).range(4..=31))]
    rounds: u32,
}

impl Passhash {
    pub(crate) fn run(self) -> Result<(), Error> {
        let password = match (self.password, &self.file) {
            (Some(password), _) => password,
            (None, Some(file)) => from_file(file)?,
            (None, None) => ask()?,
        };
        output::print_line(&hash(&password, self.rounds)?)
    }
}

fn hash(password: &SecretString, rounds: u32) -> Result<String, Error> {
    let password = password.expose_secret();
    let refuse = |problem: &str| Err(Error::Usage(problem.to_owned()));
    if password.is_empty() {
        return refuse("the password is empty");
    }
    if password.len() > LONGEST {
        return refuse("the password is longer than 72 bytes, and bcrypt would ignore the rest");
    }
    if password.contains('\0') {
        return refuse("the password contains a NUL character, where bcrypt would end it");
    }
    bcrypt::hash(password, rounds)
        .map_err(|error| Error::Failed(format!("cannot hash the password: {error}")))
}

/// The secret in a file, without the newline at its end.
pub(super) fn from_file(path: &Path) -> Result<SecretString, Error> {
    let text = if path == Path::new("-") {
        let text = std::io::read_to_string(std::io::stdin());
        text.map_err(|source| ReadError { path: path.to_owned(), source })?
    } else {
        read_text(path)?
    };
    let password = text.strip_suffix('\n').unwrap_or(&text);
    Ok(password.strip_suffix('\r').unwrap_or(password).into())
}

fn ask() -> Result<SecretString, Error> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::Usage(
            "there is no terminal to ask on; give the password with --file FILE or --file -"
                .to_owned(),
        ));
    }
    let password = prompt("Password: ")?;
    if password != prompt("Again: ")? {
        return Err(Error::Usage("the two passwords differ".to_owned()));
    }
    Ok(password.into())
}

/// Asks for a password on the terminal, which does not show it.
pub(super) fn prompt(text: &str) -> Result<String, Error> {
    rpassword::prompt_password(text)
        .map_err(|error| Error::Failed(format!("cannot ask for the password: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_passwords() {
        let hash = hash(&"secret".into(), 4).unwrap();
        assert!(hash.starts_with("$2b$04$"), "{hash}");
        assert!(bcrypt::verify("secret", &hash).unwrap());
    }

    #[test]
    fn what_bcrypt_would_cut_is_refused() {
        assert!(hash(&"x".repeat(72).into(), 4).is_ok());
        for bad in [String::new(), "x".repeat(73), "é".repeat(37), "a\0b".to_owned()] {
            assert!(hash(&bad.into(), 4).is_err());
        }
    }
}
