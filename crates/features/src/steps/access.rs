//! Log-ins, hosts that register themselves, and what a restore from a backup leaves behind.

use std::net::{IpAddr, SocketAddr};

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cucumber::{given, then, when};
use http_gateway::peer::Peer;
use model::{ApiToken, Binding, Enrollment, Stamp};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::api::Credentials;
use crate::world::World;

/// Sends the log-ins one after the other, without a pause.
#[given(regex = r"^(\d+) log-ins of (\w+) with a wrong password$")]
#[when(regex = r"^(\d+) log-ins of (\w+) with a wrong password$")]
async fn wrong_passwords(world: &mut World, count: usize, user: String) {
    let credentials = Credentials::Password(user, "wrong".to_owned());
    for _ in 0..count {
        world.request(&credentials, "GET", "/clusters", None).await;
    }
}

/// A body of blanks.
#[when(regex = r"^I send a body of (\d+) bytes to (PUT|POST) (\S+)$")]
async fn large_body(world: &mut World, size: usize, method: String, path: String) {
    let credentials = Credentials::User("admin".to_owned());
    world.request(&credentials, &method, &path, Some(&" ".repeat(size))).await;
}

/// Nothing but the status and the headers, as for `HEAD`.
#[then("the answer has no body")]
fn no_body(world: &mut World) {
    assert_eq!(world.answer().text, "");
}

/// The address at which `commctl` reaches the server.
#[given(regex = r"^I remember the address of the server as (\w+)$")]
async fn server(world: &mut World, name: String) {
    let urls = world.fleet.listen().await;
    world.remember(&name, urls[0].clone());
}

/// A user without a configuration of `commctl`.
#[given(regex = r"^(\w+) has never used commctl$")]
fn newcomer(world: &mut World, user: String) {
    std::fs::create_dir_all(world.home(&user)).unwrap();
}

#[then(regex = r#"^the file (\S+) of (\w+) (has|has not) "(.+)" in it$"#)]
fn file_has(world: &mut World, name: String, user: String, how: String, words: String) {
    let text = std::fs::read_to_string(world.home(&user).join(&name)).unwrap();
    let words = world.fill_in(&words);
    assert_eq!(text.contains(&words), how == "has", "{text}");
}

#[then(regex = r"^there is no file (\S+) of (\w+)$")]
fn no_file(world: &mut World, name: String, user: String) {
    assert!(!world.home(&user).join(name).exists());
}

/// As a host does it: from its own address, with the SSH key that it will present.
#[given(regex = r"^the host (\S+) registers itself with the token (\S+)$")]
#[when(regex = r"^the host (\S+) registers itself with the token (\S+)$")]
async fn registers_itself(world: &mut World, address: String, token: String) {
    let (status, body) = register(world, &address, &token).await;
    assert_eq!(status, 201, "{body}");
    assert_eq!(body["address"], address.as_str(), "{body}");
}

/// When it registers itself.
#[then(regex = r#"^the host (\S+) with the token (\S+) is rejected with (\d+): "(.+)"$"#)]
async fn rejected(world: &mut World, address: String, token: String, status: u16, words: String) {
    let (actual, body) = register(world, &address, &token).await;
    let detail = body["detail"].as_str().unwrap_or_default();
    assert!(actual == status && detail.contains(&words), "{actual} {body}");
}

/// A request from the address of a host; requests of the other steps have a fixed one.
async fn register(world: &mut World, address: &str, token: &str) -> (u16, Value) {
    let key = world.fleet.simulated().hosts.edit(address, |machine| machine.host_key.clone());
    let source: IpAddr = address.parse().unwrap();
    let body = json!({"ssh_host_key": key}).to_string();
    let password = BASE64.encode(format!("enroll:{}", world.fill_in(token)));
    let request = Request::put("/api/v0/host")
        .header("host", "commissaire")
        .header("authorization", format!("Basic {password}"))
        .extension(ConnectInfo(Peer::from(SocketAddr::from((source, 4711)))))
        .body(Body::from(body))
        .unwrap();
    let response = world.fleet.simulated().gateways[0].clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap())
}

/// Leaves the record as `commissaire restore` does.
#[given(regex = r"^the (binding|API token|enrollment) (\S+) was restored from a backup$")]
#[when(regex = r"^the (binding|API token|enrollment) (\S+) was restored from a backup$")]
async fn restored(world: &mut World, kind: String, id: String) {
    let (id, storage) = (world.fill_in(&id), &world.fleet.simulated().storage);
    let voided_at = || Stamp::of("2026-12-01T12:00:00Z".parse().unwrap());
    match kind.as_str() {
        "binding" => {
            let mut binding = storage.get::<Binding>(&id).await.unwrap().record;
            binding.pending = true;
            storage.save(&binding).await.unwrap();
        }
        "API token" => {
            let mut token = storage.get::<ApiToken>(&id).await.unwrap().record;
            token.voided_at = voided_at();
            storage.save(&token).await.unwrap();
        }
        _ => {
            let mut enrollment = storage.get::<Enrollment>(&id).await.unwrap().record;
            enrollment.voided_at = voided_at();
            storage.save(&enrollment).await.unwrap();
        }
    }
}
