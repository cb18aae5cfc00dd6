//! Roles of principals that an identity provider knows: by their names and their groups.

use std::collections::BTreeMap;

use identity_providers::Identity;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::plugins::{SetupError, read_options};
use crate::principal::Role;

/// The most groups that a refusal lists.
const LISTED: usize = 20;

/// The options of a plugin that are about roles; the others are for the provider.
const OPTIONS: [&str; 4] = ["users", "roles", "default_role", "default-role"];

/// The roles that a plugin gives. Who is in none of them has no role.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RoleMapping {
    /// By the names of users.
    users: BTreeMap<String, Role>,
    /// By the names of groups, or of the provider's roles.
    roles: BTreeMap<String, Role>,
    /// That of all other users.
    default_role: Option<Role>,
}

impl RoleMapping {
    /// Takes the options about roles out of those of a plugin.
    ///
    /// # Errors
    /// When a role is unknown, or is not for users of a provider.
    pub(super) fn take(
        plugin: &'static str,
        options: &mut Map<String, Value>,
    ) -> Result<Self, SetupError> {
        let own = OPTIONS.into_iter().filter_map(|name| options.remove_entry(name)).collect();
        let mapping: Self = read_options(plugin, &own)?;
        let mut given =
            mapping.users.values().chain(mapping.roles.values()).chain(&mapping.default_role);
        // Of several roles the highest counts, and these two are not a part of others.
        let why = given.find_map(|role| match role {
            Role::Enroll => Some("the role enroll is for tokens of enrollments"),
            Role::Backup => Some(
                "the role backup is given with a binding: commctl access create --role backup --cluster '*'",
            ),
            Role::Reader | Role::Operator | Role::Admin => None,
        });
        if let Some(why) = why {
            return Err(SetupError::Option { plugin, message: why.to_owned() });
        }
        if mapping.default_role == Some(Role::Admin) {
            tracing::warn!(
                plugin,
                "each user that the provider knows is an administrator: `default-role` is admin"
            );
        } else if mapping.users.is_empty()
            && mapping.roles.is_empty()
            && mapping.default_role.is_none()
        {
            tracing::warn!(
                plugin,
                "no user has a role by this plugin: configure `users`, `roles` or `default-role`"
            );
        }
        Ok(mapping)
    }

    /// The highest role that a name and its groups give, else the default one. They may be given with the prefix of their
    /// provider and a colon.
    pub(super) fn role(&self, prefix: &str, identity: &Identity) -> Option<Role> {
        let of = |mapping: &BTreeMap<String, Role>, name: &String| {
            let prefixed = mapping.get(&format!("{prefix}:{name}"));
            mapping.get(name).into_iter().chain(prefixed).max().copied()
        };
        let by_groups = identity.groups.iter().filter_map(|group| of(&self.roles, group));
        let highest = of(&self.users, &identity.name).into_iter().chain(by_groups).max();
        highest.or(self.default_role)
    }
}

/// The detail of a rejection for want of a role.
pub(super) fn without_role(id: &str, groups: &[String]) -> String {
    let mut listed = groups.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
    if groups.len() > LISTED {
        listed = format!("{listed} and {} more", groups.len() - LISTED);
    }
    let groups = match listed.as_str() {
        "" => "no groups".to_owned(),
        listed => format!("the groups {listed}"),
    };
    format!(
        "you are {id} with {groups}, and have no role here: have an administrator give one of them a role"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mapping(options: Value) -> Result<RoleMapping, String> {
        let Value::Object(mut options) = options else { panic!("an object") };
        RoleMapping::take("x", &mut options).map_err(|error| error.to_string())
    }

    fn identity(name: &str, groups: &[&str]) -> Identity {
        let groups = groups.iter().map(ToString::to_string).collect();
        Identity::new(name, groups, None).unwrap()
    }

    #[test]
    fn highest_role_counts_and_there_is_none_by_default() {
        let given = json!({"users": {"ann": "reader", "x:eve": "admin"}, "roles": {"ops": "operator", "all": "reader"}});
        let mapping = mapping(given).unwrap();
        for (name, groups, role) in [
            ("ann", &[][..], Some(Role::Reader)),
            ("ann", &["ops"], Some(Role::Operator)),
            ("bob", &["all", "ops"], Some(Role::Operator)),
            ("bob", &["Ops", "op"], None),
            ("Ann", &[], None),
            ("eve", &["all"], Some(Role::Admin)),
        ] {
            assert_eq!(mapping.role("x", &identity(name, groups)), role, "{name} {groups:?}");
        }
        assert_eq!(RoleMapping::default().role("x", &identity("ann", &["admin"])), None);
    }

    #[test]
    fn default_role_is_for_those_without_another() {
        for name in ["default_role", "default-role"] {
            let mapping = mapping(json!({"roles": {"low": "reader"}, name: "operator"})).unwrap();
            assert_eq!(mapping.role("x", &identity("ann", &[])), Some(Role::Operator));
            assert_eq!(mapping.role("x", &identity("ann", &["low"])), Some(Role::Reader));
        }
    }

    #[test]
    fn wrong_roles_are_refused_and_the_options_of_the_provider_stay() {
        assert!(mapping(json!({"roles": {"a": "root"}})).unwrap_err().contains("roles.a"));
        for role in ["enroll", "backup"] {
            for given in [json!({"default-role": role}), json!({"users": {"a": role}})] {
                assert!(mapping(given).unwrap_err().contains(&format!("the role {role} is")));
            }
        }
        let Value::Object(mut options) = json!({"url": "https://k", "roles": {}}) else { panic!() };
        RoleMapping::take("x", &mut options).unwrap();
        assert_eq!(Value::Object(options), json!({"url": "https://k"}));
    }

    #[test]
    fn refusal_lists_the_groups() {
        let groups: Vec<_> = (0..LISTED + 2).map(|n| format!("g{n}")).collect();
        assert!(without_role("k:ann", &groups).contains("g19 and 2 more"));
        assert!(without_role("k:ann", &[]).contains("you are k:ann with no groups"));
    }
}
