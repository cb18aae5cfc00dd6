//! The REST contract as tables, a row per request: what is given, what is asked, what comes back.
//!
//! Each row is a test of its own, which starts a gateway in one process. [`distributed`] carries the same rows
//! out on the distributed form, where the rows of a table share a gateway.
//!
//! - `$` is the row's number, so that rows of one table share a gateway and nothing else.
//! - A request is `METHOD path`; the path begins after `/api/v0`, one with `=` in front is taken as it
//!   is. `nobody METHOD path` sends no credentials, `stranger METHOD path` wrong ones.
//! - What is given are steps, with `; ` in between: see [`prepare`].
//! - `d08` in a name: this row shows difference D8 of `docs/compatibility.md`.
//!
//! Whatever is refused, and whatever only reads, has to leave every record as it was.

/// A table of rows, each of which is also a test: `NAME: ok(STATUS, GIVEN, CALL, BODY, JSON)` and so on, with the
/// parameters of the functions below.
macro_rules! rows {
    (
        $(#[$doc:meta])* $table:ident on $setup:ident:
        $($name:ident: $kind:ident($($part:expr),*)),* $(,)?
    ) => {
        $(#[$doc])*
        pub(super) const $table: $crate::contract::Table = (
            &[$($crate::contract::$kind(stringify!($name), $($part),*)),*],
            $crate::contract::$setup,
        );

        $(
            #[tokio::test]
            async fn $name() {
                let case = $crate::contract::$kind(stringify!($name), $($part),*);
                let gateway = $crate::contract::$setup().start().await;
                $crate::contract::holds(&gateway, &case, 1).await;
            }
        )*
    };
}

mod clusters;
mod common;
mod container_managers;
mod distributed;
mod enrollments;
mod hosts;
mod lists;
mod members;
mod networks;
mod operations;
mod outages;
mod secrets;

use bus::{Error, Kind};
use model::{Cluster, Host, Network, Status};
use serde_json::{Value, json};

use crate::support::{
    Answer, Custodia, Executor, Gateway, Managers, PASSWORD, Setup, Storage, USER, V0, basic,
};

/// A request and its answer.
struct Case {
    name: &'static str,
    given: &'static str,
    call: &'static str,
    body: &'static str,
    status: u16,
    expected: Expected,
}

enum Expected {
    /// This JSON.
    Json(&'static str),
    /// A problem document with these words.
    Refusal(&'static str),
    /// The same, with exactly these methods allowed.
    Allow(&'static str, &'static str),
    /// No body: the answer to a `HEAD`.
    Nothing,
}

/// Bodies that no text can hold.
const TOO_LARGE: &str = "<a byte more than 1 MiB>";
const LARGEST: &str = "<an object of 1 MiB>";
const NOT_UTF8: &str = "<not UTF-8>";

type Text = &'static str;

const fn ok(name: Text, status: u16, given: Text, call: Text, body: Text, json: Text) -> Case {
    Case { name, given, call, body, status, expected: Expected::Json(json) }
}

const fn no(name: Text, status: u16, given: Text, call: Text, body: Text, words: Text) -> Case {
    Case { name, given, call, body, status, expected: Expected::Refusal(words) }
}

const fn not_allowed(name: Text, given: Text, call: Text, allow: Text, words: Text) -> Case {
    let expected = Expected::Allow(allow, words);
    Case { name, given, call, body: "", status: 405, expected }
}

const fn head(name: Text, status: u16, given: Text, call: Text) -> Case {
    Case { name, given, call, body: "", status, expected: Expected::Nothing }
}

/// A container manager that keeps nodes, an executor that starts everything, a public key.
fn everything() -> Setup {
    let record = json!({"name": "c", "status": "in_process", "started_at": "2026-11-21T23:40:21.397282",
                        "finished_at": null, "in_process": [], "restarted": []});
    Setup {
        managers: Managers::Real,
        executor: Executor::Answers(Ok(record)),
        public_key: Some("ssh-ed25519 AAAA commissaire\n"),
        trials: Some(Ok(json!({"ssh_host_key": ""}))),
        ..Setup::default()
    }
}

/// A keeper of secrets that lets everybody in.
fn with_custodia() -> Setup {
    Setup { custodia: Some(Custodia::open()), ..Setup::default() }
}

/// Services that refuse.
fn refusing() -> Setup {
    let refusal = Error::new(Kind::ContainerManager, "nodes is forbidden (Forbidden)");
    Setup {
        managers: Managers::Answers(Err(refusal)),
        executor: Executor::Answers(Err(Error::conflict(
            "a restart of it is in process since 23:40",
        ))),
        ..Setup::default()
    }
}

/// An executor that knows no cluster.
fn without_clusters() -> Setup {
    let missing = Error::not_found("there is no cluster of that name");
    Setup { executor: Executor::Answers(Err(missing)), ..Setup::default() }
}

/// The storage service and nothing else.
fn storage_alone() -> Setup {
    Setup::default()
}

fn nothing_behind() -> Setup {
    Setup { storage: Storage::Absent, ..Setup::default() }
}

/// Rows, and what they run on.
type Table = (&'static [Case], fn() -> Setup);

const TABLES: [Table; 15] = [
    common::CASES,
    clusters::CASES,
    members::CASES,
    operations::CASES,
    operations::MISSING,
    container_managers::CASES,
    networks::CASES,
    hosts::CASES,
    hosts::REGISTRATIONS,
    enrollments::CASES,
    secrets::CASES,
    secrets::WITHOUT,
    lists::CASES,
    outages::REFUSED,
    outages::ABSENT,
];

#[test]
fn there_are_enough_cases() {
    let count: usize = TABLES.iter().map(|(cases, _)| cases.len()).sum();
    assert!(count >= 250, "{count} cases");
}

/// Differences that no answer of the gateway alone can show (which distributions can be set up).
const ELSEWHERE: [usize; 1] = [34];

#[test]
fn every_difference_has_a_case_and_a_line_in_the_documentation() {
    let documented = include_str!("../../../../docs/compatibility.md");
    let rows: Vec<_> = documented.lines().filter_map(|line| line.strip_prefix("| D")).collect();
    let has_row = |n: usize| {
        let numbers = rows.iter().filter_map(|row| row.split_once('|')).map(|(first, _)| first);
        numbers
            .flat_map(|first| first.split(", "))
            .any(|d| d.trim().trim_start_matches('D') == n.to_string())
    };
    let has_case = |n: usize| {
        let tag = format!("d{n:02}");
        let mut cases = TABLES.iter().flat_map(|(cases, _)| *cases);
        cases.any(|case| case.name.split('_').any(|word| word == tag))
    };
    for n in 1..=36 {
        assert!(has_row(n), "D{n} has no row in docs/compatibility.md");
        assert!(ELSEWHERE.contains(&n) || has_case(n), "D{n} has no case");
    }
}

/// Carries a row out, with this number for `$`.
async fn holds(gateway: &Gateway, case: &Case, number: usize) {
    let fill = |text: &str| text.replace('$', &number.to_string());
    for step in fill(case.given).split("; ").filter(|step| !step.is_empty()) {
        prepare(gateway, step).await;
    }
    let before = gateway.records().await;
    let mut answer = send(gateway, &fill(case.call), &fill(case.body)).await;
    answer.what = format!("{}: {}", case.name, answer.what);
    check(&answer, case, &fill);
    let reads = case.call.split(' ').any(|word| matches!(word, "GET" | "HEAD"));
    // A deletion that the container manager refuses leaves the cluster marked: some of its nodes may be gone from
    // there, and another DELETE goes on.
    let marks = case.status == 502 && case.call == "DELETE /cluster/c$";
    if (case.status >= 400 || reads) && !marks {
        assert_eq!(gateway.records().await, before, "{}: something was stored", case.name);
    }
}

fn check(answer: &Answer, case: &Case, fill: &impl Fn(&str) -> String) {
    assert!(!answer.header("x-request-id").is_empty(), "{}", answer.what);
    match case.expected {
        Expected::Json(json) => {
            let json = serde_json::from_str(&fill(json)).unwrap_or_else(|e| panic!("{json}: {e}"));
            answer.is(case.status, &json);
        }
        Expected::Refusal(words) => answer.refused(case.status, &fill(words)),
        Expected::Allow(methods, words) => {
            answer.refused(case.status, words);
            assert_eq!(answer.allowed().join(", "), methods, "{}", answer.what);
        }
        Expected::Nothing => {
            assert_eq!((answer.status, answer.body.len()), (case.status, 0), "{}", answer.what);
            let kind =
                if case.status < 400 { "application/json" } else { "application/problem+json" };
            assert_eq!(answer.header("content-type"), kind, "{}", answer.what);
        }
    }
}

async fn send(gateway: &Gateway, call: &str, body: &str) -> Answer {
    let words: Vec<_> = call.split(' ').collect();
    let (who, method, path) = match words[..] {
        [method, path] => (format!("{USER}:{PASSWORD}"), method, path),
        ["stranger", method, path] => ("stranger:guess".to_owned(), method, path),
        ["nobody", method, path] => (String::new(), method, path),
        _ => panic!("{call}: METHOD path"),
    };
    let target = path.strip_prefix('=').map_or_else(|| format!("{V0}{path}"), str::to_owned);
    let largest = || format!("{{{}}}", " ".repeat(1024 * 1024 - 2)).into_bytes();
    match body {
        // By a client that reads the answer while it still sends.
        TOO_LARGE => {
            return gateway.send(method, &target, [largest(), b" ".to_vec()].concat()).await;
        }
        LARGEST => return gateway.send(method, &target, largest()).await,
        _ => {}
    }
    let body = if body == NOT_UTF8 { b"{\"name\": \"\xff\"}" } else { body.as_bytes() };
    let authorization = if who.is_empty() { String::new() } else { basic(who) };
    gateway.raw_as(authorization.as_bytes(), method, target.as_bytes(), body).await
}

/// `host ADDRESS STATUS`, `facts ADDRESS`, `failed ADDRESS REASON`, `cluster NAME MEMBER…`,
/// `operation CLUSTER`, `ran ID CLUSTER STATUS`, `restarted CLUSTER`, or a request that succeeds, with its body.
async fn prepare(gateway: &Gateway, step: &str) {
    let words: Vec<_> = step.split(' ').collect();
    match words[..] {
        ["host", address, status] => gateway.host(address, status_of(status)).await,
        ["facts", address] => {
            let host = json!({"address": address, "status": "active", "os": "rocky", "cpus": 2,
                "memory": 2048, "space": 1, "last_check": "2026-11-21T23:40:21.397282", "source": ""});
            gateway.storage.save::<Host>(&serde_json::from_value(host).unwrap()).await.unwrap();
        }
        ["failed", address, reason] => {
            gateway.host(address, Status::Failed).await;
            gateway
                .host_state(json!({"address": address, "reason": reason, "detail": "see there"}))
                .await;
        }
        ["cluster", name, ref members @ ..] => gateway.cluster(name, members).await,
        ["managed", name, manager, ref members @ ..] => {
            let hostset = members.iter().map(|member| (*member).into()).collect();
            let (name, container_manager) = (name.into(), manager.to_owned());
            let network = Network::DEFAULT.to_owned();
            let cluster =
                Cluster { name, container_manager, network, hostset, ..Cluster::default() };
            gateway.storage.save(&cluster).await.unwrap();
        }
        ["operation", cluster] => gateway.operation_on(cluster).await,
        ["ran", id, cluster, status] => {
            let members = json!({"cluster": cluster, "status": status, "hosts": ["h1"]});
            gateway.operation(id, members).await;
        }
        ["restarted", cluster] => {
            let record = json!({"name": cluster, "status": "finished", "started_at": "a",
                                "finished_at": "b", "restarted": ["h1"]});
            let record: model::ClusterRestart = serde_json::from_value(record).unwrap();
            gateway.storage.save(&record).await.unwrap();
        }
        [method, path, ref body @ ..] => {
            let answer = send(gateway, &format!("{method} {path}"), &body.join(" ")).await;
            assert!(answer.status < 300, "{step}: {}", answer.text());
        }
        _ => panic!("{step}: no such step"),
    }
}

fn status_of(word: &str) -> Status {
    serde_json::from_value(Value::from(if word == "new" { "" } else { word })).unwrap()
}
