//! `commctl token`

use serde_json::json;

use crate::support::Fleet;

async fn with_tokens() -> Fleet {
    let fleet = Fleet::new().await;
    fleet.answers("GET", "whoami", 200, json!({"name": "ann"})).await;
    let tokens = json!([
        {"id": "t1", "name": "deploy", "owner": "ann"},
        {"id": "t2", "name": "deploy", "owner": "bob"},
        {"id": "t3", "name": "ci", "owner": "bob"},
    ]);
    fleet.answers("GET", "tokens", 200, tokens).await;
    fleet
}

#[tokio::test]
async fn new_token_is_alone_on_standard_output() {
    let fleet = Fleet::new().await;
    let made = json!({"id": "t1", "token": "cmsr_t", "expires": "2027-02-28T22:00:00.000000"});
    fleet.answers("POST", "tokens", 201, made).await;
    let run = fleet
        .run("token create -r operator -c web -c web-* -e 90d -f 10.0.0.0/8 -f 192.0.2.0/24 deploy")
        .await;
    run.printed("cmsr_t\n");
    let said = "made the token deploy (t1), which expires at 2027-02-28T22:00:00.000000\n\
                keep it to yourself: it is shown this once\n";
    assert_eq!(run.stderr, said);
    let body = json!({"name": "deploy", "role": "operator", "clusters": ["web", "web-*"], "expires": "90d",
                      "from": ["10.0.0.0/8", "192.0.2.0/24"]});
    assert_eq!(fleet.body().await, body);
}

#[tokio::test]
async fn format_shows_what_else_the_server_answers() {
    let fleet = Fleet::new().await;
    fleet.answers("POST", "tokens", 201, json!({"id": "t1", "token": "cmsr_t"})).await;
    let run = fleet.run("-o yaml token create --role reader --cluster web --expires 3600 ci").await;
    run.printed("id: t1\ntoken: cmsr_t\n");
    let body =
        json!({"name": "ci", "role": "reader", "clusters": ["web"], "expires": 3600, "from": []});
    assert_eq!(fleet.body().await, body);
}

#[tokio::test]
async fn tokens_are_listed() {
    let fleet = with_tokens().await;
    let table = "NAME    ID  OWNER  ROLE  EXPIRES\ndeploy  t1  ann    -     -\ndeploy  t2  bob    -     -\n\
                 ci      t3  bob    -     -\n";
    fleet.run("-o table token list").await.printed(table);
}

#[tokio::test]
async fn own_tokens_are_revoked_by_name_and_those_of_others_by_id() {
    let fleet = with_tokens().await;
    fleet.answers("DELETE", "token/t1", 200, json!([])).await;
    fleet.answers("DELETE", "token/t3", 200, json!([])).await;
    let run = fleet.run("token revoke deploy t3").await;
    assert_eq!((run.status, run.stderr.as_str()), (0, "deleted deploy\ndeleted t3\n"));
    fleet.refuses("DELETE", "token/ci", 404, "there is no API token ci").await;
    let run = fleet.run("token revoke ci").await;
    assert_eq!(run.status, 1);
    assert!(run.stderr.contains("there is no API token ci"), "{}", run.stderr);
}
