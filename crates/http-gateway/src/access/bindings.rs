//! The bindings, as they are in the store. They are kept in memory, since each request needs those of its principal.
//!
//! A gateway that changes a binding reads all of them again before it answers. The others do so at the notification, and
//! every ten seconds in case that one is lost. Bindings that could not be read for a minute are not used any more.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use bus::error::chain;
use bus::{Bus, Context, Error, topology};
use model::{Binding, Model as _, SubjectKind};
use runtime::Lifecycle;
use storage_client::StorageClient;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, timeout};

use super::rights::{Grant, Rights};
use crate::principal::{Authenticator, Principal};

/// How often they are read again without a notification.
const REFRESH: Duration = Duration::from_secs(10);

/// The age at which they are not used any more.
const AGE_MAX: Duration = Duration::from_mins(1);

/// Timeout of a reading: its error is the answer to requests that wait for it.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct Bindings {
    bus: Bus,
    storage: StorageClient,
    known: RwLock<Known>,
    /// Held while they are read: a reading that began later is never replaced by an earlier one. The last failure, and when it
    /// began.
    reading: Mutex<Option<(Instant, Error)>>,
    /// Notified with each change.
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Known {
    index: Arc<Index>,
    read_at: Option<Instant>,
    records: Vec<Binding>,
}

/// The grants by their subjects.
#[derive(Debug, Default)]
pub struct Index {
    grants: HashMap<SubjectKind, HashMap<String, Vec<Arc<Grant>>>>,
    is_unknown: bool,
}

impl Bindings {
    /// Those that can be read over `bus`; none is read yet.
    pub fn new(bus: &Bus) -> Self {
        let hasty = bus.with_timeout(bus.timeout().min(TIMEOUT));
        Self {
            bus: bus.clone(),
            storage: StorageClient::new(hasty, Context::service("gateway")),
            known: RwLock::default(),
            reading: Mutex::default(),
            changes: watch::Sender::new(()),
        }
    }

    /// As they were a short time ago.
    ///
    /// # Errors
    /// When they cannot be read, and are not known well enough.
    pub async fn current(&self) -> bus::Result<Arc<Index>> {
        if let Some(index) = self.fresh() {
            return Ok(index);
        }
        let asked = Instant::now();
        let mut failure = self.reading.lock().await;
        // Another request may have read them, or has tried to.
        if let Some(index) = self.fresh() {
            return Ok(index);
        }
        if let Some((began, error)) = &*failure
            && *began >= asked
        {
            return Err(error.clone());
        }
        let began = Instant::now();
        let read = self.read().await;
        *failure = read.as_ref().err().map(|error| (began, error.clone()));
        read
    }

    /// Reads them again.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn refresh(&self) -> bus::Result<()> {
        let _reading = self.reading.lock().await;
        self.read().await.map(drop)
    }

    /// Resolves when the rights of a principal have changed; never without one.
    pub async fn outdated(self: Arc<Self>, principal: Option<Principal>) {
        let Some(principal) = principal else { return pending().await };
        let mut changes = self.changes.subscribe();
        // Dropped as long as this is held: never.
        while self.known().index.agrees_with(&principal) && changes.changed().await.is_ok() {}
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self) -> Option<Arc<Index>> {
        let known = self.known();
        let is_fresh = known.read_at.is_some_and(|read_at| read_at.elapsed() < AGE_MAX);
        is_fresh.then(|| Arc::clone(&known.index))
    }

    async fn read(&self) -> bus::Result<Arc<Index>> {
        let read_at = Instant::now();
        // A binding that is left out would widen the rights of a user of the users file.
        let found = self.storage.list_complete::<Binding>().await?;
        let records: Vec<_> = found.into_iter().map(|found| found.record).collect();
        let (index, is_changed) = {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            known.read_at = Some(read_at);
            let is_changed = known.records != records;
            if is_changed {
                known.index = Arc::new(Index::of(&records));
                known.records = records;
            }
            (Arc::clone(&known.index), is_changed)
        };
        if is_changed {
            self.changes.send_replace(());
        }
        Ok(index)
    }

    /// Keeps them up to date until the daemon is told to stop.
    pub(crate) fn follow(self: Arc<Self>, lifecycle: &Lifecycle) {
        let stopping = lifecycle.stopping();
        lifecycle.spawn("bindings", async move {
            tokio::select! {
                () = stopping => {}
                () = self.follow_forever() => {}
            }
        });
    }

    async fn follow_forever(&self) {
        let pattern = topology::changed(Binding::TYPE, "*");
        loop {
            let mut notifications = match self.bus.subscribe(&pattern).await {
                Ok(notifications) => Some(notifications),
                Err(error) => {
                    tracing::debug!(error = chain(&error), "no notifications about bindings");
                    None
                }
            };
            loop {
                let wait = match self.refresh().await {
                    Ok(()) => REFRESH,
                    Err(error) => {
                        tracing::debug!(error = chain(&error), "the bindings cannot be read");
                        PAUSE
                    }
                };
                let Some(notifications) = &mut notifications else { break sleep(wait).await };
                if let Ok(None) = timeout(wait, notifications.next()).await {
                    break sleep(PAUSE).await;
                }
            }
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
            index.grants.entry(kind).or_default().entry(subject).or_default().push(grant);
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
            Some(rights) => Principal { rights, is_bound: true, ..principal },
            None => principal,
        }
    }

    /// The rights that a principal has by bindings; `None` without any.
    pub fn rights_of(&self, principal: &Principal) -> Option<Rights> {
        let mut grants = self.grants_of(principal).cloned().peekable();
        grants.peek().is_some().then(|| Rights::of(grants))
    }

    /// Whether a principal has the rights of these bindings.
    fn agrees_with(&self, principal: &Principal) -> bool {
        match self.rights_of(principal) {
            Some(rights) => principal.is_bound && principal.rights == rights,
            None => !principal.is_bound,
        }
    }

    fn grants_of<'a>(&'a self, principal: &'a Principal) -> impl Iterator<Item = &'a Arc<Grant>> {
        let own = match &principal.authenticator {
            Authenticator::Password | Authenticator::Provider => {
                self.grants(SubjectKind::User, &principal.id)
            }
            Authenticator::Certificate { issuer } => {
                self.grants(SubjectKind::Certificate, &format!("{issuer}/{}", principal.name))
            }
            Authenticator::Enrollment => &[],
        };
        let groups = principal.groups.iter();
        own.iter().chain(groups.flat_map(|group| self.grants(SubjectKind::Group, group)))
    }

    fn grants(&self, kind: SubjectKind, subject: &str) -> &[Arc<Grant>] {
        let of_kind = self.grants.get(&kind);
        of_kind.and_then(|of_kind| of_kind.get(subject)).map_or(&[], Vec::as_slice)
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
    fn principal_without_a_binding_keeps_its_rights() {
        let index = index(&[("user", "bob", "a")]);
        for rights in [Rights::everywhere(Role::Reader), Rights::default()] {
            assert_eq!(index.bind(of_provider(&["corp:ops"], rights.clone())).rights, rights);
        }
    }
}
