use std::time::Duration;

use model::Alarm;

use super::outlook::SAMPLE;
use super::*;
use crate::alarms::Share;
use crate::config::Seconds;
use crate::decide::Outlook;

const SECOND: Micros = 1_000_000;
/// `2026-11-21T23:40:00`.
const NOW: Micros = 1_795_304_400 * SECOND;

/// A moment at which the wall clock has not been set.
fn at(time: Micros) -> Moment {
    Moment { line: time, wall: time }
}

fn host(number: usize, status: Status, last_check: Micros) -> Revised<Host> {
    let address = format!("10.0.{}.{}", number / 250, number % 250);
    let record =
        Host { address: address.into(), status, last_check: stamp(last_check), ..Host::default() };
    Revised { record, revision: 1 }
}

/// The state of a host that was not reached so often in a row.
fn away(number: usize, count: u32) -> HostState {
    let failing = Failing { reason: HostState::UNREACHABLE.to_owned(), count };
    let address = host(number, Status::Active, NOW).record.address;
    HostState { address, failing, ..HostState::default() }
}

/// A roster of so many active hosts, all ours and just checked.
fn roster(hosts: usize) -> Roster {
    let mut roster = Roster::new(&"me".into(), &Config::default());
    roster.set_members(vec!["me".into()], NOW);
    let hosts: Vec<_> = (0..hosts).map(|number| host(number, Status::Active, NOW)).collect();
    roster.list(&hosts, &[], at(NOW));
    roster
}

fn due(plan: &Plan) -> Vec<&str> {
    plan.due.iter().map(|(address, _)| address.as_str()).collect()
}

#[test]
fn every_host_is_due_within_hardly_more_than_an_interval_and_not_all_at_once() {
    let mut roster = roster(600);
    assert_eq!(due(&roster.plan(NOW)), [""; 0]);
    let count = |roster: &mut Roster, seconds| roster.plan(NOW + seconds * SECOND).due.len();
    assert_eq!(count(&mut roster, 2), 0);
    let ten_seconds = count(&mut roster, 13);
    assert!((70..130).contains(&ten_seconds), "a sixth: {ten_seconds}");
    assert_eq!(count(&mut roster, 63), 600);
}

#[test]
fn hosts_of_others_and_those_left_alone_are_not_due() {
    let mut roster = Roster::new(&"me".into(), &Config::default());
    roster.set_members(vec!["me".into()], NOW);
    let old = NOW - 600 * SECOND;
    let statuses = [Status::Active, Status::Failed, Status::Investigating, Status::Bootstrapping];
    let hosts: Vec<_> =
        statuses.iter().enumerate().map(|(number, status)| host(number, *status, old)).collect();
    let mut states: Vec<_> = (0..4).map(|number| away(number, 0)).collect();
    states[1].reason = "bad-key".to_owned();
    let revised = |states: &[HostState]| -> Vec<_> {
        states.iter().map(|state| Revised { record: state.clone(), revision: 1 }).collect()
    };
    roster.list(&hosts, &revised(&states), at(NOW));
    let later = NOW + 30 * SECOND;
    assert_eq!(due(&roster.plan(later)), ["10.0.0.0"]);
    states[1].reason = "playbook-failed".to_owned();
    roster.list(&hosts, &revised(&states), at(NOW));
    assert_eq!(roster.plan(later).due.len(), 2);
    roster.set_operated(HashSet::from(["10.0.0.0".into()]));
    assert_eq!(due(&roster.plan(later)), ["10.0.0.1"]);
    roster.set_members(vec!["another".into()], later);
    assert_eq!(due(&roster.plan(later)), [""; 0]);
    // Ours again: what was missed is made up for, not all at once.
    roster.set_members(vec!["me".into()], later);
    assert_eq!(due(&roster.plan(later)), [""; 0]);
    assert_eq!(roster.plan(later + 30 * SECOND).due.len(), 1);
}

#[test]
fn members_share_the_hosts() {
    let members = ["a", "b", "c"].map(LeaseName::from);
    let mut all = Vec::new();
    for me in &members {
        let mut roster = roster(90);
        roster.me.clone_from(me);
        roster.set_members(members.to_vec(), NOW);
        let plan = roster.plan(NOW + 90 * SECOND);
        assert!(plan.due.len() > 15, "{me}: {}", plan.due.len());
        all.extend(plan.due);
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 90);
}

#[test]
fn what_is_older_than_what_is_known_is_dropped() {
    let mut roster = roster(1);
    let mut newer = host(0, Status::Failed, NOW);
    newer.revision = 5;
    roster.saw_host(&newer.record, 5, at(NOW));
    roster.saw_host(&host(0, Status::Active, NOW).record, 4, at(NOW));
    roster.forget("10.0.0.0", 4);
    assert_eq!(roster.hosts["10.0.0.0"].status, Status::Failed);
    roster.saw_state(&away(0, 2), 7);
    roster.saw_state(&away(0, 1), 6);
    assert_eq!(roster.hosts["10.0.0.0"].failing.count, 2);
    roster.forget("10.0.0.0", 8);
    assert!(roster.hosts.is_empty());
    roster.saw_state(&away(0, 3), 9);
    assert!(roster.hosts.is_empty(), "a state makes no host");
}

#[test]
fn a_list_forgets_who_is_not_in_it() {
    let mut roster = roster(3);
    roster.list(&[host(1, Status::Active, NOW)], &[], at(NOW));
    assert_eq!(roster.hosts.keys().collect::<Vec<_>>(), ["10.0.0.1"]);
}

#[test]
fn a_failed_check_is_repeated_soon_and_a_refused_log_in_is_not() {
    let mut roster = roster(20);
    let within = |roster: &mut Roster, seconds| {
        let plan = roster.plan(NOW + seconds * SECOND);
        due(&plan).contains(&"10.0.0.0")
    };
    roster.saw_state(&away(0, 1), 2);
    assert!(!within(&mut roster, 3) && within(&mut roster, 7));
    roster.saw_state(&away(0, 2), 3);
    assert!(!within(&mut roster, 11) && within(&mut roster, 19));
    let mut refused = away(0, 1);
    refused.failing.reason = "auth-refused".to_owned();
    roster.saw_state(&refused, 4);
    let mut well = self::roster(20);
    for seconds in [3, 7, 11, 19, 40, 63] {
        assert_eq!(within(&mut roster, seconds), within(&mut well, seconds), "after {seconds} s");
    }
}

#[test]
fn a_check_that_came_to_nothing_is_not_repeated_at_once() {
    let mut roster = roster(1);
    let later = NOW + 90 * SECOND;
    roster.put_off("10.0.0.0", later + 5 * SECOND);
    assert_eq!(
        roster.plan(later),
        Plan { due: Vec::new(), next: Some(later + 5 * SECOND), raises: false }
    );
    assert_eq!(roster.plan(later + 5 * SECOND).due.len(), 1);
}

#[test]
fn a_wall_clock_that_is_set_makes_no_host_due_early_or_late() {
    for step in [-24 * 3600 * SECOND, 2 * 3600 * SECOND] {
        let mut roster = roster(10);
        let address = "10.0.0.0";
        let later = Moment { line: NOW + SECOND, wall: NOW + SECOND + step };
        let all: Vec<_> = (0..10).map(|number| host(number, Status::Active, NOW)).collect();
        roster.list(&all, &[], later);
        assert_eq!(due(&roster.plan(later.line)), [""; 0], "{step}");
        assert_eq!(roster.plan(NOW + 63 * SECOND).due.len(), 10, "{step}");
        let checked = Moment { line: NOW + 63 * SECOND, wall: NOW + 63 * SECOND + step };
        roster.checked(address, checked);
        roster.saw_host(&host(0, Status::Active, checked.wall).record, 2, checked);
        assert!(!due(&roster.plan(checked.line)).contains(&address), "{step}");
        assert!(due(&roster.plan(NOW + 126 * SECOND)).contains(&address), "{step}");
    }
}

/// Before the first host fails, the others are asked, so that it can be told from the first of many.
#[test]
fn the_sample_is_asked_before_a_host_fails() {
    let mut roster = roster(8);
    let before = NOW + 5 * SECOND;
    roster.saw_host(&host(0, Status::Active, before).record, 2, at(before));
    roster.saw_state(&away(0, 1), 2);
    assert_eq!(due(&roster.plan(NOW + 9 * SECOND)), [""; 0]);
    roster.saw_state(&away(0, 2), 3);
    assert_eq!(roster.outlook("10.0.0.0", Some(before)), Outlook::Unsure);
    let later = NOW + 10 * SECOND;
    assert_eq!(roster.plan(later).due.len(), 7);
    for number in 1..7 {
        roster.saw_host(&host(number, Status::Active, later).record, 4, at(later));
    }
    assert_eq!(roster.outlook("10.0.0.0", Some(before)), Outlook::Unsure, "one has not answered");
    assert_eq!(due(&roster.plan(later)), ["10.0.0.7"]);
    roster.saw_host(&host(7, Status::Active, later).record, 4, at(later));
    assert_eq!(roster.outlook("10.0.0.0", Some(before)), Outlook::Clear);
    assert_eq!(due(&roster.plan(later)), [""; 0], "each is asked once");
}

#[test]
fn a_large_fleet_is_judged_by_a_sample() {
    let mut roster = roster(1000);
    let later = NOW + 10 * SECOND;
    let regular = self::roster(1000).plan(later).due;
    roster.saw_state(&away(0, 2), 2);
    let plan = roster.plan(later);
    let sampled = plan.due.iter().filter(|host| !regular.contains(host)).count();
    // Some of the sample were due anyway.
    assert!((SAMPLE * 3 / 4..=SAMPLE).contains(&sampled), "{sampled}");
    // Every other host is away, but only those of the sample are known to be.
    for (index, (address, _)) in plan.due.iter().enumerate() {
        let count = u32::from(index % 2 == 0);
        let failing = Failing { reason: HostState::UNREACHABLE.to_owned(), count };
        let state = HostState { address: address.clone(), failing, ..HostState::default() };
        roster.saw_state(&state, 3);
    }
    assert_eq!(roster.outlook("10.0.0.0", Some(NOW)), Outlook::Frozen);
    assert!(roster.plan(later).raises);
}

#[test]
fn more_than_the_share_is_frozen_and_one_host_alone_is_not() {
    for (hosts, away_at_once, frozen) in
        [(1, 1, false), (2, 1, false), (3, 1, false), (2, 2, true), (10, 3, false), (10, 4, true)]
    {
        let mut roster = roster(hosts);
        for number in 0..away_at_once {
            roster.saw_state(&away(number, 1), 2);
        }
        assert_eq!(roster.plan(NOW).raises, frozen, "{away_at_once} of {hosts}");
        let outlook = roster.outlook("10.0.0.0", Some(NOW));
        assert_eq!(outlook == Outlook::Frozen, frozen, "{away_at_once} of {hosts}");
    }
}

#[test]
fn hosts_that_failed_before_are_not_away_at_once() {
    let mut roster = roster(10);
    for number in 0..9 {
        roster.saw_host(&host(number, Status::Failed, NOW).record, 2, at(NOW));
        let state = HostState { reason: HostState::UNREACHABLE.to_owned(), ..away(number, 3) };
        roster.saw_state(&state, 2);
    }
    assert!(!roster.plan(NOW).raises);
    assert!(roster.shares().is_empty());
}

#[test]
fn while_frozen_a_host_keeps_its_place() {
    let mut roster = roster(4);
    for number in 0..4 {
        roster.saw_state(&away(number, 3), 2);
    }
    let plan = roster.plan(NOW + 25 * SECOND);
    assert!(plan.raises, "{plan:?}");
    assert_eq!(plan.due, self::roster(4).plan(NOW + 25 * SECOND).due);
    assert_eq!(roster.plan(NOW + 63 * SECOND).due.len(), 4);
}

#[test]
fn one_failure_can_be_made_enough() {
    let interval = Seconds(Duration::from_mins(1));
    let config = Config { failures: 0, retry_pauses: Vec::new(), interval, ..Config::default() };
    let mut roster = Roster::new(&"me".into(), &config);
    roster.set_members(vec!["me".into()], NOW);
    roster.list(&[host(0, Status::Active, NOW)], &[], at(NOW));
    roster.saw_state(&away(0, 1), 2);
    assert_eq!(due(&roster.plan(NOW)), [""; 0]);
    assert_eq!(roster.plan(NOW + 90 * SECOND).due.len(), 1);
}

#[test]
fn hosts_that_refuse_log_ins_count_towards_the_alarm() {
    let mut roster = roster(10);
    for number in 0..4 {
        let mut refused = away(number, 1);
        refused.failing.reason = "auth-refused".to_owned();
        roster.saw_state(&refused, 4);
    }
    assert_eq!(roster.shares()[Alarm::FLEET], Share { hosts: 10, unavailable: 4 });
    assert!(roster.plan(NOW).raises);
}

#[test]
fn a_failed_host_that_refuses_log_ins_is_checked_again_slowly() {
    let mut roster = Roster::new(&"me".into(), &Config::default());
    roster.set_members(vec!["me".into()], NOW);
    let failed = Revised { record: away(0, 3), revision: 1 };
    let mut state = failed.record;
    (state.reason, state.failing.reason) = ("auth-refused".to_owned(), "auth-refused".to_owned());
    let hosts = [host(0, Status::Failed, NOW)];
    roster.list(&hosts, &[Revised { record: state, revision: 1 }], at(NOW));
    assert_eq!(due(&roster.plan(NOW + 599 * SECOND)), [""; 0]);
    assert_eq!(due(&roster.plan(NOW + 661 * SECOND)), ["10.0.0.0"]);
}

fn clusters(clusters: &[(&str, &str, std::ops::Range<usize>)]) -> Vec<Revised<Cluster>> {
    let address = |number| host(number, Status::Active, NOW).record.address;
    let cluster = |(name, manager, hosts): &(&str, &str, std::ops::Range<usize>)| Cluster {
        name: (*name).into(),
        container_manager: (*manager).to_owned(),
        hostset: hosts.clone().map(address).collect(),
        ..Cluster::default()
    };
    clusters.iter().map(|one| Revised { record: cluster(one), revision: 1 }).collect()
}

#[test]
fn a_cluster_and_a_manager_are_frozen_by_themselves() {
    let mut roster = roster(100);
    roster.set_clusters(&clusters(&[("a", "m", 0..10), ("b", "m", 10..20), ("c", "", 20..40)]));
    for number in 0..4 {
        roster.saw_state(&away(number, 2), 2);
    }
    // 4 of the 100 hosts, of the manager's 20, and of the cluster's 10.
    assert!(roster.plan(NOW).raises);
    assert_eq!(roster.shares()["cluster.a"], Share { hosts: 10, unavailable: 4 });
    assert_eq!(roster.shares()["manager.m"], Share { hosts: 20, unavailable: 4 });
    assert_eq!(roster.outlook("10.0.0.0", Some(NOW)), Outlook::Frozen);
    for well in ["10.0.0.10", "10.0.0.20", "10.0.0.99"] {
        assert_eq!(roster.outlook(well, Some(NOW)), Outlook::Clear, "{well}");
    }
    for number in 10..13 {
        roster.saw_state(&away(number, 2), 2);
    }
    assert_eq!(roster.outlook("10.0.0.15", Some(NOW)), Outlook::Frozen, "7 of the manager's 20");
    assert_eq!(roster.outlook("10.0.0.20", Some(NOW)), Outlook::Clear);
}

#[test]
fn a_smaller_cluster_has_no_alarm_of_its_own() {
    let mut roster = roster(100);
    roster.set_clusters(&clusters(&[("small", "", 0..9)]));
    for number in 0..9 {
        roster.saw_state(&away(number, 2), 2);
    }
    assert!(!roster.plan(NOW).raises);
    assert_eq!(roster.outlook("10.0.0.0", Some(NOW)), Outlook::Clear);
}

#[test]
fn hosts_stay_frozen_until_the_alarm_has_ended() {
    let mut roster = roster(10);
    for number in 0..4 {
        roster.saw_state(&away(number, 2), 2);
    }
    assert!(roster.plan(NOW).raises);
    roster.alarm(Alarm::FLEET.to_owned(), true);
    assert!(!roster.plan(NOW).raises, "it is raised once");
    for number in 1..4 {
        roster.saw_state(&away(number, 0), 3);
    }
    assert_eq!(roster.outlook("10.0.0.0", Some(NOW)), Outlook::Frozen);
    roster.set_alarmed([]);
    assert_eq!(roster.outlook("10.0.0.0", Some(NOW)), Outlook::Clear);
}

/// Also the hosts of its cluster are asked before a host fails.
#[test]
fn the_samples_of_all_scopes_of_a_host_are_asked_before_it_fails() {
    let mut roster = roster(1000);
    roster.set_clusters(&clusters(&[("a", "", 0..20)]));
    roster.saw_state(&away(0, 2), 2);
    let later = NOW + 10 * SECOND;
    let plan = roster.plan(later);
    let due = due(&plan);
    let others = (1..20).map(|number| host(number, Status::Active, NOW).record.address);
    let missing: Vec<_> = others.filter(|address| !due.contains(&address.as_str())).collect();
    assert_eq!(missing, [""; 0]);
    assert!(due.len() < 20 + SAMPLE + 200, "{}", due.len());
}

#[test]
fn mark_is_compared_every_ten_minutes_and_a_fenced_host_is_checked_no_more_often() {
    let mut roster = roster(2);
    let minute = 60 * SECOND;
    assert!(roster.is_claim_due("10.0.0.0", NOW), "a watcher that starts");
    roster.has_claimed("10.0.0.0", NOW);
    assert!(!roster.is_claim_due("10.0.0.0", NOW + 10 * minute - 1));
    assert!(roster.is_claim_due("10.0.0.0", NOW + 10 * minute));
    assert!(roster.is_claim_due("10.0.0.1", NOW + minute), "of each host by itself");
    roster.saw_host(&host(0, Status::Failed, NOW).record, 2, at(NOW));
    let state = HostState { reason: HostState::FENCED.to_owned(), ..away(0, 0) };
    roster.saw_state(&state, 2);
    assert!(!due(&roster.plan(NOW + 10 * minute - SECOND)).contains(&"10.0.0.0"));
    assert!(due(&roster.plan(NOW + 11 * minute)).contains(&"10.0.0.0"));
}
