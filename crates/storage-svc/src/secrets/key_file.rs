//! The file with the sealing keys: a line `ID KEY` (base64) per key, the first one seals.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use runtime::random;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

const KEY_LENGTH: usize = 32;

/// Why the sealing key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error("cannot {doing} the key file {}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others can read it.
    #[error("the key file {} can be read by others (mode {mode:04o}): `chmod 600` it, and consider the keys on all hosts known", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is missing although the store holds sealed records.
    #[error("the key file {} is missing, and the store holds credentials sealed with it: restore it, or copy it from another storage service of this store; a new one could not open them", path.display())]
    Lost {
        /// The file.
        path: PathBuf,
    },
    /// Its content is not a key file's.
    #[error("line {line} of the key file {} is not `ID KEY`", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A record in the store is sealed with another key.
    #[error("the record {record} is sealed with the key {key_id}, which is not in the key file {}: every storage service of a store needs the same key file; restore it, or copy it from another one", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The record's key in the store.
        record: String,
        /// The id of the key that sealed it.
        key_id: String,
    },
}

/// A key, and what tells it from others.
pub(super) type NamedKey = (String, Zeroizing<[u8; KEY_LENGTH]>);

/// The keys in the text of the file.
pub(super) fn keys_in(path: &Path, text: &str) -> Result<Vec<NamedKey>, KeyError> {
    let malformed = |line| KeyError::Malformed { path: path.to_owned(), line };
    let keys = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let keys = keys
        .map(|(index, line)| parse(line).ok_or_else(|| malformed(index + 1)))
        .collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() { Err(malformed(1)) } else { Ok(keys) }
}

/// Makes the file with a new key, unless it is there: several processes may try at once, and all of them
/// then read the same key.
pub(super) fn make(path: &Path) -> Result<(), KeyError> {
    let temporary =
        path.with_extension(format!("new-{:016x}", u64::from_be_bytes(random::bytes())));
    let make = || {
        write_private(&temporary, &new_line())?;
        // Unlike a rename, a link never replaces what is there.
        let linked = match std::fs::hard_link(&temporary, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        };
        let removed = std::fs::remove_file(&temporary);
        linked.and(removed)?;
        sync_folder(path)
    };
    make().map_err(|source| KeyError::File { doing: "make", path: path.to_owned(), source })
}

/// Puts a new key before the ones in the file.
pub(super) fn add(path: &Path) -> Result<(), KeyError> {
    let old = read(path)?;
    let both = Zeroizing::new(format!("{}{}", *new_line(), *old));
    replace(path, &both)
}

/// Leaves only the first key in the file.
pub(super) fn keep_first(path: &Path) -> Result<(), KeyError> {
    let keys = read(path)?;
    let first = keys.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    replace(path, &Zeroizing::new(format!("{first}\n")))
}

/// A line with a new key.
fn new_line() -> Zeroizing<String> {
    let key = Zeroizing::new(random::secret::<KEY_LENGTH>());
    Zeroizing::new(format!("{} {}\n", id(&*key), BASE64.encode(*key)))
}

fn parse(line: &str) -> Option<NamedKey> {
    let (name, key) = line.trim().split_once(' ')?;
    let bytes = Zeroizing::new(BASE64.decode(key.trim()).ok()?);
    let key = Zeroizing::new(<[u8; KEY_LENGTH]>::try_from(bytes.as_slice()).ok()?);
    (name == id(&*key)).then(|| (name.to_owned(), key))
}

/// Tells keys apart without telling anything about them.
fn id(key: &[u8]) -> String {
    let digest = Sha256::digest(key);
    format!("{:08x}", u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]))
}

/// The content of a key file that nobody else can read.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let failed = |source| KeyError::File { doing: "read", path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if is_exposed(metadata.uid(), metadata.gid(), mode) {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Whether others than the owner can read or change a file. A file that systemd hands over belongs to root and has an
/// access list with the service's user: the bits of the group are the mask of that list.
fn is_exposed(owner: u32, group: u32, mode: u32) -> bool {
    let is_handed_over = owner == 0 && group == 0 && mode == 0o440;
    mode & 0o077 != 0 && !is_handed_over
}

/// Writes a key file whole, or not at all, and on disk before anything is sealed with it.
fn replace(path: &Path, text: &str) -> Result<(), KeyError> {
    let temporary = path.with_extension("new");
    let replace = || {
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        write_private(&temporary, text)?;
        std::fs::rename(&temporary, path)?;
        sync_folder(path)
    };
    replace().map_err(|source| KeyError::File { doing: "write", path: path.to_owned(), source })
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(path: &Path) -> Result<Vec<NamedKey>, KeyError> {
        keys_in(path, &read(path)?)
    }

    fn made() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        make(&path).unwrap();
        (folder, path)
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        let (_folder, path) = made();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(keys(&path), Err(KeyError::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn a_key_file_with_the_access_list_of_systemd_is_not_exposed() {
        for (owner, group, mode, expected) in [
            (998, 998, 0o600, false),
            (998, 998, 0o400, false),
            (998, 998, 0o440, true),
            (998, 998, 0o604, true),
            (0, 0, 0o440, false),
            (0, 998, 0o440, true),
            (0, 0, 0o444, true),
            (0, 0, 0o460, true),
        ] {
            assert_eq!(is_exposed(owner, group, mode), expected, "{owner}:{group} {mode:04o}");
        }
    }

    #[test]
    fn a_malformed_key_file_names_the_line() {
        let (_folder, path) = made();
        for text in ["", "\n", "zz", "00000000 AAAA", "key"] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(keys(&path), Err(KeyError::Malformed { line: 1, .. })));
        }
    }

    #[test]
    fn many_that_make_it_at_once_read_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        let start = std::sync::Barrier::new(8);
        let ids = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        make(&path).unwrap();
                        keys(&path).unwrap().remove(0).0
                    })
                })
                .collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_key_is_added_before_the_others_and_outlives_them() {
        let (_folder, path) = made();
        let old = keys(&path).unwrap();
        add(&path).unwrap();
        let both = keys(&path).unwrap();
        assert_eq!((both.len(), &both[1]), (2, &old[0]));
        keep_first(&path).unwrap();
        assert_eq!(keys(&path).unwrap(), both[..1]);
    }
}
