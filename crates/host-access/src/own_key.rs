//! The server's own SSH key: hosts registered without one are reached with it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use secrecy::SecretString;

/// The private key's name in the data directory.
pub const PRIVATE: &str = "id_ed25519";

/// Its public half's.
pub const PUBLIC: &str = "id_ed25519.pub";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum OwnKeyError {
    /// `ssh-keygen` is missing.
    #[error("cannot run ssh-keygen: install the OpenSSH client")]
    Keygen(#[source] io::Error),
    /// `ssh-keygen` refused.
    #[error("ssh-keygen failed: {0}")]
    Refused(String),
    /// A file cannot be written or read.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The key in the data directory, made by `ssh-keygen` where it is missing. Several processes may ask
/// at the same time: one of them makes it.
///
/// # Errors
/// When it can neither be read nor made.
pub fn own_key(data_dir: &Path) -> Result<SecretString, OwnKeyError> {
    let private = data_dir.join(PRIVATE);
    if !private.exists() {
        make(data_dir)?;
    }
    let text = std::fs::read_to_string(&private);
    text.map(SecretString::from).map_err(failed("read", &private))
}

fn make(data_dir: &Path) -> Result<(), OwnKeyError> {
    let scratch = tempdir(data_dir)?;
    let new = scratch.0.join(PRIVATE);
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", "", "-C", "commissaire", "-f"]).arg(&new);
    let output = command.stdin(Stdio::null()).output().map_err(OwnKeyError::Keygen)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(OwnKeyError::Refused(said));
    }
    // Two that are here at once would mix their halves.
    let lock = data_dir.join(".id_ed25519.lock");
    let gate = std::fs::File::create(&lock).map_err(failed("make", &lock))?;
    gate.lock().map_err(failed("lock", &lock))?;
    let private = data_dir.join(PRIVATE);
    if private.exists() {
        return Ok(());
    }
    // The private key comes last: where it is, its public half is.
    for name in [PUBLIC, PRIVATE] {
        let path = data_dir.join(name);
        std::fs::rename(scratch.0.join(name), &path).map_err(failed("make", &path))?;
    }
    let public = data_dir.join(PUBLIC);
    tracing::info!(path = %public.display(), "made an SSH key for reaching hosts");
    Ok(())
}

/// A private directory beside the key, removed at the end.
struct Scratch(PathBuf);

fn tempdir(data_dir: &Path) -> Result<Scratch, OwnKeyError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let path = data_dir.join(format!(".id_ed25519.{}", std::process::id()));
    // What a killed process of the same number left behind.
    let _ = std::fs::remove_dir_all(&path);
    let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
    made.map_err(failed("make", &path))?;
    Ok(Scratch(path))
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "not removed");
        }
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OwnKeyError {
    move |source| OwnKeyError::File { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn whoever_asks_gets_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let ask = || own_key(folder.path()).unwrap().expose_secret().to_owned();
        let key = ask();
        assert!(key.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
        assert_eq!(ask(), key);
        let public = std::fs::read_to_string(folder.path().join(PUBLIC)).unwrap();
        assert!(public.starts_with("ssh-ed25519 "), "{public}");
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 3, "the two halves and the lock");
    }
}
