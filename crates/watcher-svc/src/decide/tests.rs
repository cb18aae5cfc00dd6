use std::io;
use std::time::Duration;

use model::Failing;

use super::*;

const NOW: &str = "2026-11-21T23:40:21.397282";

fn failed(reason: &'static str) -> Finding {
    Finding::Failed(Failure { reason, detail: format!("it is {reason}"), seen_key: String::new() })
}

fn well() -> Finding {
    Finding::Well("boot".to_owned())
}

/// The records of a host that is in this state for this reason.
fn records(status: Status, reason: &str) -> (Host, HostState) {
    let host = Host { address: "10.0.0.1".into(), status, ..Host::default() };
    let (address, reason) = (host.address.clone(), reason.to_owned());
    (host, HostState { address, reason, ..HostState::default() })
}

/// What each of the checks changes, with the records at the end.
fn run(
    (mut host, mut state): (Host, HostState),
    findings: &[Finding],
    outlook: Outlook,
) -> (Vec<Change>, Host, HostState) {
    let mut step = |finding| decide(finding, &mut host, &mut state, &NOW.into(), 3, outlook);
    let changes = findings.iter().map(&mut step).collect();
    (changes, host, state)
}

#[test]
fn the_third_failure_in_a_row_fails_it_and_a_success_restores_it() {
    use Change::{Failed, None, Restored};
    for status in [Status::Active, Status::Disassociated] {
        let away = failed("unreachable");
        let start = records(status, "");
        let (changes, host, state) = run(start, &vec![away.clone(); 4], Outlook::Clear);
        assert_eq!(changes, [None, None, Failed, None]);
        assert_eq!((host.status, host.last_check.as_str()), (Status::Failed, NOW));
        assert_eq!((state.reason.as_str(), state.previous_status), ("unreachable", status));
        let (changes, host, state) = run((host, state), &[away, well()], Outlook::Clear);
        assert_eq!(changes, [None, Restored]);
        assert_eq!((host.status, state.reason.as_str(), state.detail.as_str()), (status, "", ""));
        assert_eq!((state.failing, state.boot_id.as_str()), (Failing::default(), "boot"));
    }
}

#[test]
fn a_success_a_throttled_or_another_failure_ends_the_row() {
    for between in [well(), Finding::Throttled, failed("auth-refused")] {
        let away = failed("unreachable");
        let row = [away.clone(), away.clone(), between, away.clone(), away];
        let (changes, host, state) = run(records(Status::Active, ""), &row, Outlook::Clear);
        assert_eq!(changes, [Change::None; 5]);
        assert_eq!((host.status, state.failing.count), (Status::Active, 2));
    }
}

#[test]
fn being_throttled_changes_no_status() {
    for (status, reason) in [(Status::Active, ""), (Status::Failed, "unreachable")] {
        let row = vec![Finding::Throttled; 10];
        let (changes, host, state) = run(records(status, reason), &row, Outlook::Clear);
        assert_eq!(changes, [Change::None; 10]);
        assert_eq!((host.status, state.reason.as_str()), (status, reason));
        assert_eq!(host.last_check, NOW);
    }
}

#[test]
fn a_changed_key_fails_it_at_once_and_waits_for_the_operator() {
    let key = "ssh-ed25519 AAAA".to_owned();
    let failure =
        Failure { reason: KEY_CHANGED, detail: "another key".to_owned(), seen_key: key.clone() };
    let row = [Finding::Failed(failure), well(), failed("unreachable"), well()];
    for outlook in [Outlook::Clear, Outlook::Unsure] {
        for status in [Status::Active, Status::Failed] {
            let (mut host, mut state) = records(status, "unreachable");
            state.previous_status = Status::Active;
            host.status = status;
            let (changes, host, state) = run((host, state), &row, outlook);
            assert_eq!(changes, [Change::Failed, Change::None, Change::None, Change::None]);
            assert_eq!((host.status, state.reason.as_str()), (Status::Failed, KEY_CHANGED));
            assert_eq!((&state.seen_host_key, state.previous_status), (&key, Status::Active));
        }
    }
}

#[test]
fn other_failures_do_not_heal_by_themselves() {
    for reason in ["playbook-failed", "not-back", "host-key-changed", "timeout", ""] {
        let (changes, host, state) =
            run(records(Status::Failed, reason), &[well()], Outlook::Clear);
        assert_eq!((changes, host.status), (vec![Change::None], Status::Failed), "{reason}");
        assert_eq!(state.reason, reason);
    }
}

#[test]
fn a_host_that_was_never_set_up_is_investigated_again() {
    for before in [Status::New, Status::Investigating, Status::Bootstrapping] {
        let (host, mut state) = records(Status::Failed, "unreachable");
        state.previous_status = before;
        let (changes, host, _) = run((host, state), &[well()], Outlook::Clear);
        assert_eq!((changes, host.status), (vec![Change::Investigate], Status::Investigating));
    }
}

#[test]
fn nothing_fails_while_statuses_are_frozen() {
    for reason in ["unreachable", "auth-refused", KEY_CHANGED] {
        let row = vec![failed(reason); 100];
        let (changes, host, state) = run(records(Status::Active, ""), &row, Outlook::Frozen);
        assert!(changes.iter().all(|change| *change == Change::None), "{reason}");
        assert_eq!((host.status, host.last_check.as_str()), (Status::Active, NOW));
        assert_eq!(state.failing.count, 6, "no further: it would be written each time");
        let (changes, ..) = run((host, state), &[failed(reason)], Outlook::Clear);
        assert_eq!(changes, [Change::Failed], "and when that is over, at once");
    }
}

#[test]
fn an_outlook_that_stays_unsure_does_not_help_for_ever() {
    let row = vec![failed("unreachable"); 6];
    let (changes, ..) = run(records(Status::Active, ""), &row, Outlook::Unsure);
    assert_eq!(changes.iter().position(|change| *change == Change::Failed), Some(5));
}

#[test]
fn a_refused_log_in_fails_the_host_and_heals_by_itself() {
    let row = vec![failed("auth-refused"); 3];
    let (changes, host, state) = run(records(Status::Active, ""), &row, Outlook::Clear);
    assert_eq!(changes, [Change::None, Change::None, Change::Failed]);
    assert!(!is_left_alone(host.status, &state.reason));
    assert!(!is_retried_soon("auth-refused", Status::Active));
    let row = [failed("auth-refused"), failed("unreachable"), well()];
    let (changes, host, state) = run((host, state), &row, Outlook::Clear);
    assert_eq!(changes, [Change::None, Change::None, Change::Restored]);
    assert_eq!((host.status, state.reason.as_str()), (Status::Active, ""));
}

#[test]
fn only_hosts_that_no_log_in_can_reach_are_left_alone() {
    assert!(!is_left_alone(Status::Failed, "unreachable") && !is_left_alone(Status::Active, ""));
    assert!(is_left_alone(Status::Failed, "bad-key"));
    assert!(is_left_alone(Status::Investigating, "") && is_left_alone(Status::New, ""));
}

#[test]
fn errors_are_told_apart() {
    let address = || "10.0.0.1".to_owned();
    let detail = String::new;
    let reason = |error: &AccessError| match Finding::of(error) {
        Some(Finding::Failed(failure)) => failure.reason,
        Some(Finding::Throttled) => "throttled",
        Some(Finding::Well(_) | Finding::Ours(_)) => "well",
        None => "ours",
    };
    let lost = AccessError::Disconnected { address: address() };
    let slow = AccessError::Timeout { address: address(), what: "x", after: Duration::ZERO };
    let refused =
        AccessError::AuthRefused { address: address(), user: "root".to_owned(), detail: detail() };
    let throttled = AccessError::Throttled { address: address(), detail: detail() };
    let ours = AccessError::Io { what: "fork".to_owned(), source: io::Error::other("no memory") };
    assert_eq!([&lost, &slow].map(reason), ["unreachable"; 2]);
    assert_eq!([&refused, &throttled, &ours].map(reason), ["auth-refused", "throttled", "ours"]);
    let another = AccessError::KeyChanged {
        address: address(),
        pinned_fingerprints: vec!["SHA256:a".to_owned()],
        seen_fingerprint: "SHA256:b".to_owned(),
        seen_key: Some("ssh-ed25519 AAAA".to_owned()),
    };
    let Some(Finding::Failed(failure)) = Finding::of(&another) else { panic!("a failure") };
    assert_eq!((failure.reason, failure.seen_key.as_str()), (KEY_CHANGED, "ssh-ed25519 AAAA"));
    assert!(failure.detail.contains("SHA256:a") && failure.detail.contains("SHA256:b"));
}

#[test]
fn a_fenced_host_fails_at_once_whatever_others_do_and_recovers_when_it_accepts_the_claim() {
    for outlook in [Outlook::Clear, Outlook::Unsure, Outlook::Frozen] {
        let row = [failed(HostState::FENCED), failed(HostState::FENCED), failed("unreachable")];
        let (changes, host, state) = run(records(Status::Active, ""), &row, outlook);
        assert_eq!(changes, [Change::Failed, Change::None, Change::None], "{outlook:?}");
        assert_eq!((host.status, state.reason.as_str()), (Status::Failed, "fenced"));
        // A log-in alone does not say whose it is.
        let row = [well(), Finding::Ours("boot".to_owned())];
        let (changes, host, state) = run((host, state), &row, outlook);
        assert_eq!(changes, [Change::None, Change::Restored]);
        assert_eq!(host.status, Status::Active);
        assert_eq!((state.reason.as_str(), state.failing), ("", Failing::default()));
    }
    // One that waits for its operator does so on.
    let row = [failed(HostState::FENCED), Finding::Ours("boot".to_owned())];
    let (changes, _, state) = run(records(Status::Failed, "not-back"), &row, Outlook::Clear);
    assert_eq!((changes, state.reason.as_str()), (vec![Change::None; 2], "not-back"));
}
