//! The directory that holds everything that is kept: for one process at a time.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The server's own certificate in the data directory.
pub const CERTIFICATE: &str = "server.pem";

/// The users file in the data directory.
pub const USERS: &str = "users.json";

/// The file with a generated password in the data directory.
pub const ADMIN_PASSWORD: &str = "admin-password";

/// The authority that signs the server's certificate, in the data directory: its key and its certificate.
pub const AUTHORITY_KEY: &str = "ca-key.pem";
/// See there.
pub const AUTHORITY: &str = "ca.pem";

/// See the module. The lock on it is held until this is dropped, or the process ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// The file that says where the API is served; removed with this.
#[derive(Debug)]
pub struct AddressFile(PathBuf);

impl DataDir {
    /// Opens the directory, making it where it is missing.
    ///
    /// # Errors
    /// When it cannot be used, or another process uses it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot use the data directory {}", path.display());
        DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(cannot)?;
        let mut options = OpenOptions::new();
        let lock = options.append(true).create(true).mode(0o600).open(path.join("lock"));
        let lock = lock.with_context(cannot)?;
        if lock.try_lock().is_err() {
            bail!("the data directory {} is in use by another process", path.display());
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The embedded store.
    pub fn database(&self) -> PathBuf {
        database_in(&self.path)
    }

    /// The sealing key that a first start makes here, or an operator puts here.
    pub fn own_secret_key(&self) -> PathBuf {
        storage_svc::config::secret_key_in(&self.path)
    }

    /// How far the first start came.
    pub fn first_start(&self) -> PathBuf {
        first_start_in(&self.path)
    }

    /// The key that credentials are sealed with; systemd's `LoadCredential=secret.key` comes first.
    pub fn secret_key(&self) -> PathBuf {
        storage_svc::Config::sqlite(self.database(), self.own_secret_key()).key_file()
    }

    /// The public half of the server's own SSH key.
    pub fn public_key(&self) -> PathBuf {
        self.path.join(host_access::own_key::PUBLIC)
    }

    /// Who may use the API.
    pub fn users(&self) -> PathBuf {
        users_in(&self.path)
    }

    /// The audit log, where no other is named.
    pub fn audit_log(&self) -> PathBuf {
        self.path.join("audit.log")
    }

    /// The generated password, where there was no terminal to show it on.
    pub fn admin_password(&self) -> PathBuf {
        self.path.join(ADMIN_PASSWORD)
    }

    /// The authority that signs the server's certificate: key and certificate.
    pub fn authority_key(&self) -> PathBuf {
        authority_key_in(&self.path)
    }

    /// Its certificate, for clients.
    pub fn authority(&self) -> PathBuf {
        authority_in(&self.path)
    }

    /// The certificate that it signed, and its key.
    pub fn certificate(&self) -> PathBuf {
        self.path.join(CERTIFICATE)
    }

    /// Writes down where the API is served, for scripts.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn announce(&self, url: &str) -> anyhow::Result<AddressFile> {
        let file = AddressFile(self.path.join("address"));
        write_private(&file.0, &format!("{url}\n"))?;
        Ok(file)
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "not removed");
        }
    }
}

/// The embedded store in a data directory that another process may be using.
pub fn database_in(data_dir: &Path) -> PathBuf {
    data_dir.join("commissaire.db")
}

/// The mark of the first start in a data directory that another process may be using.
pub fn first_start_in(data_dir: &Path) -> PathBuf {
    data_dir.join("first-start")
}

/// The authority's certificate in a data directory that another process may be using.
pub fn authority_in(data_dir: &Path) -> PathBuf {
    data_dir.join(AUTHORITY)
}

/// The authority's key in a data directory that another process may be using.
pub fn authority_key_in(data_dir: &Path) -> PathBuf {
    data_dir.join(AUTHORITY_KEY)
}

/// The users file in a data directory that another process may be using.
pub fn users_in(data_dir: &Path) -> PathBuf {
    data_dir.join(USERS)
}

/// Writes a file that only its owner can read: whole, or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let temporary = path.with_extension("new");
    let write = || {
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        // The new name survives a power failure, too.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        assert!(DataDir::open(&path).unwrap_err().to_string().contains("another process"));
        drop(first);
        DataDir::open(&path).unwrap();
    }
}
