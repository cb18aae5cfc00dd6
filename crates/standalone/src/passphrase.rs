//! The passphrase of the keys in a backup.

use std::io::IsTerminal as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use secrecy::{ExposeSecret as _, SecretString};

/// The shortest passphrase that keys are encrypted with, in characters: backups are kept where others may try to guess it.
const LENGTH_MIN: usize = 12;

/// The passphrase in the first line of a file that only its owner can read.
///
/// # Errors
/// When the file cannot be read, is readable by others, or is empty.
pub(crate) fn of_file(path: &Path) -> anyhow::Result<SecretString> {
    let file = path.display();
    let metadata = std::fs::metadata(path).with_context(|| format!("cannot read {file}"))?;
    let mode = metadata.permissions().mode() & 0o7777;
    ensure!(
        mode.trailing_zeros() >= 6 || !metadata.is_file(),
        "{file} can be read by others (mode {mode:04o}): `chmod 600` it"
    );
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {file}"))?;
    let text = zeroize::Zeroizing::new(text);
    let line = text.lines().next().unwrap_or_default();
    ensure!(!line.is_empty(), "the first line of {file} is empty: it is the passphrase");
    Ok(line.into())
}

/// Asks for a new passphrase, twice.
///
/// # Errors
/// When there is no terminal, or it is too short.
pub(crate) fn new() -> anyhow::Result<SecretString> {
    ensure_terminal("the passphrase that the keys are encrypted with")?;
    let first = ask("passphrase for the keys in the backup: ")?;
    check(&first)?;
    let second = ask("the same again: ")?;
    ensure!(
        first.expose_secret() == second.expose_secret(),
        "the passphrases differ: nothing was done"
    );
    Ok(first)
}

/// Asks for the passphrase of a backup.
///
/// # Errors
/// When there is no terminal.
pub(crate) fn existing() -> anyhow::Result<SecretString> {
    ensure_terminal("the passphrase of the keys in the backup")?;
    ask("passphrase of the keys in the backup: ")
}

/// Refuses a passphrase that is too short to encrypt keys with.
///
/// # Errors
/// When it is.
pub(crate) fn check(passphrase: &SecretString) -> anyhow::Result<()> {
    let length = passphrase.expose_secret().chars().count();
    ensure!(
        length >= LENGTH_MIN,
        "the passphrase has {length} characters, and needs {LENGTH_MIN}: everybody who has the backup can try to guess it"
    );
    Ok(())
}

fn ensure_terminal(what: &str) -> anyhow::Result<()> {
    if std::io::stderr().is_terminal() && std::fs::File::open("/dev/tty").is_ok() {
        return Ok(());
    }
    bail!(
        "cannot ask for {what} without a terminal: put it into a file of mode 0600 and give --passphrase-file FILE"
    )
}

fn ask(prompt: &str) -> anyhow::Result<SecretString> {
    let answer = rpassword::prompt_password(prompt).context("cannot ask for the passphrase")?;
    Ok(answer.into())
}
