//! Tokens after a restore from a backup.

use super::*;

#[tokio::test]
async fn token_that_a_restore_voided_is_refused_with_the_reason_and_is_no_guess() {
    let (ground, client) = Ground::with("operator").await;
    let (id, bearer) = client.token("reader", &["*"]).await;
    let mut token = ground.gateway.storage.get::<ApiToken>(&id).await.unwrap().record;
    token.voided_at = "2026-12-01T00:00:00.000000".into();
    ground.gateway.storage.save(&token).await.unwrap();
    let another = ground.another_gateway().await;
    for _ in 0..50 {
        let refused = another.get(&bearer, "/clusters").await;
        refused.refused(403, "a restore from a backup voided this API token at 2026-12-01");
    }
    let shown = another.get(&user("ann"), "/tokens").await.json();
    assert_eq!(shown[0]["voided_at"], json!("2026-12-01T00:00:00.000000"));
}

#[tokio::test]
async fn token_for_backups_takes_backups_only_and_needs_an_administrator() {
    let (_ground, client) = Ground::with("admin").await;
    let (_, bearer) = client.token("backup", &["*"]).await;
    assert_eq!(client.get(&bearer, "/backup").await.status, 200);
    client.get(&bearer, "/clusters").await.refused(403, "has the role backup");
    let (_, reading) = client.token("reader", &["*"]).await;
    client.get(&reading, "/backup").await.refused(403, "the role backup or admin");
    let asked = json!({"name": "b2", "role": "backup", "clusters": ["web"]});
    let refused = client.call(&user("ann"), ("POST", "/tokens"), asked).await;
    refused.refused(400, "for all of them");

    let (_ground, client) = Ground::with("operator").await;
    let asked = json!({"name": "backup", "role": "backup", "clusters": ["*"]});
    let refused = client.call(&user("ann"), ("POST", "/tokens"), asked).await;
    refused.refused(403, "no more rights than its owner");
}
