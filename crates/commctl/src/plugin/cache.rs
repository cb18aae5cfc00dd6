//! Answers of credential plugins, kept between two runs of commctl: asking for a new one may take
//! seconds, or the operator's own hands. A file for each, readable by its owner alone.
//!
//! A cache that cannot be used costs another question, and is no reason to fail.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::answer::Credential;
use crate::files::is_private;
use crate::random;

/// The place of one plugin's answer.
pub(super) struct Cache<'a> {
    directory: &'a Path,
    file: PathBuf,
}

impl<'a> Cache<'a> {
    /// `of` is all that the answer may depend on.
    pub(super) fn new(directory: &'a Path, of: &str) -> Self {
        let name = URL_SAFE_NO_PAD.encode(Sha256::digest(of.as_bytes()));
        Self { directory, file: directory.join(format!("{name}.json")) }
    }

    /// What was stored, if nobody else can have put it there.
    pub(super) fn load(&self) -> Option<Vec<u8>> {
        if is_private(self.directory) { fs::read(&self.file).ok() } else { None }
    }

    /// Keeps an answer, and drops all others that have expired.
    pub(super) fn store(&self, answer: &[u8]) {
        if let Err(error) = self.try_store(answer) {
            eprintln!(
                "warning: the log-in cannot be kept in {}: {error}; the next command asks again",
                self.directory.display()
            );
        }
    }

    fn try_store(&self, answer: &[u8]) -> io::Result<()> {
        if !self.directory.exists() {
            if let Some(parent) = self.directory.parent() {
                fs::create_dir_all(parent)?;
            }
            DirBuilder::new().mode(0o700).create(self.directory)?;
        }
        if !is_private(self.directory) {
            return Err(io::Error::other("others can get at it"));
        }
        self.sweep()?;
        // Another commctl must not read half an answer.
        let new = self.directory.join(format!("{}.new", random::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(answer)?;
        fs::rename(&new, &self.file)
    }

    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.directory)? {
            let path = entry?.path();
            let answer = fs::read(&path).unwrap_or_default();
            let good = super::API_VERSIONS.into_iter().any(|version| {
                Credential::read(&answer, version).is_ok_and(|answer| !answer.has_expired())
            });
            if !good && path.extension().is_some_and(|extension| extension == "json") {
                // Another commctl may have been faster.
                let _gone = fs::remove_file(&path);
            }
        }
        Ok(())
    }
}
