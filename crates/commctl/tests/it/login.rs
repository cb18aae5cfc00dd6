//! `commctl login`: the servers that it trusts, the moment it sends the password, the files that it writes.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::terminal::Terminal;
use crate::support::tls::{Authority, Sends, TlsServer};
use crate::support::{Fleet, Home, NOWHERE, Run, finish, problem};

/// `a` and `hunter2`, by HTTP Basic.
const CREDENTIALS: &str = "Basic YTpodW50ZXIy";
const USER: [&str; 2] = ["--username", "a"];

/// As user `a`, with the password on standard input.
async fn login(home: &Home, endpoint: &str, more: &[&str]) -> Run {
    home.run_with_input(&[&["login", endpoint], &USER[..], more].concat(), "hunter2\n").await
}

fn saved(home: &Home) -> Value {
    let text = std::fs::read_to_string(home.dir.path().join(".commissaire.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The names of the files in the home.
fn files(home: &Home) -> Vec<String> {
    let files = std::fs::read_dir(home.dir.path()).unwrap().map(|file| file.unwrap().file_name());
    let mut names: Vec<_> = files.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

fn mode(home: &Home, name: &str) -> u32 {
    std::fs::metadata(home.dir.path().join(name)).unwrap().permissions().mode() & 0o777
}

/// The one request was with the credentials, and for clusters.
#[track_caller]
fn was_logged_in_to(server: &TlsServer) {
    let requests = server.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(requests[0].starts_with("GET /api/v0/clusters HTTP/1.1\r\n"), "{requests:?}");
    assert!(requests[0].contains(&format!("authorization: {CREDENTIALS}\r\n")), "{requests:?}");
}

/// It failed with status 1 and all of this in its message; nothing was sent and nothing written.
#[track_caller]
fn refused(run: &Run, server: &TlsServer, home: &Home, says: &[&str]) {
    assert_eq!((run.status, run.stdout.as_str()), (1, ""), "{run:?}");
    for text in says {
        assert!(run.stderr.contains(text), "{text:?} is not in {}", run.stderr);
    }
    assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
    assert_eq!(server.requests(), [""; 0]);
    assert!(!files(home).iter().any(|name| name.starts_with(".commissaire")), "{:?}", files(home));
}

#[tokio::test]
async fn the_roots_of_the_system_suffice() {
    let authority = Authority::new();
    let server = TlsServer::new(&authority).await;
    let home = Home::empty();
    let roots = home.write("roots.pem", &authority.pem());
    home.write("password", "hunter2\nnot this line\n");
    let password = std::fs::File::open(home.dir.path().join("password")).unwrap();
    let mut command = home.command(&[&["login", &server.url()], &USER[..]].concat());
    let run = finish(command.env("SSL_CERT_FILE", &roots).stdin(password).spawn().unwrap()).await;
    let (url, file) = (server.url(), home.config());
    assert_eq!(
        (run.status, run.stdout.as_str(), run.stderr),
        (0, "", format!("logged in to {url} as \"a\"; written: {file}\n"))
    );
    was_logged_in_to(&server);
    assert_eq!(saved(&home), json!({"endpoint": url, "username": "a", "password": "hunter2"}));
    assert_eq!(mode(&home, ".commissaire.json"), 0o600);
}

#[tokio::test]
async fn the_authority_with_the_given_fingerprint_is_pinned() {
    let authority = Authority::new();
    let bare = authority.fingerprint();
    for given in [
        authority.openssl_fingerprint(),
        bare.clone(),
        bare.to_uppercase(),
        format!("SHA256:{bare}"),
    ] {
        let (server, home) = (TlsServer::new(&authority).await, Home::empty());
        let url = server.url();
        let run = login(&home, &url, &["--ca-fingerprint", &given]).await;
        let (config, pem) = (home.config(), home.dir.path().join(".commissaire-ca.pem"));
        let (written, file) = (format!("{config}, {}", pem.display()), ".commissaire-ca.pem");
        assert_eq!(
            (run.status, run.stderr),
            (0, format!("logged in to {url} as \"a\"; written: {written}\n"))
        );
        was_logged_in_to(&server);
        assert_eq!(
            saved(&home),
            json!({"endpoint": url, "username": "a", "password": "hunter2",
                   "certificate_authority": file})
        );
        assert_eq!(std::fs::read_to_string(&pem).unwrap(), authority.pem());
        assert_eq!([".commissaire.json", file].map(|name| mode(&home, name)), [0o600; 2]);
        // That is all the other commands need, and a second log-in.
        home.run(&["cluster", "list"]).await.printed("- c1\n");
        assert_eq!(login(&home, &url, &[]).await.status, 0);
    }
}

#[tokio::test]
async fn another_fingerprint_is_refused() {
    let authority = Authority::new();
    let (server, home) = (TlsServer::new(&authority).await, Home::empty());
    let other = Authority::new().openssl_fingerprint();
    let run = login(&home, &server.url(), &["--ca-fingerprint", &other]).await;
    let shown = authority.openssl_fingerprint();
    refused(&run, &server, &home, &[&shown, &other, "commissaire ca-fingerprint"]);

    // --ca-fingerprint is checked even where the system trusts the server.
    let roots = home.write("roots.pem", &authority.pem());
    let arguments = ["login", &server.url(), "-u", "a", "--ca-fingerprint", &other];
    let mut command = home.command(&arguments);
    let run = finish(command.env("SSL_CERT_FILE", &roots).spawn().unwrap()).await;
    refused(&run, &server, &home, &[&other]);

    // Eight characters are for a person who compares them.
    let run =
        login(&home, &server.url(), &["--ca-fingerprint", &authority.fingerprint()[..8]]).await;
    assert_eq!(run.status, 2);
    assert!(run.stderr.contains("64 hexadecimal digits"), "{}", run.stderr);
    assert_eq!(server.requests(), [""; 0]);
}

#[tokio::test]
async fn without_a_terminal_an_unknown_authority_is_refused() {
    let authority = Authority::new();
    let (server, home) = (TlsServer::new(&authority).await, Home::empty());
    let run = login(&home, &server.url(), &[]).await;
    refused(&run, &server, &home, &["--ca-fingerprint", "commissaire ca-fingerprint", "was sent"]);
    let is_shown = |text: &str| run.stderr.to_lowercase().contains(&text.to_lowercase());
    assert!(!is_shown(&authority.openssl_fingerprint()[..8]), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_asked_for_on_a_terminal() {
    let authority = Authority::new();
    let (server, home) = (TlsServer::new(&authority).await, Home::empty());
    let fingerprint = authority.openssl_fingerprint();
    let mut terminal = Terminal::run(home.dir.path(), &["login"], &[]);
    terminal.shows(&["endpoint [http://127.0.0.1:8000]:"]);
    terminal.types(&format!("{}/\n", server.url()));
    terminal.shows(&["commissaire ca-fingerprint", "first eight characters of the fingerprint:"]);
    assert!(!terminal.written().contains(&fingerprint[..11]), "{}", terminal.written());
    assert_eq!(server.requests(), [""; 0]);
    terminal.types(&format!("{}\n", authority.fingerprint()[..8].to_uppercase()));
    terminal.shows(&["username [admin]:"]);
    terminal.types("a\n");
    terminal.asks_for_a_secret("password of a:");
    assert_eq!(server.requests(), [""; 0]);
    terminal.types("hunter2\n");
    let (status, screen) = terminal.ends();
    assert_eq!(status, 0, "{screen}");
    assert!(!terminal.written().contains("hunter2"), "{}", terminal.written());
    was_logged_in_to(&server);
    let file = ".commissaire-ca.pem";
    assert_eq!(
        saved(&home),
        json!({"endpoint": server.url(), "username": "a", "password": "hunter2",
               "certificate_authority": file})
    );
    assert_eq!(std::fs::read_to_string(home.dir.path().join(file)).unwrap(), authority.pem());

    // Values of the configuration are the defaults.
    let mut terminal = Terminal::run(home.dir.path(), &["login"], &[]);
    terminal.shows(&[&format!("endpoint [{}]:", server.url())]);
    terminal.types("\n");
    terminal.shows(&["username [a]:"]);
    terminal.types("\n");
    terminal.asks_for_a_secret("password of a:");
    terminal.types("other\n");
    assert_eq!(terminal.ends().0, 0);
    assert_eq!(saved(&home)["password"], "other");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_characters_than_those_of_the_fingerprint_are_refused() {
    let authority = Authority::new();
    let other = if authority.fingerprint().starts_with('0') { "1" } else { "0" };
    let typed = [
        String::new(),
        authority.fingerprint()[..7].to_owned(),
        format!("{other}{}", &authority.fingerprint()[1..8]),
    ];
    for typed in typed {
        let (server, home) = (TlsServer::new(&authority).await, Home::empty());
        let mut terminal = Terminal::run(home.dir.path(), &["login", &server.url()], &[]);
        terminal.shows(&["first eight characters of the fingerprint:"]);
        terminal.types(&format!("{typed}\n"));
        let (status, screen) = terminal.ends();
        assert_eq!(status, 1, "{screen}");
        assert!(screen.contains("has another fingerprint") && !screen.contains("password of"));
        assert!(!terminal.written().contains(&authority.openssl_fingerprint()[..11]));
        assert_eq!((server.requests(), files(&home)), (Vec::new(), Vec::new()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_authority_is_refused_without_a_question() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = TlsServer::new(&new).await;
    let home = Home::with(&json!({
        "endpoint": [server.url(), NOWHERE], "username": "a", "certificate-authority": "own.pem",
    }));
    home.write("own.pem", &old.pem());
    let before = saved(&home);
    let (old_print, new_print) = (old.openssl_fingerprint(), new.openssl_fingerprint());
    let changed = format!(
        "error: the authority of {} has changed: its fingerprint is {new_print} now, and {old_print} in {}. If \
         that is expected, pass --ca-fingerprint, or remove the field certificate_authority from {}; on the \
         server, this prints its fingerprint: commissaire ca-fingerprint. No password was sent, and nothing was \
         saved.\n",
        server.url(),
        home.dir.path().join("own.pem").display(),
        home.config()
    );
    home.run_with_input(&["login"], "hunter2\n").await.failed(1, &changed);
    let roots = home.write("roots.pem", &new.pem());
    for environment in [&[][..], &[("SSL_CERT_FILE", roots.as_str())]] {
        let arguments = ["login", &server.url()];
        let mut terminal = Terminal::run(home.dir.path(), &arguments, environment);
        let (status, _) = terminal.ends();
        // The lines of a terminal end with \r\n.
        assert_eq!((status, terminal.written().replace('\r', "")), (1, changed.clone()));
    }
    assert_eq!((server.requests(), saved(&home)), (Vec::new(), before));

    // Unless that is what is meant. The file of the old one is the operator's.
    let run = login(&home, &server.url(), &["--ca-fingerprint", &new_print]).await;
    assert_eq!(run.status, 0, "{run:?}");
    was_logged_in_to(&server);
    assert_eq!(
        saved(&home),
        json!({"endpoint": [server.url(), NOWHERE], "username": "a", "password": "hunter2",
               "certificate_authority": ".commissaire-ca.pem"})
    );
    let read = |name| std::fs::read_to_string(home.dir.path().join(name)).unwrap();
    assert_eq!([read("own.pem"), read(".commissaire-ca.pem")], [old.pem(), new.pem()]);
}

#[tokio::test]
async fn an_authority_is_for_the_endpoint_that_it_was_saved_with() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = TlsServer::new(&new).await;
    let home = Home::with(&json!({
        "endpoint": "https://127.0.0.1:1", "username": "b", "certificate_authority": "own.pem",
    }));
    home.write("own.pem", &old.pem());
    let roots = home.write("roots.pem", &new.pem());
    home.write("password", "hunter2");
    let password = std::fs::File::open(home.dir.path().join("password")).unwrap();
    let mut command = home.command(&[&["login", &server.url()], &USER[..]].concat());
    let run = finish(command.env("SSL_CERT_FILE", &roots).stdin(password).spawn().unwrap()).await;
    assert_eq!(run.status, 0, "{run:?}");
    was_logged_in_to(&server);
    // It would refuse the new one.
    let expected = json!({"endpoint": server.url(), "username": "a", "password": "hunter2"});
    assert_eq!(saved(&home), expected);
}

#[tokio::test]
async fn a_certificate_that_its_authority_does_not_verify_is_refused() {
    let authority = Authority::new();
    let fingerprint = authority.fingerprint();
    let answers = ("200 OK", "[]");
    let with =
        async |name, sends| TlsServer::with(&authority, name, sends, answers.0, answers.1).await;
    let home = Home::empty();
    for more in [&[][..], &["--ca-fingerprint", &fingerprint]] {
        let server = with("server.example", Sends::ItsAuthority).await;
        let run = login(&home, &server.url(), more).await;
        refused(&run, &server, &home, &["does not verify by", "server.example"]);
        let server = with("127.0.0.1", Sends::Nothing).await;
        let run = login(&home, &server.url(), more).await;
        refused(&run, &server, &home, &["is not trusted", "\"certificate_authority\""]);
    }
    // The one that is configured does.
    let server = with("server.example", Sends::ItsAuthority).await;
    let config = json!({"endpoint": server.url(), "certificate_authority": "own.pem"}).to_string();
    home.write("own.pem", &authority.pem());
    home.write("other.json", &config);
    let run = login(&home, &server.url(), &["--config", "other.json"]).await;
    refused(
        &run,
        &server,
        &home,
        &["does not verify by the authority in own.pem", "server.example"],
    );
}

#[tokio::test]
async fn a_rejected_user_is_named_and_nothing_is_saved() {
    let fleet = Fleet::new().await;
    let home = Home::empty();
    fleet.answers("GET", "clusters", 403, problem(403, "give a user name and password")).await;
    let url = fleet.server.uri();
    login(&home, &url, &[]).await.failed(
        1,
        &format!(
            "error: give a user name and password (403 Forbidden)\n\
             this was \"a\" at {url}; nothing was saved\n"
        ),
    );
    assert_eq!(fleet.request().await.headers["authorization"], CREDENTIALS);
    assert_eq!(files(&home), [""; 0]);

    fleet.server.reset().await;
    let page = wiremock::ResponseTemplate::new(200).set_body_string("<html>");
    wiremock::Mock::given(wiremock::matchers::any()).respond_with(page).mount(&fleet.server).await;
    let run = login(&home, &url, &[]).await;
    assert_eq!((run.status, files(&home)), (1, Vec::new()));
    assert!(run.stderr.contains("is it a Commissaire server?"), "{}", run.stderr);
}

#[tokio::test]
async fn other_fields_and_endpoints_stay() {
    let fleet = Fleet::new().await;
    fleet.answers("GET", "clusters", 200, json!([])).await;
    let url = fleet.server.uri();
    let home = Home::empty();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    home.write("c.pem", &certificate.pem());
    home.write("k.pem", &key.serialize_pem());
    let config = json!({
        "endpoint": [NOWHERE, format!("{url}/")], "username": "b", "password": "old",
        "client-certificate": "c.pem", "client_key": "k.pem",
    });
    // A link stays one, and what others could read they cannot read any more.
    home.write("kept.json", &config.to_string());
    let path = |name| home.dir.path().join(name);
    std::fs::set_permissions(path("kept.json"), std::fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::symlink("kept.json", path(".commissaire.json")).unwrap();
    assert_eq!(login(&home, &url, &[]).await.status, 0);
    let mut expected = config;
    expected["username"] = json!("a");
    expected["password"] = json!("hunter2");
    assert_eq!(saved(&home), expected);
    assert!(path(".commissaire.json").is_symlink());
    assert_eq!(mode(&home, "kept.json"), 0o600);
}

#[tokio::test]
async fn another_file_is_written_where_one_is_named() {
    let authority = Authority::new();
    let server = TlsServer::new(&authority).await;
    let home = Home::empty();
    let given = ["--ca-fingerprint", &authority.fingerprint(), "--config", "test.json"];
    assert_eq!(login(&home, &server.url(), &given).await.status, 0);
    assert_eq!(files(&home), ["test-ca.pem", "test.json"]);
    home.run(&["-c", "test.json", "cluster", "list"]).await.printed("- c1\n");

    home.write("password", "hunter2");
    let password = std::fs::File::open(home.dir.path().join("password")).unwrap();
    let mut command = home.command(&["login", "-u", "a"]);
    command.env("COMMCTL_CONFIG", "test.json").stdin(password);
    assert_eq!(finish(command.spawn().unwrap()).await.status, 0);
    let run =
        login(&home, &server.url(), &["--config", "nowhere/test.json", given[0], given[1]]).await;
    assert_eq!(run.status, 1);
    assert!(run.stderr.starts_with("error: cannot write to nowhere/test-ca.pem"), "{}", run.stderr);
}

#[tokio::test]
async fn plain_http_to_another_machine_needs_insecure_http() {
    let home = Home::empty();
    login(&home, "http://192.0.2.1:8000", &[]).await.failed(
        2,
        "error: http://192.0.2.1:8000 is plain HTTP on another machine: the network could read the \
         password. Use https://, or pass --insecure-http. No password was sent, and nothing was saved.\n",
    );
    let fleet = Fleet::new().await;
    let url = fleet.server.uri();
    let run = login(&home, &url, &["--ca-fingerprint", &"ab".repeat(32)]).await;
    assert_eq!((run.status, fleet.requests().await.len()), (2, 0));
    assert!(run.stderr.contains("shows no certificate"), "{}", run.stderr);
    // A name may be of any machine. With the option, it is looked up.
    let endpoint = "http://nowhere.invalid";
    let status = async |more| login(&home, endpoint, more).await.status;
    assert_eq!((status(&[]).await, status(&["--insecure-http"]).await), (2, 3));
}

#[tokio::test]
async fn without_a_terminal_missing_values_have_defaults() {
    let fleet = Fleet::new().await;
    fleet.answers("GET", "clusters", 200, json!([])).await;
    let home = Home::with(&json!({"endpoint": fleet.server.uri()}));
    let run = home.run_with_input(&["login"], "hunter2\n").await;
    assert_eq!(run.status, 0, "{run:?}");
    assert_eq!(saved(&home)["username"], "admin");
    let requests = fleet.server.received_requests().await.unwrap();
    assert!(!requests[0].headers.contains_key("authorization"), "{requests:?}");
    assert_eq!(requests[1].headers["authorization"], "Basic YWRtaW46aHVudGVyMg==");
}

#[tokio::test]
async fn invalid_values_are_rejected() {
    let home = Home::empty();
    let run = home.run(&["login", NOWHERE, "-u", "a"]).await;
    assert_eq!(run.status, 2);
    assert!(run.stderr.starts_with("error: the password of a is empty"), "{}", run.stderr);
    for name in ["a:b", "", "a\nb"] {
        assert_eq!(home.run(&["login", NOWHERE, "-u", name]).await.status, 2);
    }
    let run = login(&home, "https://a:hunter2@192.0.2.1", &[]).await;
    assert_eq!((run.status, run.stderr.contains("hunter2")), (2, false), "{}", run.stderr);
    let kubeconfig = Home::with(&json!({"kubeconfig": "~/.kube/config"}));
    let run = login(&kubeconfig, NOWHERE, &[]).await;
    assert_eq!(run.status, 2);
    assert!(run.stderr.contains("which wins over a user name and a password"), "{}", run.stderr);
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_an_error() {
    let fleet = Fleet::new().await;
    let home = Home::empty();
    login(&home, "https://127.0.0.1:1", &[])
        .await
        .failed(3, "error: cannot reach https://127.0.0.1:1: Connection refused (os error 111)\n");
    let plain = fleet.server.uri();
    let tls = plain.replace("http:", "https:");
    let run = login(&home, &tls, &[]).await;
    assert_eq!((run.status, fleet.requests().await.len()), (3, 0));
    let advice = format!("\nno TLS is spoken there; is it {plain}?\n");
    assert!(run.stderr.ends_with(&advice), "{}", run.stderr);
}

#[tokio::test]
async fn plain_http_needs_no_roots_of_the_system() {
    let fleet = Fleet::new().await;
    fleet.answers("GET", "clusters", 200, json!([])).await;
    let environment = [("SSL_CERT_FILE", "/nowhere"), ("SSL_CERT_DIR", "/nowhere")];
    let run = fleet.home.command(&["cluster", "list"]).envs(environment).spawn().unwrap();
    finish(run).await.printed("[]\n");
}

#[tokio::test]
async fn whoami_prints_the_user_as_the_server_knows_it() {
    let fleet = Fleet::new().await;
    let caller = json!({"name": "corp:ann", "role": "operator", "authenticator": "provider",
                        "groups": ["corp:web-team"], "until": "2026-11-30T05:00:00.000000"});
    fleet.answers("GET", "whoami", 200, caller).await;
    let printed = "authenticator: provider\ngroups:\n- corp:web-team\nname: corp:ann\nrole: operator\n\
                   until: '2026-11-30T05:00:00.000000'\n";
    fleet.run("whoami").await.printed(printed);
}

/// A proxy may answer requests that it does not know with a page of its own.
#[tokio::test]
async fn password_log_in_does_not_need_the_ways_to_log_in() {
    for (status, page) in [(404, "<html>"), (200, "<html>")] {
        let fleet = Fleet::new().await;
        wiremock::Mock::given(wiremock::matchers::path("/api/v0/login"))
            .respond_with(wiremock::ResponseTemplate::new(status).set_body_string(page))
            .mount(&fleet.server)
            .await;
        fleet.answers("GET", "clusters", 200, json!([])).await;
        let run = fleet.home.run_with_input(&["login", &fleet.server.uri()], "hunter2\n").await;
        assert_eq!(run.status, 0, "{run:?}");
    }
}
