//! Logging in as a kubeconfig says, with real credential plugins.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Fleet, HANG, Run};

/// A server, and a home whose configuration names a kubeconfig.
struct Kube(Fleet);

impl Kube {
    async fn new(user: &Value) -> Self {
        let fleet = Fleet::new().await;
        fleet.answers("GET", "clusters", 200, json!(["c1"])).await;
        // The user name and password are those of somebody else.
        let mut config = crate::support::config(&[&fleet.server.uri()]);
        config["kubeconfig"] = json!("~/.kube/config");
        fleet.home.write(".commissaire.json", &config.to_string());
        let kube = Self(fleet);
        std::fs::create_dir(kube.path(".kube")).unwrap();
        kube.user(user);
        kube
    }

    fn user(&self, user: &Value) {
        let kubeconfig = json!({
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"user": "me", "cluster": "k"}}],
            "clusters": [{"name": "k", "cluster": {"server": "https://192.0.2.1:6443"}}],
            "users": [{"name": "me", "user": user}],
        });
        self.0.home.write(".kube/config", &kubeconfig.to_string());
    }

    /// A user whose plugin is this script, beside the kubeconfig.
    async fn with_plugin(script: &str) -> Self {
        let kube = Self::new(&plugin(&json!({"interactiveMode": "Never"}))).await;
        kube.script(script);
        kube
    }

    /// The script notes each call in `calls`.
    fn script(&self, script: &str) {
        let text = format!("#!/bin/sh\necho call >>\"$HOME/calls\"\n{script}\n");
        let path = self.0.home.write(".kube/login", &text);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.home.dir.path().join(name)
    }

    /// What an error about the log-in ends with.
    fn who(&self) -> String {
        let file = self.path(".kube/config");
        format!("this was the user of the current context of {}\n", file.display())
    }

    fn calls(&self) -> usize {
        std::fs::read_to_string(self.path("calls")).unwrap_or_default().lines().count()
    }

    async fn list(&self) -> Run {
        self.0.run("cluster list").await
    }

    /// What each request so far said about who asks.
    async fn shown(&self) -> Vec<String> {
        let requests = self.0.server.received_requests().await.unwrap();
        let header = |r: &wiremock::Request| {
            Some(r.headers.get("authorization")?.to_str().unwrap().to_owned())
        };
        requests.iter().map(|r| header(r).unwrap_or_default()).collect()
    }
}

/// A user with the plugin `./login` and these further members of `exec`.
fn plugin(more: &Value) -> Value {
    let mut exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "./login"});
    exec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"exec": exec})
}

/// The answer of a plugin, for `echo`.
fn answer(status: &Value) -> String {
    let answer = json!({"apiVersion": "client.authentication.k8s.io/v1",
                        "kind": "ExecCredential", "status": status});
    format!("echo '{answer}'")
}

const FUTURE: &str = "2999-01-01T00:00:00Z";
const PAST: &str = "2001-01-01T00:00:00Z";

#[tokio::test]
async fn it_wins_over_user_name_and_password() {
    let kube = Kube::new(&json!({"token": "t1"})).await;
    kube.list().await.printed("- c1\n");
    kube.user(&json!({"username": "me", "password": "pw"}));
    kube.list().await.printed("- c1\n");
    kube.user(&json!({"tokenFile": "token"}));
    kube.0.home.write(".kube/token", "t2\n");
    kube.list().await.printed("- c1\n");
    assert_eq!(kube.shown().await, ["Bearer t1", "Basic bWU6cHc=", "Bearer t2"]);
}

#[tokio::test]
async fn a_plugin_is_told_what_it_is_for() {
    let kube = Kube::with_plugin("").await;
    kube.user(&plugin(&json!({
        "interactiveMode": "IfAvailable", "provideClusterInfo": true,
        "args": ["a; touch $HOME/shell", "b"], "env": [{"name": "REALM", "value": "x y"}],
    })));
    let script = r#"printf '%s\n' "$KUBERNETES_EXEC_INFO" "$REALM" "$@" >"$HOME/told"; "#;
    kube.script(&format!("{script}{}", answer(&json!({"token": "t1"}))));
    kube.list().await.printed("- c1\n");
    let told = std::fs::read_to_string(kube.path("told")).unwrap();
    let (info, rest) = told.split_once('\n').unwrap();
    assert_eq!(rest, "x y\na; touch $HOME/shell\nb\n");
    assert_eq!(
        serde_json::from_str::<Value>(info).unwrap(),
        json!({
            "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
            "spec": {"interactive": false,
                     "cluster": {"server": "https://192.0.2.1:6443", "config": null}},
        })
    );
    assert!(!kube.path("shell").exists());
    assert_eq!(kube.shown().await, ["Bearer t1"]);
}

#[tokio::test]
async fn an_answer_is_kept_until_it_expires() {
    let kube =
        Kube::with_plugin(&answer(&json!({"token": "t1", "expirationTimestamp": FUTURE}))).await;
    kube.list().await.printed("- c1\n");
    kube.list().await.printed("- c1\n");
    assert_eq!((kube.calls(), kube.shown().await.len()), (1, 2));
    let folder = kube.path(".cache/commctl");
    let mode = |path: &PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let files: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!((files.len(), mode(&files[0]), mode(&folder)), (1, 0o600, 0o700));

    // Its time has come.
    let text = std::fs::read_to_string(&files[0]).unwrap();
    std::fs::write(&files[0], text.replace(FUTURE, PAST)).unwrap();
    kube.list().await.printed("- c1\n");
    assert_eq!(kube.calls(), 2);

    // Another plugin is somebody else, and so is one in another environment.
    kube.user(&plugin(&json!({"args": ["--other"]})));
    kube.list().await.printed("- c1\n");
    assert_eq!(kube.calls(), 3);
    let mut elsewhere = kube.0.home.command(&["cluster", "list"]);
    let child = elsewhere.env("REALM", "other").spawn().unwrap();
    crate::support::finish(child).await.printed("- c1\n");
    assert_eq!(kube.calls(), 4);
}

#[tokio::test]
async fn an_answer_without_an_end_or_behind_it_is_not_kept() {
    let kube = Kube::with_plugin(&answer(&json!({"token": "t1"}))).await;
    kube.list().await.printed("- c1\n");
    kube.script(&answer(&json!({"token": "t2", "expirationTimestamp": PAST})));
    kube.list().await.printed("- c1\n");
    kube.list().await.printed("- c1\n");
    assert_eq!(kube.calls(), 5, "the one behind its end is asked for again when it is needed");
    assert!(!kube.path(".cache").exists());
}

#[tokio::test]
async fn a_kept_answer_that_is_refused_is_asked_for_again() {
    let kube =
        Kube::with_plugin(&answer(&json!({"token": "t1", "expirationTimestamp": FUTURE}))).await;
    kube.list().await.printed("- c1\n");
    // It was withdrawn.
    kube.0.server.reset().await;
    kube.0.refuses("PUT", "cluster/c2", 403, "who are you?").await;
    kube.script(&answer(&json!({"token": "t2", "expirationTimestamp": FUTURE})));
    let run = kube.0.run("cluster create c2").await;
    assert_eq!((run.status, kube.calls()), (1, 2));
    assert!(run.stderr.starts_with("error: who are you? (403 Forbidden)"), "{}", run.stderr);
    assert_eq!(kube.shown().await, ["Bearer t1", "Bearer t2"]);
    let requests = kube.0.server.received_requests().await.unwrap();
    assert_eq!(requests[0].headers["idempotency-key"], requests[1].headers["idempotency-key"]);
}

#[tokio::test]
async fn an_answer_that_expires_while_waiting_is_renewed() {
    let kube = Kube::with_plugin("").await;
    let status = json!({"token": "t$count", "expirationTimestamp": "$end"});
    let answer = answer(&status).replace('"', "\\\"").replace('\'', "\"");
    let set = r#"count=$(/usr/bin/wc -l <"$HOME/calls")
        end=$(/usr/bin/date -u -d '+12 seconds' +%Y-%m-%dT%H:%M:%SZ)"#;
    kube.script(&format!("{set}\n{answer}"));
    let record = json!({"name": "c1", "status": "in_process"});
    kube.0.answers("PUT", "cluster/c1/restart", 201, record.clone()).await;
    kube.0.answers("GET", "cluster/c1/restart", 200, record).await;
    let arguments = ["cluster", "restart", "start", "--wait", "c1"];
    let _waiting = kube.0.home.command(&arguments).spawn().unwrap();
    let begin = tokio::time::Instant::now();
    while !kube.shown().await.contains(&"Bearer t2".to_owned()) {
        assert!(begin.elapsed() < HANG, "{:?}", kube.shown().await);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(kube.shown().await[0], "Bearer t1");
}

#[tokio::test]
async fn a_cache_that_others_can_reach_is_left_alone() {
    let kube =
        Kube::with_plugin(&answer(&json!({"token": "t1", "expirationTimestamp": FUTURE}))).await;
    let folder = kube.path(".cache/commctl");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    let run = kube.list().await;
    run.printed("- c1\n");
    assert!(run.stderr.contains("others can get at it"), "{}", run.stderr);
    kube.list().await.printed("- c1\n");
    assert_eq!(kube.calls(), 2);
}

#[tokio::test]
async fn a_plugin_that_fails() {
    let kube = Kube::with_plugin("echo 'your session has ended' >&2; exit 3").await;
    let program = kube.path(".kube/./login").display().to_string();
    let who = kube.who();
    kube.list().await.failed(
        1,
        &format!(
            "your session has ended\n\
             error: the credential plugin {program} failed: exit status: 3\n{who}"
        ),
    );
    for (script, problem) in [
        ("echo secret", "something that is no ExecCredential in JSON"),
        (
            "echo '{\"kind\": \"ExecCredential\", \"apiVersion\": \"client.authentication.k8s.io/v1beta1\"}'",
            "the apiVersion \"client.authentication.k8s.io/v1beta1\" \
             instead of \"client.authentication.k8s.io/v1\"",
        ),
        (
            &answer(&json!({"clientCertificateData": "secret"})),
            "half a client certificate: clientCertificateData and clientKeyData belong together",
        ),
    ] {
        kube.script(script);
        let message =
            format!("error: the credential plugin {program} answers with {problem}\n{who}");
        kube.list().await.failed(1, &message);
    }
    assert_eq!(kube.shown().await, [""; 0]);
}

#[tokio::test]
async fn a_plugin_that_is_not_there() {
    let hint = "get it from\n  https://login.example";
    let exec = json!({"command": "no-such-login", "installHint": hint, "interactiveMode": "Never"});
    let kube = Kube::new(&plugin(&exec)).await;
    kube.list().await.failed(
        1,
        &format!(
            "error: cannot run the credential plugin no-such-login: \
             No such file or directory (os error 2)\nget it from\n  https://login.example\n{}",
            kube.who()
        ),
    );
    kube.user(&plugin(&json!({"interactiveMode": "Always"})));
    let run = kube.list().await;
    assert!(run.stderr.contains("there is no terminal to answer on"), "{}", run.stderr);
}

#[tokio::test]
async fn what_is_wrong_with_a_kubeconfig_is_said() {
    let kube = Kube::new(&json!({"token": "secret", "as": "root"})).await;
    let file = kube.path(".kube/config").display().to_string();
    kube.list().await.failed(
        2,
        &format!(
            "error: the kubeconfig {file}: user \"me\": Commissaire knows no impersonation, and \
             without it (as, as-uid, as-groups, as-user-extra) this would be somebody else\n"
        ),
    );
    std::fs::remove_file(&file).unwrap();
    kube.list().await.failed(
        2,
        &format!(
            "error: the kubeconfig {file}: cannot read it: No such file or directory (os error 2)\n"
        ),
    );
}

#[tokio::test]
async fn an_open_kubeconfig_with_a_token_earns_a_warning() {
    let kube = Kube::new(&json!({"token": "t1"})).await;
    let file = kube.path(".kube/config");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let run = kube.list().await;
    run.printed("- c1\n");
    assert_eq!(
        run.stderr,
        format!(
            "warning: {0} holds credentials and others can read it; run: chmod 600 {0}\n",
            file.display()
        )
    );
}
