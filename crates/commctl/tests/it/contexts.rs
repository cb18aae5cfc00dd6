//! Contexts: servers, and the log-ins there.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::support::issuer::World;
use crate::support::{Fleet, Home, NOWHERE, Run, config, finish, problem};

/// A home with a server as the context `default` and another one as `prod`.
async fn two() -> (Fleet, Fleet) {
    let (default, prod) = (Fleet::new().await, Fleet::new().await);
    default.answers("GET", "clusters", 200, json!(["default"])).await;
    prod.answers("GET", "clusters", 200, json!(["prod"])).await;
    let url = prod.server.uri();
    let login = ["login", "--context", "prod", &url, "--username", "b"];
    let run = default.home.run_with_input(&login, "hunter3\n").await;
    assert_eq!(run.status, 0, "{run:?}");
    (default, prod)
}

async fn with_variable(home: &Home, name: &str, arguments: &[&str]) -> Run {
    finish(home.command(arguments).env("COMMCTL_CONTEXT", name).spawn().unwrap()).await
}

#[tokio::test]
async fn commands_use_the_context_that_is_named_else_the_current_one() {
    let (default, _prod) = two().await;
    let home = &default.home;
    let list = ["cluster", "list"];
    let folder = home.dir.path().join(".commissaire");
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    home.run(&list).await.printed("- default\n");
    home.run(&["--context", "prod", "cluster", "list"]).await.printed("- prod\n");
    with_variable(home, "prod", &list).await.printed("- prod\n");
    with_variable(home, "", &list).await.printed("- default\n");
    let run = home.run(&["context", "use", "prod"]).await;
    assert_eq!((run.status, run.stderr.as_str()), (0, "the context is prod now\n"));
    for (variable, value) in [("COMMCTL_CONTEXT", "default"), ("COMMCTL_CONFIG", "other.json")] {
        let run = home.command(&["context", "use", "prod"]).env(variable, value).spawn().unwrap();
        let run = finish(run).await;
        let warns = format!("warning: the context prod is used only where {variable} is not set");
        assert_eq!((run.status, run.stderr.starts_with(&warns)), (0, true), "{run:?}");
    }
    home.run(&list).await.printed("- prod\n");
    home.run(&["context", "current"]).await.printed("prod\n");
    home.run(&["cluster", "list", "--context", "default"]).await.printed("- default\n");
    with_variable(home, "default", &list).await.printed("- default\n");
    home.write("other.json", &config(&[&default.server.uri()]).to_string());
    home.run(&["-c", "other.json", "cluster", "list"]).await.printed("- default\n");
    for run in [
        home.run(&["-c", "other.json", "--context", "prod", "cluster", "list"]).await,
        with_variable(home, "prod", &["-c", "other.json", "cluster", "list"]).await,
    ] {
        assert!(run.status == 2 && run.stderr.contains("leave one out"), "{run:?}");
    }
    home.run(&["context", "use", "default"]).await.printed("");
    home.run(&list).await.printed("- default\n");
}

#[tokio::test]
async fn a_file_in_place_of_the_directory_does_not_hide_the_configuration() {
    let fleet = Fleet::new().await;
    fleet.answers("GET", "clusters", 200, json!(["c1"])).await;
    fleet.home.write(".commissaire", "");
    fleet.run("cluster list").await.printed("- c1\n");
    fleet.run("context current").await.printed("default\n");
    let run = fleet.run("-o json context list").await;
    assert!(run.status == 0 && run.stdout.contains("default"), "{run:?}");
}

#[tokio::test]
async fn contexts_are_listed_with_their_users() {
    let (default, prod) = two().await;
    let home = &default.home;
    home.write(
        ".commissaire/corp.json",
        r#"{"endpoint": ["https://a:1/"], "identity_provider": "corp"}"#,
    );
    home.write(
        ".commissaire/kube.json",
        r#"{"endpoint": "https://k:1", "kubeconfig": "config", "username": "unused"}"#,
    );
    home.write(".commissaire/bad.json", r#"{"password": "canary"#);
    home.write(".commissaire/Not-A-Context.json", "{}");
    let run = home.run(&["-o", "json", "context", "list"]).await;
    let rows: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let row = |name: &str, endpoint: Option<String>, user: Option<&str>, provider: Option<&str>| json!({"name": name, "endpoint": endpoint, "user": user, "provider": provider, "current": name == "default"});
    let expected = json!([
        row("default", Some(default.server.uri()), Some("a"), None),
        row("bad", None, None, None),
        row("corp", Some("https://a:1".to_owned()), None, Some("corp")),
        row("kube", Some("https://k:1".to_owned()), None, None),
        row("prod", Some(prod.server.uri()), Some("b"), None),
    ]);
    assert_eq!(rows, expected);
    assert!(run.stderr.starts_with("warning: the context bad: "), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    assert!(!run.stderr.contains("canary") && !run.stdout.contains("hunter"), "{run:?}");
    let table = home.run(&["-o", "table", "context", "list"]).await.stdout;
    assert!(table.lines().next().unwrap().contains("CURRENT"), "{table}");
    let empty = Home::empty();
    empty.run(&["context", "list"]).await.printed("[]\n");
    empty.run(&["context", "current"]).await.printed("default\n");
}

#[tokio::test]
async fn contexts_that_are_not_there_are_errors() {
    let home = Home::empty();
    let missing =
        "error: there is no context prod: `commctl login --context prod ENDPOINT` makes it\n";
    for arguments in [
        &["--context", "prod", "cluster", "list"][..],
        &["context", "use", "prod"],
        &["context", "delete", "prod"],
        &["--context", "prod", "logout"],
    ] {
        home.run(arguments).await.failed(2, missing);
    }
    for name in ["../prod", "Prod", "", "-"] {
        let run = home.run(&[&format!("--context={name}"), "cluster", "list"]).await;
        assert!(run.status == 2 && run.stderr.contains("the name of a context is"), "{run:?}");
    }
    let run = with_variable(&home, "../prod", &["cluster", "list"]).await;
    assert!(
        run.status == 2 && run.stderr.contains("COMMCTL_CONTEXT: the name of a context is"),
        "{run:?}"
    );
    // A damaged choice is not another server; it can be repaired.
    std::fs::create_dir(home.dir.path().join(".commissaire")).unwrap();
    home.write(".commissaire/current", "../prod\n");
    let run = home.run(&["cluster", "list"]).await;
    assert!(run.status == 2 && run.stderr.contains("`commctl context use NAME`"), "{run:?}");
    home.run(&["context", "use", "default"]).await.printed("");
    home.run(&["context", "current"]).await.printed("default\n");
    let run = home.run(&["context", "delete", "default"]).await;
    assert!(run.status == 2 && run.stderr.contains("cannot be deleted"), "{run:?}");
}

#[tokio::test]
async fn errors_and_whoami_name_a_context() {
    let (default, prod) = two().await;
    let home = &default.home;
    for fleet in [&default, &prod] {
        fleet.answers("GET", "whoami", 200, json!({"name": "a"})).await;
        fleet.answers("GET", "cluster/c9", 404, problem(404, "there is no cluster c9")).await;
    }
    let in_prod = async |words: &[&str]| home.run(&[&["--context", "prod"], words].concat()).await;
    home.run(&["whoami"]).await.printed("name: a\n");
    in_prod(&["whoami"]).await.printed("context: prod\nname: a\n");
    let message = "error: there is no cluster c9 (404 Not Found)\n";
    home.run(&["cluster", "get", "c9"]).await.failed(1, message);
    in_prod(&["cluster", "get", "c9"])
        .await
        .failed(1, &format!("{message}this was in the context prod\n"));
}

#[tokio::test]
async fn a_deleted_context_leaves_nothing() {
    let world = World::new().await;
    let home = world.home();
    assert_eq!(world.logs_in(&["--context", "prod"]).await.status, 0);
    let folder = home.dir.path().join(".commissaire");
    let tokens = folder.join(".commissaire-tokens/prod.json.json");
    assert!(tokens.exists() && !world.token_file().exists());
    home.write(".commissaire/prod-ca.pem", "");
    home.run(&["context", "use", "prod"]).await.printed("");
    // The tokens are deleted although the configuration cannot be read.
    home.write(".commissaire/prod.json", "{");
    let run = home.run(&["context", "delete", "prod"]).await;
    assert_eq!(run.status, 0, "{run:?}");
    assert!(run.stderr.contains("revoked the log-in at corp\n"), "{run:?}");
    assert!(run.stderr.ends_with("the context is default now\ndeleted prod\n"), "{run:?}");
    assert!(
        !tokens.exists()
            && !tokens.with_extension("lock").exists()
            && !folder.join("prod.json").exists()
            && !folder.join("prod-ca.pem").exists()
    );
    home.run(&["context", "current"]).await.printed("default\n");
    // A configuration of one context says nothing about another one.
    home.write(".commissaire.json", &config(&[NOWHERE]).to_string());
    assert_eq!(home.run(&["cluster", "list"]).await.status, 3);
}
