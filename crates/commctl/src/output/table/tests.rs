//! Screens, as they are shown.

use proptest::prelude::*;
use serde_json::json;
use textwrap::core::display_width;

use super::super::views;
use super::*;

/// A screen of this width, at noon.
pub(in crate::output) fn screen(width: usize) -> Screen {
    let now = "2026-12-01T12:00:00Z".parse().unwrap();
    Screen { width: Some(width), has_colors: false, is_utf8: true, is_utc: false, now }
}

/// The table at a width, none of whose lines is wider.
#[track_caller]
fn at(width: usize, value: &Value, view: &View) -> String {
    let text = of(value, view, &screen(width));
    for line in text.lines() {
        assert!(display_width(line) <= width, "{line:?} is wider than {width}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    text
}

fn hosts() -> Value {
    json!([
        {"address": "10.0.0.10", "status": "failed", "cluster": "web", "reason": "host-key-changed", "os": "debian",
         "cpus": 4, "memory": 7_954, "space": 52_428_800_000_u64, "last_check": "2026-12-01T11:58:00.123456", "source": ""},
        {"address": "10.0.0.2", "status": "disassociated", "cluster": "web", "reason": "", "os": "fedora",
         "cpus": 16, "memory": 24_576, "space": 1_999_844_147_200_u64, "last_check": "2026-12-01T11:59:48.000001", "source": ""},
        {"address": "fe80::1", "status": "investigating", "cluster": "", "reason": "", "os": "", "cpus": 0, "memory": 0,
         "space": 0, "last_check": "", "source": ""},
    ])
}

fn nasty() -> Value {
    json!([
        {"address": "a-very-long-name-of-a-host.in-a-data-centre.with-a-long-name.example.com", "status": "failed",
         "cluster": "データベースのクラスタ\u{1b}[31m", "reason": "\u{1b}]0;owned\u{7}\nsecond line \u{202e}reversed",
         "os": "fedora", "cpus": 4, "memory": 1, "space": 1, "last_check": "yesterday\u{9b}31m"},
        {"address": "web10", "status": "brand-new\u{8}", "cluster": {"a": {"b": [1, 2]}}, "reason": null},
        {"address": "web2"},
    ])
}

fn operation(hosts: usize) -> Value {
    let hosts: Vec<_> = (0..hosts)
        .map(|at| {
            let address = format!("10.0.{}.{}", at / 250, at % 250 + 1);
            let started_at = "2026-12-01T11:00:00.000000";
            match at % 100 {
                7 => json!({"address": address, "step": "failed", "started_at": started_at,
                            "finished_at": "2026-12-01T11:20:00.000000", "reason": "unhealthy",
                            "failure": {"host": address, "step": "verify", "reason": "it did not come back within 600 s: look at its console"}}),
                8 | 9 => json!({"address": address, "step": "reboot", "started_at": started_at, "finished_at": null,
                                "wait": {"reason": "reboot", "detail": "", "since": started_at}}),
                10 => json!({"address": address, "step": "skipped", "skipped": "unreachable"}),
                11..60 => json!({"address": address, "step": "pending", "started_at": null}),
                _ => json!({"address": address, "step": "done", "started_at": started_at,
                            "finished_at": "2026-12-01T11:10:00.000000"}),
            }
        })
        .collect();
    json!({
        "id": "0b8ad2a0-6d5c-4d35-9f0c-3c1c0fd1e5d5", "kind": "restart", "cluster": "web", "state": "running",
        "status": "in_process", "started_at": "2026-12-01T11:00:00.000000", "finished_at": null, "started_by": "ann",
        "reason": "", "request_id": "6f1c", "sick": 0,
        "counts": {"total": hosts.len(), "done": 245, "failed": 5, "pending": 235, "skipped": 5, "under_way": 10},
        "options": {"max_unavailable": "30%", "soak": 120},
        "explanation": {"sentence": "the restart 0b8a of the cluster web is under way on 10 of 500 hosts", "state": "running",
                        "reason": "", "remedy": "", "ends": "", "since": null, "id": "0b8a", "kind": "operation"},
        "hosts": hosts,
    })
}

#[test]
fn hosts_fit_the_terminal() {
    insta::assert_snapshot!(at(80, &hosts(), &views::HOST));
    insta::assert_snapshot!(at(120, &hosts(), &views::HOST));
    insta::assert_snapshot!(at(40, &hosts(), &views::HOST));
    insta::assert_snapshot!(of(&hosts(), &views::HOST, &screen(80).unlimited()));
    insta::assert_snapshot!(at(80, &hosts()[0], &views::HOST));
}

#[test]
fn nasty_texts_are_shortened_and_escaped() {
    insta::assert_snapshot!(at(80, &nasty(), &views::HOST));
    insta::assert_snapshot!(at(120, &nasty(), &views::HOST));
    insta::assert_snapshot!(at(80, &nasty()[0], &views::HOST));
}

#[test]
fn status_of_a_host_is_shown_in_full() {
    let status = json!({"type": "host_only", "container_manager": {}, "host": {
        "status": "failed", "reason": "unreachable", "since": "2026-12-01T09:00:00", "last_check": "2026-12-01T11:59:00",
        "detail": "the log-in as root on port 22 was refused: permission denied (publickey), and the server's own key is \
                   not among its authorized keys",
        "remedy": "append the output of `commctl host publickey` to its authorized_keys",
    }});
    insta::assert_snapshot!(at(80, &status, &views::HOST_DETAILS));
}

#[test]
fn clusters_fit_the_terminal() {
    let hostset: Vec<_> = (1..=500).map(|at| format!("10.0.{}.{}", at / 250, at % 250)).collect();
    let clusters = json!([
        {"name": "web10", "status": "degraded", "hosts": {"available": 497, "total": 500, "unavailable": 3},
         "alarm": {"reason": "35 % of the hosts of the cluster became unavailable within a minute", "share": 0.35,
                   "since": "2026-12-01T11:00:00"},
         "operation": "restart waiting", "container_manager": "k1", "network": "default", "hostset": hostset},
        {"name": "web2", "status": "ok", "hosts": {"available": 0, "total": 0, "unavailable": 0},
         "container_manager": "", "network": "default", "hostset": []},
    ]);
    insta::assert_snapshot!(at(80, &clusters, &views::CLUSTER));
    insta::assert_snapshot!(at(120, &clusters, &views::CLUSTER));
    insta::assert_snapshot!(at(80, &clusters[0], &views::CLUSTER));
}

#[test]
fn operations_fit_the_terminal() {
    let operations = json!([
        {"id": "0b8ad2a0-6d5c-4d35-9f0c-3c1c0fd1e5d5", "kind": "restart", "cluster": "web", "state": "waiting",
         "status": "in_process", "started_at": "2026-12-01T11:00:00.000000", "finished_at": null, "started_by": "ann",
         "reason": ""},
        {"id": "7c0f52b1-33d4-4c0f-b8e4-0d7c8a6d43b1", "kind": "deploy", "cluster": "web", "state": "failed",
         "status": "failed", "started_at": "2026-11-30T11:00:00.000000", "finished_at": "2026-11-30T11:30:00.000000",
         "started_by": "certificate:Example CA/deployer", "version": "7.2.6",
         "reason": "the host 10.0.0.7 failed: it did not come back"},
    ]);
    insta::assert_snapshot!(at(80, &operations, &views::OPERATION));
    insta::assert_snapshot!(at(120, &operations, &views::OPERATION));
}

#[test]
fn operation_of_500_hosts_is_a_screen() {
    let text = at(80, &operation(500), &views::OPERATION);
    assert!(text.lines().count() <= 60, "{text}");
    insta::assert_snapshot!(text);
    insta::assert_snapshot!(at(120, &operation(12), &views::OPERATION));
    insta::assert_snapshot!(of(&operation(12), &views::OPERATION, &screen(80).unlimited()));
    let mut failed = operation(500);
    for host in failed["hosts"].as_array_mut().unwrap() {
        host["step"] = json!("failed");
        host["failure"] = json!({"reason": "gone"});
    }
    for field in ["sentence", "remedy", "ends"] {
        failed["explanation"][field] = json!("word ".repeat(500));
    }
    let text = at(80, &failed, &views::OPERATION);
    assert!(text.lines().count() <= 60 && text.contains("and 480 more\n"), "{text}");
}

#[test]
fn other_kinds_fit_the_terminal() {
    let list = |value: Value, view| at(80, &json!([value]), view);
    let tables = [
        list(json!({"name": "default", "type": "flannel_etcd", "options": {}}), &views::NETWORK),
        list(
            json!({"name": "k1", "type": "kubernetes", "clusters": ["web-*"],
                   "options": {"server_url": "https://10.0.0.1:6443", "retries": 2}}),
            &views::CONTAINER_MANAGER,
        ),
        list(
            json!({"name": "ann-web", "kind": "user", "subject": "ann", "role": "operator", "clusters": ["web", "web-*"],
                   "run_commands": false, "changed_at": "2026-12-01T11:00:00", "changed_by": "admin"}),
            &views::BINDING,
        ),
        list(
            json!({"name": "ci", "id": "t1", "owner": "ann", "role": "reader", "clusters": ["*"], "from": [],
                   "expires": "2026-12-31T12:00:00", "created_at": "2026-12-01T11:00:00", "last_used": null}),
            &views::TOKEN,
        ),
        list(
            json!({"id": "e1", "cluster": "web", "uses": 20, "expires": "2026-12-01T14:00:00", "from": ["10.0.0.0/8"],
                   "hosts": ["10.0.0.1"], "created_at": "2026-12-01T11:00:00", "created_by": "admin"}),
            &views::ENROLLMENT,
        ),
        list(
            json!({"seq": 3, "time": "2026-12-01T11:00:00", "host": "10.0.0.1", "step": "verify", "outcome": "failed",
                   "detail": "no answer within 600 s", "reason": "unreachable"}),
            &views::EVENT,
        ),
        list(
            json!({"name": "default", "current": true, "endpoint": "http://127.0.0.1:8000", "user": "ann", "provider": null}),
            &views::CONTEXT,
        ),
        at(
            80,
            &json!({"frozen": true, "reason": "storage maintenance", "by": "admin", "at": "2026-12-01T11:00:00"}),
            &views::FREEZE,
        ),
        at(
            80,
            &json!({"name": "ann", "role": "admin", "groups": [], "authenticator": "password", "until": null,
                    "rights": [{"role": "admin", "clusters": ["*"], "run_commands": true}]}),
            &views::PRINCIPAL,
        ),
        at(
            80,
            &json!({"name": "c1", "status": "failed", "started_at": "2026-12-01T11:00:00", "finished_at": "", "in_process": [],
                    "restarted": ["10.0.0.1", "10.0.0.2"],
                    "failures": [{"host": "10.0.0.3", "step": "verify", "reason": "no answer"}]}),
            &views::ROLLOUT,
        ),
        at(
            80,
            &json!({"cluster": "c1", "kind": "restart", "would_start": false, "refused": "one is unavailable", "reason": "budget",
                    "max_unavailable": 1, "warnings": [], "hosts": [{"address": "10.0.0.1", "action": "restart", "reason": ""}],
                    "unavailable": [{"address": "10.0.0.2", "reason": "unreachable"}]}),
            &views::PLAN,
        ),
    ];
    insta::assert_snapshot!(tables.join("\n----\n"));
}

#[test]
fn empty_lists_have_headings() {
    assert_eq!(at(80, &json!([]), &views::NETWORK), "NAME  TYPE\n");
    assert_eq!(at(80, &json!(["c1", "c2"]), &views::CLUSTER), "NAME\nc1\nc2\n");
}

#[test]
fn states_have_colors_and_signs() {
    let host = json!([{"address": "h", "status": "failed"}]);
    let view = &views::HOST;
    assert_eq!(at(80, &host, view), "ADDRESS  STATUS\nh        ✗ failed\n");
    let ascii = Screen { is_utf8: false, ..screen(80) };
    assert_eq!(of(&host, view, &ascii), "ADDRESS  STATUS\nh        x failed\n");
    let colors = Screen { has_colors: true, ..screen(80) };
    assert_eq!(of(&host, view, &colors), "ADDRESS  STATUS\nh        \u{1b}[31m✗ failed\u{1b}[0m\n");
}

#[test]
fn names_are_one_a_line_in_natural_order() {
    let hosts = json!([{"address": "10.0.0.10"}, {"address": "web10"}, {"address": "10.0.0.2"}, {"address": "web2"},
                       {"address": "fe80::2"}, {"address": "a\nb"}]);
    let expected = "10.0.0.2\n10.0.0.10\nfe80::2\na b\nweb2\nweb10\n";
    assert_eq!(names(&hosts, &views::HOST), expected);
    assert_eq!(names(&json!(["c2", "c1"]), &views::CLUSTER), "c1\nc2\n");
    assert_eq!(names(&json!({"name": "c1", "status": "ok"}), &views::CLUSTER), "c1\n");
}

fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        any::<String>().boxed(),
        "[ -~]{0,200}".boxed(),
        "[ぁ-ん👩\u{200d}\u{1b}\u{fe0f}]{0,60}".boxed()
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        text.prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        let names = prop_oneof!["[a-z_]{1,60}".boxed(), any::<String>().boxed()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(names, inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_line_is_wider_than_the_terminal(
        width in 20_usize..200,
        fields in prop::collection::vec((any_json(), any_json(), any_json(), any_json()), 0..30),
    ) {
        let record = |(address, status, reason, other): &(Value, Value, Value, Value)| {
            json!({"address": address, "name": address, "id": address, "status": status, "state": status, "step": status,
                   "cluster": reason, "reason": reason, "hosts": [other, {"address": other, "step": status}],
                   "last_check": other, "os": other, "kind": status, "started_at": other, "other": other})
        };
        let records: Vec<_> = fields.iter().map(record).collect();
        let list = Value::Array(records.clone());
        for view in [&views::HOST, &views::CLUSTER, &views::OPERATION, &views::TOKEN] {
            at(width, &list, view);
            for record in &records {
                at(width, record, view);
            }
        }
    }
}
