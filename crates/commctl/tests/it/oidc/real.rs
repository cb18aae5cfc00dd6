//! A real OpenID provider, the whole way. The server is a stand-in that accepts tokens by their claims.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oauth2::url::Url;
use serde_json::{Value, json};
use testbed::oidc::OpenIdProvider;
use wiremock::matchers::path;
use wiremock::{Mock, Request, ResponseTemplate};

use crate::support::issuer::{Browser, get};
use crate::support::{Fleet, Home, problem};

/// The claims of a token.
fn claims(token: &str) -> Option<Value> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// A server for tokens of this issuer, which its provider `corp` is configured for.
async fn server(provider: &OpenIdProvider, token: &str) -> Fleet {
    let fleet = Fleet::new().await;
    std::fs::remove_file(fleet.home.config()).unwrap();
    let authority = std::fs::read_to_string(&provider.authority).unwrap();
    let audience = if token == "id" { "commctl" } else { "commissaire" };
    let corp = json!({
        "name": "corp", "issuer": provider.issuer, "client_id": "commctl", "token": token,
        "scopes": ["openid", "offline_access", "email", "groups", "fleet.operate"],
        "certificate_authority": authority,
    });
    fleet.answers("GET", "login", 200, json!({"password": false, "providers": [corp]})).await;
    let issuer = provider.issuer.clone();
    let answer = move |request: &Request| {
        let shown = request.headers.get("authorization").and_then(|value| value.to_str().ok());
        let claims = shown.and_then(|shown| shown.strip_prefix("Bearer ")).and_then(claims);
        match claims.filter(|claims| claims["iss"] == issuer && claims["aud"] == audience) {
            Some(claims) => {
                ResponseTemplate::new(200).set_body_json(json!({"name": claims["sub"]}))
            }
            None => ResponseTemplate::new(403).set_body_json(problem(403, "unknown token")),
        }
    };
    for at in ["whoami", "hosts"] {
        let mock = Mock::given(path(format!("/api/v0/{at}"))).respond_with(answer.clone());
        mock.with_priority(1).mount(&fleet.server).await;
    }
    fleet
}

/// A browser whose user is logged in already: curl, up to the callback.
async fn browses(provider: &OpenIdProvider, address: &Url) -> Url {
    let jar = tempfile::NamedTempFile::new().unwrap();
    let mut next = address.clone();
    loop {
        let (url, jar, authority) =
            (next.to_string(), jar.path().to_owned(), provider.authority.clone());
        let curl = move || {
            let mut command = Command::new("curl");
            command.args([
                "-sS",
                "-o",
                "/dev/null",
                "-w",
                "%{redirect_url}",
                "--noproxy",
                "*",
                "--cookie",
                "user=ann",
            ]);
            command
                .arg("--cacert")
                .arg(authority)
                .arg("--cookie")
                .arg(&jar)
                .arg("--cookie-jar")
                .arg(&jar);
            command.arg(url).output().unwrap()
        };
        let output = tokio::task::spawn_blocking(curl).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        next = String::from_utf8(output.stdout).unwrap().parse().unwrap();
        if next.path() == "/callback" {
            return next;
        }
    }
}

fn token_file(home: &Home) -> std::path::PathBuf {
    home.dir.path().join(".commissaire-tokens/.commissaire.json.json")
}

fn tokens(home: &Home) -> Value {
    serde_json::from_slice(&std::fs::read(token_file(home)).unwrap()).unwrap()
}

async fn lists_hosts_as_ann(home: &Home) {
    home.run(&["host", "list"]).await.printed("name: ann\n");
}

/// From the log-in to the log-out.
async fn whole_way(provider: &OpenIdProvider, token: &str) {
    let fleet = server(provider, token).await;
    let home = &fleet.home;
    let url = fleet.server.uri();
    let mut browser = Browser::new(home.command(&["login", &url]).spawn().unwrap());
    let callback = browses(provider, &browser.address().await).await;
    assert!(
        callback.query_pairs().any(|(name, value)| name == "iss" && value == provider.issuer),
        "{callback}"
    );
    get(&callback).await;
    let run = browser.ends().await;
    assert_eq!(run.status, 0, "{run:?}");
    assert!(
        run.stderr.contains("logged in to") && run.stderr.contains("as \"ann\""),
        "{}",
        run.stderr
    );
    lists_hosts_as_ann(home).await;

    // The token expires; the refresh token is good for once.
    let before = tokens(home);
    assert!(before["refresh_token"].is_string() && before["expires"].is_string());
    let mut expired = before.clone();
    expired["expires"] = json!("2026-01-01T00:00:00Z");
    std::fs::write(token_file(home), expired.to_string()).unwrap();
    lists_hosts_as_ann(home).await;
    let after = tokens(home);
    // An ID token of the same second is the same, byte for byte.
    assert!(token == "id" || after["token"] != before["token"]);
    assert_ne!(after["refresh_token"], before["refresh_token"]);
    assert_ne!(after["expires"], expired["expires"]);
    lists_hosts_as_ann(home).await;

    let run = home.run(&["logout"]).await;
    assert_eq!(run.status, 0, "{run:?}");
    assert!(run.stderr.starts_with("revoked the log-in at corp\n"), "{}", run.stderr);
    assert_eq!(home.run(&["host", "list"]).await.status, 1);
    // The provider knows the token no longer.
    let mut revoked = after;
    revoked["expires"] = json!("2026-01-01T00:00:00Z");
    std::fs::write(token_file(home), revoked.to_string()).unwrap();
    let run = home.run(&["host", "list"]).await;
    assert_eq!(run.status, 1);
    assert!(run.stderr.contains("has expired: run `commctl login`"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_log_in_with_access_tokens_and_with_id_tokens() {
    let Some(provider) = OpenIdProvider::shared("commctl oidc") else { return };
    for token in ["access", "id"] {
        whole_way(&provider, token).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_log_in_with_a_code() {
    let Some(provider) = OpenIdProvider::shared("commctl device") else { return };
    let fleet = server(&provider, "access").await;
    let url = fleet.server.uri();
    let mut device =
        Browser::new(fleet.home.command(&["login", &url, "--device"]).spawn().unwrap());
    let line = device.line("to log in, open ").await;
    let (_, code) = line.rsplit_once(' ').unwrap();
    provider.run(&["approve", code]).await;
    let run = device.ends().await;
    assert_eq!(run.status, 0, "{run:?}");
    lists_hosts_as_ann(&fleet.home).await;
}
