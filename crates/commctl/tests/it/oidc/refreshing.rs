//! Tokens that expire, and logging out.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use wiremock::matchers::path;
use wiremock::{Mock, ResponseTemplate};

use crate::support::finish;
use crate::support::issuer::{CANARY, World, refusal};

async fn logged_in() -> World {
    let world = World::new().await;
    assert_eq!(world.logs_in(&[]).await.status, 0);
    world
}

#[tokio::test]
async fn a_token_that_expires_is_refreshed_and_saved() {
    let world = logged_in().await;
    world.expire();
    for _ in 0..2 {
        world.home().run(&["cluster", "list"]).await.printed("- c1\n");
    }
    assert_eq!(world.grants("refresh_token"), 1);
    let saved = world.saved_tokens();
    assert_eq!(
        (&saved["token"], &saved["refresh_token"]),
        (&json!("canary-access-2"), &json!("canary-refresh-2"))
    );
    // One that has less than 30 s left, too.
    world.set(|state| state.lifetime = 20);
    world.expire();
    for _ in 0..2 {
        world.home().run(&["cluster", "list"]).await.printed("- c1\n");
    }
    assert_eq!(world.grants("refresh_token"), 3);
    // An issuer may leave the refresh token as it is.
    let refresh = world.saved_tokens()["refresh_token"].clone();
    world.set(|state| state.tokens = json!({"refresh_token": null}));
    world.expire();
    world.home().run(&["cluster", "list"]).await.printed("- c1\n");
    assert_eq!(world.saved_tokens()["refresh_token"], refresh);
}

#[tokio::test]
async fn a_token_that_the_server_rejects_is_refreshed_once() {
    let world = logged_in().await;
    world.set(|state| state.accepted = Some("another".to_owned()));
    world.home().run(&["cluster", "list"]).await.printed("- c1\n");
    assert_eq!(world.grants("refresh_token"), 1);
    let rejected = json!({"title": "Unauthorized", "status": 401, "detail": "unknown"});
    let rejected = ResponseTemplate::new(401).set_body_json(rejected);
    Mock::given(path("/api/v0/clusters"))
        .respond_with(rejected)
        .with_priority(1)
        .mount(&world.fleet.server)
        .await;
    let run = world.home().run(&["cluster", "list"]).await;
    assert_eq!((run.status, world.grants("refresh_token")), (1, 2), "{run:?}");
    assert!(run.stderr.contains("unknown (401 Unauthorized)"), "{}", run.stderr);
    assert!(run.stderr.contains("the log-in with \"corp\" of "), "{}", run.stderr);
}

/// Every refresh token is good for once: the second one to refresh would be refused.
#[tokio::test]
async fn of_several_processes_one_refreshes() {
    let world = logged_in().await;
    world.expire();
    let run = async || finish(world.home().command(&["cluster", "list"]).spawn().unwrap()).await;
    let runs = tokio::join!(run(), run(), run(), run());
    for run in [runs.0, runs.1, runs.2, runs.3] {
        run.printed("- c1\n");
    }
    assert_eq!(world.grants("refresh_token"), 1);
}

#[tokio::test]
async fn a_refused_refresh_asks_for_another_log_in() {
    let world = logged_in().await;
    let expired =
        format!("error: the log-in at {} has expired: run `commctl login`\n", world.issuer.uri());
    let reason = "the identity provider says: session not active\\u{1b} (invalid_grant)\n";
    world.expire();
    world.set(|state| state.next = vec![refusal("invalid_grant", "session not active\u{1b}")]);
    let run = world.home().run(&["cluster", "list"]).await;
    assert_eq!((run.status, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.starts_with(&expired) && run.stderr.contains(reason), "{}", run.stderr);
    // Without a refresh token, the same.
    let mut saved = world.saved_tokens();
    saved["refresh_token"] = Value::Null;
    std::fs::write(world.token_file(), saved.to_string()).unwrap();
    let run = world.home().run(&["cluster", "list"]).await;
    assert_eq!((run.status, run.stderr.starts_with(&expired)), (1, true), "{run:?}");
    assert!(!run.stderr.contains(CANARY), "{}", run.stderr);
    assert_eq!(world.grants("refresh_token"), 1);
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_is_named() {
    let world = logged_in().await;
    world.expire();
    let mock = Mock::given(path("/.well-known/openid-configuration"));
    let mock = mock.respond_with(ResponseTemplate::new(502)).with_priority(1);
    mock.mount(&world.issuer).await;
    let run = world.home().run(&["cluster", "list"]).await;
    let message = format!(
        "error: cannot reach the identity provider {}: it answers 502 Bad Gateway\n",
        world.issuer.uri()
    );
    assert_eq!((run.status, run.stderr.starts_with(&message)), (3, true), "{run:?}");
    // A token that is still good is used.
    let mut saved = world.saved_tokens();
    saved["expires"] = json!("2999-01-01T00:00:00Z");
    std::fs::write(world.token_file(), saved.to_string()).unwrap();
    world.home().run(&["cluster", "list"]).await.printed("- c1\n");
}

#[tokio::test]
async fn logout_revokes_and_deletes_the_tokens() {
    let world = logged_in().await;
    let run = world.home().run(&["logout"]).await;
    let deleted = format!("deleted the tokens in {}\n", world.token_file().display());
    assert_eq!((run.status, run.stderr), (0, format!("revoked the log-in at corp\n{deleted}")));
    let form = world.set(|state| state.forms.pop().unwrap());
    assert_eq!(
        (form["token"].as_str(), form["client_id"].as_str()),
        ("canary-refresh-1", "commctl")
    );
    assert!(!world.token_file().exists());
    let again = world.home().run(&["logout"]).await;
    assert_eq!((again.status, again.stderr.as_str()), (0, "not logged in: nothing was deleted\n"));
    let run = world.home().run(&["cluster", "list"]).await;
    assert_eq!(run.status, 1);
    assert!(
        run.stderr.starts_with("error: you are not logged in at corp: run `commctl login`\n"),
        "{}",
        run.stderr
    );

    // What fails at the issuer does not keep the tokens here.
    for discovery in [json!({"revocation_endpoint": null}), json!({"issuer": "https://other"})] {
        let world = logged_in().await;
        let warns = discovery["issuer"].is_string();
        world.set(|state| state.discovery = discovery);
        let run = world.home().run(&["logout"]).await;
        assert_eq!(
            (run.status, run.stderr.contains("warning: the log-in at corp was not revoked")),
            (0, warns)
        );
        assert!(!world.token_file().exists() && !run.stderr.contains(CANARY), "{run:?}");
    }
}

#[tokio::test]
async fn logout_removes_a_password() {
    let world = World::new().await;
    let config =
        json!({"username": "a", "password": "canary", "endpoint": world.fleet.server.uri()});
    world.home().write(".commissaire.json", &config.to_string());
    let run = world.home().run(&["logout"]).await;
    let removed = format!("removed the password of \"a\" from {}\n", world.home().config());
    assert_eq!((run.status, run.stderr), (0, removed));
    assert_eq!(
        super::saved(world.home()),
        json!({"username": "a", "endpoint": world.fleet.server.uri()})
    );
    assert_eq!(world.home().run(&["logout"]).await.stderr, "not logged in: nothing was deleted\n");
}

/// One of each kind; the last one deletes the tokens.
const COMMANDS: [&str; 14] = [
    "cluster list",
    "cluster restart start c1",
    "container_manager list",
    "context list",
    "enroll create",
    "explain",
    "freeze status",
    "host list",
    "host ssh 10.0.0.1",
    "login --device --provider none",
    "network list",
    "operation list",
    "whoami",
    "logout",
];

/// No secret is printed by any command, and no error shows one.
#[tokio::test]
async fn tokens_are_in_no_output() {
    let world = logged_in().await;
    let whole = std::fs::read_to_string(world.token_file()).unwrap();
    for text in [&whole[..], &whole[..whole.len() / 2], r#"{"token": "canary"}"#, "canary", ""] {
        std::fs::write(world.token_file(), text).unwrap();
        for command in COMMANDS {
            let arguments: Vec<_> = command.split(' ').collect();
            for format in ["yaml", "json", "table"] {
                let run = world.home().run(&[&["--output", format], &arguments[..]].concat()).await;
                let printed = run.stdout + &run.stderr;
                assert!(!printed.contains(CANARY), "{command}: {printed}");
            }
        }
    }
}

#[tokio::test]
async fn files_that_others_can_access_are_not_used() {
    let world = logged_in().await;
    let folder = world.token_file().parent().unwrap().to_owned();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let run = world.home().run(&["cluster", "list"]).await;
    assert_eq!(run.status, 1);
    assert!(
        run.stderr.contains(&format!("run `chmod 700 {}`", folder.display())),
        "{}",
        run.stderr
    );
}

#[tokio::test]
async fn a_log_in_with_a_password_replaces_the_tokens() {
    let world = logged_in().await;
    let clusters = ResponseTemplate::new(200).set_body_json(json!([]));
    Mock::given(path("/api/v0/clusters"))
        .respond_with(clusters)
        .with_priority(1)
        .mount(&world.fleet.server)
        .await;
    let run = world.home().run_with_input(&["login", "--username", "a"], "hunter2\n").await;
    assert_eq!(run.status, 0, "{run:?}");
    let expected =
        json!({"endpoint": world.fleet.server.uri(), "username": "a", "password": "hunter2"});
    assert_eq!(super::saved(world.home()), expected);
    assert!(!world.token_file().exists());
}
