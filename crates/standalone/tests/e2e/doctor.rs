//! `commissaire doctor` beside real processes: a server, an etcd and a RabbitMQ. No hosts are needed.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use testbed::etcd::Etcd;
use testbed::rabbitmq::RabbitMq;

use crate::first_start::{Running, commissaire};
use crate::server::eventually;

const ACCOUNTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conf/rabbitmq/accounts");

/// The six configuration files, each with the account of its daemon.
const DAEMONS: [(&str, &str); 6] = [
    ("commissaire", "http"),
    ("storage", "storage"),
    ("investigator", "investigator"),
    ("watcher", "watcher"),
    ("clusterexec", "clusterexec"),
    ("containermgr", "containermgr"),
];

/// The exit status, and the findings about the installation as `SEVERITY CHECK: FINDING`; those about this machine are
/// left out.
fn doctor(options: &[&str], command: &[&str]) -> (i32, Vec<String>) {
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_commissaire"));
    let output = doctor.args(options).args(["doctor", "-o", "json"]).args(command).output();
    let output = output.unwrap();
    let found: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {} {}", String::from_utf8_lossy(&output.stderr), output.status)
    });
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let of_installation = found.iter().filter(|finding| {
        !["clock", "ansible", "disk"].iter().any(|check| finding["check"] == *check)
    });
    let lines = of_installation.map(|finding| {
        assert_eq!(finding["remedy"].is_null(), finding["severity"] == "ok", "{finding}");
        let [severity, check, what] =
            ["severity", "check", "finding"].map(|name| text(finding, name));
        format!("{severity} {check}: {what}")
    });
    (output.status.code().unwrap(), lines.collect())
}

fn problems(found: &[String]) -> Vec<&String> {
    found.iter().filter(|finding| !finding.starts_with("ok ")).collect()
}

#[tokio::test]
async fn one_process_is_checked_while_it_runs_after_a_crash_and_after_a_fault() {
    let folder = tempfile::Builder::new().prefix("c").tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let process = Running(commissaire(folder.path(), "{}").spawn().unwrap());
    eventually("it is ready", || async { Path::new(&path("d/address")).exists().then_some(()) })
        .await;
    let options = ["--data-dir", &path("d"), "--run-dir", &path("r")];
    let (_, found) = doctor(&options, &[]);
    assert_eq!(problems(&found), [""; 0], "{found:#?}");
    for line in ["ok store: the database ", "ok versions: the records have the format of this"] {
        assert!(found.iter().any(|finding| finding.starts_with(line)), "{line}: {found:#?}");
    }
    assert!(found.iter().any(|finding| finding.ends_with(", which hosts trust")), "{found:#?}");

    drop(process);
    let (_, found) = doctor(&options, &[]);
    assert_eq!(problems(&found), [""; 0], "{found:#?}");

    let key = path("d/secret.key");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::remove_file(path("d/id_ed25519")).unwrap();
    let (status, found) = doctor(&options, &[]);
    assert_eq!(status, 1);
    let [permissions, ssh] = problems(&found)[..] else { panic!("{found:#?}") };
    assert!(permissions.starts_with("error permissions: ") && permissions.contains(&key));
    assert!(ssh.contains("id_ed25519 is missing, and hosts trust SHA256:"), "{ssh}");
}

/// The configuration of the six daemons on this broker and this etcd.
fn configure(folder: &Path, broker: &RabbitMq, etcd: &str) {
    let output = Command::new(ACCOUNTS)
        .env("RABBITMQCTL", broker.ctl_program())
        .args(["--scheme", "amqp", "--broker", &broker.address().to_string(), "--output"])
        .arg(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let users = folder.join("users.json");
    let hash = "$2b$04$abcdefghijklmnopqrstuuqfB.2S5hFQoTSGyGqNq5Y4Xv2uHPGf2";
    std::fs::write(&users, json!({"admin": {"hash": hash}}).to_string()).unwrap();
    std::fs::set_permissions(&users, PermissionsExt::from_mode(0o640)).unwrap();
    let data = folder.join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, PermissionsExt::from_mode(0o700)).unwrap();
    for (name, account) in DAEMONS {
        let mut fields = json!({
            "bus-uri-file": folder.join(format!("{account}.uri")),
            "data-dir": data,
            "run-dir": folder.join("run"),
        });
        match name {
            "commissaire" => {
                let plugin = json!({"name": "httpbasicauth", "filepath": users});
                fields["authentication-plugins"] = json!([plugin]);
            }
            "storage" => {
                fields["storage_handlers"] = json!({"type": "etcd", "server_url": etcd});
            }
            _ => {}
        }
        std::fs::write(folder.join(format!("{name}.conf")), fields.to_string()).unwrap();
    }
}

/// Writes until etcd has reached its quota.
async fn fill(etcd: &Etcd) {
    let mut client = etcd_client::Client::connect([etcd.endpoints()], None).await.unwrap();
    for number in 0..1000 {
        if client.put(format!("/filler/{number}"), vec![b'x'; 500_000], None).await.is_err() {
            return;
        }
    }
    panic!("etcd does not become full");
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_are_checked_with_their_broker_and_their_etcd() {
    let folder = tempfile::Builder::new().prefix("c").tempdir().unwrap();
    let (broker, etcd) = tokio::task::block_in_place(|| {
        let (broker, etcd) = (RabbitMq::up(), Etcd::with_quota(16 << 20));
        configure(folder.path(), &broker, etcd.endpoints());
        (broker, etcd)
    });
    let directory = folder.path().to_string_lossy().into_owned();
    let doctor = || tokio::task::block_in_place(|| doctor(&[], &["--config-dir", &directory]));
    let (_, found) = doctor();
    assert_eq!(problems(&found), [""; 0], "{found:#?}");
    let accounts = found.iter().filter(|finding| finding.starts_with("ok broker: the account "));
    assert_eq!(accounts.count(), DAEMONS.len(), "{found:#?}");
    assert!(found.iter().any(|finding| finding.contains("of its quota")), "{found:#?}");

    let arguments = ["set_permissions", "commissaire-watcher", "^$", ".*", "^$"];
    tokio::task::block_in_place(|| broker.ctl(&arguments));
    fill(&etcd).await;
    let (status, found) = doctor();
    assert_eq!(status, 1);
    let has = |line: &str| found.iter().any(|finding| finding.contains(line));
    assert!(has("of etcd: its database is full: it refuses every write"), "{found:#?}");
    let watcher =
        "error broker: the account commissaire-watcher of commissaire-watcher-service may not";
    assert!(has(&format!("{watcher} subscribe to notify.storage.Host.*: ")), "{found:#?}");
    assert!(has(&format!("{watcher} take jobs of the queue watcher: ")), "{found:#?}");
    assert!(!has(&format!("{watcher} send to")), "{found:#?}");

    tokio::task::block_in_place(|| {
        broker.stop();
        etcd.stop("1");
    });
    let (status, found) = doctor();
    assert_eq!(status, 1);
    let silent = found.iter().filter(|finding| finding.contains(" cannot connect: "));
    assert_eq!(silent.count(), DAEMONS.len(), "{found:#?}");
    let stores = found.iter().filter(|finding| finding.starts_with("error store: "));
    assert_eq!(stores.count(), 1, "{found:#?}");
}
