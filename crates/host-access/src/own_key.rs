//! The server's own SSH key: hosts registered without one are reached with it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use model::host_keys::fingerprint;
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
    /// The file is not a private key.
    #[error("{} does not hold a private key", .0.display())]
    NotAKey(PathBuf),
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

/// The key as it is in the data directory.
#[derive(Debug, Clone)]
pub struct OwnKey {
    /// The private key, as OpenSSH text.
    pub private: SecretString,
    /// Its fingerprint, `SHA256:…`.
    pub fingerprint: String,
}

/// Where the private key is: systemd's `LoadCredential=id_ed25519` comes before the data directory.
pub fn private_path(data_dir: &Path) -> PathBuf {
    runtime::config::key_file(PRIVATE, &data_dir.join(PRIVATE))
}

/// Reads the key at [`private_path`]; `None` where the file is missing. The fingerprint is computed from the private key
/// and not from the public half in the data directory, which is written where it is missing.
///
/// # Errors
/// When it cannot be read, or is not a private key without a passphrase.
pub fn read(data_dir: &Path) -> Result<Option<OwnKey>, OwnKeyError> {
    let Some((key, line)) = read_from(&private_path(data_dir))? else { return Ok(None) };
    let public = data_dir.join(PUBLIC);
    if !public.exists() {
        std::fs::write(&public, format!("{line}\n")).map_err(failed("write", &public))?;
    }
    Ok(Some(key))
}

/// The fingerprint of the private key in the file `path`; `None` where it is missing. Nothing is written.
///
/// # Errors
/// As [`read`].
pub fn fingerprint_of(path: &Path) -> Result<Option<String>, OwnKeyError> {
    Ok(read_from(path)?.map(|(key, _)| key.fingerprint))
}

/// The key in a file, and the line of its public half.
fn read_from(path: &Path) -> Result<Option<(OwnKey, String)>, OwnKeyError> {
    let private = match std::fs::read_to_string(path) {
        Ok(text) => SecretString::from(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let mut command = Command::new("ssh-keygen");
    let line = keygen(command.args(["-y", "-P", "", "-f"]).arg(path))?;
    let fingerprint = fingerprint(&line);
    let fingerprint = fingerprint.ok_or_else(|| OwnKeyError::NotAKey(path.to_owned()))?;
    Ok(Some((OwnKey { private, fingerprint }, line)))
}

/// Runs `ssh-keygen`; answers what it prints.
fn keygen(command: &mut Command) -> Result<String, OwnKeyError> {
    let output = command.stdin(Stdio::null()).output().map_err(OwnKeyError::Keygen)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(OwnKeyError::Refused(said));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Makes a key in the data directory with `ssh-keygen`, unless there is one. Several processes may do so
/// at the same time: one of them makes it.
///
/// # Errors
/// When it cannot be made.
pub fn make(data_dir: &Path) -> Result<(), OwnKeyError> {
    let scratch = tempdir(data_dir)?;
    let new = scratch.0.join(PRIVATE);
    let mut command = Command::new("ssh-keygen");
    keygen(command.args(["-q", "-t", "ed25519", "-N", "", "-C", "commissaire", "-f"]).arg(&new))?;
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
    fn the_key_is_made_once_and_its_public_half_is_restored() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap().is_none());
        let ask = || {
            make(folder.path()).unwrap();
            read(folder.path()).unwrap().unwrap()
        };
        let key = ask();
        assert!(key.private.expose_secret().starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
        assert_eq!(ask().private.expose_secret(), key.private.expose_secret());
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 3, "the two halves and the lock");
        let public = folder.path().join(PUBLIC);
        let line = std::fs::read_to_string(&public).unwrap();
        assert_eq!(fingerprint(&line), Some(key.fingerprint.clone()));
        std::fs::remove_file(&public).unwrap();
        assert_eq!(ask().fingerprint, key.fingerprint);
        let restored = std::fs::read_to_string(&public).unwrap();
        assert_eq!(fingerprint(&restored), Some(key.fingerprint));
    }

    #[test]
    fn a_file_that_is_not_a_key_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(PRIVATE), "nonsense").unwrap();
        assert!(matches!(read(folder.path()), Err(OwnKeyError::Refused(_))));
    }

    #[test]
    fn fingerprint_is_read_without_writing_the_public_half() {
        let folder = tempfile::tempdir().unwrap();
        let private = folder.path().join(PRIVATE);
        assert_eq!(fingerprint_of(&private).unwrap(), None);
        make(folder.path()).unwrap();
        std::fs::remove_file(folder.path().join(PUBLIC)).unwrap();
        let found = fingerprint_of(&private).unwrap();
        assert!(!folder.path().join(PUBLIC).exists());
        assert_eq!(found, read(folder.path()).unwrap().map(|key| key.fingerprint));
    }
}
