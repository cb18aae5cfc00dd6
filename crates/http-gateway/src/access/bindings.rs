//! The bindings, as they are in the store.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;

use model::{Binding, SubjectKind};

use super::record_cache::{RecordCache, RecordIndex};
use super::rights::{Grant, Rights};
use crate::principal::{Authenticator, Principal};

/// The bindings, kept in memory.
pub type Bindings = RecordCache<Index>;

/// The grants by their subjects; a subject whose bindings are all pending has none.
#[derive(Debug, Default)]
pub struct Index {
    grants: HashMap<SubjectKind, HashMap<String, Vec<Arc<Grant>>>>,
    is_unknown: bool,
}

impl RecordIndex for Index {
    type Record = Binding;

    /// A binding that is left out would widen the rights of a user of the users file.
    const NEEDS_ALL: bool = true;

    fn of_records(bindings: &[Binding]) -> Self {
        Self::of(bindings)
    }
}

impl Bindings {
    /// Resolves when the rights of a principal have changed; never without one.
    pub async fn outdated(self: Arc<Self>, principal: Option<Arc<Principal>>) {
        match principal {
            Some(principal) => self.until_not(|bindings| bindings.agrees_with(&principal)).await,
            None => pending().await,
        }
    }
}

impl Index {
    /// Those of these bindings.
    pub fn of<'a>(bindings: impl IntoIterator<Item = &'a Binding>) -> Self {
        let mut index = Self::default();
        for binding in bindings {
            let Binding { kind, subject, role, clusters, run_commands, .. } = binding.clone();
            let grant = Arc::new(Grant { role, clusters, run_commands });
            let grants = index.grants.entry(kind).or_default().entry(subject).or_default();
            // Its subject is bound all the same: without any binding it could have more rights by its configuration.
            if !binding.pending {
                grants.push(grant);
            }
        }
        index
    }

    /// The index while the bindings cannot be read.
    pub fn unknown() -> Self {
        Self { is_unknown: true, ..Self::default() }
    }

    /// Whether the bindings cannot be read.
    pub fn is_unknown(&self) -> bool {
        self.is_unknown
    }

    /// The principal with the rights of its bindings, if it has any: those of its configuration do not count then.
    pub fn bind(&self, principal: Principal) -> Principal {
        match self.rights_of(&principal) {
            Some(rights) => Principal { replaced: Some(principal.rights), rights, ..principal },
            None => principal,
        }
    }

    /// The rights that a principal has by bindings; `None` without any. Those of the owner, for an API token.
    pub fn rights_of(&self, principal: &Principal) -> Option<Rights> {
        if self.grants.is_empty() {
            return None;
        }
        let mut bound = self.grants_of(principal.owner()).peekable();
        bound.peek()?;
        Some(Rights::of(bound.flatten().cloned()))
    }

    /// Whether a principal has the rights of these bindings; its owner, for an API token, whose limit does not change.
    fn agrees_with(&self, principal: &Principal) -> bool {
        let principal = principal.owner();
        match self.rights_of(principal) {
            Some(rights) => principal.replaced.is_some() && principal.rights == rights,
            None => principal.replaced.is_none(),
        }
    }

    /// The grants of each name of the principal that is bound.
    fn grants_of<'a>(&'a self, principal: &'a Principal) -> impl Iterator<Item = &'a [Arc<Grant>]> {
        let own = match &principal.authenticator {
            Authenticator::Password | Authenticator::Provider => {
                self.grants(SubjectKind::User, &principal.id)
            }
            Authenticator::Certificate { .. } => {
                let subject = principal.certificate_subject().unwrap_or_default();
                self.grants(SubjectKind::Certificate, subject)
            }
            Authenticator::Enrollment | Authenticator::ApiToken { .. } => None,
        };
        let groups = principal.groups.iter();
        own.into_iter().chain(groups.filter_map(|group| self.grants(SubjectKind::Group, group)))
    }

    fn grants(&self, kind: SubjectKind, subject: &str) -> Option<&[Arc<Grant>]> {
        Some(self.grants.get(&kind)?.get(subject)?.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use identity_providers::Identity;
    use model::Role;
    use serde_json::json;

    use super::*;

    fn index(bindings: &[(&str, &str, &str)]) -> Index {
        let binding = |(kind, subject, cluster): &(&str, &str, &str)| {
            serde_json::from_value(
                json!({"name": "b", "kind": kind, "subject": subject, "role": "operator",
                "clusters": [cluster], "changed_at": "2026-11-30T22:00:00.000000"}),
            )
            .unwrap()
        };
        Index::of(&bindings.iter().map(binding).collect::<Vec<_>>())
    }

    fn of_provider(groups: &[&str], rights: Rights) -> Principal {
        let groups = groups.iter().map(ToString::to_string).collect();
        let identity = Identity::new("corp:ann", groups, None).unwrap();
        Principal::of_provider("corp:ann".to_owned(), identity, rights)
    }

    #[test]
    fn bindings_of_the_user_and_of_its_groups_add_up() {
        let index = index(&[
            ("user", "corp:ann", "a"),
            ("group", "corp:ops", "b"),
            ("group", "corp:other", "c"),
            ("user", "ann", "d"),
            ("certificate", "corp:ann", "e"),
        ]);
        let ann = index.bind(of_provider(&["corp:ops", "corp:x"], Rights::everywhere(Role::Admin)));
        let seen = ["a", "b", "c", "d", "e"].map(|cluster| ann.rights.shows(Some(cluster)));
        assert_eq!(seen, [true, true, false, false, false]);
        assert_eq!(ann.rights.on(Some("a")), Some(Role::Operator));
    }

    #[test]
    fn kinds_of_subjects_are_distinct() {
        let user = Principal::user("ops", Rights::everywhere(Role::Admin));
        let certificate = Principal::certificate("Example CA", "ops", Rights::default());
        let bound = |kind: &str, subject: &str, principal: &Principal| {
            index(&[(kind, subject, "a")]).bind(principal.clone()) != *principal
        };
        assert!(bound("user", "ops", &user) && !bound("group", "ops", &user));
        assert!(bound("certificate", "Example CA/ops", &certificate));
        for (kind, subject) in [
            ("certificate", "Other CA/ops"),
            ("user", "certificate:Example CA/ops"),
            ("user", "ops"),
        ] {
            assert!(!bound(kind, subject, &certificate), "{kind} {subject}");
        }
        let host = Principal::enrolling("ops");
        assert!(!bound("user", "ops", &host) && !bound("user", "enroll:ops", &host));
    }

    #[test]
    fn pending_binding_gives_no_rights_and_takes_those_of_the_configuration_away() {
        let binding = |pending: bool, cluster: &str| {
            serde_json::from_value::<Binding>(
                json!({"name": "b", "kind": "user", "subject": "ann", "role": "operator",
                "clusters": [cluster], "changed_at": "2026-11-30T22:00:00.000000", "pending": pending}),
            )
            .unwrap()
        };
        let ann = || Principal::user("ann", Rights::everywhere(Role::Admin));
        let bound = Index::of(&[binding(true, "web")]).bind(ann());
        assert!(bound.rights.is_empty() && bound.replaced.is_some());
        let bound = Index::of(&[binding(true, "web"), binding(false, "db")]).bind(ann());
        assert_eq!(bound.rights.on(Some("db")), Some(Role::Operator));
        assert!(!bound.rights.shows(Some("web")) && !bound.rights.shows(None));
    }

    #[test]
    fn principal_without_a_binding_keeps_its_rights() {
        let index = index(&[("user", "bob", "a")]);
        for rights in [Rights::everywhere(Role::Reader), Rights::default()] {
            assert_eq!(index.bind(of_provider(&["corp:ops"], rights.clone())).rights, rights);
        }
    }
}
