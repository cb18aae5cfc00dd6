//! Health checks that administrators define, and operators choose by their names.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Model, Options, Stamp, ident};

/// A command that has to succeed on a host that is back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealthCheck {
    /// What identifies it.
    pub name: String,
    /// Run by a shell on the host, until it succeeds or the operation's `health_timeout` is over.
    #[schema(min_length = 1, max_length = 4096)]
    pub command: String,
    /// Who made it, or changed it last.
    #[serde(default)]
    #[schema(required)]
    pub changed_by: String,
    /// When.
    #[schema(value_type = String)]
    pub changed_at: Stamp,
}

impl Model for HealthCheck {
    const TYPE: &'static str = "HealthCheck";
    const LIST_TYPE: &'static str = "HealthChecks";
    const ID: &'static str = "name";
    const PREFIX: &'static str = "/commissaire/health_checks/";

    fn id(&self) -> &str {
        &self.name
    }

    fn validate(&self) -> Result<(), String> {
        ident::name(&self.name)?;
        let health_command = Some(self.command.clone());
        Options { health_command, ..Options::default() }.validate()?;
        if self.changed_at.is_valid() {
            Ok(())
        } else {
            Err(format!("changed_at is no time: {:?}", self.changed_at))
        }
    }
}
