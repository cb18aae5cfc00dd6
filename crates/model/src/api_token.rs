//! API tokens: credentials of a user for programs, with a part of the user's rights.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ClusterPatterns, Model, Networks, Role, Stamp, ident};

/// The longest name of an owner, in bytes.
const OWNER_MAX: usize = 1024;

/// A token; the token itself is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    /// What identifies it, and is a part of the token: 12 hexadecimal digits.
    pub id: String,
    /// Its name, unique among the tokens of its owner.
    pub name: String,
    /// SHA-256 of the token's secret part, in hexadecimal digits.
    pub token_hash: String,
    /// The user that it acts for, by the name in logs: unique among all principals.
    pub owner: String,
    /// How the owner was authenticated when the token was made.
    pub login: TokenLogin,
    /// The highest role that it gives.
    pub role: Role,
    /// Where it gives a role.
    pub clusters: ClusterPatterns,
    /// Whether it may have commands of its own run on hosts: never yet.
    #[serde(default)]
    pub run_commands: bool,
    /// The networks that it is accepted from; empty for anywhere.
    #[serde(default)]
    pub from: Networks,
    /// When it ends.
    pub expires: Stamp,
    /// When it was made.
    pub created_at: Stamp,
    /// When a restore from a backup voided it, since it may have been revoked after the backup; empty otherwise.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub voided_at: Stamp,
}

/// How the owner of a token was authenticated, and what its rights depend on besides its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum TokenLogin {
    /// By a password of a users file or of the configuration.
    Password,
    /// By an identity provider.
    Provider {
        /// The groups at that time, with the prefix of the provider.
        #[serde(default)]
        groups: Vec<String>,
    },
    /// By a client certificate.
    Certificate {
        /// The common name of its authority.
        issuer: String,
        /// Its common name.
        name: String,
    },
}

impl ApiToken {
    /// The most tokens of one owner.
    pub const MAX_PER_OWNER: usize = 100;

    /// The most tokens of all owners together.
    pub const MAX: usize = 20_000;

    /// The longest life of a token.
    pub const LIFE_MAX: SignedDuration = SignedDuration::from_hours(366 * 24);

    /// Whether its time is over; a time that cannot be read is.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires.timestamp().is_none_or(|end| end <= now)
    }
}

impl Model for ApiToken {
    const TYPE: &'static str = "ApiToken";
    const LIST_TYPE: &'static str = "ApiTokens";
    const ID: &'static str = "id";
    const PREFIX: &'static str = "/commissaire/api_tokens/";
    const HIDDEN: &'static [&'static str] = &["token_hash"];

    fn id(&self) -> &str {
        &self.id
    }

    fn validate(&self) -> Result<(), String> {
        ident::name(&self.name).map_err(|e| format!("name: {e}"))?;
        if !(1..=OWNER_MAX).contains(&self.owner.len()) {
            return Err(format!("owner: 1 to {OWNER_MAX} bytes"));
        }
        if self.role == Role::Enroll {
            return Err("role: enroll is for tokens of enrollments".to_owned());
        }
        if self.clusters.is_empty() {
            return Err("clusters: name at least one, or \"*\" for all".to_owned());
        }
        if self.role == Role::Backup && !self.clusters.includes_all() {
            return Err("clusters: the role backup is for all of them, \"*\"".to_owned());
        }
        if self.run_commands {
            return Err("run_commands: an API token does not give this right".to_owned());
        }
        let (expires, created_at) = (self.expires.timestamp(), self.created_at.timestamp());
        let expires = expires.ok_or_else(|| format!("expires is no time: {:?}", self.expires))?;
        let created_at =
            created_at.ok_or_else(|| format!("created_at is no time: {:?}", self.created_at))?;
        if expires.duration_since(created_at) > Self::LIFE_MAX {
            let days = Self::LIFE_MAX.as_hours() / 24;
            return Err(format!("expires: at most {days} days after the token was made"));
        }
        Ok(())
    }
}

/// When a token was last used. A record of its own, so that writing it leaves the token as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiTokenUse {
    /// The token.
    pub id: String,
    /// The time, exact to an hour.
    pub at: Stamp,
}

impl Model for ApiTokenUse {
    const TYPE: &'static str = "ApiTokenUse";
    const LIST_TYPE: &'static str = "ApiTokenUses";
    const ID: &'static str = "id";
    const PREFIX: &'static str = "/commissaire/api_token_uses/";

    fn id(&self) -> &str {
        &self.id
    }

    fn validate(&self) -> Result<(), String> {
        if self.at.is_valid() { Ok(()) } else { Err(format!("at is no time: {:?}", self.at)) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn token(field: &str, value: Value) -> Result<ApiToken, String> {
        let mut record = json!({"id": "5c1f0e6a12ab", "name": "deploy", "token_hash": "", "owner": "ann",
            "login": {"kind": "password"}, "role": "operator", "clusters": ["web"],
            "expires": "2027-02-28T22:00:00.000000", "created_at": "2026-11-30T22:00:00.000000"});
        record[field] = value;
        let token = serde_json::from_value::<ApiToken>(record).map_err(|e| e.to_string())?;
        token.validate().map(|()| token)
    }

    #[test]
    fn token_has_an_owner_a_role_clusters_and_an_end_within_366_days() {
        let groups = json!({"kind": "provider", "groups": ["corp:web"]});
        let certificate = json!({"kind": "certificate", "issuer": "CA", "name": "ann"});
        for login in [groups, certificate] {
            let token = token("login", login.clone()).unwrap();
            assert_eq!(serde_json::to_value(token.login).unwrap(), login);
        }
        assert!(token("expires", json!("2027-12-01T22:00:00.000000")).is_ok());
        for (field, value, says) in [
            ("name", json!("a b"), "name: "),
            ("owner", json!(""), "owner: 1 to"),
            ("login", json!({"kind": "token"}), "unknown variant `token`"),
            ("role", json!("enroll"), "role: enroll"),
            ("clusters", json!([]), "at least one"),
            ("run_commands", json!(true), "run_commands"),
            ("from", json!(["10.0.0.0/33"]), "10.0.0.0/33"),
            ("expires", json!("soon"), "expires is no time"),
            ("expires", json!("2027-12-01T22:00:00.000001"), "at most 366 days"),
            ("created_at", json!("now"), "created_at is no time"),
        ] {
            let refused = token(field, value.clone()).unwrap_err();
            assert!(refused.contains(says), "{field} {value}: {refused}");
        }
    }

    #[test]
    fn token_is_over_at_the_time_it_expires() {
        let token = token("name", json!("deploy")).unwrap();
        let at = |text: &str| text.parse().unwrap();
        assert!(!token.is_over(at("2027-02-28T21:59:59Z")));
        assert!(token.is_over(at("2027-02-28T22:00:00Z")));
    }
}
