//! What a gateway depends on.

use bus::Bus;
use runtime::{Clock, Files};

use crate::audit::Audit;
use crate::auth::passwords::Passwords;
use crate::{Config, StartError};

/// The dependencies of a gateway. Each has an implementation that starts no thread and uses tokio's clock only.
#[derive(Debug, Clone)]
pub struct Ports {
    /// The services.
    pub bus: Bus,
    /// The time of stamps.
    pub clock: Clock,
    /// Who did what.
    pub audit: Audit,
    /// The check of passwords.
    pub passwords: Passwords,
    /// The files that the configuration names.
    pub files: Files,
}

impl Ports {
    /// Those of this machine, with the audit log that is configured.
    ///
    /// # Errors
    /// When the audit log cannot be opened.
    pub fn system(bus: Bus, config: &Config) -> Result<Self, StartError> {
        let audit = match &config.audit_log {
            None => Audit::log(),
            Some(path) => Audit::file(path)
                .map_err(|source| StartError::Audit { path: path.clone(), source })?,
        };
        let (clock, passwords, files) = (Clock::System, Passwords::Bcrypt, Files::System);
        Ok(Self { bus, clock, audit, passwords, files })
    }
}
