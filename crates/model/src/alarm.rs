//! Alarms: so many hosts are unavailable at once that the fault is probably not theirs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ClusterHead, ClusterName, Model, Stamp, ident};

/// An alarm of a scope, for as long as it lasts: statuses of its hosts do not change, and its operations wait.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Alarm {
    /// The scope: `fleet`, `cluster.NAME` or `manager.NAME`.
    pub scope: String,
    /// When it was raised.
    #[schema(value_type = String)]
    pub since: Stamp,
    /// The share of the scope's hosts that were unavailable when it was raised, from 0 to 1.
    pub share: f64,
    /// Why it was raised, in a sentence.
    pub reason: String,
}

/// An alarm as a cluster, a dry run and the readiness show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlarmView {
    /// When it was raised.
    #[schema(value_type = String)]
    pub since: Stamp,
    /// The share of hosts that were unavailable when it was raised, from 0 to 1.
    pub share: f64,
    /// Why it was raised, in a sentence.
    pub reason: String,
}

impl From<Alarm> for AlarmView {
    fn from(Alarm { since, share, reason, .. }: Alarm) -> Self {
        Self { since, share, reason }
    }
}

impl Alarm {
    /// The scope of all hosts.
    pub const FLEET: &str = "fleet";

    /// The scope of a cluster's hosts.
    pub fn cluster(name: &ClusterName) -> String {
        format!("cluster.{name}")
    }

    /// The scope of the hosts of all clusters of a container manager.
    pub fn manager(name: &str) -> String {
        format!("manager.{name}")
    }

    /// The alarm that concerns a cluster: its own, its container manager's, or the fleet's.
    pub fn concerning<'a>(alarms: &'a [Self], cluster: &ClusterHead) -> Option<&'a Self> {
        let scopes = [
            Self::cluster(&cluster.name),
            Self::manager(&cluster.container_manager),
            Self::FLEET.to_owned(),
        ];
        scopes.iter().find_map(|scope| alarms.iter().find(|alarm| alarm.scope == *scope))
    }

    /// The scope for people.
    pub fn scope_name(&self) -> String {
        match self.scope.split_once('.') {
            Some(("cluster", name)) => format!("the cluster {name}"),
            Some((_, name)) => format!("the container manager {name}"),
            None => "the fleet".to_owned(),
        }
    }
}

impl Model for Alarm {
    const TYPE: &'static str = "Alarm";
    const LIST_TYPE: &'static str = "Alarms";
    const ID: &'static str = "scope";
    const PREFIX: &'static str = "/commissaire/alarms/";

    fn id(&self) -> &str {
        &self.scope
    }

    fn validate(&self) -> Result<(), String> {
        Self::validate_id(&self.scope)?;
        if (0.0..=1.0).contains(&self.share) {
            Ok(())
        } else {
            Err(format!("share: 0 to 1, not {}", self.share))
        }
    }

    fn validate_id(id: &str) -> Result<(), String> {
        match id.split_once('.') {
            None if id == Self::FLEET => Ok(()),
            Some(("cluster" | "manager", name)) => ident::name(name),
            _ => Err("a scope is fleet, cluster.NAME or manager.NAME".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(scope: &str) -> Alarm {
        Alarm { scope: scope.to_owned(), ..Alarm::default() }
    }

    #[test]
    fn the_narrowest_alarm_that_concerns_a_cluster_is_found() {
        let mut alarms = vec![alarm("cluster.b"), alarm("manager.b")];
        let managed = ClusterHead {
            name: "a".into(),
            container_manager: "m".into(),
            ..ClusterHead::default()
        };
        assert_eq!(Alarm::concerning(&alarms, &managed), None);
        for scope in ["fleet", "manager.m", "cluster.a"] {
            alarms.push(alarm(scope));
            let found = Alarm::concerning(&alarms, &managed).unwrap();
            assert_eq!(found.scope, scope);
        }
    }

    #[test]
    fn scopes_and_shares_are_validated() {
        for scope in ["fleet", "cluster.web-1", "manager.k8s"] {
            assert_eq!(alarm(scope).validate(), Ok(()), "{scope}");
        }
        for scope in ["", "all", "cluster.", "cluster./", "host.a", "fleet.a"] {
            assert!(alarm(scope).validate().is_err(), "{scope}");
        }
        assert!(Alarm { share: 1.1, ..alarm("fleet") }.validate().is_err());
    }
}
