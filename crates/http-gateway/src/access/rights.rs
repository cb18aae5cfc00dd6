//! The roles of a principal on clusters.

use std::sync::Arc;

use model::{ClusterPatterns, Role};

/// A role on some clusters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// Where it is valid.
    pub clusters: ClusterPatterns,
    /// Whether commands of one's own may be run on hosts. An administrator may in any case.
    pub run_commands: bool,
}

/// What a principal may do, and where; none by default. A clone is cheap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    grants: Arc<[Arc<Grant>]>,
    /// Nothing is permitted beyond this.
    limit: Option<Arc<Grant>>,
}

impl Grant {
    fn on(&self, cluster: Option<&str>) -> Option<Role> {
        let includes = match cluster {
            Some(cluster) => self.clusters.includes(cluster),
            None => self.clusters.includes_all(),
        };
        includes.then_some(self.role)
    }

    fn permits_commands_on(&self, cluster: &str) -> bool {
        self.clusters.includes(cluster) && (self.run_commands || self.role == Role::Admin)
    }
}

impl Rights {
    /// A role on all clusters, and on objects without a cluster.
    pub fn everywhere(role: Role) -> Self {
        Self::of([Arc::new(Grant { role, clusters: ClusterPatterns::all(), run_commands: false })])
    }

    /// Those of all these grants together.
    pub fn of(grants: impl IntoIterator<Item = Arc<Grant>>) -> Self {
        Self { grants: grants.into_iter().collect(), limit: None }
    }

    /// The same, but nothing beyond `limit`.
    #[must_use]
    pub fn limited_to(self, limit: Grant) -> Self {
        Self { limit: Some(Arc::new(limit)), ..self }
    }

    /// Whether there are none at all.
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }

    /// The grants.
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter().map(Arc::as_ref)
    }

    /// What they are limited to.
    pub fn limit(&self) -> Option<&Grant> {
        self.limit.as_deref()
    }

    /// The highest role on any cluster.
    pub fn highest(&self) -> Option<Role> {
        self.greatest(|grant| Some(grant.role))
    }

    /// The role on a cluster; `None`: the cluster may not be seen. With `None`, the role on objects without a cluster,
    /// and on all clusters together.
    pub fn on(&self, cluster: Option<&str>) -> Option<Role> {
        self.greatest(|grant| grant.on(cluster))
    }

    /// Whether a cluster may be seen; with `None`, whether objects without a cluster may be.
    pub fn shows(&self, cluster: Option<&str>) -> bool {
        self.on(cluster) >= Some(Role::Reader)
    }

    /// Whether commands of one's own may be run on the hosts of a cluster.
    pub fn permits_commands_on(&self, cluster: &str) -> bool {
        let permits = |grant: &Grant| grant.permits_commands_on(cluster);
        self.grants().any(permits) && self.limit().is_none_or(permits)
    }

    /// Whether backups of all records may be taken.
    pub fn permit_backups(&self) -> bool {
        let permits =
            |grant: &Grant| grant.on(None).is_some_and(|role| role.includes(Role::Backup));
        self.grants().any(permits) && self.limit().is_none_or(permits)
    }

    /// The greatest of the roles of all grants, each limited.
    fn greatest(&self, role: impl Fn(&Grant) -> Option<Role>) -> Option<Role> {
        let limited = |grant: &Grant| match &self.limit {
            Some(limit) => role(grant)?.common(role(limit)?),
            None => role(grant),
        };
        self.grants().filter_map(limited).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(role: Role, clusters: &[&str]) -> Arc<Grant> {
        let clusters = clusters.iter().map(ToString::to_string).collect::<Vec<_>>();
        let clusters = clusters.try_into().unwrap();
        Arc::new(Grant { role, clusters, run_commands: false })
    }

    #[test]
    fn highest_role_on_a_cluster_counts() {
        let rights = Rights::of([
            grant(Role::Reader, &["*"]),
            grant(Role::Operator, &["web", "web-*"]),
            grant(Role::Admin, &["web-test"]),
        ]);
        for (cluster, role) in [
            (Some("db"), Role::Reader),
            (Some("web"), Role::Operator),
            (Some("web-eu"), Role::Operator),
            (Some("web-test"), Role::Admin),
            (None, Role::Reader),
        ] {
            assert_eq!(rights.on(cluster), Some(role), "{cluster:?}");
        }
        assert_eq!(rights.highest(), Some(Role::Admin));
        assert!(rights.permits_commands_on("web-test") && !rights.permits_commands_on("web"));
    }

    #[test]
    fn what_belongs_to_no_cluster_needs_all_clusters() {
        let rights = Rights::of([grant(Role::Admin, &["a*", "b*"])]);
        assert_eq!(rights.on(None), None);
        assert!(rights.shows(Some("abc")) && !rights.shows(Some("c")) && !rights.shows(None));
        assert!(!Rights::default().shows(Some("a")));
        assert!(!Rights::everywhere(Role::Enroll).shows(Some("a")));
    }

    #[test]
    fn backups_need_their_role_or_an_administrator_of_all_clusters() {
        for (role, clusters, permitted) in [
            (Role::Admin, "*", true),
            (Role::Backup, "*", true),
            (Role::Operator, "*", false),
            (Role::Admin, "web", false),
        ] {
            let rights = Rights::of([grant(Role::Reader, &["*"]), grant(role, &[clusters])]);
            assert_eq!(rights.permit_backups(), permitted, "{role} {clusters}");
            let token = rights.limited_to(Grant::clone(&grant(Role::Backup, &["*"])));
            assert_eq!(token.permit_backups(), permitted, "{role} {clusters}");
            assert!(!permitted || token.highest() == Some(Role::Backup), "{role} {clusters}");
            assert!(!token.shows(Some("web")) && !token.shows(None), "{role} {clusters}");
        }
        let reading = Rights::everywhere(Role::Admin);
        let reading = reading.limited_to(Grant::clone(&grant(Role::Reader, &["*"])));
        assert!(!reading.permit_backups());
    }

    #[test]
    fn limit_takes_away_and_adds_nothing() {
        let web = Rights::of([grant(Role::Operator, &["web-*"])]);
        let limit = |role, clusters: &[&str]| Grant::clone(&grant(role, clusters));
        let limited = web.clone().limited_to(limit(Role::Admin, &["web-eu", "db"]));
        assert_eq!(limited.on(Some("web-eu")), Some(Role::Operator));
        assert_eq!(limited.on(Some("web-us")), None);
        assert_eq!(limited.on(Some("db")), None);
        assert_eq!(limited.highest(), Some(Role::Operator));
        let read = web.limited_to(limit(Role::Reader, &["*"]));
        assert_eq!(read.on(Some("web-us")), Some(Role::Reader));
        assert_eq!((read.on(Some("db")), read.on(None)), (None, None));
        let admin = Rights::everywhere(Role::Admin).limited_to(limit(Role::Operator, &["*"]));
        assert!(!admin.permits_commands_on("web"));
    }
}
