//! Which identity a token gives.
//!
//! The name of a user is unique within its domain only, and a role holds for its project or domain only: the owner of
//! another project may have any role on that. So names and roles are qualified unless the configuration has the domain, or
//! the scope, that they are from.

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::rejected;
use crate::{Identity, Result};

/// Separates a name from its domain: what comes after the last one is the domain.
const SEPARATOR: char = '@';

/// What a token must have.
#[derive(Debug)]
pub(super) struct Rules {
    /// The domain of its user; `None` accepts each.
    pub(super) domain: Option<String>,
    /// What it is for; `None` accepts each project, each domain and tokens without a scope.
    pub(super) scope: Option<Scope>,
}

/// What the roles of a token are for, as in requests for tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    Project { name: String, domain: String },
    Domain { name: String },
}

/// The description of a token. Fields that are not used here are ignored.
#[derive(Debug, Deserialize)]
pub(super) struct Token {
    pub(super) user: InDomain,
    #[serde(deserialize_with = "timestamp")]
    pub(super) expires_at: Timestamp,
    #[serde(default)]
    roles: Vec<Named>,
    project: Option<InDomain>,
    domain: Option<Named>,
}

#[derive(Debug, Deserialize)]
pub(super) struct InDomain {
    pub(super) name: String,
    domain: Named,
}

#[derive(Debug, Deserialize, Serialize)]
struct Named {
    name: String,
}

impl Rules {
    /// The identity that a token gives, if it has not expired and is as configured.
    pub(super) fn identity(&self, token: &Token, now: Timestamp) -> Result<Identity> {
        let name = match &self.domain {
            Some(domain) if *domain == token.user.domain.name => token.user.name.clone(),
            Some(domain) => {
                return Err(rejected(&format!("the user is not of the domain {domain}")));
            }
            None => qualified(&token.user.name, &token.user.domain.name)
                .ok_or_else(|| rejected("the name of the user's domain contains `@`"))?,
        };
        let groups = self.groups(token)?;
        let identity = Identity::new(&name, groups, Some(token.expires_at))?;
        if !identity.is_valid(now) {
            return Err(rejected("the token has expired"));
        }
        Ok(identity)
    }

    /// The roles: as they are for the configured scope, else with the scope of the token.
    fn groups(&self, token: &Token) -> Result<Vec<String>> {
        let roles = token.roles.iter().map(|role| role.name.clone());
        match (&self.scope, token.scope()) {
            (Some(configured), Some(scope)) if scope == *configured => Ok(roles.collect()),
            (Some(configured), _) => Err(rejected(&format!("the token is not for {configured}"))),
            (None, Some(scope)) => Ok(roles.filter_map(|role| scope.qualify(&role)).collect()),
            (None, None) => Ok(Vec::new()),
        }
    }
}

impl Token {
    /// None of a token without a scope, or for the whole system.
    fn scope(&self) -> Option<Scope> {
        if let Some(InDomain { name, domain }) = &self.project {
            return Some(Scope::Project { name: name.clone(), domain: domain.name.clone() });
        }
        self.domain.as_ref().map(|domain| Scope::Domain { name: domain.name.clone() })
    }
}

impl Scope {
    /// `ROLE@PROJECT@DOMAIN` or `ROLE@DOMAIN`. Only the name of the project may contain an `@`: administrators of a domain
    /// choose those of its projects, and must not be able to make another scope of it.
    fn qualify(&self, role: &str) -> Option<String> {
        if role.contains(SEPARATOR) {
            return None;
        }
        match self {
            Self::Project { name, domain } => {
                qualified(&format!("{role}{SEPARATOR}{name}"), domain)
            }
            Self::Domain { name } => qualified(role, name),
        }
    }
}

fn qualified(name: &str, domain: &str) -> Option<String> {
    (!domain.contains(SEPARATOR)).then(|| format!("{name}{SEPARATOR}{domain}"))
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Project { name, domain } => {
                write!(f, "the project {name} of the domain {domain}")
            }
            Self::Domain { name } => write!(f, "the domain {name}"),
        }
    }
}

fn timestamp<'de, D: Deserializer<'de>>(text: D) -> Result<Timestamp, D::Error> {
    String::deserialize(text)?.parse().map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::ProviderError;

    const NOW: &str = "2026-11-21T12:00:00Z";

    fn token(user: &str, domain: &str, scope: Value) -> Token {
        let mut token = json!({
            "user": {"id": "1", "name": user, "domain": {"id": "2", "name": domain}},
            "roles": [{"id": "3", "name": "operator"}, {"id": "4", "name": "re@der"}],
            "expires_at": "2026-11-21T12:00:00.000001Z",
            "issued_at": "2026-11-21T11:00:00.000000Z",
            "methods": ["password"],
        });
        let Value::Object(scope) = scope else { panic!("a scope is an object") };
        token.as_object_mut().unwrap().extend(scope);
        serde_json::from_value(token).unwrap()
    }

    fn for_project(project: &str, domain: &str) -> Value {
        json!({"project": {"name": project, "domain": {"name": domain}}, "is_domain": false})
    }

    fn identity(rules: &Rules, token: &Token) -> Result<Identity> {
        rules.identity(token, NOW.parse().unwrap())
    }

    fn rules(domain: Option<&str>, scope: Option<Scope>) -> Rules {
        Rules { domain: domain.map(str::to_owned), scope }
    }

    #[test]
    fn names_are_qualified_unless_the_domain_is_configured() {
        let (any, default) = (rules(None, None), rules(Some("Default"), None));
        let name = |rules, user, domain| {
            identity(rules, &token(user, domain, json!({}))).map(|identity| identity.name)
        };
        assert_eq!(name(&default, "ann", "Default").unwrap(), "ann");
        assert_eq!(name(&default, "ann@corp", "Default").unwrap(), "ann@corp");
        for foreign in ["corp", "default", "Default ", ""] {
            let result = name(&default, "ann", foreign);
            assert!(matches!(result, Err(ProviderError::Rejected(_))), "{foreign:?}");
        }
        assert_eq!(name(&any, "ann", "Default").unwrap(), "ann@Default");
        assert_eq!(name(&any, "ann", "corp").unwrap(), "ann@corp");
        assert_eq!(name(&any, "ann@corp", "Default").unwrap(), "ann@corp@Default");
        // Else `ann` of `b@c` and `ann@b` of `c` were the same.
        assert!(matches!(name(&any, "ann", "b@c"), Err(ProviderError::Rejected(_))));
    }

    #[test]
    fn roles_are_qualified_unless_the_scope_is_configured() {
        let any = rules(None, None);
        for (scope, expected) in [
            (json!({}), &[][..]),
            (json!({"system": {"all": true}}), &[]),
            (for_project("fleet", "Default"), &["operator@fleet@Default"]),
            (for_project("fleet@Default", "evil"), &["operator@fleet@Default@evil"]),
            (for_project("fleet", "a@Default"), &[]),
            (json!({"domain": {"name": "corp"}}), &["operator@corp"]),
            (json!({"domain": {"name": "fleet@corp"}}), &[]),
        ] {
            let token = token("ann", "Default", scope.clone());
            assert_eq!(identity(&any, &token).unwrap().groups, expected, "{scope}");
        }
    }

    #[test]
    fn roles_of_other_scopes_than_the_configured_one_do_not_count() {
        let project = Scope::Project { name: "fleet".to_owned(), domain: "Default".to_owned() };
        let domain = Scope::Domain { name: "Default".to_owned() };
        let (of_project, of_domain) =
            (for_project("fleet", "Default"), json!({"domain": {"name": "Default"}}));
        for (configured, right, wrong) in
            [(project, &of_project, &of_domain), (domain, &of_domain, &of_project)]
        {
            let rules = rules(Some("Default"), Some(configured));
            let right = identity(&rules, &token("ann", "Default", right.clone())).unwrap();
            assert_eq!(right.groups, ["operator", "re@der"]);
            let elsewhere = [for_project("fleet", "corp"), for_project("sandbox", "Default")];
            for wrong in elsewhere.iter().chain([wrong, &json!({})]) {
                let result = identity(&rules, &token("ann", "Default", wrong.clone()));
                assert!(matches!(result, Err(ProviderError::Rejected(_))), "{wrong}");
            }
        }
    }

    #[test]
    fn token_expires_at_its_time() {
        let token = token("ann", "Default", json!({}));
        let any = rules(None, None);
        assert_eq!(identity(&any, &token).unwrap().expires, Some(token.expires_at));
        let result = any.identity(&token, token.expires_at);
        assert_eq!(result, Err(rejected("the token has expired")));
    }
}
