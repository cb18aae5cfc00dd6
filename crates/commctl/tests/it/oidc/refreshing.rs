//! Tokens that expire, and logging out.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use wiremock::matchers::path;
use wiremock::{Mock, ResponseTemplate};

use crate::support::issuer::{CANARY, World, refusal};
use crate::support::{HANG, finish};

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
    // A token that is due, but still valid, is used.
    world.expires_soon();
    let before = discoveries(&world).await;
    world.home().run(&["cluster", "list"]).await.printed("- c1\n");
    assert_eq!(discoveries(&world).await, before + 1);
}

/// How often the discovery document was requested.
async fn discoveries(world: &World) -> usize {
    let requests = world.issuer.received_requests().await.unwrap();
    requests.iter().filter(|request| request.url.path().starts_with("/.well-known/")).count()
}

#[tokio::test]
async fn a_valid_token_is_used_while_the_issuer_hangs() {
    let world = logged_in().await;
    let hangs = ResponseTemplate::new(200).set_delay(2 * HANG);
    let mock = Mock::given(path("/.well-known/openid-configuration"));
    mock.respond_with(hangs).with_priority(1).mount(&world.issuer).await;
    world.expires_soon();
    world.home().run(&["cluster", "list"]).await.printed("- c1\n");
}

/// Another process that holds the lock refreshes the tokens.
#[tokio::test]
async fn a_valid_token_is_used_while_another_process_has_the_lock() {
    let world = logged_in().await;
    let lock = std::fs::File::create(world.token_file().with_extension("lock")).unwrap();
    lock.lock().unwrap();
    world.expires_soon();
    world.home().run(&["cluster", "list"]).await.printed("- c1\n");
    assert_eq!(world.grants("refresh_token"), 0);
}

#[tokio::test]
async fn a_refresh_token_is_not_used_without_space_for_the_next_one() {
    let world = logged_in().await;
    world.expire();
    let limited = "trap '' XFSZ; ulimit -f 0; exec \"$@\"";
    let program = env!("CARGO_BIN_EXE_commctl");
    let mut command = tokio::process::Command::new("/bin/sh");
    command.args(["-c", limited, "sh", program, "cluster", "list"]);
    command.env_clear().env("HOME", world.home().dir.path());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let run = finish(command.spawn().unwrap()).await;
    let file = world.token_file();
    let message = format!("error: cannot write to {}", file.display());
    assert_eq!((run.status, run.stderr.starts_with(&message)), (1, true), "{run:?}");
    assert_eq!(world.grants("refresh_token"), 0);
    world.home().run(&["cluster", "list"]).await.printed("- c1\n");
}

#[tokio::test]
async fn tokens_that_cannot_be_saved_are_used_with_a_warning() {
    let world = logged_in().await;
    world.expire();
    let (file, token) = (world.token_file(), refreshed());
    let answer = move |_: &wiremock::Request| {
        // A directory cannot be replaced by a file.
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        token.clone()
    };
    Mock::given(path("/token")).respond_with(answer).with_priority(1).mount(&world.issuer).await;
    world.set(|state| state.accepted = Some("canary-next".to_owned()));
    let run = world.home().run(&["cluster", "list"]).await;
    run.printed("- c1\n");
    let warning = "warning: the new tokens were not saved: cannot write to ";
    assert!(run.stderr.starts_with(warning), "{}", run.stderr);
    let lost = "the log-in is lost after this command; run `commctl login`\n";
    assert!(run.stderr.ends_with(lost) && !run.stderr.contains(CANARY), "{}", run.stderr);
}

/// The response to the exchange of a refresh token.
fn refreshed() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"token_type": "Bearer",
        "access_token": "canary-next", "refresh_token": "canary-next-refresh", "expires_in": 3600}))
}

/// The exchange is under way when the timeout or Ctrl-C ends the command.
#[tokio::test]
async fn an_exchange_is_saved_after_the_end_of_the_waiting() {
    for interrupts in [false, true] {
        let world = logged_in().await;
        let fleet = &world.fleet;
        let record = json!({"name": "c1", "status": "in_process", "started_at": "2026-11-26T05:00:00.000000"});
        fleet.answers("PUT", "cluster/c1/restart", 201, record).await;
        let rejected = json!({"title": "Unauthorized", "status": 401, "detail": "unknown"});
        fleet.answers("GET", "cluster/c1/restart", 401, rejected).await;
        let delay = std::time::Duration::from_secs(4);
        world.set(|state| state.next = vec![refreshed().set_delay(delay)]);
        let timeout = if interrupts { "60" } else { "2" };
        let command = ["cluster", "restart", "start", "--wait", "--timeout", timeout, "c1"];
        let child = world.home().command(&command).spawn().unwrap();
        if interrupts {
            let begun = tokio::time::Instant::now();
            while world.grants("refresh_token") == 0 {
                assert!(begun.elapsed() < HANG, "the refresh does not begin");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            let pid = child.id().unwrap().to_string();
            let kill = std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap();
            assert!(kill.success());
        }
        let run = finish(child).await;
        assert_eq!(run.status, if interrupts { 130 } else { 1 }, "{run:?}");
        assert_eq!(world.grants("refresh_token"), 1);
        let saved = world.saved_tokens();
        assert_eq!(saved["refresh_token"], "canary-next-refresh", "{run:?}");
    }
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
        run.stderr.starts_with(&format!(
            "error: you are not logged in at corp on {}: run `commctl login`\n",
            world.fleet.server.uri()
        )),
        "{}",
        run.stderr
    );

    // What fails at the issuer does not keep the tokens here.
    for discovery in [json!({"revocation_endpoint": null}), json!({"issuer": "https://other"})] {
        let world = logged_in().await;
        let warns = discovery["issuer"].is_string();
        let expires = world.saved_tokens()["expires"].as_str().unwrap().to_owned();
        world.set(|state| state.discovery = discovery);
        let run = world.home().run(&["logout"]).await;
        assert_eq!(
            (run.status, run.stderr.contains("warning: the log-in at corp was not revoked")),
            (0, warns)
        );
        assert!(!world.token_file().exists() && !run.stderr.contains(CANARY), "{run:?}");
        let unsupported = format!(
            "the log-in at corp was not revoked: the provider has no endpoint for that; \
             its token is valid until {expires}\n"
        );
        assert_eq!(run.stderr.starts_with(&unsupported), !warns, "{run:?}");
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

#[tokio::test]
async fn tokens_of_a_new_log_in_are_not_sent_to_the_server_of_a_running_command() {
    let (a, b) = (logged_in().await, World::new().await);
    let (home, url) = (a.home().dir.path().to_owned(), b.fleet.server.uri());
    let answer = move |_: &wiremock::Request| {
        let login = std::process::Command::new(env!("CARGO_BIN_EXE_commctl"))
            .args(["login", &url, "--device"])
            .env_clear()
            .env("HOME", &home)
            .output()
            .unwrap();
        assert!(login.status.success(), "{login:?}");
        ResponseTemplate::new(401).set_body_json(json!({"title": "Unauthorized", "status": 401}))
    };
    b.set(|state| state.tokens = json!({"access_token": "canary-of-b"}));
    Mock::given(path("/api/v0/clusters"))
        .respond_with(answer)
        .up_to_n_times(1)
        .with_priority(1)
        .mount(&a.fleet.server)
        .await;
    let run = a.home().run(&["cluster", "list"]).await;
    for request in a.fleet.server.received_requests().await.unwrap() {
        let shown = request.headers.get("authorization").map(|v| v.to_str().unwrap().to_owned());
        assert_ne!(shown.as_deref(), Some("Bearer canary-of-b"), "{run:?}");
    }
    assert_eq!(a.grants("refresh_token") + b.grants("refresh_token"), 0);
    assert!(run.status == 1 && run.stderr.contains("not logged in at corp on"), "{run:?}");
}

#[tokio::test]
async fn tokens_are_only_for_the_endpoint_and_the_provider_of_their_log_in() {
    let (world, other) = (logged_in().await, World::new().await);
    let endpoint = world.fleet.server.uri();
    for (endpoint, provider) in [(other.fleet.server.uri(), "corp"), (endpoint.clone(), "other")] {
        let config = json!({"endpoint": endpoint, "identity_provider": provider});
        world.home().write(".commissaire.json", &config.to_string());
        let run = world.home().run(&["cluster", "list"]).await;
        run.failed(
            1,
            &format!(
                "error: you are not logged in at {provider} on {endpoint}: run `commctl login`\n"
            ),
        );
    }
    assert_eq!(other.fleet.requests().await, [""; 0]);
    let config = json!({"endpoint": endpoint, "identity_provider": "corp"});
    world.home().write(".commissaire.json", &config.to_string());
    world.home().run(&["cluster", "list"]).await.printed("- c1\n");
    // A file that does not name its endpoint.
    let mut saved = world.saved_tokens();
    saved.as_object_mut().unwrap().remove("endpoint").unwrap();
    std::fs::write(world.token_file(), saved.to_string()).unwrap();
    let run = world.home().run(&["cluster", "list"]).await;
    assert!(run.status == 1 && run.stderr.contains("you are not logged in"), "{run:?}");
}

#[tokio::test]
async fn each_configuration_has_its_own_token_file_and_command() {
    let world = World::new().await;
    for file in ["prod", "prod.json"] {
        assert_eq!(world.logs_in(&["--config", file]).await.status, 0);
    }
    let folder = world.home().dir.path().join(".commissaire-tokens");
    let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let count = names.filter(|path| path.extension().is_some_and(|end| end == "json")).count();
    assert_eq!(count, 2);
    std::fs::remove_file(folder.join("prod.json")).unwrap();
    let run = world.home().run(&["--config", "prod", "cluster", "list"]).await;
    assert!(run.stderr.contains("run `commctl --config prod login`\n"), "{run:?}");
    world.home().run(&["--config", "prod.json", "cluster", "list"]).await.printed("- c1\n");
}

#[tokio::test]
async fn the_log_in_command_names_the_context() {
    let world = World::new().await;
    assert_eq!(world.logs_in(&["--context", "prod"]).await.status, 0);
    world.home().run(&["--context", "prod", "logout"]).await.printed("");
    let run = world.home().run(&["--context", "prod", "cluster", "list"]).await;
    assert!(run.stderr.contains(": run `commctl --context prod login`\n"), "{run:?}");
}
