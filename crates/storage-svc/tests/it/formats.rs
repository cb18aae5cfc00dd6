//! The formats of records and messages, as docs/formats.md describes them: a copy of each, kept as it was. Programs of this
//! version read what those of the version before have written, and the other way round.
//!
//! `records-2.json` and `messages-1.json` are the present formats. They are not changed, only added to: a new field has a
//! default, and goes into a further example. `records-1.json` has what was different in the format before.

use std::collections::BTreeMap;

use bus::jsonrpc::Request;
use bus::presence::Presence;
use bus::{Bus, Context, MESSAGE_FORMAT};
use model::messages::{
    ContinueOperation, LogInTried, Node, Nodes, OperationPlan, PlannedAction, StartOperation,
};
use model::{
    Bootstrap, Cluster, ClusterRestart, ContainerManagerType, DrainCheck, NetworkType,
    OnDrainTimeout, OperationKind, OperationStatus, Order, Outcome, RECORD_FORMAT, RebootWhen,
    ResumeAfterAlarm, Role, Status, Step, SubjectKind, Wanted, WatcherRecord, WebhookEvent,
};
use runtime::Lifecycle;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use storage_client::{Damaged, Revised, StorageClient, Transaction};
use storage_svc::kinds::Kind;

use crate::service::{config, start};

type Examples = BTreeMap<String, Vec<Value>>;

const RECORDS: &str = include_str!("formats/records-2.json");
const RECORDS_BEFORE: &str = include_str!("formats/records-1.json");
const MESSAGES: &str = include_str!("formats/messages-1.json");
const WORDS: &str = include_str!("formats/words.json");

fn examples(text: &str) -> Examples {
    serde_json::from_str(text).unwrap()
}

/// The same with an unknown field in each object, as later versions may add one.
fn with_unknown_fields(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields =
                fields.iter().map(|(name, value)| (name.clone(), with_unknown_fields(value)));
            let unknown = ("of_a_later_version".to_owned(), json!({"a": [1, null]}));
            Value::Object(fields.chain([unknown]).collect())
        }
        Value::Array(values) => values.iter().map(with_unknown_fields).collect(),
        other => other.clone(),
    }
}

#[test]
fn formats_are_those_of_the_documentation() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats.md");
    let page = std::fs::read_to_string(page).unwrap();
    for (what, format) in [("records", RECORD_FORMAT), ("messages", MESSAGE_FORMAT)] {
        assert!(page.contains(&format!("| {what} | {format} |")), "{what}: {format}");
    }
    assert!(page.contains(&format!("\n| {RECORD_FORMAT} | ")), "its history");
}

/// Whether `written` has all that `kept` has, as a program of the version before looks for it.
fn has_all(written: &Value, kept: &Value) -> bool {
    match (written, kept) {
        (Value::Object(written), Value::Object(kept)) => kept
            .iter()
            .all(|(name, value)| written.get(name).is_some_and(|found| has_all(found, value))),
        (Value::Array(written), Value::Array(kept)) => {
            written.len() == kept.len() && written.iter().zip(kept).all(|(w, k)| has_all(w, k))
        }
        _ => written == kept,
    }
}

#[test]
fn every_type_of_record_is_read_and_written_as_it_was() {
    let mut kept = examples(RECORDS);
    for kind in Kind::all() {
        let records = kept.remove(kind.type_name);
        let records = records.unwrap_or_else(|| panic!("no example of a {}", kind.type_name));
        for record in records {
            let (_, written) =
                kind.check(&record.to_string()).unwrap_or_else(|e| panic!("{record}: {e}"));
            let written: Value = serde_json::from_str(written.get()).unwrap();
            assert!(
                has_all(&written, &record),
                "{}: {written} lacks something of {record}",
                kind.type_name
            );
        }
    }
    assert!(kept.is_empty(), "no record types any more: {:?}", kept.keys());
}

#[test]
fn records_of_a_later_version_are_read() {
    for (type_name, records) in examples(RECORDS) {
        let kind = Kind::named(&type_name).unwrap();
        // Their fields are names that others have chosen.
        let is_free = ["ContainerManagerConfig", "ContainerManagerSecret", "Network", "HostState"];
        for record in records.iter().filter(|_| !is_free.contains(&type_name.as_str())) {
            let later = with_unknown_fields(record);
            kind.check(&later.to_string()).unwrap_or_else(|e| panic!("{type_name} {later}: {e}"));
        }
    }
    let step: Step = serde_json::from_value(json!("hibernate")).unwrap();
    assert!(step == Step::Unknown && step.is_under_way());
    let outcome: Outcome = serde_json::from_value(json!("deferred")).unwrap();
    assert_eq!(outcome, Outcome::Unknown);
}

/// Reads and writes the examples of a message.
fn is_kept<T: DeserializeOwned + Serialize>(kept: &mut Examples, name: &str) {
    let messages = kept.remove(name).unwrap_or_else(|| panic!("no example of a {name}"));
    for message in messages {
        let read = |message: &Value| serde_json::from_str::<T>(&message.to_string());
        let written = read(&message).unwrap_or_else(|e| panic!("{name} {message}: {e}"));
        let written = serde_json::to_value(&written).unwrap();
        assert!(has_all(&written, &message), "{name}: {written} lacks something of {message}");
        let later = with_unknown_fields(&message);
        assert!(read(&later).is_ok(), "{name} {later}");
    }
}

#[test]
fn every_message_is_read_and_written_as_it_was() {
    let mut kept = examples(MESSAGES);
    is_kept::<Request>(&mut kept, "request");
    is_kept::<StartOperation>(&mut kept, "StartOperation");
    is_kept::<ContinueOperation>(&mut kept, "ContinueOperation");
    is_kept::<OperationPlan>(&mut kept, "OperationPlan");
    is_kept::<Node>(&mut kept, "Node");
    is_kept::<Nodes>(&mut kept, "Nodes");
    is_kept::<LogInTried>(&mut kept, "LogInTried");
    is_kept::<Transaction>(&mut kept, "Transaction");
    is_kept::<Revised<Value>>(&mut kept, "Revised");
    is_kept::<Damaged>(&mut kept, "Damaged");
    is_kept::<Presence>(&mut kept, "Presence");
    is_kept::<WatcherRecord>(&mut kept, "WatcherRecord");
    assert!(kept.is_empty(), "no messages any more: {:?}", kept.keys());
}

/// The words that values of a type have in JSON, as the message about a wrong one lists them.
fn words_of<T: DeserializeOwned>() -> Vec<String> {
    let Err(error) = serde_json::from_value::<T>(json!("\u{1}")) else {
        panic!("any word is read")
    };
    let message = error.to_string();
    let (_, listed) = message.split_once("expected ").unwrap();
    listed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn words_are_those_that_the_version_before_reads() {
    let mut kept: BTreeMap<String, Vec<String>> = serde_json::from_str(WORDS).unwrap();
    let mut are = |name: &str, words: Vec<String>| {
        let before = kept.remove(name).unwrap_or_else(|| panic!("no list of {name}"));
        assert_eq!(
            words, before,
            "{name}: programs of the version before fail to read a record with another word; \
             docs/formats.md says what to do about it"
        );
    };
    are("Bootstrap", words_of::<Bootstrap>());
    are("ContainerManagerType", words_of::<ContainerManagerType>());
    are("DrainCheck", words_of::<DrainCheck>());
    are("NetworkType", words_of::<NetworkType>());
    are("OnDrainTimeout", words_of::<OnDrainTimeout>());
    are("OperationKind", words_of::<OperationKind>());
    are("OperationStatus", words_of::<OperationStatus>());
    are("Order", words_of::<Order>());
    let actions = OperationKind::ALL.iter().map(|kind| json!(PlannedAction::Work(*kind)));
    let actions = actions.chain([json!(PlannedAction::Skip)]);
    are("PlannedAction", actions.map(|word| word.as_str().unwrap().to_owned()).collect());
    are("RebootWhen", words_of::<RebootWhen>());
    are("ResumeAfterAlarm", words_of::<ResumeAfterAlarm>());
    are("Role", words_of::<Role>());
    are("Status", words_of::<Status>());
    are("SubjectKind", words_of::<SubjectKind>());
    are("Wanted", words_of::<Wanted>());
    are("WebhookEvent", words_of::<WebhookEvent>());
    assert!(kept.is_empty(), "no such words any more: {:?}", kept.keys());
}

#[tokio::test]
async fn records_of_the_format_before_are_converted_at_the_start() {
    let fixture = start().await;
    let database = fixture.database();
    for (type_name, records) in examples(RECORDS_BEFORE) {
        let kind = Kind::named(&type_name).unwrap();
        for record in records {
            let (key, _) = kind.check(&record.to_string()).unwrap();
            let sql = "INSERT INTO records (key, value, revision) VALUES (?1, ?2, 0)";
            database.execute(sql, [key, record.to_string()]).unwrap();
        }
    }
    let kept = examples(RECORDS_BEFORE);
    let cluster: Cluster = fixture.storage.get("web").await.unwrap().record;
    assert_eq!(serde_json::to_value(cluster).unwrap(), kept["Cluster"][0]);
    let restart: ClusterRestart = fixture.storage.get("web").await.unwrap().record;
    assert_eq!(serde_json::to_value(restart).unwrap(), kept["ClusterRestart"][0]);
    let format = "SELECT value FROM records WHERE key = '/commissaire/format'";
    let format: String = database.query_row(format, [], |row| row.get(0)).unwrap();
    assert_eq!(format, json!({"records": RECORD_FORMAT}).to_string());
}

#[tokio::test]
async fn records_of_a_later_format_are_neither_read_nor_changed() {
    let fixture = start().await;
    let later = json!({"records": RECORD_FORMAT + 1}).to_string();
    let sql = "INSERT INTO records (key, value, revision) VALUES ('/commissaire/format', ?1, 0)";
    fixture.database().execute(sql, [later]).unwrap();
    let error = fixture.ask("list", json!(["Hosts"])).await.unwrap_err();
    assert!(error.to_string().contains("use the version that wrote them"), "{error}");
    let network = json!(["Network", {"name": "n1"}]);
    assert_eq!(fixture.ask("save", network).await.unwrap_err().kind(), bus::Kind::Unavailable);
    let (bus, life) = (Bus::memory(), Lifecycle::new());
    storage_svc::run(&bus, &config(fixture.folder.path()), &life).await.unwrap();
    let storage = StorageClient::new(bus, Context::service("test"));
    assert!(storage.find::<Cluster>("c1").await.is_err());
}
