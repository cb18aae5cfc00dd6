//! What it costs to find out who sends a request, and what they may do: a token of OpenID Connect and 10,000 bindings, against
//! a password that is remembered, without bindings. `GET` of a host.

use std::path::Path;

use anyhow::Context as _;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use model::{Binding, ClusterMember, Model as _};
use rcgen::KeyPair;
use runtime::Clock;
use serde_json::{Value, json};
use storage_svc::store::{Commit, Store};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::Setup;
use crate::client::Client;
use crate::get::{Asked, NOWHERE, host_from_nowhere, latencies};
use crate::process::Commissaire;
use crate::report::{Bound, Figure, Report, Row};

/// The p50 with a token is at most this many times that with a password.
const TOKEN_BOUND: f64 = 1.05;

/// The p50 with bindings is at most this many times that without.
const BINDINGS_BOUND: f64 = 1.1;

/// Bindings in the store: those of the caller are among them.
const BINDINGS: usize = 10_000;

/// The user that sees one cluster.
const MEMBER: &str = "member";

/// The records that are written at a time.
const CHUNK: usize = 1_000;

/// Measures and reports.
///
/// # Errors
/// When it cannot be measured.
pub async fn measure(setup: &Setup, report: &mut Report) -> anyhow::Result<()> {
    let issuer = Issuer::start().await?;
    let made = Commissaire::ready(setup, "access").await?;
    let host = host_from_nowhere(&mut made.client().await?, NOWHERE).await?;
    let users: Value = serde_json::from_str(&made.users()?).context("no users")?;
    let administrator = made.authorization()?;
    let bound_data = made.stop_and_copy("access-bound")?;
    bind(&bound_data.join("commissaire.db")).await?;
    let hash = &users["admin"]["hash"];
    let config = json!({"authentication-plugins": [
        {"name": "httpbasicauth", "users": {"admin": {"hash": hash}, MEMBER: {"hash": hash}}},
        {"name": "oidc", "issuer": issuer.url, "audience": "commissaire", "prefix": "corp", "default-role": "admin"},
    ]});
    let unbound = Commissaire::ready_with(setup, "access", &config, &[]).await?;
    let bound = Commissaire::ready_with(setup, "access-bound", &config, &[]).await?;
    let token = format!("Bearer {}", issuer.token()?);
    let encoded = administrator.strip_prefix("Basic ").context("no password")?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded)?;
    let (_, password) = std::str::from_utf8(&decoded)?.split_once(':').context("no password")?;
    let member = base64::engine::general_purpose::STANDARD.encode(format!("{MEMBER}:{password}"));
    let member = format!("Basic {member}");
    let (unbound, bound) = (unbound.server.address, bound.server.address);
    for (what, address, authorization, bound) in [
        ("a token", unbound, &token, Some(Bound::Ratio(TOKEN_BOUND))),
        ("10,000 bindings", bound, &administrator, Some(Bound::Ratio(BINDINGS_BOUND))),
        ("a token and 10,000 bindings", bound, &token, Some(Bound::Ratio(BINDINGS_BOUND))),
        // The cluster of the host is read, too.
        ("10,000 bindings, one cluster seen", bound, &member, None),
    ] {
        let mut ours = Client::connect(address, Some(authorization)).await?;
        let mut password = Client::connect(unbound, Some(&administrator)).await?;
        let asked = [&mut ours, &mut password];
        let asked = asked.map(|client| Asked { client, path: NOWHERE, expected: &host });
        let [ours, password] = latencies(setup.requests, asked).await?;
        for (percent, bound) in [(50, bound), (99, None)] {
            report.row(Row {
                what: format!("GET host, with {what}, p{percent}"),
                ours: Figure::Time(ours.percentile(percent)),
                bare: Some(Figure::Time(password.percentile(percent))),
                bound,
            });
        }
    }
    Ok(())
}

/// Writes the bindings, and puts the host into a cluster of [`MEMBER`].
async fn bind(store: &Path) -> anyhow::Result<()> {
    let store = Store::sqlite(store).context("cannot open the store")?;
    let binding = |number: usize| {
        let (subject, role, cluster) = match number {
            0 => ("admin".to_owned(), "admin", "*".to_owned()),
            1 => (MEMBER.to_owned(), "reader", "web".to_owned()),
            2 => ("corp:ann".to_owned(), "admin", "*".to_owned()),
            _ => (format!("corp:user{number}"), "operator", format!("web-{number}")),
        };
        let name = format!("b{number}");
        let record = json!({"name": name, "kind": "user", "subject": subject, "role": role,
            "clusters": [cluster], "changed_at": "2026-11-30T12:00:00.000000"});
        (Binding::key(&name), record.to_string())
    };
    let address = NOWHERE.rsplit('/').next().unwrap_or_default();
    let member = json!({"address": address, "cluster": "web"}).to_string();
    let mut puts = vec![(ClusterMember::key(address), member)];
    puts.extend((0..BINDINGS).map(binding));
    for puts in puts.chunks(CHUNK) {
        let commit = Commit { puts: puts.to_vec(), ..Commit::default() };
        store.commit(commit).await.context("the bindings cannot be written")?;
    }
    store.close().await.context("the store cannot be closed")
}

/// An issuer of tokens.
struct Issuer {
    url: String,
    key: KeyPair,
    _served: JoinSet<std::io::Result<()>>,
}

impl Issuer {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen")?;
        let url = format!("http://{}", listener.local_addr()?);
        // P-256: ES256.
        let key = KeyPair::generate().context("no key")?;
        let point = key.public_key_raw();
        let (x, y) = point[1..].split_at(32);
        let jwk = json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "1",
            "x": BASE64.encode(x), "y": BASE64.encode(y)});
        let keys = json!({"keys": [jwk]});
        let discovery = json!({"issuer": url, "jwks_uri": format!("{url}/jwks")});
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(async move || Json(discovery)))
            .route("/jwks", get(async move || Json(keys)));
        let mut served = JoinSet::new();
        served.spawn(async move { axum::serve(listener, app).await });
        Ok(Self { url, key, _served: served })
    }

    fn token(&self) -> anyhow::Result<String> {
        let now = Clock::System.wall().as_second();
        let claims = json!({"iss": self.url, "aud": "commissaire", "sub": "ann", "iat": now, "exp": now + 86_400});
        let header = Header { kid: Some("1".to_owned()), ..Header::new(Algorithm::ES256) };
        let key = EncodingKey::from_ec_der(&self.key.serialize_der());
        jsonwebtoken::encode(&header, &claims, &key).context("the token cannot be signed")
    }
}
