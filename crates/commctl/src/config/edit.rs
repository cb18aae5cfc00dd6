//! The configuration file as a log-in finds it and changes it.

use std::path::PathBuf;

use reqwest::Url;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};

use super::file::{self, Members};
use super::source::{Source, authority_file};
use super::{Config, ConfigError, beside, endpoint, identity};
use crate::endpoint::shown;
use crate::error::Error;
use crate::files::{PrivateFile, WriteError, is_missing, write_private};
use crate::login::{Login, Password};
use crate::oidc::{TokenFile, Tokens};
use crate::pem::{Identity, Pem};

/// The file, which may not be there yet.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    source: Source,
    object: Map<String, Value>,
    members: Members,
    identity: Option<Identity>,
}

/// The fields that a log-in changes.
#[derive(Debug)]
pub(crate) struct NewLogin {
    pub(crate) endpoint: Url,
    pub(crate) credentials: Credentials,
    /// The server is trusted by this authority alone: a file that the configuration names already, or
    /// the PEM of a new one. Without it, by the roots of the system.
    pub(crate) authority: Option<Pem>,
}

/// What a user has logged in with.
#[derive(Debug)]
pub(crate) enum Credentials {
    Password(Password),
    Tokens(Box<Tokens>),
}

impl ConfigFile {
    /// Reads the configuration, which need not be there yet.
    pub(crate) fn open(source: Source) -> Result<Self, ConfigError> {
        let file = Self::inspect(source)?;
        if file.has_kubeconfig() {
            return Err(ConfigError::KubeconfigWins { path: file.path });
        }
        Ok(file)
    }

    /// Reads the configuration only to describe it: it may log in with a kubeconfig.
    pub(crate) fn inspect(source: Source) -> Result<Self, ConfigError> {
        let path = source.path();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if is_missing(&error) => "{}".to_owned(),
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        let members = file::parse(&text, &path)?;
        let identity = identity(&members, &path)?;
        let object = serde_json::from_str(&text)
            .map_err(|source| ConfigError::Syntax { path: path.clone(), source })?;
        Ok(Self { path, source, object, members, identity })
    }

    /// The same, where commands need a configuration.
    pub(crate) fn open_existing(source: Source) -> Result<Self, ConfigError> {
        if let Err(error) = std::fs::metadata(source.path())
            && is_missing(&error)
            && let Some(missing) = source.missing(error)
        {
            return Err(missing);
        }
        Self::open(source)
    }

    pub(crate) fn has_kubeconfig(&self) -> bool {
        self.members.kubeconfig.is_some()
    }

    /// The first endpoint, as it is written.
    pub(crate) fn endpoint(&self) -> Option<&str> {
        self.members.endpoints.as_ref().and_then(|all| all.first()).map(String::as_str)
    }

    pub(crate) fn username(&self) -> Option<&str> {
        self.members.username.as_deref()
    }

    /// The identity provider of the last log-in.
    pub(crate) fn provider(&self) -> Option<&str> {
        self.members.identity_provider.as_deref()
    }

    /// Where the tokens of an identity provider are.
    pub(crate) fn tokens(&self) -> TokenFile {
        TokenFile::of(&self.source)
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
        let credentials = match &login.credentials {
            Credentials::Password(password) => Login::Password(password.clone()),
            Credentials::Tokens(tokens) => Login::Token(tokens.token.clone()),
        };
        self.connection(&login.endpoint, login.authority.as_ref(), credentials)
    }

    /// A configuration for this endpoint.
    pub(crate) fn connection(
        &self,
        endpoint: &Url,
        authority: Option<&Pem>,
        login: Login,
    ) -> Config {
        Config {
            endpoints: vec![endpoint.clone()],
            login,
            identity: self.identity.clone(),
            certificate_authority: authority.cloned(),
            file: self.path.clone(),
            kubeconfig: None,
        }
    }

    /// Checks that a log-in at an identity provider can be saved. Nothing is changed but missing directories.
    pub(crate) fn check_writable(&self) -> Result<(), Error> {
        self.source.make_directory()?;
        drop(PrivateFile::reserve(&self.target(), 0)?);
        drop(self.tokens().reserve()?);
        Ok(())
    }

    /// The file itself, where the path is a symbolic link.
    fn target(&self) -> PathBuf {
        std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone())
    }

    /// Writes the log-in; all other fields stay. The files that were written.
    pub(crate) async fn save(mut self, login: &NewLogin) -> Result<Vec<PathBuf>, Error> {
        let mut written = Vec::new();
        self.source.make_directory()?;
        match &login.authority {
            None => self.remove("certificate_authority"),
            Some(Pem::File(_)) => {}
            Some(Pem::Text(pem)) => {
                let path = authority_file(&self.path);
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
        let tokens = self.tokens();
        match &login.credentials {
            Credentials::Password(Password { username, password }) => {
                self.remove("identity_provider");
                self.set("username", username.clone());
                self.set("password", password.expose_secret().to_owned());
                if tokens.path().exists() {
                    // Another commctl that refreshes them would write them again.
                    let _lock = tokens.lock().await?;
                    self.write()?;
                    tokens.delete()?;
                } else {
                    self.write()?;
                }
            }
            Credentials::Tokens(new) => {
                self.remove("username");
                self.remove("password");
                self.set("identity_provider", new.provider.name.clone());
                let _lock = tokens.lock().await?;
                let mut verified = Tokens::clone(new);
                verified.endpoint = Some(login.endpoint.clone());
                tokens.save(&verified)?;
                self.write()?;
                written.push(tokens.path().to_owned());
            }
        }
        written.insert(0, self.path);
        Ok(written)
    }

    /// Removes the password. Returns its user, or `None` if no password was saved.
    pub(crate) fn forget_password(&mut self) -> Result<Option<String>, WriteError> {
        if self.members.password.take().is_none() {
            return Ok(None);
        }
        self.remove("password");
        self.write()?;
        Ok(Some(self.members.username.clone().unwrap_or_default()))
    }

    fn write(&self) -> Result<(), WriteError> {
        let text = format!("{:#}\n", Value::Object(self.object.clone()));
        // A link stays one.
        write_private(&self.target(), &text)
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
