//! When hosts were last checked: one report per watcher, so that a check need not write a record of the host.
//!
//! A report has a slot of three bytes (four characters of base64) for each address of a [`CheckRoster`], in
//! its order. A roster is never changed: another list of hosts is another roster with another id, and the
//! report that names it is written in the same transaction. So a slot belongs to one address for certain,
//! whichever hosts were added or deleted in the meantime.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Address, Model, ident};
use crate::Stamp;

/// Bytes of a slot: an age of up to 19 days.
const SLOT: usize = 3;

/// The value of a slot without a check.
const NO_CHECK: u32 = 0x00ff_ffff;

/// The hosts that the slots of a report belong to. Written once; only on the bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRoster {
    /// The watcher's id, a dot, and a number that the watcher raises with each list.
    pub id: String,
    /// The addresses.
    pub hosts: Vec<Address>,
}

impl CheckRoster {
    /// The id of a watcher's roster of that number.
    pub fn id_of(watcher: &str, number: u64) -> String {
        format!("{watcher}.{number}")
    }
}

impl Model for CheckRoster {
    const TYPE: &'static str = "CheckRoster";
    const LIST_TYPE: &'static str = "CheckRosters";
    const ID: &'static str = "id";
    const PREFIX: &'static str = "/commissaire/check_rosters/";
    const HIDDEN: &'static [&'static str] = &["hosts"];

    fn id(&self) -> &str {
        &self.id
    }

    fn validate(&self) -> Result<(), String> {
        ident::token(&self.id)?;
        self.hosts.iter().try_for_each(|host| ident::address(host))
    }

    fn validate_id(id: &str) -> Result<(), String> {
        ident::token(id)
    }
}

/// When a watcher last checked its hosts. Written every 30 s; only on the bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// The watcher's id: that of its lease without the prefix.
    pub watcher: String,
    /// When it was written, a multiple of 0.1 s.
    pub at: Stamp,
    /// The id of its [`CheckRoster`].
    pub roster: String,
    /// Base64 of three bytes for each host of the roster, big-endian: how long before `at` it was checked,
    /// in units of 0.1 s; `ffffff` where this watcher has not checked it.
    pub checks: String,
}

impl CheckReport {
    /// The resolution of a slot, in microseconds. Times are rounded down to a multiple of it since the epoch,
    /// not since the report, so that the same check is the same time in every report.
    pub const UNIT: i64 = 100_000;

    /// The report of `watcher` at the time `at`: when each host of `roster` was last checked. A time after
    /// `at` is reported as `at`; one more than 19 days before it is left out.
    pub fn new(
        watcher: &str,
        roster: &CheckRoster,
        at: Timestamp,
        last_check: impl Fn(&str) -> Option<Timestamp>,
    ) -> Self {
        let now = units(at);
        let mut slots = Vec::with_capacity(roster.hosts.len() * SLOT);
        for host in &roster.hosts {
            let age = last_check(host).and_then(|time| age(now, units(time))).unwrap_or(NO_CHECK);
            slots.extend(&age.to_be_bytes()[4 - SLOT..]);
        }
        let (watcher, roster) = (watcher.to_owned(), roster.id.clone());
        let at = time(now).map(Stamp::of).unwrap_or_default();
        Self { watcher, at, roster, checks: BASE64.encode(slots) }
    }

    /// The hosts of its roster that it has a check of, with the times.
    ///
    /// # Errors
    /// A sentence that says why it does not belong to `roster` or cannot be read.
    pub fn checks<'a>(
        &self,
        roster: &'a CheckRoster,
    ) -> Result<impl Iterator<Item = (&'a str, Timestamp)>, String> {
        let (at, slots) = self.read()?;
        if self.roster != roster.id || slots.len() != roster.hosts.len() * SLOT {
            return Err(format!("the report does not belong to the roster {}", roster.id));
        }
        let slots: Vec<_> = slots
            .chunks_exact(SLOT)
            .map(|slot| slot.iter().fold(0, |age, byte| age << 8 | u32::from(*byte)))
            .collect();
        let hosts = roster.hosts.iter().map(Address::as_str).zip(slots);
        let checked = hosts.filter(|(_, age)| *age != NO_CHECK);
        Ok(checked.filter_map(move |(host, age)| Some((host, time(at - i64::from(age))?))))
    }

    /// When it was written, in units since the epoch, and its slots.
    fn read(&self) -> Result<(i64, Vec<u8>), String> {
        let at = self.at.timestamp().ok_or_else(|| format!("at is no time: {:?}", self.at))?;
        let slots = BASE64.decode(&self.checks).map_err(|e| format!("checks: no base64: {e}"))?;
        if slots.len() % SLOT == 0 {
            Ok((units(at), slots))
        } else {
            Err(format!("checks: {} bytes are no whole number of slots", slots.len()))
        }
    }
}

fn units(time: Timestamp) -> i64 {
    time.as_microsecond().div_euclid(CheckReport::UNIT)
}

fn time(units: i64) -> Option<Timestamp> {
    Timestamp::from_microsecond(units.checked_mul(CheckReport::UNIT)?).ok()
}

fn age(now: i64, checked: i64) -> Option<u32> {
    u32::try_from(now.saturating_sub(checked).max(0)).ok().filter(|age| *age < NO_CHECK)
}

impl Model for CheckReport {
    const TYPE: &'static str = "CheckReport";
    const LIST_TYPE: &'static str = "CheckReports";
    const ID: &'static str = "watcher";
    const PREFIX: &'static str = "/commissaire/check_reports/";
    const HIDDEN: &'static [&'static str] = &["checks"];

    fn id(&self) -> &str {
        &self.watcher
    }

    fn validate(&self) -> Result<(), String> {
        ident::name(&self.watcher)?;
        ident::token(&self.roster)?;
        self.read().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn roster(hosts: &[&str]) -> CheckRoster {
        let hosts = hosts.iter().copied().map(Address::from).collect();
        CheckRoster { id: CheckRoster::id_of("w", 1), hosts }
    }

    fn read(report: &CheckReport, roster: &CheckRoster) -> Vec<(String, String)> {
        let checks = report.checks(roster).unwrap();
        checks.map(|(host, time)| (host.to_owned(), Stamp::of(time).to_string())).collect()
    }

    #[test]
    fn the_same_check_is_the_same_time_in_every_report() {
        let roster = roster(&["a", "b"]);
        let checked = at("2026-11-21T23:40:21.397282Z");
        for second in 22..50 {
            let now = at(&format!("2026-11-21T23:40:{second}.0{second}Z"));
            let report =
                CheckReport::new("w", &roster, now, |host| (host == "b").then_some(checked));
            report.validate().unwrap();
            assert_eq!(
                read(&report, &roster),
                [("b".to_owned(), "2026-11-21T23:40:21.300000".to_owned())]
            );
        }
    }

    #[test]
    fn a_check_in_the_future_is_now_and_one_of_last_month_is_left_out() {
        let roster = roster(&["a", "b", "c"]);
        let now = at("2026-11-21T23:40:21Z");
        let report = CheckReport::new("w", &roster, now, |host| match host {
            "a" => Some(at("2026-11-22T00:00:00Z")),
            "b" => Some(at("2026-10-21T00:00:00Z")),
            _ => Some(at("2026-11-03T00:00:00Z")),
        });
        let times = [("a", "2026-11-21T23:40:21.000000"), ("c", "2026-11-03T00:00:00.000000")];
        let times = times.map(|(host, time)| (host.to_owned(), time.to_owned()));
        assert_eq!(read(&report, &roster), times);
    }

    #[test]
    fn a_report_is_not_read_with_another_roster_and_nonsense_is_refused() {
        let own = roster(&["a", "b"]);
        let report = CheckReport::new("w", &own, at("2026-11-21T23:40:21Z"), |_| None);
        let other = CheckRoster { id: CheckRoster::id_of("w", 2), ..own.clone() };
        assert!(report.checks(&other).is_err());
        let shorter = CheckRoster { hosts: vec!["a".into()], ..own };
        assert!(report.checks(&shorter).is_err());
        for wrong in [
            CheckReport { at: "yesterday".into(), ..report.clone() },
            CheckReport { checks: "!".to_owned(), ..report.clone() },
            CheckReport { checks: BASE64.encode([1, 2]), ..report.clone() },
            CheckReport { roster: "../x".to_owned(), ..report.clone() },
        ] {
            assert!(wrong.validate().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_host_costs_four_bytes() {
        let hosts: Vec<_> = (0..2500).map(|n| format!("10.0.{}.{}", n / 250, n % 250)).collect();
        let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
        let now = at("2026-11-21T23:40:21Z");
        let report = CheckReport::new("w", &roster(&hosts), now, |_| Some(now));
        assert_eq!(report.checks.len(), 4 * 2500);
    }

    proptest! {
        #[test]
        fn what_is_reported_is_read_back(ages in proptest::collection::btree_map("[a-z]{1,8}",
            proptest::option::of(0_i64..1_600_000_000_000), 0..50))
        {
            let now = at("2026-11-21T23:40:21.437Z");
            let checked = |age: i64| Timestamp::from_microsecond(now.as_microsecond() - age).unwrap();
            let hosts: Vec<_> = ages.keys().map(String::as_str).collect();
            let roster = roster(&hosts);
            let report =
                CheckReport::new("w", &roster, now, |host| ages[host].map(checked));
            prop_assert!(report.validate().is_ok());
            let read: BTreeMap<_, _> = report.checks(&roster).unwrap().collect();
            for (host, age) in &ages {
                let read = read.get(host.as_str()).map(|time| time.as_microsecond());
                let exact = age.map(|age| checked(age).as_microsecond());
                prop_assert_eq!(read, exact.map(|time| time - time.rem_euclid(CheckReport::UNIT)));
            }
        }
    }
}
