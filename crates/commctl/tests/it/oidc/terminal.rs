//! The questions of a log-in.

use std::time::Duration;

use oauth2::url::Url;
use serde_json::json;
use tokio::time::Instant;

use super::saved;
use crate::support::HANG;
use crate::support::issuer::{World, get};
use crate::support::terminal::Terminal;
use crate::support::tls::{Authority, Sends, TlsServer};

/// The address that a terminal shows, which has several lines there.
fn address(terminal: &Terminal) -> Url {
    let begun = Instant::now();
    loop {
        let written = terminal.written().replace('\r', "");
        let address = written.split_once("\n  http").and_then(|(_, rest)| rest.split_once('\n'));
        if let Some((rest, _)) = address {
            return format!("http{rest}").parse().unwrap();
        }
        assert!(begun.elapsed() < HANG, "no address in {written}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The questions that were asked.
fn questions(terminal: &Terminal) -> usize {
    let written = terminal.written();
    ["endpoint [", "eight characters", "log in with ", "username [", "password of "]
        .iter()
        .map(|question| written.matches(question).count())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_provider_and_no_passwords_only_the_endpoint_is_asked_for() {
    let world = World::new().await;
    let mut terminal = Terminal::run(world.home().dir.path(), &["login"], &[]);
    terminal.shows(&["endpoint [http://127.0.0.1:8000]:"]);
    terminal.types(&format!("{}\n", world.fleet.server.uri()));
    get(&world.agrees(&address(&terminal))).await;
    let (status, screen) = terminal.ends();
    assert_eq!((status, questions(&terminal)), (0, 1), "{screen}");
    world.home().run(&["cluster", "list"]).await.printed("- c1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_is_one_question() {
    let world = World::new().await;
    let home = world.home().dir.path();
    let url = world.fleet.server.uri();
    world.offers(json!({"password": true, "providers": [world.provider()]}));
    let mut terminal = Terminal::run(home, &["login"], &[]);
    terminal.shows(&["endpoint [http://127.0.0.1:8000]:"]);
    terminal.types(&format!("{url}\n"));
    terminal.shows(&["log in with [corp]/password:"]);
    terminal.types("\n");
    get(&world.agrees(&address(&terminal))).await;
    let (status, screen) = terminal.ends();
    assert_eq!((status, questions(&terminal)), (0, 2), "{screen}");
    assert_eq!(saved(world.home())["identity_provider"], "corp");

    let mut terminal = Terminal::run(home, &["login", &url], &[]);
    terminal.shows(&["log in with [corp]/password:"]);
    terminal.types("corps\n");
    let (status, screen) = terminal.ends();
    assert!(status == 2 && screen.contains("\"corps\" is not one of [corp]/password"), "{screen}");

    world.fleet.answers("GET", "clusters", 200, json!([])).await;
    let mut terminal = Terminal::run(home, &["login", &url], &[]);
    terminal.shows(&["log in with [corp]/password:"]);
    terminal.types("password\n");
    terminal.shows(&["username [admin]:"]);
    terminal.types("a\n");
    terminal.asks_for_a_secret("password of a:");
    terminal.types("hunter2\n");
    let (status, screen) = terminal.ends();
    assert_eq!((status, questions(&terminal)), (1, 3), "{screen}");
    assert!(!terminal.written().contains("hunter2"));
}

/// From a machine that knows nothing of the server, up to the first list.
#[tokio::test(flavor = "multi_thread")]
async fn at_most_four_questions_are_asked_on_the_way_to_the_first_list() {
    let world = World::new().await;
    let home = world.home().dir.path();
    let authority = Authority::new();
    // The same answer to everything: the ways to log in, the user, and the hosts.
    let answer = json!({"password": true, "providers": [world.provider()], "name": "corp:ann"});
    let answer = Box::leak(answer.to_string().into_boxed_str());
    let server =
        TlsServer::with(&authority, "127.0.0.1", Sends::ItsAuthority, "200 OK", answer).await;
    let mut terminal = Terminal::run(home, &["login"], &[]);
    terminal.shows(&["endpoint [http://127.0.0.1:8000]:"]);
    terminal.types(&format!("{}\n", server.url()));
    terminal.shows(&["first eight characters of the fingerprint:"]);
    assert_eq!(server.requests(), [""; 0]);
    terminal.types(&format!("{}\n", &authority.fingerprint()[..8]));
    terminal.shows(&["log in with [corp]/password:"]);
    terminal.types("corp\n");
    get(&world.agrees(&address(&terminal))).await;
    let (status, screen) = terminal.ends();
    assert_eq!((status, questions(&terminal)), (0, 3), "{screen}");
    assert_eq!(saved(world.home())["certificate_authority"], ".commissaire-ca.pem");
    let mut terminal = Terminal::run(home, &["host", "list", "--output", "yaml"], &[]);
    let (status, screen) = terminal.ends();
    assert!(status == 0 && screen.contains("corp:ann"), "{screen}");
    let requests = server.requests();
    let shown = requests.iter().filter(|request| request.contains("Bearer canary-access-1"));
    assert_eq!((requests.len(), shown.count()), (3, 2), "{requests:?}");
}
