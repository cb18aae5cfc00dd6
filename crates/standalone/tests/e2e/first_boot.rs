//! Hosts that register themselves at their first boot: a real cloud-init, and what `commctl user-data` writes.

use std::net::TcpListener;
use std::path::PathBuf;
use std::thread;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testbed::Testbed;

use crate::processes::Form;
use crate::server::{PASSWORD, Server, eventually};

/// What the service on the host says, and where else a secret could have got to.
const SAID: &str = "journalctl --no-pager -o cat -u commissaire-register";
const LOGS: &str = "journalctl --no-pager -o cat; cat /var/log/cloud-init*.log";

/// The address by which hosts of the testbed reach this machine.
fn gateway(testbed: &Testbed) -> String {
    let (network, _) = testbed.address(0).0.rsplit_once('.').unwrap();
    format!("{network}.1")
}

/// Writes user data with these arguments; returns its path.
fn user_data(server: &Server, name: &str, arguments: &[&str]) -> PathBuf {
    let path = server.folder().join(name);
    let url = &server.processes.urls()[0];
    let written = ["user-data", "-e", url, "-o", path.to_str().unwrap()];
    let (status, output, said) = server.commctl(&[&written[..], arguments].concat());
    assert_eq!((status, output.as_str()), (0, ""), "{said}");
    path
}

/// A token of an enrollment with these arguments, in a file.
fn token(server: &Server, name: &str, arguments: &[&str]) -> (String, String) {
    let (status, token, said) =
        server.commctl(&[&["enroll", "create", "--bare"], arguments].concat());
    assert_eq!(status, 0, "{said}");
    let path = server.folder().join(name);
    std::fs::write(&path, &token).unwrap();
    (token.trim().to_owned(), path.to_str().unwrap().to_owned())
}

/// Waits until a host's service says something like this.
async fn says(testbed: &Testbed, host: usize, words: &str) {
    eventually(words, || async {
        tokio::task::block_in_place(|| testbed.exec(host, SAID)).contains(words).then_some(())
    })
    .await;
}

/// Boots the hosts for the first time, at the same moment.
fn first_boots(testbed: &Testbed, user_data: &[PathBuf]) {
    thread::scope(|scope| {
        for (host, file) in user_data.iter().enumerate() {
            scope.spawn(move || testbed.seed(host, file));
        }
    });
}

/// It has presented its key, let the server in by the server's own, and is a member.
async fn is_member(server: &Server, testbed: &Testbed, host: usize, user: &str) {
    let address = testbed.address(host).0;
    let status = server.settled(address).await;
    assert_eq!(status["host"]["status"], "disassociated", "{status}");
    let members: Value = server.get("/cluster/c1/hosts").await;
    assert!(members.as_array().unwrap().contains(&json!(address)), "{members}");
    let creds = server.get(&format!("/host/{address}/creds")).await;
    let shown = testbed.run(&["host-key", &testbed.hosts()[host]]);
    assert!(creds["ssh_host_key"].as_str().unwrap().contains(&shown), "{creds}");
    assert_eq!((&creds["ssh_priv_key"], &creds["remote_user"]), (&json!(""), &json!(user)));
    let private = "find / -xdev -name 'id_*' ! -name '*.pub' -path '*/.ssh/*' 2>/dev/null";
    assert_eq!(testbed.exec(host, private), "", "no private key was made");
    let modes = format!("cd ~{user}/.ssh && stat -c '%U %a' . authorized_keys");
    assert_eq!(testbed.exec(host, &modes), format!("{user} 700\n{user} 600"));
    // What was secret is gone with the service, and cloud-init has nothing to complain about.
    let left =
        "ls /etc/systemd/system/*/commissaire-register.service /var/lib/commissaire-register 2>&1";
    let left = testbed.exec(host, &format!("{left} | grep -vc 'No such file' || true"));
    assert_eq!(left, "0");
    let cloud_init =
        "cloud-init status --wait >/dev/null; cloud-init status; cloud-init schema --system";
    let said = testbed.exec(host, cloud_init);
    assert_eq!(said.trim(), "status: done\nValid cloud-config: system userdata");
}

fn tells_no_secret(testbed: &Testbed, host: usize, secrets: &[&str]) {
    let logs = testbed.exec(host, LOGS);
    for secret in secrets {
        assert!(!logs.contains(secret), "{secret} is in the log of host {host}");
    }
}

/// The third host uses the first one's token for more than it is for: refused, and audited.
fn strangers_get_nothing_by(token: &str, server: &Server, testbed: &Testbed, url: &str) {
    let (victim, stranger) = (testbed.address(0).0, testbed.address(2).0);
    let answers = tries(testbed, 2, url, token, victim);
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert!(answers[0].starts_with("403 ") && answers[0].contains("the address it asks from"));
    assert!(answers[1..].iter().all(|answer| answer.contains("nothing else")), "{answers:?}");
    let audit = std::fs::read_to_string(server.data_dir().join("audit.log")).unwrap();
    let audit: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let id = token.split_once('.').unwrap().0;
    for path in
        [&format!("/host/{victim}"), &format!("/host/{victim}/creds"), "/cluster/c1/restart"]
    {
        let path = format!("/api/v0{path}");
        let line = audit.iter().find(|line| line["path"] == path && line["source"] == stranger);
        let line = line.unwrap_or_else(|| panic!("{path} is not in the audit log"));
        let expected = (&json!(format!("enroll:{id}")), &json!(403));
        assert_eq!((&line["principal"], &line["status"]), expected, "{path}");
    }
}

/// What a host that has another one's token tries with it: status and `detail` of each answer.
fn tries(testbed: &Testbed, host: usize, url: &str, token: &str, victim: &str) -> Vec<String> {
    let script = format!(
        "
import json, ssl, urllib.error, urllib.request
body = {{'ssh_host_key': open('/etc/ssh/ssh_host_ed25519_key.pub').read()}}
for method, path in [('PUT', 'host/{victim}'), ('GET', 'host/{victim}/creds'), ('PUT', 'cluster/c1/restart')]:
    request = urllib.request.Request('{url}/api/v0/' + path, json.dumps(body).encode(), method=method)
    request.add_header('Authorization', 'Bearer {token}')
    try: print(urllib.request.urlopen(request, context=ssl._create_unverified_context()).status)
    except urllib.error.HTTPError as error: print(error.code, json.load(error)['detail'])
"
    );
    testbed
        .exec(host, &format!("python3 - <<'END'{script}END"))
        .lines()
        .map(str::to_owned)
        .collect()
}

/// The server is away while they boot, as one is that comes up only later.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_register_themselves_by_token_once_the_server_is_there() {
    let test = "hosts_register_themselves_by_token";
    let Some(testbed) = Testbed::up_booted(test, &["cloud-init"; 3]) else { return };
    let address = gateway(&testbed);
    let port = TcpListener::bind((address.as_str(), 0)).unwrap().local_addr().unwrap().port();
    let config = json!({"listen-interface": address, "listen-port": port});
    let mut server = Server::start(Form::OneProcess, config).await;
    let url = server.processes.urls()[0].clone();
    assert_eq!(url, format!("https://{address}:{port}"));
    server.put("/cluster/c1", json!({})).await;
    let (victims, file) = token(&server, "t", &["-c", "c1"]);
    let (expired, expired_file) = token(&server, "e", &["-e", "1"]);
    let files = [
        user_data(&server, "0", &["--token-file", &file]),
        user_data(&server, "1", &["-c", "c1", "-r", "deploy.er"]),
        user_data(&server, "2", &["--token-file", &expired_file]),
    ];
    server.processes.terminate_all().await;
    tokio::task::block_in_place(|| first_boots(&testbed, &files));
    for host in 0..3 {
        says(&testbed, host, &format!("{url} cannot be reached")).await;
    }
    server.start_again().await;
    is_member(&server, &testbed, 0, "root").await;
    is_member(&server, &testbed, 1, "deploy.er").await;
    let refused = "NOT REGISTERED: ";
    says(&testbed, 2, refused).await;
    let said = testbed.exec(2, SAID);
    assert!(said.contains("this enrollment token has expired: ask for a new one"), "{said}");
    let stranger = format!("/host/{}", testbed.address(2).0);
    let (status, _) = server.call(Method::GET, &stranger, json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    for host in 0..3 {
        assert!(testbed.exec(host, LOGS).contains("commissaire: "), "its log tells of it");
        tells_no_secret(&testbed, host, &[&victims, &expired]);
    }
    strangers_get_nothing_by(&victims, &server, &testbed, &url);
}

/// As in the original; over plain HTTP, as behind a TLS proxy.
async fn a_host_registers_itself_by_user_name_and_password_with_a_key_of_its_own() {
    let test = "a_host_registers_itself_by_user_name_and_password";
    let Some(testbed) = Testbed::up_booted(test, &["cloud-init"]) else { return };
    let config = json!({"listen-interface": gateway(&testbed), "insecure-http": true});
    let server = Server::start(Form::Distributed(1), json!({"commissaire": config})).await;
    server.put("/cluster/c1", json!({})).await;
    let file = |name: &str, password: &str| {
        let path = server.folder().join(format!("{name}-password"));
        std::fs::write(&path, password).unwrap();
        let path = path.to_str().unwrap();
        user_data(&server, name, &["-u", "admin", "--password-file", path, "-c", "c1", "-r", "ops"])
    };
    let wrong = file("wrong", "wr0ng-one");
    tokio::task::block_in_place(|| testbed.seed(0, &wrong));
    says(&testbed, 0, "NOT REGISTERED: ").await;
    assert!(testbed.exec(0, SAID).contains("(403 Forbidden)"));

    let right = file("right", PASSWORD);
    tokio::task::block_in_place(|| testbed.seed(0, &right));
    says(&testbed, 0, "registered with ").await;
    let address = testbed.address(0).0;
    let status = server.settled(address).await;
    assert_eq!(status["host"]["status"], "disassociated", "{status}");
    assert_eq!(server.get("/cluster/c1/hosts").await, json!([address]));
    let creds = server.get(&format!("/host/{address}/creds")).await;
    let key = creds["ssh_priv_key"].as_str().unwrap();
    let own = "base64 -w0 /root/.ssh/id_rsa; stat -c ' %U %a' /root/.ssh/id_rsa";
    assert_eq!(testbed.exec(0, own), format!("{key} root 600"));
    let shown = testbed.run(&["host-key", &testbed.hosts()[0]]);
    assert!(creds["ssh_host_key"].as_str().unwrap().contains(&shown), "{creds}");
    tells_no_secret(&testbed, 0, &[PASSWORD, "wr0ng-one", &key[200..240]]);
}

full!(a_host_registers_itself_by_user_name_and_password_with_a_key_of_its_own,);
