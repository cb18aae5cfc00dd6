//! Which DaemonSets exist: their pods stay on a node, those of deleted ones are evicted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bus::Result;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use kube::core::Selector;
use model::{PodKind, PodState};
use tokio::time::Instant;

use super::{Kubernetes, pod_state};

/// How long it is remembered whether a DaemonSet exists.
const REMEMBERED: Duration = Duration::from_mins(1);

/// The cached DaemonSets, by their uids.
#[derive(Debug, Default)]
pub(super) struct DaemonSets(Mutex<HashMap<String, (bool, Instant)>>);

impl DaemonSets {
    /// Whether the DaemonSet with this uid exists; `None` if that is not remembered.
    fn exists(&self, uid: &str, now: Instant) -> Option<bool> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (exists, since) = known.get(uid)?;
        (now.duration_since(*since) < REMEMBERED).then_some(*exists)
    }

    /// Remembers which of these exist, and forgets what was remembered too long ago.
    fn remember(&self, wanted: &[&str], existing: &[String], now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, since)| now.duration_since(*since) < REMEMBERED);
        known.extend(existing.iter().map(|uid| (uid.clone(), (true, now))));
        for uid in wanted {
            known.entry((*uid).to_owned()).or_insert((false, now));
        }
    }
}

/// A pod on a node.
#[derive(Debug)]
pub(super) struct ListedPod {
    pub(super) state: PodState,
    /// The uid of the DaemonSet that controls it.
    daemon_set: Option<String>,
    /// The names of the claims that it uses.
    pub(super) claims: Vec<String>,
}

impl ListedPod {
    /// The digest of a pod.
    pub(super) fn of(pod: &Pod, skip: Option<&Selector>) -> Self {
        Self {
            state: pod_state::digest(pod, skip),
            daemon_set: pod_state::daemon_set(pod).map(str::to_owned),
            claims: pod_state::claims(pod),
        }
    }
}

impl Kubernetes {
    /// Marks the pods whose DaemonSet does not exist any more. The DaemonSets are listed only if one is not remembered.
    pub(super) async fn mark_orphans(
        &self,
        pods: impl Iterator<Item = &mut ListedPod> + Send,
        deadline: Instant,
    ) -> Result<()> {
        let controlled: Vec<_> = pods
            .filter(|pod| pod.state.kind == PodKind::DaemonSet)
            .filter_map(|pod| Some((&mut pod.state, pod.daemon_set.as_deref()?)))
            .collect();
        let now = Instant::now();
        if controlled.iter().any(|(_, uid)| self.daemon_sets.exists(uid, now).is_none()) {
            let api: Api<DaemonSet> = Api::all(self.client());
            let list = |params: ListParams| {
                let api = api.clone();
                async move { api.list_metadata(&params).await }
            };
            let existing = self
                .pages(list, ListParams::default(), "list the DaemonSets", deadline, |set| {
                    set.metadata.uid
                })
                .await?;
            let wanted: Vec<_> = controlled.iter().map(|(_, uid)| *uid).collect();
            self.daemon_sets.remember(&wanted, &existing, now);
        }
        for (state, uid) in controlled {
            if self.daemon_sets.exists(uid, now) == Some(false) {
                state.kind = PodKind::Orphan;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn existence_is_remembered_for_a_minute() {
        let sets = DaemonSets::default();
        let start = Instant::now();
        assert_eq!(sets.exists("a", start), None);
        sets.remember(&["a", "b"], &["a".to_owned(), "c".to_owned()], start);
        for (uid, exists) in [("a", Some(true)), ("b", Some(false)), ("c", Some(true)), ("d", None)]
        {
            assert_eq!(sets.exists(uid, start), exists, "{uid}");
        }
        let later = start + REMEMBERED;
        assert_eq!(sets.exists("a", later), None);
        // A DaemonSet that was missing may have been there too late for the last list.
        sets.remember(&["b"], &["b".to_owned()], later);
        assert_eq!(sets.exists("b", later), Some(true));
        assert_eq!(sets.exists("a", later), None);
    }
}
