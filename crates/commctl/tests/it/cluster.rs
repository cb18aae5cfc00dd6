//! `commctl cluster`

use serde_json::json;

use crate::support::Fleet;

#[tokio::test]
async fn create_sends_what_the_original_sends() {
    let fleet = Fleet::new().await;
    let record = json!({"name": "c1", "status": "", "network": "default", "container_manager": ""});
    fleet.answers("PUT", "cluster/c1", 201, record).await;
    fleet
        .run("cluster create c1")
        .await
        .printed("container_manager: ''\nname: c1\nnetwork: default\nstatus: ''\n");
    let request = fleet.request().await;
    assert_eq!(
        request.body_json::<serde_json::Value>().unwrap(),
        json!({"type": "kubernetes", "network": "default"})
    );
    let header = |name: &str| request.headers[name].to_str().unwrap().to_owned();
    assert_eq!(header("authorization"), "Basic YTpodW50ZXIy");
    assert_eq!(header("user-agent"), concat!("commctl/", env!("CARGO_PKG_VERSION")));
    assert_eq!(header("idempotency-key").len(), 36);
    assert_eq!(header("content-type"), "application/json");
}

#[tokio::test]
async fn create_with_all_its_flags() {
    let fleet = Fleet::new().await;
    fleet.answers("PUT", "cluster/c1", 201, json!({"name": "c1"})).await;
    fleet.answers("GET", "networks", 200, json!(["default", "n1"])).await;
    fleet.run("cluster create -t host_only -n n1 -c ocp c1").await.printed("name: c1\n");
    assert_eq!(
        fleet.body().await,
        json!({"type": "host_only", "network": "n1", "container_manager": "ocp"})
    );
}

#[tokio::test]
async fn an_empty_container_manager_is_none() {
    let fleet = Fleet::new().await;
    fleet.answers("PUT", "cluster/c1", 201, json!({"name": "c1"})).await;
    fleet.home.run(&["cluster", "create", "-c", "", "c1"]).await.printed("name: c1\n");
    assert_eq!(fleet.body().await, json!({"type": "kubernetes", "network": "default"}));
}

#[tokio::test]
async fn create_refuses_an_unknown_network_and_names_those_there_are() {
    let fleet = Fleet::new().await;
    fleet.answers("GET", "networks", 200, json!(["default", "internal"])).await;
    fleet.run("cluster create -n intern c1").await.failed(
        1,
        "error: there is no network intern, only default, internal: nothing was created; to make it: \
         commctl network create intern\n",
    );
    assert_eq!(fleet.requests().await, ["GET /api/v0/networks"]);
}

#[tokio::test]
async fn create_refuses_host_only_where_a_cluster_has_a_container_manager() {
    let fleet = Fleet::new().await;
    fleet.answers("PUT", "cluster/c1", 201, json!({"name": "c1"})).await;
    fleet.answers_once("GET", "cluster/c1", 200, json!({"container_manager": "k1"})).await;
    fleet.run("cluster create -t host_only -c k1 c1").await.failed(
        1,
        "error: the cluster c1 exists and is not host_only, since its container manager is k1: \
         nothing was changed; see commctl cluster get c1\n",
    );
    assert_eq!(fleet.requests().await, ["GET /api/v0/cluster/c1"]);
    fleet.answers_once("GET", "cluster/c1", 200, json!({"container_manager": ""})).await;
    fleet.run("cluster create -t host_only c1").await.printed("name: c1\n");
}

#[tokio::test]
async fn get_and_list() {
    let fleet = Fleet::new().await;
    fleet.answers("GET", "clusters", 200, json!([])).await;
    fleet.run("cluster list").await.printed("[]\n");
    fleet.run("-o json cluster list").await.printed("[]\n");
    fleet.answers("GET", "cluster/c1", 200, json!({"name": "c1", "hostset": []})).await;
    fleet.run("cluster get c1").await.printed("hostset: []\nname: c1\n");
    let run = fleet.run("cluster get --output json c1").await;
    run.printed("{\n  \"hostset\": [],\n  \"name\": \"c1\"\n}\n");
    assert_eq!(run.stderr, "");
}

#[tokio::test]
async fn a_refusal_is_explained() {
    let fleet = Fleet::new().await;
    fleet.refuses("GET", "cluster/c9", 404, "no cluster named c9").await;
    fleet.run("cluster get c9").await.failed(1, "error: no cluster named c9 (404 Not Found)\n");
    fleet.refuses("GET", "clusters", 403, "wrong user name or password").await;
    fleet.run("cluster list").await.failed(
        1,
        &format!(
            "error: wrong user name or password (403 Forbidden)\n\
             the user \"a\" of {} was refused by {}: wrong user name or password, or no \
             permission\n",
            fleet.home.config(),
            fleet.server.uri()
        ),
    );
}

#[tokio::test]
async fn delete_goes_on_after_a_refusal() {
    let fleet = Fleet::new().await;
    fleet.answers("DELETE", "cluster/c1", 200, json!([])).await;
    fleet.refuses("DELETE", "cluster/c2", 404, "no cluster named c2").await;
    fleet.answers("DELETE", "cluster/c3", 200, json!([])).await;
    fleet.run("cluster delete c1 c2 c3").await.failed(
        1,
        "deleted c1\nerror: c2: no cluster named c2 (404 Not Found)\ndeleted c3\n\
         error: 1 of 3 were not deleted\n",
    );
    let run = fleet.run("cluster delete c1 c3").await;
    run.printed("");
    assert_eq!(run.stderr, "deleted c1\ndeleted c3\n");
    fleet.run("cluster delete c2").await.failed(1, "error: no cluster named c2 (404 Not Found)\n");
}

#[tokio::test]
async fn names_stay_one_segment() {
    let fleet = Fleet::new().await;
    let run = fleet.run("cluster delete ../host").await;
    assert_eq!(run.status, 2);
    assert!(run.stderr.contains("a name cannot contain '/'"), "{}", run.stderr);
    assert_eq!(fleet.requests().await.len(), 0);
    fleet.home.run(&["cluster", "get", "a b?c"]).await;
    assert_eq!(fleet.requests().await, ["GET /api/v0/cluster/a%20b%3Fc"]);
}

#[tokio::test]
async fn restart_start_and_status() {
    let fleet = Fleet::new().await;
    let record = json!({
        "name": "c1", "status": "in_process", "started_at": "2026-11-21T23:40:23.166348",
        "finished_at": null, "in_process": [], "restarted": [],
    });
    let printed = "finished_at: null\nin_process: []\nname: c1\nrestarted: []\n\
                   started_at: '2026-11-21T23:40:23.166348'\nstatus: in_process\n";
    fleet.answers("PUT", "cluster/c1/restart", 201, record.clone()).await;
    fleet.answers("GET", "cluster/c1/restart", 200, record).await;
    fleet.run("cluster restart start c1").await.printed(printed);
    assert_eq!(fleet.body().await, json!({}));
    fleet.run("cluster restart status c1").await.printed(printed);
}

#[tokio::test]
async fn upgrade_takes_the_version_of_the_manuals_example_and_ignores_it() {
    let fleet = Fleet::new().await;
    let record = json!({"name": "c1", "status": "finished", "upgraded": ["10.0.0.1"]});
    fleet.answers("PUT", "cluster/c1/upgrade", 201, record).await;
    let printed = "name: c1\nstatus: finished\nupgraded:\n- 10.0.0.1\n";
    fleet.run("cluster upgrade start --wait c1 7.2.6").await.printed(printed);
    assert_eq!(fleet.body().await, json!({}));
}

#[tokio::test]
async fn deploy_needs_a_version() {
    let fleet = Fleet::new().await;
    assert_eq!(fleet.run("cluster deploy start c1").await.status, 2);
    let record = json!({"name": "c1", "version": "7.2.6"});
    fleet.answers("PUT", "cluster/c1/deploy", 201, record.clone()).await;
    fleet.run("cluster deploy start c1 7.2.6").await.printed("name: c1\nversion: 7.2.6\n");
    assert_eq!(fleet.body().await, json!({"version": "7.2.6"}));
    fleet.answers("GET", "cluster/c1/deploy", 200, record).await;
    fleet.run("cluster deploy status c1").await.printed("name: c1\nversion: 7.2.6\n");
}

#[tokio::test]
async fn a_start_that_times_out_may_have_started() {
    let fleet = Fleet::new().await;
    fleet.refuses("PUT", "cluster/c1/restart", 504, "no answer in time").await;
    fleet.run("cluster restart start c1").await.failed(
        1,
        "error: no answer in time (504 Gateway Timeout)\n\
         it may have started nevertheless; look with: commctl cluster restart status c1\n",
    );
}
