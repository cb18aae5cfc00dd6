//! `commctl user-data`

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Fleet, Home, Run};

const HANDLER: &str = include_str!("../../src/commands/user_data/part_handler.py");
const KEY: &str = "ssh-ed25519 AAAA commissaire";
const TOKEN: &str = "0123456789ab.cGFzc3dvcmQ";

/// A server that has a key and makes tokens.
async fn fleet() -> Fleet {
    let fleet = Fleet::new().await;
    fleet.answers("GET", "publickey", 200, json!({"public_key": format!("{KEY}\n")})).await;
    let made =
        json!({"id": "0123456789ab", "token": TOKEN, "expires": "2026-11-27T00:00:00.000000"});
    fleet.answers("POST", "enrollments", 201, made).await;
    fleet
}

fn python(script: &str, arguments: &[&str]) -> String {
    let output =
        Command::new("python3").args(["-B", "-W", "error", "-c", script]).args(arguments).output();
    let output = output.expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Type, file name and text of each part, as Python's `email`, and with it cloud-init, reads them.
fn parts(message: &str) -> Vec<(String, String, String)> {
    const READ: &str = "
import email, json, sys
message = email.message_from_string(sys.argv[1])
assert message.get_content_type() == 'multipart/mixed' and not message.defects, message.defects
print(json.dumps([
    (part.get_content_type(), part.get_filename(), part.get_payload(decode=True).decode())
    for part in message.get_payload() if not part.defects or sys.exit(part.defects)
]))";
    serde_json::from_str(&python(READ, &[message])).unwrap()
}

/// What the hosts are told.
fn parameters(message: &str) -> Value {
    serde_json::from_str(&parts(message)[2].2).unwrap()
}

#[track_caller]
fn succeeded(run: Run) -> String {
    assert_eq!(run.status, 0, "{run:?}");
    assert!(!run.stderr.contains(TOKEN) && !run.stderr.contains("s3cret"), "{run:?}");
    run.stdout
}

#[tokio::test]
async fn a_token_is_made_and_goes_along_with_the_servers_key() {
    let fleet = fleet().await;
    let line = "user-data -e https://10.0.0.9:8000/ -c web -r ops -o web.userdata \
                --uses 20 --expires 90 --from 10.0.0.0/8";
    let run = fleet.run(line).await;
    assert_eq!(
        run.stderr,
        "a token for 20 hosts made, until 2026-11-27T00:00:00.000000 UTC; to revoke it: \
         commctl enroll revoke 0123456789ab\n"
    );
    assert_eq!(succeeded(run), "");
    let requests = fleet.server.received_requests().await.unwrap();
    assert_eq!(fleet.requests().await, ["GET /api/v0/publickey", "POST /api/v0/enrollments"]);
    let asked: Value = requests[1].body_json().unwrap();
    let expected = json!({"cluster": "web", "expires": 90, "uses": 20, "from": ["10.0.0.0/8"]});
    assert_eq!(asked, expected);
    let path = fleet.home.dir.path().join("web.userdata");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let message = std::fs::read_to_string(path).unwrap();
    let told = json!({"endpoint": "https://10.0.0.9:8000", "cluster": "web", "remote_user": "ops",
                      "token": TOKEN, "public_key": KEY});
    assert_eq!(parameters(&message), told);
}

#[tokio::test]
async fn the_handler_comes_before_the_part_it_handles() {
    let fleet = fleet().await;
    let arguments = ["user-data", "-e", "https://10.0.0.9:8000", "--token-file", "-"];
    let message = succeeded(fleet.home.run_with_input(&arguments, &format!("{TOKEN}\n")).await);
    let boundary = message.split('"').nth(1).unwrap();
    let part = |kind, name, text| {
        format!(
            "--BOUNDARY\nContent-Type: text/{kind}; charset=\"utf-8\"\nContent-Transfer-Encoding: 7bit\n\
             Content-Disposition: attachment; filename=\"{name}\"\n\n{text}\n"
        )
    };
    let told = format!(
        "{{\n  \"endpoint\": \"https://10.0.0.9:8000\",\n  \"public_key\": \"{KEY}\",\n  \"token\": \"{TOKEN}\"\n}}\n"
    );
    let expected = [
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"BOUNDARY\"\n\n".to_owned(),
        part(
            "cloud-config",
            "cloud-config.txt",
            "#cloud-config\n\nfinal_message: \"Finished booting\"\n",
        ),
        part("part-handler", "part-handler.py", HANDLER),
        part("x-commissaire-host", "commissaire.txt", &told),
        "--BOUNDARY--\n".to_owned(),
    ];
    assert_eq!(message.replace(boundary, "BOUNDARY"), expected.concat());
    assert_eq!(fleet.requests().await, ["GET /api/v0/publickey"], "no token is made");
    let kinds: Vec<_> = parts(&message).into_iter().map(|part| part.0).collect();
    assert_eq!(kinds, ["text/cloud-config", "text/part-handler", "text/x-commissaire-host"]);
}

#[tokio::test]
async fn as_the_original_does_with_user_name_and_password() {
    // No server is asked, and no configuration needed.
    let home = Home::empty();
    let config = "#cloud-config\nfinal_message: \"größe\"\n";
    home.write("own.yaml", config);
    let line = "user-data -e http://10.0.0.9:8000 -u enroller --password-file - -c web -r ops \
                -s /etc/k/id -a /etc/k/keys -C own.yaml";
    let arguments: Vec<_> = line.split_whitespace().collect();
    let run = home.run_with_input(&arguments, "s3cret \n").await;
    assert_eq!(run.stderr, "warning: over http anybody on the way can read what the hosts send\n");
    let message = succeeded(run);
    let told = json!({"endpoint": "http://10.0.0.9:8000", "username": "enroller", "password": "s3cret ",
                      "cluster": "web", "remote_user": "ops", "ssh_key_path": "/etc/k/id",
                      "authorized_keys_path": "/etc/k/keys"});
    assert_eq!(parameters(&message), told);
    assert_eq!(parts(&message)[0].2, config);
}

#[tokio::test]
async fn the_authority_goes_along_and_no_key_beside_it() {
    let certificate =
        |data| format!("-----BEGIN CERTIFICATE-----\n{data}\n-----END CERTIFICATE-----\n");
    let both = format!("{}{}", certificate("QQ=="), certificate("Qg=="));
    let key = "-----BEGIN PRIVATE KEY-----\ns3cret\n-----END PRIVATE KEY-----\n";
    let home = Home::with(&json!({"certificate_authority": "ca.pem"}));
    home.write("ca.pem", &format!("{key}{both}"));
    let run = async |endpoint: &str| {
        let line = ["user-data", "-e", endpoint, "-u", "a", "--password-file", "-"];
        home.run_with_input(&line, "p").await
    };
    let message = succeeded(run("https://10.0.0.9:8000").await);
    assert_eq!(parameters(&message)["certificate_authority"], both);
    assert!(!message.contains("PRIVATE KEY"));
    let message = succeeded(run("http://10.0.0.9:8000").await);
    assert_eq!(parameters(&message).get("certificate_authority"), None);
    home.write("ca.pem", key);
    let run = run("https://10.0.0.9:8000").await;
    assert!(run.stderr.ends_with("ca.pem holds no certificate\n"), "{run:?}");
    assert_eq!(run.status, 2);
}

#[tokio::test]
async fn it_fits_where_clouds_take_16_kib() {
    let home = Home::with(&json!({"certificate_authority": "ca.pem"}));
    let authority = |length| {
        let data = "QUJD".repeat(length);
        format!("-----BEGIN CERTIFICATE-----\n{data}\n-----END CERTIFICATE-----\n")
    };
    let line = "user-data -e https://10.0.0.9:8000 -u enroller --password-file - -c web -r ops";
    let arguments: Vec<_> = line.split_whitespace().collect();
    // Our own is half as long.
    home.write("ca.pem", &authority(300));
    let run = home.run_with_input(&arguments, "s3cret").await;
    assert_eq!(run.stderr, "");
    assert!(succeeded(run).len() < 15 << 10, "little is left for a cloud-config");
    home.write("ca.pem", &authority(3000));
    let run = home.run_with_input(&arguments, "s3cret").await;
    assert!(
        run.stderr.starts_with("warning: these are 2") && run.stderr.contains("gzip"),
        "{run:?}"
    );
    assert_eq!(run.status, 0);
}

#[tokio::test]
async fn what_is_wrong_is_told_and_nothing_is_made() {
    let fleet = fleet().await;
    fleet.home.write("script.sh", "#!/bin/sh\n");
    for (line, says) in [
        ("user-data", "--endpoint"),
        ("user-data -e 10.0.0.9:8000", "no scheme; write http://10.0.0.9:8000"),
        ("user-data -e ftp://h", "begins with http://"),
        ("user-data -e https://a:s3cret@h", "instead"),
        ("user-data -e https://h -c a/b", "cannot contain"),
        ("user-data -e https://h -r a;b", "begins with a letter"),
        ("user-data -e https://h -r -x", "unexpected argument"),
        ("user-data -e https://h -s id_rsa", "begins with /"),
        ("user-data -e https://h -a .ssh/", "begins with /"),
        ("user-data -e https://h -C script.sh", "script.sh is no cloud-config"),
        ("user-data -e https://h -C nowhere", "cannot read nowhere"),
        ("user-data -e https://h -p", "--username"),
        ("user-data -e https://h -u a", "--password-file FILE"),
        ("user-data -e https://h -u a --password-file nowhere", "cannot read nowhere"),
        ("user-data -e https://h -u a --password-file /dev/null", "the password is empty"),
        ("user-data -e https://h -u a --token t", "cannot be used with"),
        ("user-data -e https://h --token t --uses 2", "cannot be used with"),
        ("user-data -e https://h --token é", "no token of `commctl enroll create`"),
        ("user-data -e https://h --token-file /dev/null", "no token of `commctl enroll create`"),
    ] {
        let run = fleet.run(line).await;
        assert_eq!((run.status, run.stdout.as_str()), (2, ""), "{line}: {run:?}");
        assert!(run.stderr.contains(says) && !run.stderr.contains("s3cret"), "{line}: {run:?}");
    }
    let run = fleet.run("user-data -e https://h -o nowhere/f").await;
    assert_eq!((run.status, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.starts_with("error: cannot write to nowhere/f: No such file"), "{run:?}");
    assert!(fleet.requests().await.is_empty());
}

#[tokio::test]
async fn a_refusal_leaves_the_file_as_it_was() {
    let fleet = Fleet::new().await;
    fleet.answers("GET", "publickey", 200, json!({"public_key": KEY})).await;
    fleet.refuses("POST", "enrollments", 409, "there is no cluster \"web\": create it first").await;
    let path = fleet.home.write("web.userdata", "before");
    let run = fleet.run("user-data -e https://h -c web -o web.userdata").await;
    run.failed(1, "error: there is no cluster \"web\": create it first (409 Conflict)\n");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "before");
    let files = std::fs::read_dir(fleet.home.dir.path()).unwrap().count();
    assert_eq!(files, 2, "the configuration and the file");
}

/// Its path, for Python.
fn handler() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/commands/user_data/part_handler.py");
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_handler_is_python_3_6_and_needs_its_standard_library_only() {
    const CHECK: &str = "
import ast, sys
source = open(sys.argv[1]).read()
compile(source, sys.argv[1], 'exec')
tree = ast.parse(source, feature_version=(3, 6))
for node in ast.walk(tree):
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    names += [node.module] if isinstance(node, ast.ImportFrom) else []
    for name in names:
        assert name.split('.')[0] in sys.stdlib_module_names, name
";
    python(CHECK, &[&handler()]);
    assert!(HANDLER.starts_with("#part-handler\n") && HANDLER.is_ascii());
}

/// What the handler's loop says and does, with these answers of the server; it never really sleeps, and
/// gives up after five attempts.
fn registering(endpoint: &str, config: &Value) -> String {
    const RUN: &str = "
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location('handler', sys.argv[1])
handler = importlib.util.module_from_spec(spec)
spec.loader.exec_module(handler)
slept = []
def sleep(seconds):
    slept.append(seconds)
    if len(slept) == 5: raise SystemExit(0)
handler.time.sleep = sleep
handler.random.uniform = lambda low, high: 1
handler.log = print
handler.host_keys = lambda: 'ssh-ed25519 AAAA'
handler.addresses = lambda: ['10.0.0.1', 'fd00::1']
config = handler.parse(sys.argv[2])
try:
    handler.register(config['endpoint'], handler.connector(config), handler.headers(config), {'remote_user': 'root'})
except handler.Refused as error:
    print('refused:', error)
finally:
    print(slept)
";
    let mut config = config.clone();
    config["endpoint"] = json!(endpoint);
    let said = python(RUN, &[&handler(), &config.to_string()]);
    assert!(!said.contains("s3cret"), "{said}");
    said
}

#[tokio::test]
async fn hosts_ask_until_the_server_answers() {
    let fleet = Fleet::new().await;
    fleet.answers_once("PUT", "host", 503, json!({"detail": "not \u{1b}yet"})).await;
    fleet.answers_once("PUT", "host", 429, json!([])).await;
    fleet.answers("PUT", "host", 201, json!({"address": "10.0.0.1"})).await;
    let url = fleet.server.uri();
    let said = registering(&format!("{url}/"), &json!({"token": "id.s3cret"}));
    assert_eq!(
        said,
        format!(
            "{url}/ answers: not ?yet (503 Service Unavailable); trying again in 1 s\n\
             {url}/ answers: 429 Too Many Requests; trying again in 2 s\n\
             registered with {url}/ as root\n[1, 2]\n"
        )
    );
    let requests = fleet.server.received_requests().await.unwrap();
    let body: Value = requests[2].body_json().unwrap();
    let sent = json!({"remote_user": "root", "ssh_host_key": "ssh-ed25519 AAAA",
                      "addresses": ["10.0.0.1", "fd00::1"]});
    assert_eq!(body, sent);
    assert_eq!(requests[2].headers["authorization"], "Bearer id.s3cret");
}

#[tokio::test]
async fn hosts_give_up_when_they_are_refused_and_not_before() {
    let fleet = Fleet::new().await;
    fleet.refuses("PUT", "host", 403, "this enrollment token has expired: ask for a new one").await;
    let url = fleet.server.uri();
    let login = json!({"username": "a", "password": "s3cret"});
    assert_eq!(
        registering(&url, &login),
        format!(
            "refused: {url} refuses: this enrollment token has expired: ask for a new one (403 Forbidden)\n[]\n"
        )
    );
    assert_eq!(fleet.request().await.headers["authorization"], "Basic YTpzM2NyZXQ=");
    let nobody = crate::support::NOWHERE;
    let said = registering(nobody, &login);
    assert!(said.contains("cannot be reached: [Errno 111] Connection refused"), "{said}");
    assert!(said.ends_with("[1, 2, 4, 8, 15]\n"), "{said}");
}

#[test]
fn nothing_is_done_as_another_user_with_supplementary_groups() {
    const SCRIPT: &str = "
import os, sys, types
handler = {'__name__': 'handler'}
exec(sys.argv[1], handler)
for name in ('setgroups', 'setgid', 'setuid', 'setegid', 'seteuid'):
    setattr(os, name, lambda value, name=name: os.write(1, b'%s %r; ' % (name.encode(), value)) and None)
os.getgroups = lambda: [0, 4]
user = types.SimpleNamespace(pw_uid=8, pw_gid=7)
with handler['acting_as'](user):
    os.write(1, b'acting; ')
print(handler['run']('true', user=user))";
    let said = python(SCRIPT, &[HANDLER]);
    let (acting, running) =
        ("setgroups []; setegid 7; seteuid 8; acting; ", "setgroups []; setgid 7; setuid 8; ");
    let back = "seteuid 0; setegid 0; setgroups [0, 4]; ";
    assert_eq!(said.trim_end_matches('\n'), format!("{acting}{back}{running}"));
}
