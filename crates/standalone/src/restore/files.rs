//! The key files of a backup, put into the data directory. Files that are there are moved aside.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use backup::{Header, KeyFile, KeyFiles};
use host_access::own_key;
use model::Stamp;
use rustix::fs::Access;
use zeroize::Zeroizing;

use crate::data_dir::{self, write_private};
use crate::installation::{Installation, SECRET_KEY};

/// The directory for the configuration of the backup: it may not fit this machine.
const CONFIGURATION: &str = "restored-configuration";

/// What is written.
#[derive(Debug)]
pub(super) struct Files {
    data_dir: PathBuf,
    writes: Vec<(PathBuf, Zeroizing<String>)>,
    /// The key files that are neither in the backup nor here.
    lacking: Vec<&'static str>,
    has_configuration: bool,
    /// The files that are in use in place of those of the backup.
    overridden: Vec<String>,
    /// Where files are that cannot be made where the server needs them, and where that is.
    to_copy: Vec<(PathBuf, PathBuf)>,
}

impl Files {
    /// Chooses the files to write.
    ///
    /// # Errors
    /// When one of them is damaged.
    pub(super) fn plan(
        installation: &Installation,
        keys: Option<&KeyFiles>,
    ) -> anyhow::Result<Self> {
        let data_dir = installation.data_dir.clone();
        let mut files = Self {
            data_dir: data_dir.clone(),
            writes: Vec::new(),
            lacking: Vec::new(),
            has_configuration: false,
            overridden: Vec::new(),
            to_copy: Vec::new(),
        };
        for (name, in_use) in installation.key_files() {
            let file = keys.and_then(|keys| keys.data_file(name));
            let path = match name {
                SECRET_KEY => installation.storage.secret_key_file.clone(),
                // It belongs to the configuration, which stays as it is.
                data_dir::USERS if in_use != data_dir.join(name) && !can_be_made(&in_use) => {
                    files.has_configuration |= file.is_some();
                    data_dir.join(CONFIGURATION).join(name)
                }
                data_dir::USERS => in_use.clone(),
                _ => data_dir.join(name),
            };
            match file {
                Some(file) => {
                    if in_use != path && in_use.exists() {
                        files.overridden.push(in_use.display().to_string());
                    } else if in_use != path {
                        files.to_copy.push((path.clone(), in_use));
                    }
                    files.writes.push((path, text(file)?));
                }
                None if !in_use.exists()
                    && ![own_key::PUBLIC, data_dir::AUTHORITY, data_dir::AUTHORITY_KEY]
                        .contains(&name) =>
                {
                    files.lacking.push(name);
                }
                None => {}
            }
        }
        for file in keys.map(|keys| keys.configuration.as_slice()).unwrap_or_default() {
            let name = Path::new(&file.name).file_name();
            let name = name.with_context(|| format!("{:?} in the backup is no file", file.name))?;
            files.writes.push((data_dir.join(CONFIGURATION).join(name), text(file)?));
            files.has_configuration = true;
        }
        Ok(files)
    }

    /// What the restored installation lacks, in sentences.
    pub(super) fn missing(&self, header: &Header) -> Vec<String> {
        let mut missing = header.not_included.clone();
        if !self.writes.is_empty() {
            // They are there.
            missing.retain(|sentence| !sentence.contains("--with-key"));
        }
        for name in &self.lacking {
            missing.push(match *name {
                SECRET_KEY => format!("{SECRET_KEY}: a new one is made"),
                own_key::PRIVATE => format!(
                    "{}: hosts that are reached with the server's own key need the former one; copy it into {}, or see \
                     docs/backup.md",
                    own_key::PRIVATE,
                    self.data_dir.display()
                ),
                _ => format!("{name}: the next start makes an administrator with a new password"),
            });
        }
        if self.has_configuration {
            missing.push(format!(
                "the configuration: compare {} with the one of this machine, and copy what you need",
                self.data_dir.join(CONFIGURATION).display()
            ));
        }
        for (path, needed) in &self.to_copy {
            missing.push(format!(
                "{}, without which the server does not start: copy {} there, readable by the server only",
                needed.display(),
                path.display()
            ));
        }
        for path in &self.overridden {
            missing.push(format!(
                "{path} of this machine stays in use, in place of the one in the backup"
            ));
        }
        missing
    }

    /// Writes the files.
    ///
    /// # Errors
    /// When one cannot be written.
    pub(super) fn write(&self, now: &Stamp) -> anyhow::Result<()> {
        if self.has_configuration {
            let folder = self.data_dir.join(CONFIGURATION);
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        for (path, text) in &self.writes {
            let there = std::fs::read_to_string(path);
            if there.is_ok_and(|there| there == **text) {
                continue;
            }
            set_aside(path, now)?;
            write_private(path, text)?;
        }
        let users = self.data_dir.join(data_dir::USERS);
        if self.writes.iter().any(|(path, _)| *path == users) {
            // It is that of a user who is gone.
            set_aside(&self.data_dir.join(data_dir::ADMIN_PASSWORD), now)?;
        }
        Ok(())
    }
}

/// Whether a file does not exist, and could be made.
fn can_be_made(path: &Path) -> bool {
    let is_writable = |folder| rustix::fs::access(folder, Access::WRITE_OK).is_ok();
    !path.exists() && path.parent().is_some_and(is_writable)
}

/// The text of a file.
///
/// # Errors
/// When it is damaged.
pub(super) fn text(file: &KeyFile) -> anyhow::Result<Zeroizing<String>> {
    let content =
        file.content().with_context(|| format!("{} in the backup is damaged", file.name))?;
    let text = std::str::from_utf8(&content);
    let text = text.with_context(|| format!("{} in the backup is no text", file.name))?;
    ensure!(!text.is_empty(), "{} in the backup is empty", file.name);
    Ok(Zeroizing::new(text.to_owned()))
}

/// Renames a file that is replaced; one that does not exist is no error.
fn set_aside(path: &Path, now: &Stamp) -> anyhow::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".before-restore-{}", now.replace(':', "-")));
    match std::fs::rename(path, &name) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot move {} aside", path.display()))
        }
        _ => Ok(()),
    }
}
