//! The original's recorded output, and what goes where.

use serde_json::{Value, json};

use crate::support::{Fleet, Home};

/// What the original's server answered in the samples: method, path, status, body.
fn recorded(argv: &str) -> Option<(&'static str, &'static str, u16, Value)> {
    let host = |address| {
        json!({"address": address, "status": "", "os": "", "cpus": 0, "memory": 0, "space": 0,
               "last_check": "", "source": ""})
    };
    let cluster =
        |name| json!({"name": name, "status": "", "network": "default", "container_manager": ""});
    let whole = |name: &str, hostset: &[&str]| {
        json!({"name": name, "status": "ok", "network": "default", "container_manager": "",
               "hostset": hostset,
               "hosts": {"total": hostset.len(), "available": hostset.len(), "unavailable": 0}})
    };
    let deploy = |status, finished_at| {
        json!({"name": "c1", "status": status, "version": "7.2.3", "finished_at": finished_at,
               "started_at": "2026-11-21T23:40:21.397282", "in_process": [], "deployed": []})
    };
    Some(match argv {
        "cluster create fb" => ("PUT", "cluster/fb", 201, cluster("fb")),
        "cluster create c1" => ("PUT", "cluster/c1", 201, cluster("c1")),
        "cluster list" => ("GET", "clusters", 200, json!(["c1", "c2"])),
        "cluster get c1" => ("GET", "cluster/c1", 200, whole("c1", &[])),
        "cluster get c2" => ("GET", "cluster/c2", 200, whole("c2", &["127.0.0.11"])),
        "cluster restart start c1" => (
            "PUT",
            "cluster/c1/restart",
            201,
            json!({"name": "c1", "status": "in_process", "finished_at": "", "in_process": [],
                   "started_at": "2026-11-21T23:40:23.166348", "restarted": []}),
        ),
        "cluster deploy start c1 7.2.3" => {
            ("PUT", "cluster/c1/deploy", 201, deploy("in_process", ""))
        }
        "cluster deploy status c1" => {
            let ended = "2026-11-21T23:40:21.413887";
            ("GET", "cluster/c1/deploy", 200, deploy("finished", ended))
        }
        "container_manager create -t trivial -o a=b -o c = d=e -o {\"x\":1} triv2" => (
            "PUT",
            "containermanager/triv2",
            201,
            json!({"name": "triv2", "type": "trivial", "options": {"a": "b", "c": "d=e", "x": 1}}),
        ),
        "network create n1" => {
            ("PUT", "network/n1", 201, json!({"type": "flannel_etcd", "name": "n1", "options": {}}))
        }
        "network list" => ("GET", "networks", 200, json!(["default", "n1", "n2"])),
        "host create 127.0.0.11 key" => ("PUT", "host/127.0.0.11", 201, host("127.0.0.11")),
        "host get 127.0.0.11" => ("GET", "host/127.0.0.11", 200, host("127.0.0.11")),
        "host list" => {
            let hosts = ["127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.1"].map(host);
            ("GET", "hosts", 200, json!(hosts))
        }
        "host list c1" => ("GET", "cluster/c1/hosts", 200, json!(["127.0.0.12"])),
        "host status 127.0.0.11" => (
            "GET",
            "host/127.0.0.11/status",
            200,
            json!({"type": "host_only", "container_manager": {},
                   "host": {"last_check": "", "status": ""}}),
        ),
        "host join 127.0.0.11 c2" => {
            ("PUT", "cluster/c2/hosts/127.0.0.11", 200, json!(["127.0.0.11"]))
        }
        _ => return None,
    })
}

/// The sample's data: the original writes its notes about endpoints to standard output too.
fn data(stdout: &str) -> String {
    stdout.split_inclusive('\n').filter(|line| !line.starts_with("Could not connect")).collect()
}

#[tokio::test]
async fn the_same_as_the_originals() {
    let fleet = Fleet::new().await;
    fleet.home.write("key", "-----BEGIN RSA PRIVATE KEY-----\n");
    let mut compared = 0;
    for sample in include_str!("../data/original-output.jsonl").lines() {
        let sample: Value = serde_json::from_str(sample).unwrap();
        let argv: Vec<&str> = sample["argv"].as_array().unwrap()[1..]
            .iter()
            .map(|arg| arg.as_str().unwrap())
            .collect();
        let mut expected = data(sample["stdout"].as_str().unwrap());
        let (verb, at, status, mut body) = recorded(&argv.join(" ")).expect("its answer");
        // An empty list, which commctl prints as what it is.
        if expected == "Success\n...\n" {
            body = json!([]);
            expected = "[]\n".to_owned();
        }
        let sent = body["options"].clone();
        fleet.answers_once(verb, at, status, body).await;
        fleet.home.run(&argv).await.printed(&expected);
        if argv[0] == "container_manager" {
            let requests = fleet.server.received_requests().await.unwrap();
            assert_eq!(requests.last().unwrap().body_json::<Value>().unwrap()["options"], sent);
        }
        compared += 1;
    }
    assert_eq!(compared, 18);
}

#[tokio::test]
async fn help_and_version_need_nothing() {
    let home = Home::empty();
    let help = home.run(&["--help"]).await;
    assert_eq!(help.status, 0);
    assert!(help.stdout.contains("Exit status"), "{}", help.stdout);
    let version = home.run(&["--version"]).await;
    let expected =
        concat!("commctl ", env!("CARGO_PKG_VERSION"), " (", env!("COMMISSAIRE_COMMIT"), ")\n");
    version.printed(expected);
    for command in ["cluster create", "cluster restart start", "host create", "network create"] {
        let line = format!("{command} --help");
        let help = home.run(&line.split(' ').collect::<Vec<_>>()).await;
        assert!(help.stdout.contains(&format!("\n  commctl {command} ")), "{}", help.stdout);
    }
}

#[tokio::test]
async fn wrong_usage_is_status_2() {
    let home = Home::empty();
    for line in ["", "cluster", "frobnicate", "cluster get", "-o xml cluster list", "host delete"] {
        let run = home.run(&line.split_whitespace().collect::<Vec<_>>()).await;
        assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{line}");
        assert!(!run.stderr.is_empty());
    }
}
