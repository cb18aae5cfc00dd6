//! What is requested, run, and happens.

use std::time::Duration;

use cucumber::gherkin::Step;
use cucumber::{given, when};
use simulated_hosts::LogIn;
use tokio::time::sleep;

use super::addresses;
use crate::api::Credentials;
use crate::fleet::Event;
use crate::fleet::simulated::node;
use crate::world::World;

/// `I` am an administrator; other users are named after their roles; a stranger has no credentials.
fn credentials(who: &str) -> Credentials {
    match who {
        "I" => Credentials::User("admin".to_owned()),
        "stranger" => Credentials::None,
        name => Credentials::User(name.to_owned()),
    }
}

fn docstring(step: &Step) -> Option<&str> {
    step.docstring().map(|text| text.trim_start_matches('\n'))
}

#[given(regex = r"^(?:a |an |the )?(\w+) requests? (GET|HEAD|PUT|POST|DELETE) (\S+)$")]
#[when(regex = r"^(?:a |an |the )?(\w+) requests? (GET|HEAD|PUT|POST|DELETE) (\S+)$")]
async fn request(world: &mut World, who: String, method: String, path: String) {
    world.request(&credentials(&who), &method, &path, None).await;
}

#[given(regex = r"^(?:a |an |the )?(\w+) requests? (PUT|POST|DELETE) (\S+) with (\S.*)$")]
#[when(regex = r"^(?:a |an |the )?(\w+) requests? (PUT|POST|DELETE) (\S+) with (\S.*)$")]
async fn request_with(world: &mut World, who: String, method: String, path: String, body: String) {
    world.request(&credentials(&who), &method, &path, Some(&body)).await;
}

#[given(regex = r"^(?:a |an |the )?(\w+) requests? (PUT|POST|DELETE) (\S+) with:$")]
#[when(regex = r"^(?:a |an |the )?(\w+) requests? (PUT|POST|DELETE) (\S+) with:$")]
async fn request_with_text(
    world: &mut World,
    who: String,
    method: String,
    path: String,
    step: &Step,
) {
    world.request(&credentials(&who), &method, &path, docstring(step)).await;
}

#[when(regex = r"^the owner of the token (\S+) requests (GET|HEAD|PUT|POST|DELETE) (\S+)$")]
async fn request_with_token(world: &mut World, token: String, method: String, path: String) {
    let token = Credentials::Bearer(world.fill_in(&token));
    world.request(&token, &method, &path, Some("{}")).await;
}

#[when(regex = r"^a host with the token (\S+) requests PUT (\S+) with (\S.*)$")]
async fn enroll(world: &mut World, token: String, path: String, body: String) {
    let token = Credentials::Password("enroll".to_owned(), world.fill_in(&token));
    world.request(&token, "PUT", &path, Some(&body)).await;
}

#[when(regex = r#"^(\w+) with the password "(.*)" requests (GET|PUT|POST|DELETE) (\S+)$"#)]
async fn request_with_password(
    world: &mut World,
    user: String,
    password: String,
    method: String,
    path: String,
) {
    let credentials = Credentials::Password(user, password);
    world.request(&credentials, &method, &path, None).await;
}

#[when(regex = r#"^the owner of the certificate "(.+)" requests (GET|PUT|POST|DELETE) (\S+)$"#)]
async fn request_with_certificate(world: &mut World, name: String, method: String, path: String) {
    world.request(&Credentials::Certificate(name), &method, &path, None).await;
}

/// For the next request.
#[given(regex = r"^the header (\S+) is (.+)$")]
#[when(regex = r"^the header (\S+) is (.+)$")]
fn header(world: &mut World, name: String, value: String) {
    world.headers.push((name, value));
}

#[given(regex = r"^(?:an? )?(\w+) runs? `commctl ([^`]+)`$")]
#[when(regex = r"^(?:an? )?(\w+) runs? `commctl ([^`]+)`$")]
async fn run(world: &mut World, who: String, line: String) {
    run_with(world, who, line, None).await;
}

#[when(regex = r"^(?:an? )?(\w+) runs? `commctl ([^`]+)` with the input:$")]
async fn run_with_input(world: &mut World, who: String, line: String, step: &Step) {
    run_with(world, who, line, docstring(step)).await;
}

async fn run_with(world: &mut World, who: String, line: String, input: Option<&str>) {
    let user = if who == "I" { "admin".to_owned() } else { who };
    world.run(&user, &line, input).await;
}

/// A part of the last answer, or of what the last command has printed as JSON: `$NAME` from now on.
#[given(regex = r"^I remember (\S+) as (\w+)$")]
#[when(regex = r"^I remember (\S+) as (\w+)$")]
fn remember(world: &mut World, field: String, name: String) {
    let value = super::then::field(&world.answer().body, &field);
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    world.remember(&name, text);
}

/// The id of the operation that the last request has started.
#[given("I remember the operation")]
#[when("I remember the operation")]
fn remember_operation(world: &mut World) {
    let location = world.answer().location.clone().expect("an operation was started");
    world.remember("operation", location.rsplit('/').next().unwrap().to_owned());
}

#[when(regex = r"^(\d+) (second|minute|hour|day)s? pass(?:es)?$")]
#[given(regex = r"^(\d+) (second|minute|hour|day)s? pass(?:es)?$")]
async fn pass(_: &mut World, count: u64, unit: String) {
    let seconds = match unit.as_str() {
        "second" => 1,
        "minute" => 60,
        "hour" => 3600,
        _ => 86_400,
    };
    sleep(Duration::from_secs(count * seconds)).await;
}

/// What happens to hosts.
#[given(
    regex = r"^the hosts? (\S+(?: to \S+)?) (loses? (?:its|their) power|comes? back|(?:is|are) cut off|answers? again|(?:is|are) rebooted by others)$"
)]
#[when(
    regex = r"^the hosts? (\S+(?: to \S+)?) (loses? (?:its|their) power|comes? back|(?:is|are) cut off|answers? again|(?:is|are) rebooted by others)$"
)]
fn happens(world: &mut World, list: String, what: String) {
    for address in addresses(&list) {
        let words: Vec<_> = what.split(' ').collect();
        let event = match (words[0], words[1]) {
            ("loses" | "lose", _) => Event::PowerOff,
            ("comes" | "come", _) => Event::PowerOn,
            (_, "cut") => Event::CutOff,
            ("answers" | "answer", _) => Event::Reconnect,
            _ => Event::Reboot,
        };
        world.fleet.happens(&address, event);
    }
}

#[when(regex = r"^the host (\S+) accepts log-ins again$")]
fn accepts_log_ins(world: &mut World, address: String) {
    let hosts = &world.fleet.simulated().hosts;
    hosts.edit(&address, |machine| machine.log_in = LogIn::Accepted);
}

/// A change of the behaviour of a host while something goes on.
#[when(regex = r"^the host (\S+) (?:now|then) (.+)$")]
fn changes(world: &mut World, address: String, how: String) {
    super::given::behaviour(world, address, how);
}

#[when(regex = r"^others uncordon the node of (\S+)$")]
fn uncordoned_by_others(world: &mut World, address: String) {
    let kubernetes = &world.fleet.simulated().kubernetes;
    let mut object = kubernetes.object("nodes", "", &node(&address)).unwrap();
    object["spec"].as_object_mut().unwrap().remove("unschedulable");
    kubernetes.apply(object);
}

/// Waits until an operation is at a step on a host.
#[when(regex = r"^the operation \$operation is at the step (\S+) on (\S+)$")]
async fn at(world: &mut World, wanted: String, address: String) {
    let is_at = |operation: &serde_json::Value| {
        let hosts = operation["hosts"].as_array().into_iter().flatten();
        hosts
            .into_iter()
            .any(|host| host["address"] == address.as_str() && host["step"] == wanted.as_str())
    };
    world.until("/operation/$operation", is_at).await;
}
