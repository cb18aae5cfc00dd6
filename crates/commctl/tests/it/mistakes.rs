//! Deliberate mistakes, a row each: what commctl is called with, its exit status, and the words without which the
//! message would be no help: what was wrong, and what to do. No row changes anything on the server.

mod table;

use serde_json::json;

use self::table::{CONFIG, Mistake, check, mistake};
use crate::support::NOWHERE;
use crate::support::flawed_tls::Authority;

const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
const PUBLIC_KEY: &str = "ssh-ed25519 AAAAC3 me@here\n";

fn on_the_command_line() -> Vec<Mistake> {
    vec![
        mistake("clutser list", 2, &["'clutser'", "similar subcommand exists: 'cluster'"]),
        mistake("cluster crate web", 2, &["'crate'", "similar subcommand exists: 'create'"]),
        mistake("cluster restart web", 2, &["'web'", "one of start, status, pause, resume, abort"]),
        mistake("host get", 2, &["required", "<ADDRESS>", "Usage: commctl host get"]),
        mistake("host join 10.0.0.1", 2, &["required", "<CLUSTER>", "<HOST> <CLUSTER>"]),
        mistake("cluster deploy start web", 2, &["required", "<VERSION>"]),
        mistake("cluster create web staging", 2, &["'staging'", "Usage: commctl cluster create"]),
        mistake("cluster list -o json", 2, &["'-o'", "write '--output'"]),
        mistake("host get -o json 10.0.0.1", 2, &["'-o'", "write '--output'"]),
        mistake("network create -o json n1", 2, &["'json'", "JSON object", "that is --output"]),
        mistake("container_manager create -o json k1", 2, &["KEY=VALUE", "that is --output"]),
        mistake("host list -c other.json", 2, &["'-c'", "write '--config'"]),
        mistake("-o xml host list", 2, &["'xml'", "yaml, json, table"]),
        mistake("host list --output jsno", 2, &["'jsno'", "similar value exists: 'json'"]),
        mistake("host list --fromat json", 2, &["'--fromat'", "Usage: commctl host list"]),
        mistake("host ssh -p 9876 10.0.0.1", 2, &["'-p'", "'commctl host ssh HOST -p …'"]),
        mistake("cluster restart start --soak soon web", 2, &["'soon'", "--soak", "90s, 10m"]),
        mistake("cluster restart start --max-unavailable 150% web", 2, &["150%", "1% to 100%"]),
        mistake("cluster restart start --timeout 5m web", 2, &["required", "--wait"]),
        mistake("cluster restart start --wait --dry-run web", 2, &["--dry-run", "cannot be used"]),
        mistake("cluster create -t openshift web", 2, &["'openshift'", "kubernetes, host_only"]),
        mistake("cluster upgrade start --reboot maybe web", 2, &["'maybe'", "if-needed, always"]),
        mistake("cluster delete ../host", 2, &["'../host'", "a name cannot contain '/'"]),
        mistake("host create --ssh-port 99999 10.0.0.1", 2, &["99999", "1..=65535"]),
        mistake("host rotate 10.0.0.1", 2, &["required", "--remote-user", "--server-key"]),
        mistake(
            "host investigate",
            2,
            &["required", "<ADDRESS>", "Usage: commctl host investigate"],
        ),
        mistake("host investigate --reason no-sudo 10.0.0.1", 2, &["--reason", "cannot be used"]),
        mistake("passhash", 2, &["no terminal", "--file FILE"]),
        mistake("passhash --rounds 3", 2, &["'3'", "--rounds", "4..=31"]),
        mistake("access create --role reader -c web b1", 2, &["required", "--user", "--group"]),
        mistake(
            "access create --user a --group b:c --role reader -c web b1",
            2,
            &["cannot be used"],
        ),
        mistake("access create --user a --role root -c web b1", 2, &["'root'", "reader, operator"]),
        mistake("access create --user a --role reader b1", 2, &["required", "--cluster"]),
        mistake("cluster restart start --health a --health-command b web", 2, &["cannot be used"]),
        mistake("enroll create --uses many", 2, &["'many'", "--uses", "whole number"]),
        mistake(
            "cluster restart start --max-failures -1 web",
            2,
            &["--max-failures", "whole number"],
        ),
        mistake("operation pause", 2, &["required", "<ID>"]),
        mistake("user-data -c web", 2, &["required", "--endpoint <URL>"]),
        mistake("user-data -e https://h -p", 2, &["required", "--username <USER>"]),
        mistake("user-data -e 10.0.0.9:8000", 2, &["no scheme", "http://10.0.0.9:8000"]),
        mistake("user-data -e https://h -r 1ops", 2, &["'1ops'", "begins with a letter"]),
    ]
}

fn in_files() -> Vec<Mistake> {
    vec![
        mistake("host create 10.0.0.1 nowhere", 2, &["cannot read nowhere", "No such file"]),
        mistake("host create 10.0.0.1 key.pub", 2, &["key.pub holds a public key", "private one"])
            .beside("key.pub", PUBLIC_KEY),
        mistake("host create 10.0.0.1 empty", 2, &["empty is empty"]).beside("empty", "\n"),
        mistake("host create --host-key key 10.0.0.1", 2, &["--host-key", "public key"])
            .beside("key", KEY),
        mistake("passhash -f nowhere", 2, &["cannot read nowhere", "No such file"]),
        mistake("user-data -e https://h --token-file nowhere", 2, &["cannot read nowhere"]),
        mistake("user-data -e https://h --token-file token", 2, &["no token", "enroll create"])
            .beside("token", "two words\n"),
        mistake("user-data -e https://h -C setup.sh", 2, &["setup.sh", "#cloud-config"])
            .beside("setup.sh", "#!/bin/sh\n"),
    ]
}

fn in_the_configuration() -> Vec<Mistake> {
    let config = |text: &str, says| mistake("host list", 2, says).with(text);
    let endpoint = |text: &str, says| {
        let config = json!({"username": "a", "password": "hunter2", "endpoint": text});
        mistake("host list", 2, says).with(&config.to_string())
    };
    vec![
        mistake("host list", 2, &["no username", "\"username\":", "there is no", "--config"])
            .without_configuration(),
        mistake("-c elsewhere.json host list", 2, &["cannot read", "elsewhere.json", "No such"]),
        config(r#"{"username": "a", "#, &["not valid JSON", "line 1"]),
        config(r#"["a"]"#, &["not a JSON object"]),
        config(r#"{"endpiont": "http://h"}"#, &["\"endpiont\"", "did you mean \"endpoint\"?"]),
        config(r#"{"endpoint": 8000}"#, &["\"endpoint\" must be a string or a list of strings"]),
        config(r#"{"password": 7}"#, &["\"password\" must be a string"]),
        config(r#"{"username": "a", "endpoint": "{url}"}"#, &["no password", "\"password\": "]),
        config(r#"{"client_key": "k", "endpoint": "{url}"}"#, &["without \"client_certificate\""]),
        config(r#"{"kubeconfig": "nowhere", "endpoint": "{url}"}"#, &["kubeconfig", "nowhere"]),
        endpoint("127.0.0.1:8000", &["no scheme", "write http://127.0.0.1:8000, or https://"]),
        endpoint("localhost:8000", &["no scheme", "write http://localhost:8000"]),
        endpoint("ftp://h", &["\"ftp://h\"", "begins with http:// or https://"]),
        endpoint("http://h:8000/api/v0", &["leave the path out", "write http://h:8000"]),
        endpoint("http://a:hunter2@h", &["\"h\"", "\"username\" and \"password\" instead"]),
        config(
            r#"{"username": "a", "password": "b", "endpoint": "https://h", "certificate_authority": "nowhere.pem"}"#,
            &["cannot read", "nowhere.pem", "No such file"],
        ),
    ]
}

fn at_the_server() -> Vec<Mistake> {
    vec![
        mistake("host get 10.0.0.9", 1, &["there is no host 10.0.0.9"]),
        mistake("host status host.invalid", 1, &["no host host.invalid, and cannot resolve"]),
        mistake(
            "host delete localhost",
            1,
            &["no host localhost, nor one with the address 127.0."],
        ),
        mistake("host ssh 10.0.0.9", 1, &["there is no host 10.0.0.9"]),
        mistake("host unjoin 10.0.0.9 web", 1, &["no member", "nothing was changed", "list web"]),
        mistake("host unjoin 10.0.0.1 nowhere", 1, &["no cluster nowhere", "commctl cluster list"]),
        mistake("host join 10.0.0.1 nowhere", 1, &["there is no cluster nowhere"])
            .sending(&["PUT /api/v0/cluster/nowhere/hosts/10.0.0.1"]),
        mistake(
            "host delete 10.0.0.8 10.0.0.9",
            1,
            &["no host 10.0.0.8", "2 of 2 were not deleted"],
        )
        .sending(&["DELETE /api/v0/host/10.0.0.8", "DELETE /api/v0/host/10.0.0.9"]),
        mistake("host create -c nowhere 10.0.0.9", 1, &["no cluster nowhere"])
            .sending(&["PUT /api/v0/host/10.0.0.9"]),
        // The server answers as if it had taken the user.
        mistake(
            "host create -u ops 10.0.0.1",
            0,
            &["known already", "host rotate -u ops 10.0.0.1"],
        )
        .sending(&["PUT /api/v0/host/10.0.0.1"]),
        mistake("cluster get nowhere", 1, &["there is no cluster nowhere"]),
        mistake("cluster create -n nowhere c1", 1, &["no network nowhere, only default, internal"]),
        mistake("cluster create -t host_only managed", 1, &["not host_only", "manager is k1"]),
        mistake("cluster create -c nobody c1", 1, &["there is no container manager nobody"])
            .sending(&["PUT /api/v0/cluster/c1"]),
        mistake("cluster restart start nowhere", 1, &["there is no cluster nowhere"])
            .sending(&["PUT /api/v0/cluster/nowhere/restart"]),
        mistake("cluster restart abort web", 1, &["no restart of web is in process"]),
        mistake("operation get nowhere", 1, &["there is no operation nowhere"]),
    ]
}

#[tokio::test]
async fn mistakes_on_the_command_line_send_nothing() {
    check(&on_the_command_line()).await;
}

#[tokio::test]
async fn mistakes_in_files_send_nothing() {
    check(&in_files()).await;
}

#[tokio::test]
async fn mistakes_in_the_configuration_send_nothing() {
    check(&in_the_configuration()).await;
}

#[tokio::test]
async fn a_password_that_others_can_read_is_warned_about() {
    let says = &["holds a password", "chmod 600"];
    check(&[mistake("host get 10.0.0.1", 0, says).readable_by_others()]).await;
}

#[tokio::test]
async fn mistakes_about_what_there_is_change_nothing() {
    check(&at_the_server()).await;
}

#[tokio::test]
async fn mistakes_about_the_connection_are_named_each() {
    let (own, other, namesake) =
        (Authority::new("fleet"), Authority::new("other"), Authority::new("fleet"));
    let valid = own.serve("127.0.0.1", 2020, 3000).await;
    let expired = own.serve("127.0.0.1", 2020, 2021).await;
    let early = own.serve("127.0.0.1", 2999, 3000).await;
    let named = own.serve("web.example", 2020, 3000).await;
    let list = |says, endpoint: &str| {
        let config = json!({"username": "a", "password": "hunter2", "endpoint": endpoint,
                            "certificate_authority": "ca.pem"});
        mistake("host list", 3, says).with(&config.to_string()).beside("ca.pem", &own.pem())
    };
    let untrusted: &[&str] = &["an authority that is not trusted", "certificate_authority"];
    let on = |address| format!("https://{address}");
    check(&[
        list(
            &["Connection refused", "is Commissaire running there?", ".commissaire.json"],
            NOWHERE,
        ),
        list(&["http://host.invalid", "is Commissaire running there?"], "http://host.invalid:8000"),
        list(untrusted, &on(valid)).beside("ca.pem", &other.pem()),
        list(untrusted, &on(valid)).beside("ca.pem", &namesake.pem()),
        list(untrusted, &on(valid)).with(&CONFIG.replace("{url}", &on(valid))),
        list(&["has expired", "renewed at the server"], &on(expired)),
        list(&["is not valid yet", "clock"], &on(early)),
        list(&["is for other names", "web.example", "\"endpoint\""], &on(named)),
        list(&["is TLS spoken there?", "https://"], &format!("http://{valid}")),
        list(&["no TLS is spoken there", "begin with http://"], "{url}").over_tls(),
        mistake("host list", 1, &["not JSON", "has the path /page: leave it out"])
            .with(&CONFIG.replace("{url}", "{url}/page")),
        mistake("host list", 1, &["nothing at this path", "has the path /else: leave it out"])
            .with(&CONFIG.replace("{url}", "{url}/else")),
        mistake("enroll list", 1, &["the user \"a\"", "was refused by", "wrong user name or pass"]),
    ])
    .await;
}

#[test]
fn the_tables_have_more_than_forty_mistakes() {
    let tables = [on_the_command_line(), in_files(), in_the_configuration(), at_the_server()];
    assert!(tables.iter().map(Vec::len).sum::<usize>() > 40);
}
