//! HTTP Basic against hashes of passwords, from `users.json` or the configuration itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bus::error::chain;
use identity_providers::remembered::ByCredentials;
use runtime::Files;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::check_queue::{CheckQueue, Overloaded};
use super::passwords::{LENGTH_MAX, Passwords};
use super::plugins::{HTTP_BASIC, SetupError, read_options};
use crate::access::Rights;
use crate::principal::{Principal, Role};

/// How long a verified credential is remembered: its requests neither pay for bcrypt nor wait behind guesses.
const REMEMBERED_FOR: Duration = Duration::from_hours(1);

/// Credentials remembered at a time.
const REMEMBERED: usize = 10_000;

/// The options of the plugin: one of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    filepath: Option<PathBuf>,
    users: Option<HashMap<String, User>>,
}

/// A user, as `users.json` has it.
#[derive(Debug, Clone, Deserialize)]
struct User {
    hash: String,
    #[serde(default)]
    role: Role,
}

/// See the module.
pub(super) struct HttpBasic {
    users: HashMap<String, User>,
    passwords: Passwords,
    /// The hash that the password of an unknown user is checked against, so that it takes as long.
    unmatchable: String,
    /// By the credentials that were verified within the last hour.
    verified: ByCredentials<Principal>,
}

impl std::fmt::Debug for HttpBasic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpBasic").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

impl HttpBasic {
    /// `filepath` names a users file, or `users` holds the same inline.
    pub(super) async fn new(
        options: &Map<String, Value>,
        passwords: Passwords,
        files: &Files,
    ) -> Result<Self, SetupError> {
        let wrong = |message: String| SetupError::Option { plugin: HTTP_BASIC, message };
        let users = match read_options(HTTP_BASIC, options)? {
            Options { filepath: Some(path), users: None } => {
                let text = files
                    .read_to_string(&path)
                    .await
                    .map_err(|source| SetupError::File { path: path.clone(), source })?;
                let users = &mut serde_json::Deserializer::from_str(&text);
                serde_path_to_error::deserialize(users)
                    .map_err(|e| wrong(format!("{}: {e}", path.display())))?
            }
            Options { filepath: None, users: Some(users) } => users,
            _ => return Err(wrong("it needs either `filepath` or `users`".to_owned())),
        };
        Self::of(users, passwords).map_err(wrong)
    }

    /// Whether there is a user.
    pub(super) fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// A user, whose password was checked before.
    pub(super) fn user(&self, name: &str) -> Option<Principal> {
        let user = self.users.get(name)?;
        Some(Principal::user(name, Rights::everywhere(user.role)))
    }

    fn of(users: HashMap<String, User>, passwords: Passwords) -> Result<Self, String> {
        let hashes = users.iter().map(|(name, user)| (name.as_str(), user.hash.as_str()));
        let unmatchable = passwords.unmatchable(hashes).map_err(|name| {
            format!("the hash of {name:?} is no bcrypt hash: make one with `commctl passhash`")
        })?;
        Ok(Self {
            users,
            passwords,
            unmatchable,
            verified: ByCredentials::new(REMEMBERED, REMEMBERED_FOR),
        })
    }

    /// The user that was accepted within the last hour with the same credentials.
    pub(super) fn remembered(&self, headers: &HeaderMap) -> Option<Principal> {
        let (user, password) = hashable(headers)?;
        self.verified.get(&[&user, password.expose_secret()])
    }

    /// The user with these credentials, if there is one. The check may have to wait for others.
    pub(super) async fn authenticate(
        &self,
        headers: &HeaderMap,
        source: IpAddr,
        checks: &CheckQueue,
    ) -> Result<Option<Principal>, Overloaded> {
        let Some((user, password)) = hashable(headers) else { return Ok(None) };
        let known = self.users.get(&user);
        let hash = known.map_or(&self.unmatchable, |user| &user.hash).clone();
        let permit = checks.acquire(source).await?;
        // Somebody else with the same credentials may have been faster: then it is not paid twice.
        if let Some(principal) = self.verified.get(&[&user, password.expose_secret()]) {
            return Ok(Some(principal));
        }
        let matches =
            self.passwords.matches(password.clone(), hash, permit).await.map_err(|error| {
                tracing::error!(
                    error = chain(&error),
                    "cannot start a thread for a password check"
                );
                Overloaded
            })?;
        let Some(principal) = self.user(&user).filter(|_| matches) else { return Ok(None) };
        self.verified.insert(&[&user, password.expose_secret()], principal.clone());
        Ok(Some(principal))
    }
}

/// User and password of the `Authorization` header; `None` for whatever is malformed. A password may
/// contain colons.
pub(super) fn credentials(headers: &HeaderMap) -> Option<(String, SecretString)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), SecretString::from(password)))
}

/// Whether a request has credentials that begin like this in base 64.
pub(super) fn begins_with(headers: &HeaderMap, beginning: &str) -> bool {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let encoded = value.and_then(|value| value.split_once(' ')).map(|(_, encoded)| encoded.trim());
    encoded.is_some_and(|encoded| encoded.starts_with(beginning))
}

/// The same with a password that bcrypt can tell from all others.
fn hashable(headers: &HeaderMap) -> Option<(String, SecretString)> {
    credentials(headers).filter(|(_, password)| {
        let password = password.expose_secret();
        password.len() <= LENGTH_MAX && !password.contains('\0')
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::http::HeaderValue;
    use proptest::prelude::*;
    use runtime::Lifecycle;
    use serde_json::json;

    use super::super::passwords::RANDOM_HASH;
    use super::*;

    fn header_of(value: &[u8]) -> HeaderMap {
        HeaderValue::from_bytes(value)
            .map(|value| HeaderMap::from_iter([(header::AUTHORIZATION, value)]))
            .unwrap_or_default()
    }

    fn basic(user_and_password: &str) -> HeaderMap {
        header_of(format!("Basic {}", BASE64.encode(user_and_password)).as_bytes())
    }

    async fn with(options: Value, passwords: Passwords) -> Result<HttpBasic, SetupError> {
        HttpBasic::new(options.as_object().unwrap(), passwords, &Files::System).await
    }

    async fn of(options: Value) -> Result<HttpBasic, SetupError> {
        with(options, Passwords::Bcrypt).await
    }

    async fn accepted(plugin: &HttpBasic, headers: &HeaderMap) -> Option<Principal> {
        let checks = CheckQueue::new(1, Lifecycle::new());
        plugin.authenticate(headers, Ipv4Addr::LOCALHOST.into(), &checks).await.unwrap()
    }

    async fn plugin() -> HttpBasic {
        let hash = bcrypt::hash("se:cret", 4).unwrap();
        of(json!({"users": {"admin": {"hash": hash}}})).await.unwrap()
    }

    #[tokio::test]
    async fn the_right_password_is_accepted_and_remembered() {
        let in_memory = json!({"users": {"admin": {"hash": "se:cret"}}});
        let in_memory = with(in_memory, Passwords::Plain).await.unwrap();
        for plugin in [plugin().await, in_memory] {
            let headers = basic("admin:se:cret");
            assert_eq!(plugin.remembered(&headers), None);
            let admin = Some(Principal::user("admin", Rights::everywhere(Role::Admin)));
            assert_eq!(accepted(&plugin, &headers).await, admin);
            assert_eq!(plugin.remembered(&headers), admin);
            assert_eq!(plugin.remembered(&basic("admin:other")), None);
            assert_eq!(accepted(&plugin, &basic("admin:other")).await, None);
            assert_eq!(accepted(&plugin, &basic("nobody:")).await, None);
        }
    }

    #[tokio::test]
    async fn anything_else_is_not() {
        let plugin = plugin().await;
        for wrong in ["admin:x", "admin:", "nobody:se:cret", "admin", "", ":"] {
            assert_eq!(accepted(&plugin, &basic(wrong)).await, None, "{wrong}");
        }
        let long = format!("admin:{}", "x".repeat(73));
        assert_eq!(accepted(&plugin, &basic(&long)).await, None);
        for malformed in [&b"Basic"[..], b"Basic !!", b"Bearer x", b"Basic /////w==", b"\xff"] {
            assert_eq!(accepted(&plugin, &header_of(malformed)).await, None);
        }
        assert_eq!(accepted(&plugin, &HeaderMap::new()).await, None);
    }

    #[tokio::test]
    async fn hashes_of_the_original_are_understood_and_others_refused() {
        let of = async |hash: &str| of(json!({"users": {"a": {"hash": hash}}})).await;
        for prefix in ["2a", "2b", "2y"] {
            assert!(of(&format!("${prefix}$04${RANDOM_HASH}")).await.is_ok());
        }
        for wrong in ["", "plain", "$1$x$y"] {
            let error = of(wrong).await.unwrap_err().to_string();
            assert!(error.contains("commctl passhash"), "{error}");
        }
        assert!(with(json!({}), Passwords::Bcrypt).await.is_err());
    }

    #[tokio::test]
    async fn a_role_that_nobody_knows_is_refused_and_named() {
        let hash = format!("$2b$04${RANDOM_HASH}");
        let of = async |role| of(json!({"users": {"ann": {"hash": hash, "role": role}}})).await;
        for role in ["admin", "operator", "reader", "enroll"] {
            assert_eq!(of(role).await.unwrap().users["ann"].role.to_string(), role);
        }
        let error = of("root").await.unwrap_err().to_string();
        assert!(error.contains("ann.role: unknown variant `root`, expected one of"), "{error}");
    }

    /// On the one thread of this test nothing else would move while bcrypt is at work.
    #[tokio::test]
    async fn others_go_on_while_a_password_is_checked() {
        let hash = bcrypt::hash("right", 10).unwrap();
        let plugin = of(json!({"users": {"ann": {"hash": hash}}})).await.unwrap();
        let headers = basic("ann:right");
        let mut check = std::pin::pin!(accepted(&plugin, &headers));
        let mut turns = 0;
        loop {
            tokio::select! {
                biased;
                accepted = &mut check => break assert!(accepted.is_some()),
                () = tokio::task::yield_now() => turns += 1,
            }
        }
        assert!(turns > 10, "{turns}");
    }

    #[tokio::test]
    async fn the_sample_is_understood() {
        let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conf/users.json");
        of(json!({"filepath": sample})).await.unwrap();
    }

    proptest! {
        /// Any bytes as what is encoded: with a colon, without, no UTF-8, too long.
        #[test]
        fn no_header_makes_it_panic(
            scheme in "(Basic|basic|BASIC|Bearer)",
            parts in prop::collection::vec(
                prop_oneof![
                    Just(b":".to_vec()), "\\PC{0,40}".prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..8),
                ],
                0..4,
            ),
        ) {
            let decoded = parts.concat();
            let found = hashable(&header_of(format!("{scheme} {}", BASE64.encode(&decoded)).as_bytes()));
            let text = std::str::from_utf8(&decoded).ok().filter(|_| scheme != "Bearer");
            let expected = text.and_then(|text| text.split_once(':'));
            let fits = |(_, password): &(&str, &str)| password.len() <= 72 && !password.contains('\0');
            let expected = expected.filter(fits);
            let shown = found.as_ref().map(|(user, password)| (user.as_str(), password.expose_secret()));
            prop_assert_eq!(shown, expected);
        }

        #[test]
        fn no_bytes_in_a_header_make_it_panic(value in "[!-~]{0,100}") {
            hashable(&header_of(format!("Basic {value}").as_bytes()));
        }
    }
}
