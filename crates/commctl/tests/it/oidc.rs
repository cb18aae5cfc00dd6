//! Log-ins at identity providers: with a browser, with a device, refreshing, logging out.

mod faults;
mod real;
mod refreshing;
mod terminal;

use std::os::unix::fs::PermissionsExt as _;

use oauth2::url::Url;
use serde_json::{Value, json};

use crate::support::issuer::{Browser, CANARY, World, get, raw, refusal};
use crate::support::{Home, Run};

fn saved(home: &Home) -> Value {
    serde_json::from_slice(&std::fs::read(home.config()).unwrap()).unwrap()
}

/// It failed with this status, and said all of this and no secret; nothing was saved.
#[track_caller]
fn failed(run: &Run, world: &World, status: i32, says: &[&str]) {
    assert_eq!((run.status, run.stdout.as_str()), (status, ""), "{run:?}");
    for text in says {
        assert!(run.stderr.contains(text), "{text:?} is not in {}", run.stderr);
    }
    assert!(!run.stderr.contains(CANARY) && !run.stderr.contains('\u{1b}'), "{}", run.stderr);
    assert!(!std::path::Path::new(&world.home().config()).exists(), "{run:?}");
    assert!(!world.token_file().exists(), "{run:?}");
}

#[tokio::test]
async fn tokens_are_saved_apart_from_the_configuration() {
    let world = World::new().await;
    world.home().write(".commissaire.json", r#"{"username": "a", "password": "old"}"#);
    let run = world.logs_in(&[]).await;
    let url = world.fleet.server.uri();
    let (config, tokens) = (world.home().config(), world.token_file());
    assert_eq!((run.status, run.stdout.as_str()), (0, ""), "{run:?}");
    let done =
        format!("logged in to {url} as \"corp:ann\"; written: {config}, {}\n", tokens.display());
    assert!(run.stderr.ends_with(&done), "{}", run.stderr);
    assert!(!run.stderr.contains(CANARY), "{}", run.stderr);
    assert_eq!(saved(world.home()), json!({"endpoint": url, "identity_provider": "corp"}));
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(&tokens), mode(tokens.parent().unwrap())], [0o600, 0o700]);
    let form = world.set(|state| state.forms[0].clone());
    assert!(!form.contains_key("client_secret"), "{form:?}");
    world.home().run(&["cluster", "list"]).await.printed("- c1\n");
    assert_eq!(world.grants("refresh_token"), 0);
}

#[tokio::test]
async fn id_tokens_have_the_nonce_of_their_log_in() {
    let world = World::new().await;
    let mut provider = world.provider();
    provider["token"] = json!("id");
    world.offers(json!({"password": false, "providers": [provider]}));
    // Both are accepted by turns: the server is shown the ID token.
    let mut browser = world.login(&[]);
    let address = browser.address().await;
    let nonce = address.query_pairs().find(|(name, _)| name == "nonce").unwrap().1.into_owned();
    assert!(nonce.len() >= 16, "{address}");
    let callback = world.agrees(&address);
    get(&callback).await;
    let run = browser.ends().await;
    // The server of the test knows the access token.
    failed(&run, &world, 1, &["give a token that this server knows", "nothing was saved"]);
    let requests = world.fleet.server.received_requests().await.unwrap();
    let shown = requests.last().unwrap().headers["authorization"].to_str().unwrap().to_owned();
    assert!(shown.starts_with("Bearer canary."), "{shown}");

    world.set(|state| state.claims = json!({"nonce": "another"}));
    let run = world.logs_in(&[]).await;
    failed(&run, &world, 1, &["its ID token belongs to another log-in"]);
    world.set(|state| state.claims = json!({"iss": "https://other"}));
    failed(&world.logs_in(&[]).await, &world, 1, &["its ID token is of another issuer"]);
    world.set(|state| state.tokens = json!({"id_token": null}));
    failed(&world.logs_in(&[]).await, &world, 1, &["it has issued no ID token"]);
}

#[tokio::test]
async fn only_one_answer_with_the_state_is_accepted() {
    let world = World::new().await;
    let mut browser = world.login(&[]);
    let address = browser.address().await;
    let callback = world.agrees(&address);
    assert_eq!(callback.host_str(), Some("127.0.0.1"));
    let changed = |name: &str, value: &str| {
        let mut url = callback.clone();
        let others = callback.query_pairs().into_owned().filter(|(found, _)| found != name);
        url.query_pairs_mut().clear().extend_pairs(others).append_pair(name, value);
        url
    };
    let mut elsewhere = callback.clone();
    elsewhere.set_path("/elsewhere");
    let none = Url::parse(&callback[..oauth2::url::Position::AfterPath]).unwrap();
    // A stranger who connects and says nothing does not keep the others waiting.
    let silent =
        tokio::net::TcpStream::connect(("127.0.0.1", callback.port().unwrap())).await.unwrap();
    for (url, status) in [
        (changed("state", "canary-wrong"), "400"),
        (changed("error", "<b>access_denied</b>"), "400"),
        (none, "400"),
        (elsewhere, "404"),
    ] {
        let page = get(&url).await;
        assert!(page.starts_with(&format!("HTTP/1.1 {status} ")), "{url}: {page}");
        assert!(!page.contains(CANARY) && !page.contains("denied"), "{page}");
    }
    let target = &callback[oauth2::url::Position::BeforePath..];
    for (request, status) in [
        (format!("POST {target} HTTP/1.1\r\n\r\n"), "405"),
        (format!("GET {target} HTTP/1.1\r\nCookie: {}", "c".repeat(64 * 1024)), "431"),
        ("\r\n\r\n".to_owned(), "400"),
    ] {
        let page = raw(&callback, &request).await;
        assert!(page.starts_with(&format!("HTTP/1.1 {status} ")) || page.is_empty(), "{page}");
    }
    let page = get(&callback).await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain"), "{page}");
    assert!(!page.contains(CANARY), "{page}");
    // The second answer is refused, or there is no connection.
    let again = get(&callback).await;
    assert!(!again.contains("200 OK"), "{again}");
    let run = browser.ends().await;
    assert_eq!(run.status, 0, "{run:?}");
    assert_eq!(world.grants("authorization_code"), 1);
    drop(silent);
}

#[tokio::test]
async fn denied_answers_end_the_log_in() {
    let world = World::new().await;
    for (field, value, says) in [
        (
            "iss",
            "https://other.example.com",
            "the answer is of another issuer: https://other.example.com",
        ),
        ("error_description", "no\u{1b}[2J", "no\\u{1b}[2J (access_denied)"),
    ] {
        let mut browser = world.login(&[]);
        let callback = world.agrees(&browser.address().await);
        let parameters = callback.query_pairs().into_owned();
        let kept = parameters.filter(|(name, _)| name != "code" && name != field);
        let mut denied = callback.clone();
        denied
            .query_pairs_mut()
            .clear()
            .extend_pairs(kept)
            .append_pair("error", "access_denied")
            .append_pair(field, value);
        let page = get(&denied).await;
        assert!(page.contains("200 OK") && !page.contains("denied"), "{page}");
        failed(&browser.ends().await, &world, 1, &["rejected the log-in", says]);
    }
    assert_eq!(world.grants("authorization_code"), 0);
}

#[tokio::test]
async fn a_device_is_polled_at_the_interval_until_its_user_has_agreed() {
    let world = World::new().await;
    let pending = refusal("authorization_pending", "wait");
    world.set(|state| state.next = vec![pending.clone(), refusal("slow_down", "slower"), pending]);
    let began = tokio::time::Instant::now();
    let mut device = world.login(&["--device"]);
    let line = device.line("to log in, open ").await;
    let address = format!(
        "open {}/activate in a browser on any machine, and enter the code ABCD-EFGH",
        world.issuer.uri()
    );
    assert!(line.contains(&address), "{line}");
    let run = device.ends().await;
    assert_eq!(run.status, 0, "{run:?}");
    // 1 s, then 6 s twice.
    assert!(began.elapsed() >= std::time::Duration::from_secs(13), "{:?}", began.elapsed());
    assert!(!run.stderr.contains(CANARY), "{}", run.stderr);
    world.home().run(&["cluster", "list"]).await.printed("- c1\n");

    for (error, says) in
        [("access_denied", "no (access_denied)"), ("expired_token", "no (expired_token)")]
    {
        let world = World::new().await;
        world.set(|state| state.next = vec![refusal(error, "no")]);
        let run = world.login(&["--device"]).ends().await;
        failed(&run, &world, 1, &["rejected the log-in", says]);
    }
}

#[tokio::test]
async fn without_a_role_nothing_is_saved() {
    let world = World::new().await;
    world.forbid("you are corp:ann with no groups, and have no role here").await;
    let run = world.logs_in(&[]).await;
    failed(&run, &world, 1, &["you are corp:ann with no groups", "\"corp\"", "nothing was saved"]);
    // The issuer keeps no log-in either.
    let form = world.set(|state| state.forms.pop().unwrap());
    assert_eq!(form["token"], "canary-refresh-1");
}

#[tokio::test]
async fn options_decide_how_to_log_in() {
    let world = World::new().await;
    let url = world.fleet.server.uri();
    let mut other = world.provider();
    other["name"] = json!("other");
    world.offers(json!({"password": true, "providers": [world.provider(), other]}));
    let run = world.home().run(&["login", &url, "--provider", "corpse"]).await;
    failed(&run, &world, 2, &["has no identity provider \"corpse\"; it has corp, other"]);
    for conflict in [&["--device"][..], &["--no-browser"], &["--provider", "corp"]] {
        let run = world.home().run(&[&["login", &url, "--username", "a"], conflict].concat()).await;
        failed(&run, &world, 2, &["cannot be used with"]);
    }
    // Without a terminal, there is no question.
    let run = world.home().run(&["login", &url, "--no-browser"]).await;
    failed(&run, &world, 2, &["choose one of corp, other with --provider"]);
    let run = world.home().run(&["login", &url]).await;
    failed(&run, &world, 2, &["the password of admin is empty"]);
    assert_eq!(world.logs_in(&["--provider", "other"]).await.status, 0);
    assert_eq!(saved(world.home())["identity_provider"], "other");

    let world = World::new().await;
    world.offers(json!({"password": true, "providers": []}));
    for options in [&["--device"][..], &["--provider", "corp"]] {
        let run = world.login(options).ends().await;
        failed(&run, &world, 2, &["has no identity providers"]);
    }
    world.offers(json!({"password": true, "providers": [{"name": "a b"}]}));
    failed(&world.login(&[]).ends().await, &world, 1, &["does not say how to log in"]);
}

#[tokio::test]
async fn the_browser_is_opened_where_there_is_a_display() {
    let world = World::new().await;
    let url = world.fleet.server.uri();
    let opened = world.home().dir.path().join("opened");
    let program = world.home().write(
        "xdg-open",
        &format!("#!/bin/sh\nprintf '%s\\n' \"$@\" > {}.new\nmv {0}.new {0}\n", opened.display()),
    );
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let path = format!("{}:/usr/bin:/bin", world.home().dir.path().display());
    for (more, environment, opens, hints) in [
        (&[][..], &[("DISPLAY", ":0")][..], true, false),
        (&[], &[("WAYLAND_DISPLAY", "wayland-0"), ("SSH_CONNECTION", "a")], true, false),
        (&["--no-browser"], &[("DISPLAY", ":0")], false, false),
        (&[], &[("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22")], false, true),
        (&[], &[], false, false),
    ] {
        let _none_yet = std::fs::remove_file(&opened);
        let mut command = world.home().command(&[&["login", &url], more].concat());
        let command = command.env("PATH", &path).envs(environment.iter().copied());
        let mut browser = Browser::new(command.spawn().unwrap());
        let address = browser.address().await;
        if opens {
            let begun = tokio::time::Instant::now();
            while !opened.exists() && begun.elapsed() < crate::support::HANG {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            assert_eq!(std::fs::read_to_string(&opened).unwrap(), format!("{address}\n"));
        }
        get(&world.agrees(&address)).await;
        let run = browser.ends().await;
        assert_eq!((run.status, opened.exists()), (0, opens), "{run:?}");
        assert_eq!(run.stderr.contains("repeat the command with --device"), hints, "{run:?}");
    }
}
