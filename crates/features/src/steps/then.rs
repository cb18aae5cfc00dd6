//! What is answered, and what becomes of hosts and operations.

use std::collections::BTreeMap;

use cucumber::gherkin::Step;
use cucumber::{given, then, when};
use serde_json::Value;

use super::addresses;
use crate::fleet::simulated::node;
use crate::world::World;

#[given(regex = r"^the status is (\d+)$")]
#[then(regex = r"^the status is (\d+)$")]
fn has_status(world: &mut World, status: u16) {
    let answer = world.answer();
    assert_eq!(answer.status, status, "{}", answer.text);
}

/// A part of an answer: `hosts.0.address`.
pub(super) fn field<'a>(body: &'a Value, path: &str) -> &'a Value {
    let mut value = body;
    for part in path.split('.') {
        let found = match part.parse::<usize>() {
            Ok(index) => value.get(index).or_else(|| value.get(part)),
            Err(_) => value.get(part),
        };
        value = found.unwrap_or(&Value::Null);
    }
    value
}

/// A value as scenarios write it: JSON, or a word.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// Whether everything that is expected is there; lists have no other items.
fn includes(actual: &Value, expected: &Value) -> bool {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => expected.iter().all(|(name, value)| {
            actual.get(name).is_some_and(|actual| includes(actual, value))
                || (value.is_null() && !actual.contains_key(name))
        }),
        (Value::Array(actual), Value::Array(expected)) => {
            actual.len() == expected.len()
                && actual.iter().zip(expected).all(|(actual, value)| includes(actual, value))
        }
        (actual, expected) => actual == expected,
    }
}

/// What is named has to be there; fields that are not named are not looked at.
#[then(regex = r"^the answer is (.+)$")]
fn answer_is(world: &mut World, expected: String) {
    let expected = value(&world.fill_in(&expected));
    let answer = world.answer();
    assert!(includes(&answer.body, &expected), "{}", answer.text);
}

#[then("the answer is:")]
fn answer_is_text(world: &mut World, step: &Step) {
    let text = world.fill_in(step.docstring().unwrap());
    let expected: Value = serde_json::from_str(&text).unwrap();
    let answer = world.answer();
    assert!(includes(&answer.body, &expected), "{}", answer.text);
}

#[then("the answer is empty")]
fn answer_is_empty(world: &mut World) {
    assert_eq!(world.answer().text, "");
}

#[then(regex = r"^the field (\S+) is (.+)$")]
fn field_is(world: &mut World, name: String, expected: String) {
    let expected = value(&world.fill_in(&expected));
    let answer = world.answer();
    let actual = field(&answer.body, &name);
    assert!(includes(actual, &expected), "{name} is {actual} in {}", answer.text);
}

#[then(regex = r#"^the field (\S+) (has|has not) "(.+)" in it$"#)]
fn field_has(world: &mut World, name: String, how: String, words: String) {
    let words = world.fill_in(&words);
    let actual = field(&world.answer().body, &name).to_string();
    assert_eq!(actual.contains(&words), how == "has", "{name} is {actual}");
}

#[then(regex = r#"^the answer (says|does not say) "(.+)"$"#)]
fn answer_says(world: &mut World, how: String, words: String) {
    let words = world.fill_in(&words);
    let answer = world.answer();
    // As JSON has them.
    let has = answer.text.contains(&words) || answer.text.contains(&words.replace('"', "\\\""));
    assert_eq!(has, how == "says", "{}", answer.text);
}

#[then(regex = r"^the command (succeeds|fails|exits with (\d+))$")]
fn command_ends(world: &mut World, how: String, status: String) {
    let run = world.last_run();
    let is_expected = match how.as_str() {
        "succeeds" => run.status == 0,
        "fails" => run.status != 0,
        _ => run.status == status.parse::<i32>().unwrap(),
    };
    assert!(is_expected, "{run:?}");
}

#[then(regex = r#"^it (prints|does not print) "(.*)"$"#)]
fn prints(world: &mut World, how: String, words: String) {
    let words = world.fill_in(&words);
    let run = world.last_run();
    assert_eq!(run.stdout.contains(&words), how == "prints", "{run:?}");
}

#[then("it prints nothing")]
fn prints_nothing(world: &mut World) {
    let run = world.last_run();
    assert_eq!(run.stdout, "", "{run:?}");
}

/// All of it.
#[then("it prints:")]
fn prints_text(world: &mut World, step: &Step) {
    let text = world.fill_in(step.docstring().unwrap());
    let run = world.last_run();
    assert_eq!(run.stdout.trim(), text.trim(), "{run:?}");
}

#[then(regex = r#"^it (says|does not say) "(.+)"$"#)]
fn says(world: &mut World, how: String, words: String) {
    let words = world.fill_in(&words);
    let run = world.last_run();
    assert_eq!(run.stderr.contains(&words), how == "says", "{run:?}");
}

#[given(regex = r"^the hosts? (\S+(?: to \S+)?) becomes? (\w+)$")]
#[when(regex = r"^the hosts? (\S+(?: to \S+)?) becomes? (\w+)$")]
#[then(regex = r"^the hosts? (\S+(?: to \S+)?) becomes? (\w+)$")]
async fn becomes(world: &mut World, list: String, status: String) {
    for address in addresses(&list) {
        let is_so = |host: &Value| host["status"] == status.as_str();
        world.until(&format!("/host/{address}"), is_so).await;
    }
}

/// Of the newest operation of a kind.
#[given(regex = r"^the (restart|upgrade|deploy) of (\S+) becomes (\w+)$")]
#[when(regex = r"^the (restart|upgrade|deploy) of (\S+) becomes (\w+)$")]
#[then(regex = r"^the (restart|upgrade|deploy) of (\S+) becomes (\w+)$")]
async fn operation_becomes(world: &mut World, kind: String, cluster: String, status: String) {
    let is_so = |record: &Value| record["status"] == status.as_str();
    world.until(&format!("/cluster/{cluster}/{kind}"), is_so).await;
}

/// As the operation itself says: `paused` and `aborted` have no word in the record of the original.
#[given(regex = r"^the operation \$operation becomes (\w+)$")]
#[when(regex = r"^the operation \$operation becomes (\w+)$")]
#[then(regex = r"^the operation \$operation becomes (\w+)$")]
async fn operation_state(world: &mut World, state: String) {
    let is_so = |operation: &Value| {
        operation["status"] == state.as_str() || operation["state"] == state.as_str()
    };
    world.until("/operation/$operation", is_so).await;
}

#[then(regex = r"^the hosts? (\S+(?: to \S+)?) (?:was|were) rebooted once$")]
fn rebooted_once(world: &mut World, list: String) {
    let counts = world.fleet.reboots();
    for address in addresses(&list) {
        assert_eq!(counts.get(&address), Some(&1), "{address} of {counts:?}");
    }
}

#[then(regex = r"^the hosts? (\S+(?: to \S+)?) (?:was|were) not rebooted$")]
fn not_rebooted(world: &mut World, list: String) {
    let counts = world.fleet.reboots();
    for address in addresses(&list) {
        assert_eq!(counts.get(&address), None, "{counts:?}");
    }
}

#[then("no host was rebooted")]
fn nothing_rebooted(world: &mut World) {
    assert_eq!(world.fleet.reboots(), BTreeMap::new());
}

#[then(regex = r"^never more than (\d+) hosts? (?:was|were) down at once$")]
fn never_more(world: &mut World, most: usize) {
    let down = world.fleet.most_down();
    assert!(down <= most, "{down} were");
}

#[then(regex = r"^(\d+) upgrades? (?:was|were) run on (\S+)$")]
fn upgrades(world: &mut World, count: usize, address: String) {
    let begun = world.fleet.simulated().hosts.edit(&address, |machine| machine.upgrades_begun());
    assert_eq!(begun, count);
}

#[given(regex = r"^the node of (\S+) is (cordoned|schedulable)$")]
#[then(regex = r"^the node of (\S+) is (cordoned|schedulable)$")]
fn node_is(world: &mut World, address: String, how: String) {
    let object = world.fleet.simulated().kubernetes.object("nodes", "", &node(&address)).unwrap();
    assert_eq!(object["spec"]["unschedulable"] == true, how == "cordoned", "{object}");
}
