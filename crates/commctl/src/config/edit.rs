//! The configuration file as a log-in finds it and changes it.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use reqwest::Url;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use tempfile::NamedTempFile;

use super::file::{self, Members};
use super::{Config, ConfigError, beside, default_file, endpoint, identity};
use crate::endpoint::shown;
use crate::files::{WriteError, directory_of};
use crate::login::{Login, Password};
use crate::pem::{Identity, Pem};

/// The file, which may not be there yet.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    object: Map<String, Value>,
    members: Members,
    identity: Option<Identity>,
}

/// The fields that a log-in changes.
#[derive(Debug)]
pub(crate) struct NewLogin {
    pub(crate) endpoint: Url,
    pub(crate) user: Password,
    /// The server is trusted by this authority alone: a file that the configuration names already, or
    /// the PEM of a new one. Without it, by the roots of the system.
    pub(crate) authority: Option<Pem>,
}

impl ConfigFile {
    /// Reads the named file, or the default one.
    pub(crate) fn open(named: Option<PathBuf>) -> Result<Self, ConfigError> {
        let path = named.unwrap_or_else(default_file);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => "{}".to_owned(),
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        let members = file::parse(&text, &path)?;
        if members.kubeconfig.is_some() {
            return Err(ConfigError::KubeconfigWins { path });
        }
        let identity = identity(&members, &path)?;
        let object = serde_json::from_str(&text)
            .map_err(|source| ConfigError::Syntax { path: path.clone(), source })?;
        Ok(Self { path, object, members, identity })
    }

    /// The first endpoint, as it is written.
    pub(crate) fn endpoint(&self) -> Option<&str> {
        self.members.endpoints.as_ref().and_then(|all| all.first()).map(String::as_str)
    }

    pub(crate) fn username(&self) -> Option<&str> {
        self.members.username.as_deref()
    }

    /// The file of the authority that this endpoint is trusted by already.
    pub(crate) fn authority_of(&self, endpoint: &Url) -> Option<PathBuf> {
        let authority = self.members.certificate_authority.as_deref()?;
        // Without an endpoint in the file, it is that of all servers.
        let is_meant = self.members.endpoints.is_none()
            || self.endpoints().any(|known| known.origin() == endpoint.origin());
        is_meant.then(|| beside(&self.path, authority))
    }

    /// The configuration that this log-in makes, with nothing written yet.
    pub(crate) fn with(&self, login: &NewLogin) -> Config {
        Config {
            endpoints: vec![login.endpoint.clone()],
            login: Login::Password(login.user.clone()),
            identity: self.identity.clone(),
            certificate_authority: login.authority.clone(),
            file: self.path.clone(),
            kubeconfig: None,
        }
    }

    /// Writes the log-in; all other fields stay. The files that were written.
    pub(crate) fn save(mut self, login: &NewLogin) -> Result<Vec<PathBuf>, WriteError> {
        let mut written = Vec::new();
        match &login.authority {
            None => self.remove("certificate_authority"),
            Some(Pem::File(_)) => {}
            Some(Pem::Text(pem)) => {
                let path = self.authority_file();
                write_private(&path, pem.expose_secret())?;
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                self.set("certificate_authority", name);
                written.push(path);
            }
        }
        // Of a list that has it, the others stay.
        if !self.endpoints().any(|known| known == login.endpoint) {
            self.set("endpoint", shown(&login.endpoint).to_owned());
        }
        self.set("username", login.user.username.clone());
        self.set("password", login.user.password.expose_secret().to_owned());
        let text = format!("{:#}\n", Value::Object(self.object));
        // A link stays one.
        let target = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        write_private(&target, &text)?;
        written.insert(0, self.path);
        Ok(written)
    }

    /// The authority of a log-in, beside the configuration.
    fn authority_file(&self) -> PathBuf {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        self.path.with_file_name(format!("{stem}-ca.pem"))
    }

    /// The endpoints that can be used.
    fn endpoints(&self) -> impl Iterator<Item = Url> {
        self.members.endpoints.iter().flatten().filter_map(|text| endpoint(text).ok())
    }

    fn set(&mut self, name: &str, value: String) {
        self.remove(name);
        self.object.insert(name.to_owned(), value.into());
    }

    fn remove(&mut self, name: &str) {
        self.object.retain(|spelling, _| spelling.replace('-', "_") != name);
    }
}

/// Writes a file that only its owner can read: whole, or not at all.
fn write_private(path: &Path, text: &str) -> Result<(), WriteError> {
    let folder = directory_of(path);
    let write = || {
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        // The new name survives a power failure, too.
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| WriteError { path: path.to_owned(), source })
}
