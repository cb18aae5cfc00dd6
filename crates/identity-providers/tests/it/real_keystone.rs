//! A real Keystone; without one the tests are skipped.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use identity_providers::keystone::{KeystonePassword, KeystoneToken};
use identity_providers::{Identity, ProviderError, Result};
use runtime::{Clock, Files};
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use testbed::keystone::{Keystone, password};
use testbed::proxy::Proxy;
use tokio::time::Instant;

async fn passwords(url: &str, options: Value) -> KeystonePassword {
    let options = serde_json::from_value(with_url(url, options)).unwrap();
    KeystonePassword::new(options, &Files::System, Clock::System).await.unwrap()
}

async fn tokens(url: &str, options: Value) -> KeystoneToken {
    let options = serde_json::from_value(with_url(url, options)).unwrap();
    KeystoneToken::new(options, &Files::System, Clock::System).await.unwrap()
}

fn with_url(url: &str, mut options: Value) -> Value {
    options["url"] = json!(url);
    options
}

/// Options with the domain, the project and a service user.
fn with_service(user: &str, password_file: &Path) -> Value {
    json!({"domain": "Default", "project": "fleet", "service-user": user,
        "service-password-file": password_file})
}

fn file(content: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    writeln!(file, "{content}").unwrap();
    file
}

fn service_file() -> NamedTempFile {
    file(&password("commissaire"))
}

async fn logs_in(plugin: &KeystonePassword, user: &str) -> Result<Identity> {
    plugin.identify(user, &password(user).into()).await
}

async fn shows(plugin: &KeystoneToken, token: &str) -> Result<Identity> {
    plugin.identify(&SecretString::from(token)).await
}

/// The name and the groups.
#[track_caller]
fn parts(result: Result<Identity>) -> (String, Vec<String>) {
    let Identity { name, mut groups, expires } = result.unwrap();
    assert!(expires.is_some_and(|expires| expires > Clock::System.wall()), "{expires:?}");
    groups.sort();
    (name, groups)
}

fn named(name: &str, groups: &[&str]) -> (String, Vec<String>) {
    (name.to_owned(), groups.iter().map(|&group| group.to_owned()).collect())
}

#[track_caller]
fn assert_rejected(result: &Result<Identity>) {
    assert!(matches!(result, Err(ProviderError::Rejected(_))), "{result:?}");
}

#[track_caller]
fn assert_unavailable(result: &Result<Identity>, why: &str) {
    let Err(ProviderError::Unavailable(message)) = result else { panic!("{result:?}") };
    assert!(message.contains(why), "{message}");
}

/// Has the plugins forget what they remember.
async fn forget() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_mins(5)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn passwords_are_right_wrong_or_of_another_domain() {
    let Some(keystone) = Keystone::shared("passwords_are_right_wrong_or_of_another_domain") else {
        return;
    };
    let url = format!("{}/v3/auth/tokens", keystone.url());
    let plugin = passwords(&url, json!({"project": "fleet"})).await;
    assert_eq!(parts(logs_in(&plugin, "ann").await), named("ann", &["operator"]));
    let wrong = plugin.identify("ann", &"wrong".into()).await;
    assert_rejected(&wrong);
    assert_rejected(&logs_in(&plugin, "unknown").await);
    // A user without a role on the project.
    assert_rejected(&logs_in(&plugin, "powerless").await);

    let corp = passwords(keystone.url(), json!({"project": "fleet", "domain": "corp"})).await;
    assert_eq!(parts(logs_in(&corp, "ann").await), named("ann", &["operator"]));
    assert_rejected(&logs_in(&corp, "commissaire").await);
    let no_such_domain = passwords(keystone.url(), json!({"domain": "none"})).await;
    assert_rejected(&logs_in(&no_such_domain, "ann").await);
    // As the original logs in.
    let without_scope = passwords(&url, json!({})).await;
    assert_eq!(parts(logs_in(&without_scope, "ann").await), named("ann", &[]));
}

#[tokio::test]
async fn tokens_are_valid_invalid_or_of_another_domain_or_project() {
    let test = "tokens_are_valid_invalid_or_of_another_domain_or_project";
    let Some(keystone) = Keystone::shared(test) else { return };
    let file = service_file();
    let ann = keystone.token("ann", "Default", "fleet");
    let without_project = keystone.token("ann", "Default", "-");
    let elsewhere = keystone.token("ann", "Default", "sandbox");
    let other_ann = keystone.token("ann", "corp", "fleet");
    let mut changed = ann.clone();
    let last = changed.pop().unwrap();
    changed.push(if last == 'A' { 'Q' } else { 'A' });

    let service = with_service("commissaire", file.path());
    for options in [service.clone(), json!({"domain": "Default", "project": "fleet"})] {
        let plugin = tokens(keystone.url(), options).await;
        assert_eq!(parts(shows(&plugin, &ann).await), named("ann", &["operator"]));
        for invalid in [&without_project, &elsewhere, &other_ann, &changed, "gAAAAAinvalid"] {
            assert_rejected(&shows(&plugin, invalid).await);
        }
    }
    let mut any = service;
    any.as_object_mut().unwrap().retain(|name, _| name.starts_with("service"));
    for options in [any, json!({})] {
        let plugin = tokens(keystone.url(), options).await;
        let operator = named("ann@Default", &["operator@fleet@Default"]);
        assert_eq!(parts(shows(&plugin, &ann).await), operator);
        assert_eq!(parts(shows(&plugin, &without_project).await), named("ann@Default", &[]));
        let (name, groups) = parts(shows(&plugin, &elsewhere).await);
        assert_eq!(name, "ann@Default");
        assert!(groups.contains(&"admin@sandbox@Default".to_owned()), "{groups:?}");
        assert!(groups.iter().all(|group| group.ends_with("@sandbox@Default")), "{groups:?}");
        let other = named("ann@corp", &["operator@fleet@corp"]);
        assert_eq!(parts(shows(&plugin, &other_ann).await), other);
        assert_rejected(&shows(&plugin, &changed).await);
    }
}

#[tokio::test]
async fn revoked_token_is_rejected_once_it_is_forgotten() {
    let Some(keystone) = Keystone::shared("revoked_token_is_rejected_once_it_is_forgotten") else {
        return;
    };
    let file = service_file();
    for options in [with_service("commissaire", file.path()), json!({})] {
        let plugin = tokens(keystone.url(), options.clone()).await;
        let token = keystone.token("ann", "Default", "fleet");
        let valid = shows(&plugin, &token).await;
        assert!(valid.is_ok(), "{valid:?}");
        keystone.revoke(&token);
        assert_rejected(&shows(&tokens(keystone.url(), options).await, &token).await);
        assert_eq!(shows(&plugin, &token).await, valid);
        forget().await;
        assert_rejected(&shows(&plugin, &token).await);
    }
}

#[tokio::test]
async fn disabled_user_is_rejected_once_forgotten() {
    let Some(keystone) = Keystone::shared("disabled_user_is_rejected_once_forgotten") else {
        return;
    };
    let user = format!("user-{}", std::process::id());
    keystone.user("add", &user);
    let file = service_file();
    let by_password = passwords(keystone.url(), json!({"project": "fleet"})).await;
    let by_token = tokens(keystone.url(), with_service("commissaire", file.path())).await;
    let by_itself = tokens(keystone.url(), json!({})).await;
    let token = keystone.token(&user, "Default", "fleet");
    let identity = named(&user, &["operator"]);
    assert_eq!(parts(logs_in(&by_password, &user).await), identity);
    assert_eq!(parts(shows(&by_token, &token).await), identity);
    assert!(shows(&by_itself, &token).await.is_ok());
    keystone.user("disable", &user);
    forget().await;
    assert_rejected(&logs_in(&by_password, &user).await);
    assert_rejected(&shows(&by_token, &token).await);
    assert_rejected(&shows(&by_itself, &token).await);
    keystone.user("enable", &user);
    assert_eq!(parts(logs_in(&by_password, &user).await), identity);
    keystone.user("delete", &user);
    forget().await;
    assert_rejected(&logs_in(&by_password, &user).await);
}

#[tokio::test]
async fn wrong_service_credentials_make_keystone_unavailable() {
    let test = "wrong_service_credentials_make_keystone_unavailable";
    let Some(keystone) = Keystone::shared(test) else { return };
    let token = keystone.token("ann", "Default", "fleet");
    let (right, wrong) = (service_file(), file("wrong"));
    let result = async |options| shows(&tokens(keystone.url(), options).await, &token).await;
    assert!(result(with_service("commissaire", right.path())).await.is_ok());
    let rejects = "Keystone rejects the user name or the password, or the user has no role on";
    assert_unavailable(&result(with_service("commissaire", wrong.path())).await, rejects);
    assert_unavailable(&result(with_service("unknown", right.path())).await, rejects);
    let mut no_role = with_service("commissaire", right.path());
    no_role["service-project"] = json!("fleet");
    assert_unavailable(&result(no_role).await, rejects);
    let powerless = file(&password("powerless"));
    let powerless = with_service("powerless", powerless.path());
    assert_unavailable(&result(powerless).await, "it needs the role `service`");
}

#[tokio::test]
async fn keystone_that_is_down_or_slow_is_unavailable_and_used_again_afterwards() {
    let test = "keystone_that_is_down_or_slow_is_unavailable_and_used_again_afterwards";
    let Some(keystone) = Keystone::shared(test) else { return };
    let file = service_file();
    let token = keystone.token("ann", "Default", "fleet");
    let proxy = Proxy::start(keystone.address());
    proxy.cut();
    let url = format!("http://{}/v3", proxy.address());
    let by_password = passwords(&url, json!({"project": "fleet"})).await;
    let by_token = tokens(&url, with_service("commissaire", file.path())).await;
    let assert_down = async |why: &str| {
        assert_unavailable(&logs_in(&by_password, "ann").await, why);
        assert_unavailable(&shows(&by_token, &token).await, why);
    };
    let assert_up = async || {
        assert_eq!(parts(logs_in(&by_password, "ann").await), named("ann", &["operator"]));
        assert_eq!(parts(shows(&by_token, &token).await), named("ann", &["operator"]));
    };
    assert_down("error sending request").await;
    proxy.restore();
    assert_up().await;
    proxy.cut();
    // Remembered, and then not.
    assert_up().await;
    forget().await;
    assert_down("error sending request").await;
    proxy.restore();
    proxy.hang();
    // In paused time, timeouts need no waiting.
    tokio::time::pause();
    let begun = Instant::now();
    assert_down("does not answer").await;
    assert_eq!(begun.elapsed().as_secs(), 20, "10 s for each of the two plugins");
    tokio::time::resume();
    proxy.restore();
    assert_up().await;
}

#[tokio::test]
async fn expired_tokens_are_rejected_and_our_own_is_renewed_also_after_a_restart() {
    let test = "expired_tokens_are_rejected_and_our_own_is_renewed_also_after_a_restart";
    let Some(keystone) = Keystone::up(test, &["--expiration", "15"]) else { return };
    let file = service_file();
    let by_service = tokens(keystone.url(), with_service("commissaire", file.path())).await;
    let by_itself = tokens(keystone.url(), json!({"domain": "Default", "project": "fleet"})).await;
    let token = keystone.token("ann", "Default", "fleet");
    let mut expires = None;
    for plugin in [&by_service, &by_itself] {
        let identity = shows(plugin, &token).await.unwrap();
        expires = identity.expires;
    }
    let left = expires.unwrap().duration_since(Clock::System.wall());
    tokio::time::sleep(Duration::try_from(left).unwrap_or_default() + Duration::from_secs(1)).await;
    for plugin in [&by_service, &by_itself] {
        assert_eq!(plugin.remembered(&token.clone().into()), None);
        assert_rejected(&shows(plugin, &token).await);
    }
    let token = keystone.token("ann", "Default", "fleet");
    assert_eq!(parts(shows(&by_service, &token).await), named("ann", &["operator"]));

    keystone.stop();
    forget().await;
    assert_unavailable(&shows(&by_service, &token).await, "does not answer");
    keystone.start();
    let token = keystone.token("ann", "Default", "fleet");
    assert_eq!(parts(shows(&by_service, &token).await), named("ann", &["operator"]));
}

#[tokio::test]
async fn certificate_is_verified_and_a_revoked_token_of_ours_is_renewed() {
    let test = "certificate_is_verified_and_a_revoked_token_of_ours_is_renewed";
    let Some(keystone) = Keystone::up(test, &["--tls"]) else { return };
    let service = service_file();
    let token = keystone.token("ann", "Default", "fleet");
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let other = file(&other.cert.pem());
    let with_authority = |authority: Option<&Path>| {
        let mut options = with_service("commissaire", service.path());
        if let Some(authority) = authority {
            options["certificate-authority-path"] = json!(authority);
        }
        options
    };
    let right = with_authority(Some(&keystone.authority()));
    let another_name = keystone.url().replace("127.0.0.1", "localhost");
    for (url, options) in [
        (keystone.url(), with_authority(None)),
        (keystone.url(), with_authority(Some(other.path()))),
        (another_name.as_str(), right.clone()),
    ] {
        let result = shows(&tokens(url, options).await, &token).await;
        assert_unavailable(&result, "certificate");
    }
    let plugin = tokens(keystone.url(), right).await;
    assert_eq!(parts(shows(&plugin, &token).await), named("ann", &["operator"]));

    // A user that is disabled loses all tokens.
    keystone.user("disable", "commissaire");
    keystone.user("enable", "commissaire");
    forget().await;
    assert_eq!(parts(shows(&plugin, &token).await), named("ann", &["operator"]));
}
