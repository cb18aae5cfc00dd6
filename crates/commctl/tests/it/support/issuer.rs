//! An identity provider that issues what a test wants, a Commissaire server that accepts its tokens, and the browser of a user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oauth2::url::{self, Url};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::{Fleet, HANG, Home, Run, problem};

/// All secrets of an issuer begin with it: it must be in no output.
pub(crate) const CANARY: &str = "canary";

/// The HTTP response to a request of a callback URL.
pub(crate) type Page = String;

/// An issuer, and a server that accepts its tokens.
pub(crate) struct World {
    pub(crate) issuer: MockServer,
    pub(crate) fleet: Fleet,
    state: Arc<Mutex<State>>,
}

/// What the issuer does next, and what it was asked for.
#[derive(Default)]
pub(crate) struct State {
    /// The ways to log in that the server names.
    logins: Value,
    /// Fields of the discovery document that differ.
    pub(crate) discovery: Value,
    /// Fields of responses of the token endpoint that differ.
    pub(crate) tokens: Value,
    /// Responses of the token endpoint before any other.
    pub(crate) next: Vec<ResponseTemplate>,
    /// The lifetime of tokens, in seconds.
    pub(crate) lifetime: u64,
    /// Claims of ID tokens that differ.
    pub(crate) claims: Value,
    /// Requests of the token endpoint, and revocations.
    pub(crate) forms: Vec<HashMap<String, String>>,
    /// By code: the challenge and the nonce of its request.
    codes: HashMap<String, (String, Option<String>)>,
    /// The token that the server accepts.
    pub(crate) accepted: Option<String>,
    refresh: Option<String>,
    issued: usize,
}

impl World {
    pub(crate) async fn new() -> Self {
        let (issuer, fleet) = (MockServer::start().await, Fleet::new().await);
        std::fs::remove_file(fleet.home.config()).unwrap();
        let state = State { lifetime: 3600, ..State::default() };
        let world = Self { issuer, fleet, state: Arc::new(Mutex::new(state)) };
        world.serve_issuer().await;
        world.serve_api().await;
        world
    }

    /// Changes what happens next.
    pub(crate) fn set<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    pub(crate) fn home(&self) -> &Home {
        &self.fleet.home
    }

    /// What the server says about the issuer.
    pub(crate) fn provider(&self) -> Value {
        json!({"name": "corp", "issuer": self.issuer.uri(), "client_id": "commctl",
               "scopes": ["openid", "offline_access"], "token": "access", "resource": "urn:fleet"})
    }

    /// From now on these are the ways to log in.
    pub(crate) fn offers(&self, logins: Value) {
        self.set(|state| state.logins = logins);
    }

    async fn serve_api(&self) {
        for (at, body) in [
            ("whoami", json!({"name": "corp:ann", "role": "operator"})),
            ("clusters", json!(["c1"])),
        ] {
            let state = Arc::clone(&self.state);
            let answer = move |request: &Request| {
                let state = state.lock().unwrap();
                let expected = state.accepted.as_ref().map(|token| format!("Bearer {token}"));
                let shown =
                    request.headers.get("authorization").and_then(|value| value.to_str().ok());
                if expected.is_some() && shown == expected.as_deref() {
                    return ResponseTemplate::new(200).set_body_json(&body);
                }
                ResponseTemplate::new(401).set_body_json(json!({
                    "title": "Unauthorized", "status": 401,
                    "detail": "give a token that this server knows",
                }))
            };
            let mock = Mock::given(method("GET")).and(path(format!("/api/v0/{at}")));
            mock.respond_with(answer).with_priority(2).mount(&self.fleet.server).await;
        }
        self.offers(json!({"password": false, "providers": [self.provider()]}));
        let state = Arc::clone(&self.state);
        let logins = move |_: &Request| {
            ResponseTemplate::new(200).set_body_json(&state.lock().unwrap().logins)
        };
        let mock = Mock::given(path("/api/v0/login")).respond_with(logins).with_priority(2);
        mock.mount(&self.fleet.server).await;
    }

    /// All requests but those of the ways to log in are refused by the server.
    pub(crate) async fn forbid(&self, detail: &str) {
        let refused = ResponseTemplate::new(403).set_body_json(problem(403, detail));
        Mock::given(path("/api/v0/whoami"))
            .respond_with(refused)
            .with_priority(1)
            .mount(&self.fleet.server)
            .await;
    }

    async fn serve_issuer(&self) {
        let url = self.issuer.uri();
        let state = Arc::clone(&self.state);
        let discovery = move |_: &Request| {
            let document = json!({
                "issuer": url, "authorization_endpoint": format!("{url}/authorize"),
                "token_endpoint": format!("{url}/token"), "revocation_endpoint": format!("{url}/revoke"),
                "device_authorization_endpoint": format!("{url}/device"),
                "authorization_response_iss_parameter_supported": true,
            });
            ResponseTemplate::new(200)
                .set_body_json(merged(document, &state.lock().unwrap().discovery))
        };
        let mock = Mock::given(path("/.well-known/openid-configuration"));
        mock.respond_with(discovery).with_priority(9).mount(&self.issuer).await;
        let state = Arc::clone(&self.state);
        let url = self.issuer.uri();
        let token = move |request: &Request| state.lock().unwrap().token(&url, &form(request));
        Mock::given(method("POST"))
            .and(path("/token"))
            .respond_with(token)
            .mount(&self.issuer)
            .await;
        let state = Arc::clone(&self.state);
        let revoke = move |request: &Request| {
            let mut state = state.lock().unwrap();
            let form = form(request);
            state.refresh = state.refresh.take().filter(|token| *token != form["token"]);
            state.forms.push(form);
            ResponseTemplate::new(200)
        };
        let mock = Mock::given(method("POST")).and(path("/revoke")).respond_with(revoke);
        mock.with_priority(9).mount(&self.issuer).await;
        let device = json!({"device_code": "canary-device", "user_code": "ABCD-EFGH", "expires_in": 600,
                            "interval": 1, "verification_uri": format!("{}/activate", self.issuer.uri())});
        let device = ResponseTemplate::new(200).set_body_json(device);
        Mock::given(method("POST"))
            .and(path("/device"))
            .respond_with(device)
            .mount(&self.issuer)
            .await;
    }

    /// Starts a log-in.
    pub(crate) fn login(&self, more: &[&str]) -> Browser {
        let url = self.fleet.server.uri();
        let mut command = self.home().command(&[&["login", &url], more].concat());
        Browser::new(command.spawn().unwrap())
    }

    /// Where the issuer sends the browser of a user who has agreed: to the callback.
    pub(crate) fn agrees(&self, authorization: &Url) -> Url {
        let parameters: HashMap<_, _> = authorization.query_pairs().into_owned().collect();
        assert_eq!(
            (parameters["response_type"].as_str(), parameters["client_id"].as_str()),
            ("code", "commctl")
        );
        assert_eq!(parameters["code_challenge_method"], "S256");
        assert_eq!(parameters["resource"], "urn:fleet");
        let code = self.set(|state| {
            let code = format!("{CANARY}-code-{}", state.codes.len());
            let request = (parameters["code_challenge"].clone(), parameters.get("nonce").cloned());
            state.codes.insert(code.clone(), request);
            code
        });
        let mut callback = Url::parse(&parameters["redirect_uri"]).unwrap();
        callback
            .query_pairs_mut()
            .append_pair("code", &code)
            .append_pair("state", &parameters["state"])
            .append_pair("iss", &self.issuer.uri());
        callback
    }

    /// A whole log-in.
    pub(crate) async fn logs_in(&self, more: &[&str]) -> Run {
        let mut browser = self.login(more);
        let callback = self.agrees(&browser.address().await);
        get(&callback).await;
        browser.ends().await
    }

    /// The files with tokens.
    pub(crate) fn token_file(&self) -> std::path::PathBuf {
        self.home().dir.path().join(".commissaire-tokens/.commissaire.json.json")
    }

    pub(crate) fn saved_tokens(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.token_file()).unwrap()).unwrap()
    }

    /// The saved token expires now.
    pub(crate) fn expire(&self) {
        let mut saved = self.saved_tokens();
        saved["expires"] = json!("2026-01-01T00:00:00Z");
        std::fs::write(self.token_file(), saved.to_string()).unwrap();
    }

    /// The saved token is due for a refresh, but still valid.
    pub(crate) fn expires_soon(&self) {
        let mut saved = self.saved_tokens();
        #[expect(clippy::disallowed_methods, reason = "commctl compares it with the real time")]
        let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(25);
        saved["expires"] = json!(expires.to_string());
        std::fs::write(self.token_file(), saved.to_string()).unwrap();
    }

    /// The requests of the token endpoint with this grant.
    pub(crate) fn grants(&self, grant: &str) -> usize {
        self.set(|state| {
            state
                .forms
                .iter()
                .filter(|form| form.get("grant_type").is_some_and(|found| found == grant))
                .count()
        })
    }
}

impl State {
    fn token(&mut self, issuer: &str, form: &HashMap<String, String>) -> ResponseTemplate {
        self.forms.push(form.clone());
        if !self.next.is_empty() {
            return self.next.remove(0);
        }
        assert_eq!(
            (form["client_id"].as_str(), form["resource"].as_str()),
            ("commctl", "urn:fleet")
        );
        let mut nonce = None;
        match form["grant_type"].as_str() {
            "authorization_code" => {
                let request = self.codes.remove(&form["code"]);
                let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"]));
                let Some((expected, of_request)) =
                    request.filter(|(expected, _)| *expected == challenge)
                else {
                    return refusal("invalid_grant", "unknown code");
                };
                assert_eq!(expected, challenge);
                nonce = of_request;
            }
            "refresh_token" if self.refresh.as_ref() != Some(&form["refresh_token"]) => {
                return refusal("invalid_grant", "unknown refresh token");
            }
            _ => {}
        }
        self.issued += 1;
        let number = self.issued;
        let claims = json!({"iss": issuer, "aud": "commctl", "exp": 4_000_000_000_u64, "nonce": nonce, "n": number});
        let claims = URL_SAFE_NO_PAD.encode(merged(claims, &self.claims).to_string());
        let (access, id) = (format!("{CANARY}-access-{number}"), format!("{CANARY}.{claims}.id"));
        let refresh = format!("{CANARY}-refresh-{number}");
        let tokens = json!({"token_type": "Bearer", "access_token": access, "expires_in": self.lifetime,
                            "refresh_token": refresh, "id_token": id});
        let tokens = merged(tokens, &self.tokens);
        self.accepted = tokens["access_token"].as_str().map(str::to_owned);
        self.refresh = tokens["refresh_token"].as_str().map(str::to_owned);
        ResponseTemplate::new(200).set_body_json(tokens)
    }
}

/// An error of RFC 6749.
pub(crate) fn refusal(error: &str, description: &str) -> ResponseTemplate {
    ResponseTemplate::new(400)
        .set_body_json(json!({"error": error, "error_description": description}))
}

fn merged(mut object: Value, others: &Value) -> Value {
    for (name, value) in others.as_object().into_iter().flatten() {
        object[name] = value.clone();
    }
    object
}

fn form(request: &Request) -> HashMap<String, String> {
    let query =
        Url::parse(&format!("http://h/?{}", String::from_utf8_lossy(&request.body))).unwrap();
    query.query_pairs().into_owned().collect()
}

/// A log-in that waits for a browser.
pub(crate) struct Browser {
    child: Child,
    stderr: BufReader<tokio::process::ChildStderr>,
    seen: String,
}

impl Browser {
    pub(crate) fn new(mut child: Child) -> Self {
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr, seen: String::new() }
    }

    /// The line that begins so, without blanks.
    pub(crate) async fn line(&mut self, begin: &str) -> String {
        loop {
            let mut line = String::new();
            let read = tokio::time::timeout(HANG, self.stderr.read_line(&mut line))
                .await
                .expect("commctl hangs");
            assert_ne!(read.unwrap(), 0, "no line {begin:?} in:\n{}", self.seen);
            self.seen += &line;
            if line.starts_with(begin) {
                return line.trim().to_owned();
            }
        }
    }

    /// The address to open.
    pub(crate) async fn address(&mut self) -> Url {
        self.line("  http").await.parse().unwrap()
    }

    pub(crate) async fn ends(mut self) -> Run {
        tokio::time::timeout(HANG, self.stderr.read_to_string(&mut self.seen))
            .await
            .expect("commctl hangs")
            .unwrap();
        let output = self.child.wait_with_output().await.unwrap();
        Run {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: self.seen,
        }
    }
}

/// The response to a `GET`; empty without a response.
pub(crate) async fn get(url: &Url) -> Page {
    let target = &url[url::Position::BeforePath..];
    raw(url, &format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"))
        .await
}

/// The response to these bytes.
pub(crate) async fn raw(url: &Url, request: &str) -> Page {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", url.port().unwrap())).await else {
        return String::new();
    };
    // It may be answered before it was read as a whole.
    let _sent = stream.write_all(request.as_bytes()).await;
    let mut page = Vec::new();
    let _reset = stream.read_to_end(&mut page).await;
    String::from_utf8(page).unwrap()
}
