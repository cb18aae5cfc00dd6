//! Every command of `commctl` against a real server: what it prints, on which stream, its exit status.
//!
//! Each test is a session at a terminal and a snapshot of it, in `snapshots`: a line `$ commctl …`, then
//! what came on standard output and, behind `!`, on standard error, and an exit status that is not 0. Times,
//! ids and whatever else is another one in each run is replaced ([`session`] says by what).
//!
//! A new command needs a line in one of the sessions below (`every_command_is_shown` names the ones without),
//! and a new session its name in [`SESSIONS`]. After a change of what is printed:
//!
//!     INSTA_UPDATE=always cargo nextest run -p standalone -E 'test(/^commctl::/)'
//!
//! then read what git shows before it is committed. The `--help` texts are with `commctl` (`tests/it/help.rs`).

mod session;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use testbed::Testbed;

use self::session::Session;
use crate::nodes::fleet::Fleet;
use crate::processes::Form;
use crate::server::{Server, eventually};

/// The snapshots, which have no others beside them.
const SESSIONS: [&str; 11] = [
    "access",
    "clusters",
    "container_managers",
    "contexts",
    "enrollments",
    "hosts",
    "local",
    "log_ins",
    "networks",
    "nodes",
    "operations",
];

#[tokio::test(flavor = "multi_thread")]
async fn clusters() {
    let mut session = Session::start().await;
    session.run("cluster list");
    session.run("cluster create web");
    session.run("cluster create web");
    session.run("cluster create -t host_only -n default staging");
    session.run("cluster create --network nowhere bad");
    session.run("cluster create --container-manager nobody bad");
    session.run("cluster create '../host'");
    session.run("cluster list");
    session.run("-o table cluster list");
    session.run("cluster get web");
    session.run("cluster get web --output json");
    session.run("-o table cluster get web");
    session.run("cluster get nowhere");
    session.run("host list web");
    session.run("host join 192.0.2.1 web");
    for operation in ["restart", "upgrade", "deploy"] {
        let version = if operation == "deploy" { " 7.2.6" } else { "" };
        session.run(&format!("cluster {operation} status web"));
        session.run(&format!("cluster {operation} start --wait web{version}"));
        session.run(&format!("cluster {operation} status web"));
        session.run(&format!("cluster {operation} start nowhere{version}"));
        for verb in ["pause", "resume", "abort"] {
            session.run(&format!("cluster {operation} {verb} web"));
        }
    }
    session.run("cluster deploy start web");
    session.run("cluster restart start --timeout 1m web");
    session.run("cluster delete web nowhere staging");
    session.run("cluster delete web");
    session.end("clusters");
}

#[tokio::test(flavor = "multi_thread")]
async fn networks() {
    let mut session = Session::start().await;
    session.run("network list");
    session.run("network create internal");
    session.run("network create -t flannel_server -o '{\"address\": \"192.0.2.1:8472\"}' routed");
    session.run("network create -t flannel_server unaddressed");
    session.run("network create -t none bare");
    session.run("network create -o '[1]' bad");
    session.run("network create -t vxlan bad");
    session.run("network list");
    session.run("network get routed");
    session.run("network get nowhere");
    session.run("cluster create -n routed web");
    session.run("network delete routed");
    session.run("network delete internal bare");
    session.run("network delete default");
    session.end("networks");
}

#[tokio::test(flavor = "multi_thread")]
async fn container_managers() {
    let mut session = Session::start().await;
    session.run("container_manager list");
    session.run("container_manager create -t trivial -o a=b -o 'c = d=e' -o '{\"a\": \"f\"}' t1");
    session.run("container-manager create -t trivial t2");
    session.run_with("container_manager create -o - bad", "{\"token\": \"hidden");
    session.run_with("container_manager create -o - bad", "{\"token\": \"hidden\"}");
    session.run("container_manager create -o nothing bad");
    session.run("container_manager create -t mesos bad");
    session.run("container_manager list");
    session.run("container_manager get t1");
    session.run("container_manager get nowhere");
    session.run("cluster create -c t1 web");
    session.run("container_manager delete t1");
    session.run("container_manager delete t2");
    session.end("container_managers");
}

#[tokio::test(flavor = "multi_thread")]
async fn access() {
    let mut session = Session::start().await;
    session.run("cluster create web");
    session.run("whoami");
    session.run("access list");
    session.run("access create --user ann --role operator -c web -c 'web-*' ann-web");
    session.run("access create --group corp:ops --role admin -c '*' ops");
    session.run("access create --user ann --role operator -c 'we b' bad");
    session.run("access create --group ops --role reader -c web bad");
    session.run("access create --user admin --role reader -c web bad");
    session.run("--utc -o table access list");
    session.run("access get ops");
    session.run("access accept ops");
    session.run("access accept missing");
    session.run("access accept --all");
    session.run("backup commissaire.jsonl");
    session.run("backup commissaire.jsonl");
    session.run("access delete ops missing");
    session.run("health-check create web 'systemctl is-active web'");
    session.run("health-check list");
    session.run("health-check get web");
    session.run("cluster restart start --health nothing web");
    session.run("health-check delete web");
    session.end("access");
}

#[tokio::test(flavor = "multi_thread")]
async fn enrollments() {
    let mut session = Session::start().await;
    session.run("cluster create web");
    session.run("enroll list");
    session.run("enroll create -c web -u 20 -e 2h -f 192.0.2.0/24");
    session.run("enroll list");
    let listed = session.server.get("/enrollments").await;
    session.run("enroll create --bare");
    session.run(&format!("user-data -e {} -c web -o user-data", session.url()));
    session.run("user-data -e http://192.0.2.1:8000 -p");
    session.run("enroll create -c nowhere");
    session.run("enroll create -f everywhere");
    session.run("enroll create -e yesterday");
    session.run("enroll revoke nobody");
    session.run(&format!("enroll revoke {}", listed[0]["id"].as_str().unwrap()));
    session.end("enrollments");
}

/// Two servers, of which the second one is a context of its own; and logging out.
#[tokio::test(flavor = "multi_thread")]
async fn contexts() {
    let mut session = Session::start().await;
    let url = session.url();
    session.run("context list");
    session.run("context current");
    session.run_with(&format!("login --context prod {url} --username admin"), "se:cret\n");
    session.run("context use prod");
    session.run("-o table context list");
    session.run("whoami");
    session.run("network get nowhere");
    session.run("--context staging network list");
    session.run("--context prod --config elsewhere.json network list");
    session.run(&format!("login {url} --provider corp"));
    session.run("logout");
    session.run("logout");
    session.run("network list");
    session.run("context delete default");
    session.run("context delete prod");
    session.run("context list");
    session.end("contexts");
}

/// Whether the log-in is right or wrong, and what somebody sees who has only just begun.
#[tokio::test(flavor = "multi_thread")]
async fn log_ins() {
    // What passhash prints is a user's entry.
    let mut server = Server::prepare(Form::OneProcess, None, &json!({}));
    let (_, hash, _) = session::plain(&["passhash", "-f", "-"], "correct horse\n");
    let users = json!({"ada": {"hash": hash.trim()}, "rea": {"hash": hash.trim(), "role": "reader"},
                       "admin": {"hash": bcrypt::hash("se:cret", 4).unwrap()}});
    std::fs::write(server.folder().join("users.json"), users.to_string()).unwrap();
    server.start_again().await;
    let mut session = Session::with(server);
    let url = session.url();
    session.file("~/.commissaire.json", None);
    session.run("network list");
    session.run_with(&format!("login {url} --username ada"), "wrong horse\n");
    session.run_with(&format!("login {url} --username ada"), "correct horse\n");
    session.run("network list");
    session.file("~/.commissaire.json", Some("{\"endpoint\": "));
    session.run("network list");
    session.file("~/.commissaire.json", Some("{\"endpiont\": \"http://127.0.0.1:8000\"}"));
    session.run("network list");
    session.file("~/.commissaire.json", Some(&json!({"endpoint": url}).to_string()));
    session.run("network list");
    session.run("--config elsewhere.json network list");
    let mut config = |endpoint: &[&str], user: &str, password: &str| {
        let config = json!({"endpoint": endpoint, "username": user, "password": password});
        session.file("~/.commissaire.json", Some(&config.to_string()));
        session.run("network list");
    };
    config(&[&format!("{url}/")], "ada", "correct horse");
    config(&[&url], "ada", "wrong horse");
    config(&["http://127.0.0.1:1"], "ada", "correct horse");
    config(&["http://127.0.0.1:1", &url], "ada", "correct horse");
    config(&[&url.replace("http:", "https:")], "ada", "correct horse");
    config(&["127.0.0.1:8000"], "ada", "correct horse");
    config(&[&format!("{url}/api/v0")], "ada", "correct horse");
    config(&[&format!("{url}/commissaire")], "ada", "correct horse");
    config(&[&url], "rea", "correct horse");
    session.run("cluster create web");
    session.run("whoami");
    session.run("token create -r reader -c web -e 30d ci");
    session.run("token create -r operator -c web cd");
    session.run("token list");
    session.run("token revoke ci");
    // By a kubeconfig, whose plugin is a script.
    session.file(
        "~/login",
        Some("#!/bin/sh\necho 'log in at https://login.example first' >&2\nexit 1\n"),
    );
    let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "./login"});
    let kubeconfig = |user| {
        let context = json!({"name": "here", "context": {"user": "me"}});
        json!({"current-context": "here", "contexts": [context],
               "users": [{"name": "me", "user": user}]})
        .to_string()
    };
    let config = json!({"endpoint": url, "kubeconfig": "kubeconfig"}).to_string();
    session.file("~/.commissaire.json", Some(&config));
    session.run("network list");
    session.file("~/kubeconfig", Some(&kubeconfig(json!({"exec": exec}))));
    session.run("network list");
    session.file("~/kubeconfig", Some(&kubeconfig(json!({"token": "wrong"}))));
    session.run("network list");
    let user = json!({"username": "ada", "password": "correct horse"});
    session.file("~/kubeconfig", Some(&kubeconfig(user)));
    session.run("network list");
    session.end("log_ins");
}

/// What needs no server.
#[tokio::test(flavor = "multi_thread")]
async fn local() {
    let mut session = Session::start().await;
    session.run("--version");
    session.run("");
    session.run("clutser list");
    session.run("-o xml cluster list");
    session.run_with("passhash -f -", "correct horse\n");
    session.run("passhash -r 4 -p 'correct horse'");
    session.run("passhash -r 3 -p 'correct horse'");
    session.run("passhash");
    session.run_with("passhash -f -", "");
    session.run("man man1");
    session.run("completion csh");
    session.run_silently("completion bash");
    session.end("local");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts() {
    // Light hosts: what is shown is commctl, not how a host is set up.
    let testbed = Testbed::up_light(1);
    let mut session = Session::start().await;
    let (address, port) = testbed.address(0);
    let (user, key) = (testbed.user(), std::fs::read_to_string(testbed.key()).unwrap());
    session.file("~/key", Some(&key));
    session.named(address, "HOST");
    session.named(&format!("--ssh-port {port}"), "--ssh-port PORT");
    session.named(&format!("-u {user}"), "-u USER");
    let add = format!("host create --bootstrap none -u {user} --ssh-port {port}");
    session.run("host list");
    session.run("-o table host list");
    session.run("host publickey");
    session.run(&format!("host create {address} nowhere"));
    session.run("cluster create web");
    session.run(&format!("{add} --wait -c web {address} ~/key"));
    session.run(&format!("{add} -c other {address} ~/key"));
    session.run(&format!("host get {address}"));
    session.run("host get 192.0.2.1");
    session.run("host list");
    session.run(&format!("host status {address}"));
    session.run("host list web");
    session.run("cluster get web");
    session.run(&format!("host ssh {address} 'echo hello; exit 3'"));
    session.run("host ssh 192.0.2.1");
    session.run(&format!("host accept-key {address} SHA256:wrong"));
    session.run(&format!("host rotate {address}"));
    session.run(&format!("host rotate {address} ~/key"));
    session.run(&format!("host unjoin {address} web"));
    session.run(&format!("host unjoin {address} web"));
    session.run(&format!("host join {address} web"));
    session.run(&format!("host investigate {address}"));
    session.server.settled(address).await;
    session.run("cluster restart start --wait web");
    session.run("cluster restart status web");
    ctrl_c_leaves_a_restart_running(&session, address).await;
    session.run(&format!("host delete {address} 192.0.2.1"));
    session.run("host list");
    session.end("hosts");
}

#[tokio::test(flavor = "multi_thread")]
async fn operations() {
    let testbed = Testbed::up_light(1);
    let mut session = Session::start().await;
    let address = testbed.address(0).0;
    session.named(address, "HOST");
    session.server.put("/cluster/c1", json!({})).await;
    let body = json!({"cluster": "c1", "bootstrap": "none"});
    session.server.register(&testbed, 0, body).await;
    session.server.settled(address).await;
    session.run("operation list c1");
    session.run("cluster restart start --dry-run c1");
    session.run("cluster restart start --dry-run --host 192.0.2.1 c1");
    session.run("cluster upgrade start --max-unavailable 0 c1");
    session.run("cluster deploy start --soak 2days c1 7.2");
    session.run("cluster restart pause c1");

    // While all is frozen nothing starts, and what is said to an operation is all that changes.
    session.run("freeze on --reason 'storage maintenance'");
    session.run("freeze status");
    session.run("cluster restart start --max-unavailable 30% --soak 1s c1");
    session.run("cluster upgrade start c1");
    session.server.event("waiting").await;
    session.run("operation list c1");
    session.run("explain c1");
    session.run("cluster upgrade pause c1");
    session.run("cluster restart pause c1");
    session.run("cluster restart resume c1");
    let id = session.server.operation().await["id"].as_str().unwrap().to_owned();
    session.run(&format!("operation pause {id}"));
    session.run(&format!("operation resume {id}"));
    session.run(&format!("operation abort {id}"));
    session.server.ended("restart").await;
    session.run(&format!("operation get {id}"));
    session.run(&format!("explain {id}"));
    session.run(&format!("explain {address}"));
    session.run("-o json explain c1");
    session.run("explain nowhere");
    session.run(&format!("operation events {id}"));
    session.run(&format!("-o json operation events --after 2 {id}"));
    session.run(&format!("operation resume {id}"));
    session.run("explain");
    session.run("freeze off");
    session.run("freeze status");
    session.run("explain");
    session.run("operation get nowhere");
    session.run(&format!("operation continue --dry-run {id}"));
    session.run("operation continue nowhere");

    session.run("cluster restart start --wait c1");
    session.run("cluster restart status --follow c1");
    session.run("cluster restart abort c1");
    session.run("--utc -o wide operation list c1");
    session.run("-o name operation list");
    session.run("-o name operation get @last");
    session.end("operations");
}

/// Hosts that are nodes of a Kubernetes.
#[tokio::test(flavor = "multi_thread")]
async fn nodes() {
    let Some(fleet) = Fleet::start("commctl::nodes", 2).await else { return };
    fleet.deploy("web", 2, 1, None).await;
    let mut session = Session::start().await;
    let (first, second) = (fleet.address(0), fleet.address(1));
    session.named(first, "HOST-0");
    session.named(second, "HOST-1");
    for host in 0..2 {
        let machine_id = fleet.testbed.exec(host, "cat /etc/machine-id");
        session.named(&machine_id, &format!("MACHINE-{host}"));
    }
    fleet.cluster(&session.server).await;
    session.run(&format!("host cordon {first}"));
    session.run(&format!("host cordon {first}"));
    session.run("explain");
    session.run("cluster restart start --dry-run c1");
    session.run(&format!("host uncordon {first}"));
    session.run(&format!("host uncordon {first}"));
    fleet.cordon_by_others(0).await;
    session.run(&format!("host cordon {first}"));
    session.run(&format!("host uncordon {first}"));
    session.run(&format!("host drain --wait {first}"));
    session.run(&format!("host uncordon --foreign {first}"));
    session.run("host cordon 192.0.2.1");

    session.run(&format!("host drain --dry-run {first}"));
    session.run(&format!("host drain --wait {first}"));
    session.run("explain");
    session.run(&format!("explain {first}"));
    session.run(&format!("host drain {second}"));
    session.run(&format!("host uncordon {first}"));
    session.run("explain");

    session.run(&format!("host place {first} --node-name w1"));
    session.run("cluster restart start --dry-run c1");
    session.run(&format!("host place {first} --node-name w9"));
    session.run(&format!("host cordon {first}"));
    session.run(&format!("host place {first} --node-name w0 --quorum-group etcd"));
    session.run(&format!("host place {first}"));
    session.run(&format!("host place {first} --node-name= --quorum-group="));
    session.run("host place 192.0.2.1 --quorum-group etcd");

    fleet.create_naked_pod("naked", 1).await;
    session.run("cluster restart start c1");
    session.run(&format!("host drain {second}"));
    session.run(&format!("host unjoin {second} c1"));
    session.run(&format!("host unjoin --no-drain {second} c1"));
    session.run(&format!("host cordon {second}"));
    session.run(&format!("host unjoin {first} c1"));
    session.run("explain");
    session.run(&format!("host uncordon {first}"));
    session.run(&format!("host join {first} c1"));
    session.run(&format!("host uncordon {first}"));
    session.end("nodes");
}

async fn ctrl_c_leaves_a_restart_running(session: &Session, address: &str) {
    let mut command = session.command(&["cluster", "restart", "start", "--wait", "web"]);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with(&format!("{address} reboot"))));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let come_back = "no longer waiting: the restart of web goes on; \
                     come back with: commctl cluster restart status --follow web";
    assert_eq!(lines.last().as_deref(), Some(come_back));
    let record = eventually("the restart ends", || async {
        let record = session.server.get_at_last("/cluster/web/restart").await;
        (record["status"] != "in_process").then_some(record)
    });
    let record = record.await;
    assert_eq!((&record["status"], &record["restarted"]), (&json!("finished"), &json!([address])));
}

/// Whoever adds a command is told here, and whoever takes a session away.
#[test]
fn every_command_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man");
    session::plain(&["man", pages.to_str().unwrap()], "");
    let commands = names(&pages, ".1");
    let commands = commands.iter().map(|page| page.replacen("commctl-", "", 1));
    let commands: BTreeSet<String> = commands.filter(|page| page != "commctl").collect();
    let is_group =
        |page: &String| commands.iter().any(|other| other.starts_with(&format!("{page}-")));
    let snapshots = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/snapshots");
    let sessions = names(&snapshots, ".snap");
    let expected = SESSIONS.map(|name| format!("e2e__commctl__{name}"));
    assert_eq!(sessions, BTreeSet::from(expected), "a snapshot that no session makes, or none yet");
    let shown: String = sessions
        .iter()
        .map(|name| std::fs::read_to_string(snapshots.join(format!("{name}.snap"))).unwrap())
        .collect();
    let lines: Vec<_> = shown.lines().filter(|line| line.starts_with("$ commctl ")).collect();
    let is_shown = |page: &String| {
        // In a page's name a blank is a dash; no command has a blank in its own.
        let mut words =
            lines.iter().map(|line| line.split(' ').skip(2).take(3).collect::<Vec<_>>().join("-"));
        words.any(|words| words == *page || words.starts_with(&format!("{page}-")))
    };
    let missing: Vec<_> = commands.iter().filter(|c| !is_group(c) && !is_shown(c)).collect();
    assert!(missing.is_empty(), "no session shows {missing:?}");
}

/// The names of a folder's files that end so, without that.
fn names(folder: &Path, end: &str) -> BTreeSet<String> {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
    let names = files.map(|name| name.into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(end).map(str::to_owned)).collect()
}

/// The binary that is under test.
fn program() -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_commissaire")).with_file_name("commctl");
    assert!(program.exists(), "`cargo build -p commctl` first");
    Command::new(program)
}
