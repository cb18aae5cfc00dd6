//! Where the configuration comes from, and what is said about it.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::support::{Fleet, Home, NOWHERE, config};

#[tokio::test]
async fn a_missing_configuration_is_explained() {
    let home = Home::empty();
    let file = home.dir.path().join(".commissaire.json");
    home.run(&["cluster", "list"]).await.failed(
        2,
        &format!(
            "error: no username is configured: put \"username\": \"…\" into {0}, \
             or name another file with --config or COMMCTL_CONFIG\n\
             there is no {0} yet; commctl login makes it\n",
            file.display()
        ),
    );
    home.run(&["-c", "nowhere.json", "cluster", "list"]).await.failed(
        2,
        "error: cannot read the configuration nowhere.json: No such file or directory (os error 2)\n",
    );
}

#[tokio::test]
async fn an_unknown_member_is_an_error() {
    let home = Home::with(&json!({"endpiont": "http://127.0.0.1:1"}));
    let run = home.run(&["cluster", "list"]).await;
    assert_eq!(run.status, 2);
    assert!(
        run.stderr.ends_with("unknown member \"endpiont\"; did you mean \"endpoint\"?\n"),
        "{}",
        run.stderr
    );
}

#[tokio::test]
async fn flags_win_over_the_environment_and_that_over_the_default() {
    let fleet = Fleet::new().await;
    fleet.answers("GET", "clusters", 200, json!([])).await;
    let good = config(&[&fleet.server.uri()]).to_string();
    let bad = config(&[NOWHERE]).to_string();
    let home = Home::with(&config(&[NOWHERE]));
    home.write("good.json", &good);
    home.write("bad.json", &bad);
    let run = async |args: &[&str], variable: Option<&str>| {
        let mut command = home.command(args);
        if let Some(variable) = variable {
            command.env("COMMCTL_CONFIG", variable);
        }
        crate::support::finish(command.spawn().unwrap()).await.status
    };
    assert_eq!(run(&["cluster", "list"], None).await, 3);
    assert_eq!(run(&["cluster", "list"], Some("good.json")).await, 0);
    assert_eq!(run(&["-c", "good.json", "cluster", "list"], Some("bad.json")).await, 0);
    assert_eq!(run(&["cluster", "list", "--config", "good.json"], Some("bad.json")).await, 0);
    assert_eq!(run(&["-c", "bad.json", "cluster", "--config=good.json", "list"], None).await, 0);
}

#[tokio::test]
async fn an_open_file_with_a_password_earns_a_warning() {
    let fleet = Fleet::new().await;
    fleet.answers("GET", "clusters", 200, json!([])).await;
    let file = fleet.home.dir.path().join(".commissaire.json");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let run = fleet.run("cluster list").await;
    run.printed("[]\n");
    assert_eq!(
        run.stderr,
        format!(
            "warning: {0} holds a password and others can read it; run: chmod 600 {0}\n",
            file.display()
        )
    );
}

#[tokio::test]
async fn certificate_files_must_be_there() {
    let mut config = config(&["https://127.0.0.1:1"]);
    config["certificate-authority"] = json!("ca.pem");
    let home = Home::with(&config);
    let run = home.run(&["cluster", "list"]).await;
    assert_eq!(run.status, 2);
    assert!(run.stderr.contains("ca.pem: No such file"), "{}", run.stderr);
    home.write("ca.pem", "-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n");
    assert_eq!(home.run(&["cluster", "list"]).await.status, 2);
}

#[tokio::test]
async fn passwords_are_never_shown() {
    let mut config = config(&[NOWHERE]);
    for member in ["", "endpoint"] {
        config[member] = json!(1);
        let run = Home::with(&config).run(&["cluster", "list"]).await;
        assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
    }
}
