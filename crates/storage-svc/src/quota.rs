//! Warnings before etcd reaches its quota: then it refuses every write until an operator intervenes.

use std::collections::HashMap;
use std::time::Duration;

use etcd_access::MemberStatus;
use runtime::Lifecycle;
use tokio::time::Instant;

use crate::store::etcd::Etcd;

/// Between two looks.
const INTERVAL: Duration = Duration::from_mins(1);

/// Between two warnings about a member that does not become fuller.
const REPEAT: Duration = Duration::from_hours(1);

/// etcd's default.
pub(crate) const DEFAULT_QUOTA: u64 = 2 << 30;

/// Warnings begin at the first of these shares, in percent; each further one is warned of at once.
const STEPS: [u64; 4] = [50, 75, 90, 95];

/// What was last warned of, by member.
#[derive(Debug, Default)]
struct Warned(HashMap<String, (usize, Instant)>);

impl Warned {
    /// The warning about a member, if there is to be one now.
    fn about(&mut self, member: &MemberStatus, quota: u64, now: Instant) -> Option<String> {
        let percent = member.db_size.saturating_mul(100) / quota.max(1);
        let step = STEPS.iter().filter(|step| percent >= **step).count();
        let last = self.0.get(&member.endpoint);
        if step == 0 {
            self.0.remove(&member.endpoint);
            return None;
        }
        if last.is_some_and(|(known, at)| step <= *known && now.duration_since(*at) < REPEAT) {
            return None;
        }
        self.0.insert(member.endpoint.clone(), (step, now));
        let (mib, endpoint) = (|bytes: u64| bytes >> 20, &member.endpoint);
        Some(format!(
            "etcd {endpoint} has used {percent} % of its quota ({} of {} MiB, {} MiB of them in use); at 100 % it \
             refuses every write: compact its history, defragment one member after the other (`etcdctl defrag \
             --endpoints={endpoint}`), or raise --quota-backend-bytes",
            mib(member.db_size),
            mib(quota),
            mib(member.db_size_in_use),
        ))
    }
}

/// Looks at the members of one etcd for as long as the service runs. `configured` is the quota of members that do
/// not say it themselves.
pub(crate) async fn watch(store: String, etcd: Etcd, configured: Option<u64>, life: Lifecycle) {
    let stopping = life.stopping();
    tokio::pin!(stopping);
    let mut warned = Warned::default();
    loop {
        for member in etcd.members().await {
            let quota = member.quota.or(configured).unwrap_or(DEFAULT_QUOTA);
            if let Some(warning) = warned.about(&member, quota, Instant::now()) {
                tracing::warn!(store, "{warning}");
            }
        }
        tokio::select! {
            () = &mut stopping => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn warnings_begin_at_half_of_the_quota_and_are_few() {
        let (mut warned, start) = (Warned::default(), Instant::now());
        let mut at = |minute: u64, percent: u64| {
            let member = MemberStatus {
                endpoint: "http://m1".to_owned(),
                db_size: percent << 20,
                db_size_in_use: percent << 19,
                quota: None,
                alarms: Vec::new(),
            };
            warned.about(&member, 100 << 20, start + Duration::from_mins(minute))
        };
        assert_eq!(at(0, 49), None);
        let warning = at(1, 50).unwrap();
        assert!(warning.contains("50 % of its quota (50 of 100 MiB, 25 MiB"), "{warning}");
        assert!(warning.contains("--endpoints=http://m1"), "{warning}");
        assert_eq!(at(2, 60), None);
        assert!(at(3, 75).is_some(), "the next step at once");
        assert_eq!((at(4, 60), at(62, 60)), (None, None));
        assert!(at(63, 60).is_some(), "again after an hour");
        assert_eq!(at(64, 10), None);
        assert!(at(65, 50).is_some(), "and when it comes back");
    }
}
