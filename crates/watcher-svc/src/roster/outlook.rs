//! How the scopes are doing that a host belongs to: what a failed check means for its status depends on it. Pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use model::{Address, Alarm};

use super::{Roster, Watched};
use crate::alarms::Share;
use crate::decide::Outlook;
use crate::schedule::Micros;

/// Hosts that stand for all of a scope when it is to be determined how many are unavailable: with fewer hosts, all of
/// them. Half of the hosts unavailable show as 30% of this many once in a thousand times.
pub(super) const SAMPLE: usize = 64;

impl Roster {
    /// How many hosts are unavailable, of each scope that has an unavailable host.
    pub fn shares(&self) -> BTreeMap<String, Share> {
        let unavailable = self.hosts.iter().filter(|(_, host)| host.is_away());
        let scopes: BTreeSet<_> =
            unavailable.flat_map(|(address, _)| self.scopes.of(address)).collect();
        scopes.into_iter().map(|scope| (scope.to_owned(), share(&self.sample(scope)))).collect()
    }

    /// The hosts that stand for all of a scope that can become unavailable.
    fn sample(&self, scope: &str) -> Vec<(&Address, &Watched)> {
        let mut ready: Vec<_> = if scope == Alarm::FLEET {
            self.hosts.iter().collect()
        } else {
            let hosts = self.scopes.hosts(scope).iter();
            hosts.filter_map(|address| self.hosts.get_key_value(address)).collect()
        };
        ready.retain(|(address, host)| {
            host.status.is_ready() && !self.operated.contains(address.as_str())
        });
        ready.sort_unstable_by_key(|(_, host)| host.place);
        ready.truncate(SAMPLE);
        ready
    }

    /// Hosts to be checked out of turn: before a host fails, it must be known whether it is the only one.
    pub(super) fn asked(&self, now: Micros, frozen: &BTreeSet<String>) -> HashSet<&str> {
        let old = now - self.rhythm.fresh();
        let scopes = self.in_question();
        let asked = scopes.into_iter().filter(|scope| !frozen.contains(*scope));
        let asked = asked
            .flat_map(|scope| self.sample(scope))
            .filter(|(_, host)| !host.is_away() && !host.is_wary() && self.known(host) < Some(old));
        asked.map(|(address, _)| address.as_str()).collect()
    }

    /// The scopes of hosts that are about to fail.
    fn in_question(&self) -> BTreeSet<&str> {
        let is_about_to =
            |host: &Watched| host.is_away() && host.failing.count + 1 >= self.failures;
        let about_to = self.hosts.iter().filter(|(_, host)| is_about_to(host));
        about_to.flat_map(|(address, _)| self.scopes.of(address)).collect()
    }

    /// When a host was last checked, as far as every watcher knows.
    fn known(&self, host: &Watched) -> Option<Micros> {
        let known = if self.members.len() > 1 { host.published } else { host.checked_at() };
        known.map(|checked| checked.line)
    }

    /// Whether other watchers wait for a check of this host: it is one of those that are asked before a host
    /// fails, so its check must be in its record and not only in our next report.
    pub fn is_awaited(&self, address: &str) -> bool {
        let is_sampled =
            |scope: &str| self.sample(scope).iter().any(|(sampled, _)| *sampled == address);
        self.members.len() > 1 && self.in_question().into_iter().any(is_sampled)
    }

    /// The scopes that have an alarm, or are about to get one.
    pub(super) fn frozen(&self) -> BTreeSet<String> {
        let too_high = self.shares().into_iter();
        let too_high = too_high.filter(|(_, share)| share.is_too_high(self.freeze_share));
        too_high.map(|(scope, _)| scope).chain(self.alarmed.iter().cloned()).collect()
    }

    /// Whether a host belongs to one of these scopes.
    pub(super) fn is_any(&self, scopes: &BTreeSet<String>, address: &str) -> bool {
        !scopes.is_empty() && self.scopes.of(address).any(|scope| scopes.contains(scope))
    }

    /// How the scopes of a host are doing, whose check before this one was at `before` by its record: sure only when all
    /// others of the samples have been checked since.
    pub fn outlook(&self, address: &str, before: Option<Micros>) -> Outlook {
        let checked = |host: &Watched| host.checked_at().map(|checked| checked.wall);
        let is_known = |host: &Watched| host.is_away() || host.is_wary() || checked(host) >= before;
        let mut outlook = Outlook::Clear;
        for scope in self.scopes.of(address) {
            let sample = self.sample(scope);
            if self.alarmed.contains(scope) || share(&sample).is_too_high(self.freeze_share) {
                return Outlook::Frozen;
            }
            if !sample.iter().all(|(_, host)| is_known(host)) {
                outlook = Outlook::Unsure;
            }
        }
        outlook
    }
}

fn share(sample: &[(&Address, &Watched)]) -> Share {
    let unavailable = sample.iter().filter(|(_, host)| host.is_away()).count();
    Share { hosts: sample.len(), unavailable }
}
