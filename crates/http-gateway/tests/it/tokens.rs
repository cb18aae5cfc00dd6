//! API tokens: what they open, for how long, and what they never do.

mod ends;
mod restored;
mod rights;

use std::net::IpAddr;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use http_gateway::audit::Audit;
use http_gateway::auth::api_token::Minted;
use http_gateway::auth::passwords::Passwords;
use http_gateway::peer::{ClientCertificate, Peer};
use http_gateway::{Config, Ports, Service};
use model::{ApiToken, ApiTokenUse};
use runtime::files::MemoryFiles;
use runtime::{Clock, Files};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use testbed::log::Log;

use crate::support::{Answer, Gateway, Setup, Storage, V0, basic, in_time};

/// The password of all users.
const PASSWORD: &str = "pass:word";

/// Where requests come from.
const SOURCE: [u8; 4] = [10, 0, 0, 7];

/// Gateways over one store, with a clock and users that tests change.
struct Ground {
    gateway: Gateway,
    files: MemoryFiles,
    clock: Clock,
    audit: Audit,
}

/// A gateway, and a client of it.
struct Client {
    service: Service,
    source: IpAddr,
    certificate: Option<ClientCertificate>,
}

impl Ground {
    /// With the administrator `root`, and `ann` in this role.
    async fn with(role: &str) -> (Self, Client) {
        let ground = Self {
            gateway: Gateway::start().await,
            files: MemoryFiles::default(),
            clock: Clock::simulated("2026-11-30T22:00:00Z".parse().unwrap()),
            audit: Audit::memory(),
        };
        for cluster in ["web", "db"] {
            ground.gateway.cluster(cluster, &[]).await;
        }
        ground.users(json!({"ann": {"hash": PASSWORD, "role": role}}));
        let client = ground.another_gateway().await;
        (ground, client)
    }

    /// The users besides `root`, for gateways that start from now on.
    fn users(&self, mut users: Value) {
        users["root"] = json!({"hash": PASSWORD});
        self.files.write("/users.json", users.to_string());
    }

    async fn another_gateway(&self) -> Client {
        let plugins = json!([
            {"name": "httpauthclientcert", "cn": "backup", "role": "operator"},
            {"name": "httpbasicauth", "filepath": "/users.json"},
        ]);
        let authentication_plugins = serde_json::from_value(plugins).unwrap();
        let config = Config { authentication_plugins, ..Config::default() };
        let ports = Ports {
            bus: self.gateway.bus.clone(),
            clock: self.clock.clone(),
            audit: self.audit.clone(),
            passwords: Passwords::Plain,
            files: Files::Memory(self.files.clone()),
        };
        let service = http_gateway::service(ports, &config, &self.gateway.life).await.unwrap();
        Client { service, source: SOURCE.into(), certificate: None }
    }
}

impl Client {
    /// A response whose body is not read yet.
    async fn open(
        &self,
        authorization: &str,
        (method, path): (&str, &str),
        body: Value,
    ) -> Response<Body> {
        let address = (self.source, 4711).into();
        let peer = Peer { address, certificate: self.certificate.clone() };
        let request = Request::builder().method(method).uri(format!("{V0}{path}"));
        let request = request.extension(ConnectInfo(peer)).header("host", "test");
        let request = match authorization {
            "" => request,
            value => request.header("authorization", value),
        };
        let body = Body::from(body.to_string());
        self.service.answer(request.body(body).unwrap()).await.map(Body::new)
    }

    async fn call(&self, authorization: &str, call: (&str, &str), body: Value) -> Answer {
        let what = format!("{call:?} {body}");
        let (head, body) = self.open(authorization, call, body).await.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { what, status: head.status.as_u16(), headers: head.headers, body }
    }

    async fn get(&self, authorization: &str, path: &str) -> Answer {
        self.call(authorization, ("GET", path), json!({})).await
    }

    /// A new token of `ann`: its id, and the header with which it is used.
    async fn token(&self, role: &str, clusters: &[&str]) -> (String, String) {
        let asked = json!({"name": role, "role": role, "clusters": clusters});
        self.made(&user("ann"), asked).await
    }

    async fn made(&self, authorization: &str, asked: Value) -> (String, String) {
        let made = self.call(authorization, ("POST", "/tokens"), asked).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let text = |field: &str| made.json()[field].as_str().unwrap().to_owned();
        (text("id"), format!("Bearer {}", text("token")))
    }

    /// Asks until the answer has this status.
    async fn until(&self, status: u16, authorization: &str, path: &str) -> Answer {
        in_time(async {
            loop {
                let answer = self.get(authorization, path).await;
                if answer.status == status {
                    return answer;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}

fn user(name: &str) -> String {
    basic(format!("{name}:{PASSWORD}"))
}

/// The same token as the password of the user `token`.
fn as_password(bearer: &str) -> String {
    basic(format!("token:{}", bearer.strip_prefix("Bearer ").unwrap()))
}

fn secret(bearer: &str) -> &str {
    &bearer[bearer.len() - 49..bearer.len() - 6]
}

#[tokio::test]
async fn token_is_shown_once_and_kept_as_a_hash() {
    let log = Log::capture();
    let (ground, client) = Ground::with("operator").await;
    let asked = json!({"name": "deploy", "role": "operator", "clusters": ["web", "web-*"], "expires": "30d",
                       "from": ["10.0.0.0/8"]});
    let (id, bearer) = client.made(&user("ann"), asked).await;
    assert!(
        bearer.starts_with(&format!("Bearer cmsr_{id}_")) && bearer.len() == 7 + 67,
        "{bearer}"
    );
    let shown = client.get(&user("ann"), "/tokens").await.json()[0].clone();
    let time = |field: &str| {
        let time = shown[field].as_str().unwrap().to_owned();
        (time[..16].to_owned(), time)
    };
    let ((created, created_at), (ends, expires)) = (time("created_at"), time("expires"));
    assert_eq!((created.as_str(), ends.as_str()), ("2026-11-30T22:00", "2026-12-30T22:00"));
    let mut expected = json!({"id": id, "name": "deploy", "owner": "ann", "role": "operator",
        "clusters": ["web", "web-*"], "from": ["10.0.0.0/8"], "expires": expires,
        "created_at": created_at, "last_used": null});
    client.get(&user("ann"), "/tokens").await.is(200, &json!([expected]));
    let whoami = json!({"name": "token:deploy/ann", "role": "operator", "owner": "ann", "authenticator": "token",
        "rights": [{"role": "operator", "clusters": ["*"], "run_commands": false}],
        "limit": {"role": "operator", "clusters": ["web", "web-*"], "run_commands": false},
        "groups": [], "until": expires});
    for authorization in [bearer.clone(), as_password(&bearer)] {
        client.get(&authorization, "/whoami").await.is(200, &whoami);
        client.get(&authorization, "/cluster/db").await.refused(404, "there is no cluster");
        let deleted = client.call(&authorization, ("DELETE", "/cluster/web-1"), json!({})).await;
        deleted.refused(404, "there is no cluster");
    }
    let line: Value = serde_json::from_str(&ground.audit.lines().pop().unwrap()).unwrap();
    assert_eq!(
        (&line["principal"], &line["role"]),
        (&json!("token:deploy/ann"), &json!("operator"))
    );
    // The time of its first use is written in the background.
    in_time(async {
        while ground.gateway.stored::<ApiTokenUse>(&id).await.is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let listed = client.get(&bearer, "/tokens").await;
    let last_used = listed.json()[0]["last_used"].clone();
    assert!(last_used.as_str().unwrap().starts_with("2026-11-30T22:00:"), "{last_used}");
    expected["last_used"] = last_used;
    listed.is(200, &json!([expected]));
    let secret = secret(&bearer);
    let records = format!("{:?}", ground.gateway.records().await);
    assert!(records.contains(&id) && !records.contains(secret));
    for text in [log.text(), listed.text(), ground.audit.lines().concat()] {
        assert!(!text.contains(secret) && !text.contains("token_hash"), "{text}");
    }
}

#[tokio::test]
async fn other_tokens_are_rejected_and_counted() {
    let log = Log::capture();
    let (ground, client) = Ground::with("operator").await;
    let (id, bearer) = client.token("operator", &["web"]).await;
    let other = client.token("reader", &["web"]).await.1;
    let damaged = format!("{}x", &bearer[..bearer.len() - 1]);
    let mixed = bearer.replace(secret(&bearer), secret(&other));
    for (authorization, words) in [
        (&damaged, "damaged"),
        (&mixed, "damaged"),
        (&format!("{bearer}0"), "damaged"),
        (&"Bearer cmsr_".to_owned(), "damaged"),
    ] {
        let answer = client.get(authorization, "/whoami").await;
        answer.refused(401, words);
        assert_eq!(answer.header("www-authenticate"), "Bearer error=\"invalid_token\"");
        let token = authorization.strip_prefix("Bearer ").unwrap();
        let as_password = basic(format!("token:{token}"));
        client.get(&as_password, "/whoami").await.refused(403, words);
        // Another user may have such a password.
        client
            .get(&basic(format!("ann:{token}")), "/whoami")
            .await
            .refused(403, "user name and password");
    }
    ground.gateway.storage.delete::<ApiToken>(&id).await.unwrap();
    client.until(401, &bearer, "/whoami").await.refused(401, "unknown, or was revoked");
    assert_eq!(ground.audit.lines().len(), 2, "only the creations: a rejected token has no line");
    for _ in 0..60 {
        client.get(&damaged, "/whoami").await;
    }
    client.get(&bearer, "/whoami").await.refused(429, "too many failed log-ins");
    assert_eq!(client.get(&other, "/whoami").await.status, 200, "a valid token is not throttled");
    for token in [&bearer, &other] {
        assert!(!log.text().contains(secret(token)));
    }
}

#[tokio::test]
async fn wrong_requests_for_tokens_are_refused() {
    let (ground, client) = Ground::with("operator").await;
    let asked = |field: &str, value: Value| {
        let mut asked = json!({"name": "a", "role": "reader", "clusters": ["web"]});
        asked[field] = value;
        asked
    };
    for (field, value, words) in [
        ("name", json!("a/b"), "name"),
        ("name", json!(null), "name"),
        ("role", json!("root"), "role"),
        ("role", json!("enroll"), "role: enroll"),
        ("clusters", json!([]), "at least one"),
        ("clusters", json!(["a/b"]), "a/b"),
        ("from", json!(["10.0.0.0/33"]), "from"),
        ("expires", json!("soon"), "expires is"),
        ("expires", json!(0), "expires is"),
        ("expires", json!("367d"), "at most 366 days"),
        ("expire", json!("1d"), "expires"),
    ] {
        let answer = client.call(&user("ann"), ("POST", "/tokens"), asked(field, value)).await;
        answer.refused(400, words);
    }
    assert!(client.get(&user("ann"), "/tokens").await.json().as_array().unwrap().is_empty());
    let (id, _) = client.made(&user("ann"), asked("expires", json!("366d"))).await;
    let again = client.call(&user("ann"), ("POST", "/tokens"), asked("from", json!([]))).await;
    again.refused(409, "ann has an API token a");
    client.made(&user("root"), asked("from", json!([]))).await;
    let token: ApiToken = ground.gateway.stored(&id).await.unwrap();
    for number in 1..ApiToken::MAX_PER_OWNER {
        let (id, name) = (format!("{number:012x}"), format!("n{number}"));
        ground.gateway.storage.save(&ApiToken { id, name, ..token.clone() }).await.unwrap();
    }
    let more = client.call(&user("ann"), ("POST", "/tokens"), asked("name", json!("b"))).await;
    more.refused(409, "ann has 100 API tokens, the most allowed");
}

#[tokio::test]
async fn tokens_of_others_are_seen_and_revoked_by_administrators_of_all_clusters_alone() {
    let (_ground, client) = Ground::with("reader").await;
    let (anns, _) = client.token("reader", &["web"]).await;
    let asked = json!({"name": "r", "role": "operator", "clusters": ["*"]});
    let (roots, _) = client.made(&user("root"), asked).await;
    let asked = json!({"name": "a", "role": "admin", "clusters": ["*"]});
    let (_, admins) = client.made(&user("root"), asked).await;
    let listed = async |authorization: &str| {
        let listed = client.get(authorization, "/tokens").await.json();
        listed.as_array().unwrap().iter().map(|token| token["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&user("ann")).await, ["reader"]);
    assert_eq!(listed(&user("root")).await, ["reader", "a", "r"]);
    assert_eq!(listed(&admins).await, ["reader", "a", "r"]);
    let revoke = async |authorization: &str, id: &str| {
        client.call(authorization, ("DELETE", &format!("/token/{id}")), json!({})).await
    };
    revoke(&user("ann"), &roots).await.refused(404, "there is no API token");
    revoke(&user("ann"), &anns).await.is(200, &json!([]));
    revoke(&user("ann"), &anns).await.refused(404, "there is no API token");
    revoke(&user("root"), &roots).await.is(200, &json!([]));
}

#[tokio::test]
async fn token_makes_neither_tokens_nor_bindings() {
    let (_ground, client) = Ground::with("admin").await;
    let (id, bearer) = client.token("admin", &["*"]).await;
    let token = json!({"name": "b", "role": "reader", "clusters": ["web"]});
    let binding = json!({"kind": "user", "subject": "ann", "role": "admin", "clusters": ["*"]});
    client.call(&user("root"), ("PUT", "/binding/root"), binding.clone()).await;
    for (method, path, body) in [
        ("POST", "/tokens", token),
        ("DELETE", &format!("/token/{id}"), json!({})),
        ("PUT", "/binding/b", binding),
        ("DELETE", "/binding/root", json!({})),
    ] {
        client.call(&bearer, (method, path), body).await.refused(403, "log in as its owner");
    }
    for path in ["/tokens", "/bindings", "/binding/root"] {
        assert_eq!(client.get(&bearer, path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn token_is_503_while_tokens_cannot_be_read_unless_it_is_damaged() {
    let timeout = Duration::from_millis(100);
    let gateway = Setup { storage: Storage::Absent, timeout, ..Setup::default() }.start().await;
    let bearer = format!("Bearer {}", Minted::random().token.expose_secret());
    let whoami = async |authorization: &str| {
        gateway.send_as(authorization, "GET", &format!("{V0}/whoami")).await
    };
    whoami(&bearer).await.refused(503, "not known whether this API token is valid");
    whoami(&as_password(&bearer)).await.refused(503, "not known whether this API token is valid");
    whoami(&format!("{bearer}x")).await.refused(401, "damaged");
}
