use serde_json::{Value, json};

use super::*;

fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn restart(status: &str, reason: &str) -> Operation {
    of(json!({
        "id": "7f", "cluster": "web", "kind": "restart", "status": status, "reason": reason,
        "started_at": "t0", "finished_at": (status != "in_process").then_some("t9"),
        "hosts": ["10.0.0.1", "10.0.0.2", "10.0.0.3"],
    }))
}

fn part(address: &str, fields: Value) -> OperationHost {
    let mut part = json!({"id": format!("7f.{address}"), "address": address, "step": "pending"});
    let Value::Object(fields) = fields else { panic!("no object") };
    part.as_object_mut().unwrap().extend(fields);
    of(part)
}

fn facts<'a>(operation: &'a Operation, hosts: &'a [OperationHost]) -> OperationFacts<'a> {
    let (control, wait, freeze, alarm) = (None, None, None, None);
    OperationFacts { operation, hosts, control, wait, freeze, alarm, has_executor: true }
}

/// State, reason, sentence, and since when.
type Short<'a> = (&'a str, &'a str, &'a str, Option<&'a str>);

fn short(explanation: &Explanation) -> Short<'_> {
    let Explanation { state, reason, sentence, since, .. } = explanation;
    (state, reason, sentence, since.as_deref())
}

fn control(wanted: &str, reason: &str, code: &str) -> OperationControl {
    of(
        json!({"id": "7f", "wanted": wanted, "by": "ann", "at": "t1", "reason": reason, "code": code}),
    )
}

const RUNNING: &str = "the restart 7f of the cluster web works on its hosts: 1 of 3 are done; under way: 10.0.0.2 (verify)";

/// The hosts of an operation of which one is under way.
fn under_way() -> [OperationHost; 3] {
    [
        part("10.0.0.1", json!({"step": "done"})),
        part("10.0.0.2", json!({"step": "verify", "rebooted_at": "t2"})),
        part("10.0.0.3", json!({})),
    ]
}

fn freeze() -> Freeze {
    of(json!({"name": "all", "by": "bob", "at": "t3", "reason": "fair"}))
}

fn alarm(reason: &str) -> Alarm {
    of(json!({"scope": "fleet", "since": "t4", "share": 0.5, "reason": reason}))
}

fn holds(facts: &OperationFacts<'_>, expected: Short<'_>) {
    let (state, explanation) = super::operation(facts);
    assert_eq!(short(&explanation), expected);
    assert_eq!(state.word(), explanation.state);
    assert!(!explanation.remedy.is_empty() && !explanation.ends.is_empty());
    let related: Vec<_> = explanation.related.iter().map(|host| host.id.as_str()).collect();
    assert_eq!(related, ["10.0.0.2"], "the host under way");
}

#[test]
fn operation_in_process_is_explained_by_what_stops_it_first() {
    let (operation, hosts) = (restart("in_process", ""), under_way());
    let facts = facts(&operation, &hosts);
    let (abort, pause, freeze) = (control("abort", "", ""), control("pause", "", ""), freeze());
    let by_itself =
        control("pause", "unexpected-reboot: 10.0.0.1 has rebooted", "unexpected-reboot");
    let of_newer_version = control("pause", "the moon is full", "moon");
    holds(&facts, ("running", "under-way", RUNNING, Some("t0")));
    let sentence = "the restart 7f of the cluster web is in process, and no executor is running that carries \
                    it out";
    holds(
        &OperationFacts { has_executor: false, control: Some(&abort), ..facts },
        ("abandoned", "executor-away", sentence, None),
    );
    let sentence = "the restart 7f of the cluster web is aborted, and ends when no host is under way: \
                    aborted by ann; under way: 10.0.0.2";
    holds(
        &OperationFacts { control: Some(&abort), freeze: Some(&freeze), ..facts },
        ("aborting", "aborting", sentence, Some("t1")),
    );
    let sentence = "the restart 7f of the cluster web was paused by an operator: by ann";
    holds(
        &OperationFacts { control: Some(&pause), freeze: Some(&freeze), ..facts },
        ("pausing", "paused", sentence, Some("t1")),
    );
    let sentence = "the restart 7f of the cluster web was paused because a host that was done has rebooted \
                    by itself: unexpected-reboot: 10.0.0.1 has rebooted";
    holds(
        &OperationFacts { control: Some(&by_itself), ..facts },
        ("pausing", "unexpected-reboot", sentence, Some("t1")),
    );
    let sentence = "the restart 7f of the cluster web was paused by an operator: the moon is full";
    holds(
        &OperationFacts { control: Some(&of_newer_version), ..facts },
        ("pausing", "paused", sentence, Some("t1")),
    );
}

#[test]
fn operation_that_starts_no_further_host_is_explained_by_what_it_waits_for() {
    let (operation, hosts) = (restart("in_process", ""), under_way());
    let facts = facts(&operation, &hosts);
    let (freeze, alarm) = (freeze(), alarm("5 of 10 hosts of the fleet became unreachable"));
    let wait = |reason: &str, detail: &str| Wait {
        reason: reason.into(),
        detail: detail.into(),
        since: "t5".into(),
    };
    let (soak, newer) = (wait("soak", ""), wait("moon", "the moon is full"));
    let budget =
        wait("budget", "at most 1 may be unavailable at a time, and these are: 10.0.0.3 (x)");
    let sentence = "the restart 7f of the cluster web starts no further host during the operator freeze: by \
                    bob: fair";
    holds(
        &OperationFacts { freeze: Some(&freeze), alarm: Some(&alarm), ..facts },
        ("frozen", "frozen", sentence, Some("t3")),
    );
    let sentence = "the restart 7f of the cluster web starts no further host during an alarm: 5 of 10 hosts \
                    of the fleet became unreachable";
    holds(
        &OperationFacts { alarm: Some(&alarm), wait: Some(&soak), ..facts },
        ("frozen", "alarm", sentence, Some("t4")),
    );
    let sentence =
        "the restart 7f of the cluster web waits for the end of the soak time between two hosts";
    holds(
        &OperationFacts { wait: Some(&soak), ..facts },
        ("waiting", "soak", sentence, Some("t5")),
    );
    let sentence = "the restart 7f of the cluster web waits because unavailable hosts use the disruption \
                    budget up: at most 1 may be unavailable at a time, and these are: 10.0.0.3 (x)";
    holds(
        &OperationFacts { wait: Some(&budget), ..facts },
        ("waiting", "budget", sentence, Some("t5")),
    );
    holds(
        &OperationFacts { wait: Some(&newer), ..facts },
        ("running", "under-way", RUNNING, Some("t0")),
    );
}

#[test]
fn operation_whose_hosts_all_wait_is_waiting() {
    let operation = restart("in_process", "");
    let wait = json!({"reason": "gate", "detail": "paused", "since": "t6"});
    let waiting = json!({"step": "reboot", "waiting_for": "paused by ann", "wait": wait});
    let hosts = [part("10.0.0.1", waiting), part("10.0.0.2", json!({}))];
    let (state, explanation) = super::operation(&facts(&operation, &hosts));
    assert_eq!(state, OperationState::Waiting);
    let sentence = "the restart 7f of the cluster web waits for its hosts under way, each of which waits \
                    before its next command: 0 of 3 are done; waiting: 10.0.0.1 (paused by ann)";
    assert_eq!(short(&explanation), ("waiting", "hosts-wait", sentence, Some("t6")));
    let paused = control("pause", "", "");
    let facts = OperationFacts { control: Some(&paused), ..facts(&operation, &hosts) };
    assert_eq!(super::operation(&facts).0, OperationState::Paused, "nothing is done to a host");
}

#[test]
fn operation_that_has_ended_is_explained_by_its_end() {
    let failed = json!({
        "step": "failed", "finished_at": "t7", "reason": "not-back",
        "failure": {"host": "10.0.0.1", "step": "verify", "reason": "10.0.0.1 was not back"},
    });
    let hosts = [part("10.0.0.1", failed), part("10.0.0.2", json!({"step": "done"}))];
    for (status, reason, expected) in [
        (
            "finished",
            "",
            (
                "finished",
                "",
                "the restart 7f of the cluster web is finished: 1 of 3 hosts are done",
                Some("t9"),
            ),
        ),
        (
            "failed",
            "aborted by ann",
            (
                "aborted",
                "aborted",
                "the restart 7f of the cluster web was aborted by an operator: aborted by ann",
                Some("t9"),
            ),
        ),
        (
            "failed",
            "lost-after: 10.0.0.2 was done, and is down at the end",
            (
                "failed",
                "lost-after",
                "the restart 7f of the cluster web failed because a host that was done is down at \
                 its end: 10.0.0.2 was done, and is down at the end",
                Some("t9"),
            ),
        ),
        (
            "failed",
            "",
            (
                "failed",
                "hosts-failed",
                "the restart 7f of the cluster web ended with failed hosts: 10.0.0.1 (not-back)",
                Some("t9"),
            ),
        ),
    ] {
        let operation = restart(status, reason);
        let (_, explanation) = super::operation(&facts(&operation, &hosts));
        assert_eq!(short(&explanation), expected);
        let related: Vec<_> = explanation.related.iter().map(short).collect();
        let host = ("failed", "not-back", "10.0.0.1 was not back", Some("t7"));
        assert_eq!(related, if status == "finished" { vec![] } else { vec![host] });
    }
}

#[test]
fn host_in_an_operation_is_explained_by_its_step_or_its_wait() {
    let operation = restart("in_process", "");
    let host: Host = of(json!({"address": "10.0.0.1", "status": "active", "last_check": "t8"}));
    let wait = |reason: &str| json!({"reason": reason, "detail": "d", "since": "t3"});
    for (fields, reason, since) in [
        (json!({"step": "pending"}), "turn", "t0"),
        (json!({"step": "probe", "started_at": "t1"}), "probing", "t1"),
        (json!({"step": "apply", "started_at": "t1"}), "applying", "t1"),
        (json!({"step": "reboot", "started_at": "t1"}), "rebooting", "t1"),
        (json!({"step": "verify", "rebooted_at": "t2"}), "returning", "t2"),
        (json!({"step": "settle", "rebooted_at": "t2"}), "settling", "t2"),
        (json!({"step": "apply", "wait": wait("package-lock")}), "package-lock", "t3"),
        (json!({"step": "verify", "wait": wait("health-check")}), "health-check", "t3"),
        (json!({"step": "reboot", "wait": wait("gate")}), "gate", "t3"),
        (json!({"step": "reboot", "wait": wait("host-budget")}), "host-budget", "t3"),
        (json!({"step": "reboot", "wait": wait("others-under-way")}), "others-under-way", "t3"),
        (json!({"step": "reboot", "wait": wait("go-ahead-missed")}), "go-ahead-missed", "t3"),
    ] {
        let part = part("10.0.0.1", fields);
        let facts = HostFacts { part: Some((&operation, &part)), ..well(&host) };
        let found = super::host(&facts);
        let words = WaitReason::from_word(reason).unwrap().words();
        let detail = if part.wait.is_some() { "d" } else { "the restart 7f of the cluster web" };
        let sentence = format!("the host 10.0.0.1 {}: {detail}", words.cause);
        assert_eq!(short(&found), ("active", reason, sentence.as_str(), Some(since)));
        assert_eq!((found.remedy.as_str(), found.ends.as_str()), (words.remedy, words.ends));
    }
}

fn well(host: &Host) -> HostFacts<'_> {
    let (state, part, alarm) = (None, None, None);
    HostFacts { host, state, part, alarm, has_investigator: true, has_watcher: true }
}

#[test]
fn failed_host_has_the_sentence_of_its_failure_and_the_remedy_of_its_reason() {
    let host: Host = of(json!({"address": "h", "status": "failed", "last_check": "t8"}));
    let on_host = FailureReason::ALL.iter().filter(|r| r.words().subject == Subject::Host);
    let mut remedies = std::collections::BTreeSet::new();
    for reason in on_host {
        let words = reason.words();
        let state: HostState = of(json!({
            "address": "h", "reason": words.word, "detail": "h failed: x", "failed_at": "t4",
        }));
        let found = super::host(&HostFacts { state: Some(&state), ..well(&host) });
        assert_eq!(short(&found), ("failed", words.word, "h failed: x", Some("t4")));
        assert_eq!((found.remedy.as_str(), found.ends.as_str()), (words.remedy, words.ends));
        assert!(remedies.insert(found.remedy));
        let bare: HostState = of(json!({"address": "h", "reason": words.word}));
        let found = super::host(&HostFacts { state: Some(&bare), ..well(&host) });
        let sentence = format!("the host h {}", words.cause);
        assert_eq!(short(&found), ("failed", words.word, sentence.as_str(), None));
    }
    assert!(remedies.len() >= 34, "{}", remedies.len());
    let newer: HostState = of(json!({"address": "h", "reason": "moon", "detail": "the moon"}));
    let found = super::host(&HostFacts { state: Some(&newer), ..well(&host) });
    assert_eq!(short(&found), ("failed", "moon", "the moon", None));
}

#[test]
fn host_that_is_not_failed_is_explained_by_what_is_known() {
    let host = |status: &str| -> Host {
        of(json!({"address": "h", "status": status, "last_check": "t8"}))
    };
    let state = |fields: Value| -> HostState {
        let mut state = json!({"address": "h"});
        state.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        of(state)
    };
    let failing = state(json!({"failing": {"reason": "unreachable", "count": 2}}));
    let unproven = state(json!({"enrolled": {"id": "e", "cluster": "web", "since": "t0"}}));
    let refused = state(json!({"reason": "container-manager-refuses", "detail": "no: full"}));
    let alarm = alarm("many");
    let (active, new, setting_up) = (host("active"), host("investigating"), host("bootstrapping"));
    let old = host("");
    let is_well =
        "the host h is active, and nothing is the matter with it; its last check was at t8";
    for (facts, reason, state, sentence) in [
        (well(&active), "", "active", is_well),
        (
            HostFacts { state: Some(&failing), ..well(&active) },
            "checks-failing",
            "active",
            "the host h fails checks, but not often enough in succession to be marked as failed: 2 in \
             succession (unreachable)",
        ),
        (
            HostFacts { state: Some(&failing), alarm: Some(&alarm), ..well(&active) },
            "status-held",
            "active",
            "the host h keeps its status although its checks fail, because an alarm concerns it: many",
        ),
        (
            HostFacts { state: Some(&refused), ..well(&active) },
            "container-manager-refuses",
            "active",
            "no: full",
        ),
        (
            HostFacts { has_watcher: false, ..well(&active) },
            "watcher-away",
            "active",
            "the host h is not checked, because no watcher is running",
        ),
        (
            well(&new),
            "investigating",
            "investigating",
            "the host h is being investigated: the server logs in to it and reads its facts",
        ),
        (
            HostFacts { state: Some(&unproven), ..well(&new) },
            "unproven",
            "investigating",
            "the host h has registered itself, and has not proven yet that it owns its address",
        ),
        (
            well(&setting_up),
            "bootstrapping",
            "bootstrapping",
            "the host h is being set up by the bootstrap playbook",
        ),
        (
            HostFacts { has_investigator: false, ..well(&old) },
            "investigator-away",
            "new",
            "the host h is to be investigated, and no investigator is running",
        ),
    ] {
        let found = super::host(&facts);
        assert_eq!((found.reason.as_str(), found.state.as_str()), (reason, state));
        assert_eq!(found.sentence, sentence);
    }
}

#[test]
fn cluster_is_explained_by_its_change_its_operation_its_alarm_or_its_members() {
    let cluster = |change: Value| -> Cluster {
        of(json!({"name": "web", "hostset": ["a", "b", "c"], "change": change}))
    };
    let host: Host = of(json!({"address": "a", "status": "failed"}));
    let state: HostState =
        of(json!({"address": "a", "reason": "unreachable", "detail": "a is off"}));
    let explained = [super::host(&HostFacts { state: Some(&state), ..well(&host) })];
    let alarm = alarm("many");
    let (plain, changing, deleting) = (
        cluster(json!(null)),
        cluster(json!({"kind": "changing", "hostset": ["a"]})),
        cluster(json!({"kind": "deleting"})),
    );
    let empty = Cluster { hostset: Vec::new(), ..plain.clone() };
    let facts = |cluster, failed: usize| ClusterFacts {
        cluster,
        failed,
        explained: &explained[..failed.min(1)],
        operation: None,
        alarm: None,
    };
    let ok = "the cluster web has 3 members, none of them failed, and no operation in process";
    for (facts, state, reason, sentence) in [
        (facts(&plain, 0), "ok", "", ok),
        (facts(&empty, 0), "empty", "empty", "the cluster web has no members"),
        (
            facts(&plain, 2),
            "degraded",
            "members-failed",
            "the cluster web has failed members: 2 of 3: a (unreachable), and 1 other",
        ),
        (
            ClusterFacts { alarm: Some(&alarm), ..facts(&plain, 1) },
            "alarm",
            "alarm-raised",
            "the cluster web has an alarm: many hosts became unavailable at once: many",
        ),
        (
            facts(&changing, 1),
            "changing",
            "members-changing",
            "the cluster web is given other members, in several steps: it has 3 members, and 1 are \
             wanted",
        ),
        (
            facts(&deleting, 1),
            "deleting",
            "deleting",
            "the cluster web is being deleted, in several steps: 3 members are left",
        ),
    ] {
        let found = super::cluster(&facts);
        assert_eq!((found.state.as_str(), found.reason.as_str()), (state, reason));
        assert_eq!(found.sentence, sentence);
        assert_eq!((found.kind, found.id.as_str()), (Subject::Cluster, "web"));
    }
}

#[test]
fn operation_and_its_cluster_have_the_same_sentence() {
    let operation = restart("in_process", "");
    let hosts = [part("10.0.0.1", json!({"step": "verify"}))];
    let (_, operation) = super::operation(&facts(&operation, &hosts));
    let cluster: Cluster = of(json!({"name": "web", "hostset": ["10.0.0.1"]}));
    let (operation, alarm) = (Some(&operation), None);
    let found = super::cluster(&ClusterFacts {
        cluster: &cluster,
        failed: 0,
        explained: &[],
        operation,
        alarm,
    });
    let operation = operation.unwrap();
    assert_eq!(short(&found), short(operation));
    assert_eq!((&found.remedy, &found.ends), (&operation.remedy, &operation.ends));
    assert_eq!((found.kind, found.id.as_str()), (Subject::Cluster, "web"));
    assert_eq!(found.related[0], *operation);
}

/// One that is held for an operation, and one that is kept.
fn debts() -> [CordonDebt; 2] {
    let debt = CordonDebt {
        node: "w1".to_owned(),
        address: "10.0.0.1".into(),
        operation: "o1".to_owned(),
        since: "t5".into(),
        state: DebtState::Kept,
        reason: "it is not back".to_owned(),
        ..CordonDebt::default()
    };
    let held = CordonDebt { state: DebtState::Held, ..debt.clone() };
    [held, debt]
}

#[test]
fn installation_is_explained_by_the_worst_and_names_the_rest() {
    let (freeze, alarm) = (freeze(), alarm("many"));
    let (missing, alarms) = (["watcher".to_owned()], [alarm]);
    let none = InstallationFacts {
        failed: &[],
        missing: &[],
        has_user: true,
        freeze: None,
        alarms: &[],
        debts: &[],
        operations: &[],
    };
    let found = super::installation(&none);
    let well = "all services are running, and no operation is in process";
    assert_eq!(short(&found), ("ok", "", well, None));
    let failed = [
        WaitReason::BrokerAway,
        WaitReason::StorageAway,
        WaitReason::StoreAway,
        WaitReason::StoreReadOnly,
        WaitReason::AuditLogFailed,
    ];
    let debts = debts();
    let facts = InstallationFacts {
        failed: &failed,
        missing: &missing,
        has_user: false,
        freeze: Some(&freeze),
        alarms: &alarms,
        debts: &debts,
        operations: &[],
    };
    let found = super::installation(&facts);
    let all: Vec<_> = std::iter::once(&found).chain(&found.related).map(short).collect();
    let expected: [Short<'_>; 10] = [
        (
            "failed",
            "broker-away",
            "the installation cannot work: the message broker does not answer",
            None,
        ),
        (
            "failed",
            "storage-away",
            "the installation cannot work: no storage service answers",
            None,
        ),
        (
            "failed",
            "store-away",
            "the installation cannot work: the store behind the storage service does not answer",
            None,
        ),
        (
            "failed",
            "store-read-only",
            "the installation cannot save anything: the store accepts no writes",
            None,
        ),
        (
            "failed",
            "audit-log-failed",
            "the installation rejects changes, because the audit log cannot be written",
            None,
        ),
        (
            "degraded",
            "service-missing",
            "the installation runs without one of its services: watcher",
            None,
        ),
        ("degraded", "no-usable-user", "the installation has no user who could log in", None),
        (
            "alarm",
            "alarm-raised",
            "the installation has an alarm: many hosts became unavailable at once: many",
            Some("t4"),
        ),
        (
            "frozen",
            "all-frozen",
            "the installation starts no further host in any operation, because an operator has set a \
             freeze: bob: fair",
            Some("t3"),
        ),
        (
            "degraded",
            "node-cordoned",
            "the installation has cordoned a node that is not uncordoned yet: the node w1 of 10.0.0.1, \
             by the operation o1: it is not back",
            Some("t5"),
        ),
    ];
    assert_eq!(all, expected);
    let found = super::installation(&InstallationFacts { failed: &[], missing: &[], ..facts });
    assert_eq!(found.reason, "no-usable-user");
}

#[test]
fn explanation_of_ten_thousand_hosts_is_small() {
    let operation = restart("in_process", "");
    let hosts: Vec<_> =
        (0..10_000).map(|n| part(&format!("h{n}"), json!({"step": "verify"}))).collect();
    let (_, explanation) = super::operation(&facts(&operation, &hosts));
    assert_eq!(explanation.related.len(), RELATED);
    assert!(explanation.sentence.ends_with("and 9990 others"), "{}", explanation.sentence);
    assert!(serde_json::to_string(&explanation).unwrap().len() < 16 * 1024);
}
