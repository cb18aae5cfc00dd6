//! `commctl enroll`

use serde_json::json;

use crate::support::Fleet;

#[tokio::test]
async fn create() {
    let fleet = Fleet::new().await;
    fleet.answers("POST", "enrollments", 201, json!({"id": "e1", "token": "cmsr_t"})).await;
    fleet
        .run("enroll create -c web -u 20 -e 2h -f 10.0.0.0/8 -f 192.0.2.0/24")
        .await
        .printed("id: e1\ntoken: cmsr_t\n");
    let from = ["10.0.0.0/8", "192.0.2.0/24"];
    let body = json!({"cluster": "web", "uses": 20, "expires": "2h", "from": from});
    assert_eq!(fleet.body().await, body);
}

#[tokio::test]
async fn scripts_get_the_bare_token() {
    let fleet = Fleet::new().await;
    fleet.answers("POST", "enrollments", 201, json!({"id": "e1", "token": "cmsr_t"})).await;
    fleet.run("enroll create --bare -e 90").await.printed("cmsr_t\n");
    assert_eq!(fleet.body().await, json!({"uses": 1, "expires": 90, "from": []}));
}

#[tokio::test]
async fn list_and_revoke() {
    let fleet = Fleet::new().await;
    fleet.answers("GET", "enrollments", 200, json!([{"id": "e1", "uses": 2}])).await;
    fleet.run("enroll list").await.printed("- id: e1\n  uses: 2\n");
    fleet.answers("DELETE", "enrollment/e1", 200, json!([])).await;
    let run = fleet.run("enroll revoke e1").await;
    assert_eq!((run.status, run.stderr.as_str()), (0, "deleted e1\n"));
}
