//! Several endpoints, and none that can be reached.

use serde_json::json;

use crate::support::{Fleet, Home, NOWHERE, config};

#[tokio::test]
async fn the_next_endpoint_is_tried() {
    let fleet = Fleet::new().await;
    fleet.answers("PUT", "cluster/fb", 201, json!({"name": "fb"})).await;
    let uri = fleet.server.uri();
    let home = Home::with(&config(&[&format!("{NOWHERE}/"), &format!("{uri}/")]));
    let run = home.run(&["cluster", "create", "fb"]).await;
    run.printed("name: fb\n");
    assert_eq!(
        run.stderr,
        format!("cannot reach {NOWHERE}: Connection refused (os error 111); trying {uri}\n")
    );
    assert_eq!(fleet.requests().await, ["PUT /api/v0/cluster/fb"]);
}

#[tokio::test]
async fn one_command_notes_an_endpoint_that_is_away_once() {
    let fleet = Fleet::new().await;
    fleet.answers("DELETE", "host/10.0.0.1", 200, json!([])).await;
    fleet.answers("DELETE", "host/10.0.0.2", 200, json!([])).await;
    let home = Home::with(&config(&[NOWHERE, &fleet.server.uri()]));
    let run = home.run(&["host", "delete", "10.0.0.1", "10.0.0.2"]).await;
    assert_eq!(run.stderr.matches("cannot reach").count(), 1, "{}", run.stderr);
}

#[tokio::test]
async fn the_key_stays_the_same_on_another_endpoint() {
    // The first endpoint takes the request and hangs up without an answer.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broken = format!("http://{}", listener.local_addr().unwrap());
    let heard = async {
        use tokio::io::AsyncReadExt as _;
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = vec![0; 4096];
        let count = stream.read(&mut heard).await.unwrap();
        String::from_utf8_lossy(&heard[..count]).into_owned()
    };
    let fleet = Fleet::new().await;
    fleet.answers("PUT", "cluster/c1/restart", 201, json!({"name": "c1"})).await;
    let home = Home::with(&config(&[&broken, &fleet.server.uri()]));
    let (heard, run) = tokio::join!(heard, home.run(&["cluster", "restart", "start", "c1"]));
    run.printed("name: c1\n");
    let key = fleet.request().await.headers["idempotency-key"].to_str().unwrap().to_owned();
    assert!(heard.contains(&format!("idempotency-key: {key}\r\n")), "{heard}");
}

#[tokio::test]
async fn nothing_to_reach() {
    let home = Home::with(&config(&[NOWHERE]));
    let help = |home: &Home| {
        let file = home.config();
        format!("is Commissaire running there? its address is the \"endpoint\" in {file}\n")
    };
    home.run(&["host", "list"]).await.failed(
        3,
        &format!(
            "error: cannot reach http://127.0.0.1:1: Connection refused (os error 111)\n{}",
            help(&home)
        ),
    );
    let home = Home::with(&config(&[NOWHERE, "http://127.0.0.1:2"]));
    home.run(&["host", "delete", "a", "b"]).await.failed(
        3,
        &format!(
            "cannot reach http://127.0.0.1:1: Connection refused (os error 111); \
             trying http://127.0.0.1:2\n\
             error: cannot reach http://127.0.0.1:2 nor any other endpoint: \
             Connection refused (os error 111)\n{}",
            help(&home)
        ),
    );
}

#[tokio::test]
async fn a_refusal_is_final() {
    let first = Fleet::new().await;
    let second = Fleet::new().await;
    first.refuses("GET", "hosts", 503, "the store is away").await;
    let home = Home::with(&config(&[&first.server.uri(), &second.server.uri()]));
    home.run(&["host", "list"])
        .await
        .failed(1, "error: the store is away (503 Service Unavailable)\n");
    assert_eq!(second.requests().await.len(), 0);
}

#[tokio::test]
async fn something_else_answers() {
    let fleet = Fleet::new().await;
    let page = wiremock::ResponseTemplate::new(200).set_body_string("<html>");
    wiremock::Mock::given(wiremock::matchers::any()).respond_with(page).mount(&fleet.server).await;
    fleet.run("host list").await.failed(
        1,
        &format!(
            "error: {} answers with something that is not JSON; is it a Commissaire server?\n",
            fleet.server.uri()
        ),
    );
}
