//! Documented records that are composed from others when they are read: clusters, and the newest operations.

use bus::{Bus, Context, Error, Kind, Subscription};
use model::work::Restart;
use model::{
    Cluster, ClusterHead, ClusterMember, ClusterRestart, Model as _, NewestOperation, Operation,
    OperationHost, OperationStatus, Step,
};
use runtime::Lifecycle;
use serde_json::{Value, json};
use storage_client::{Revised, StorageClient, Transaction, queries};

use crate::service::{Fixture, config, start};

fn cluster(members: &[&str]) -> Cluster {
    let hostset = members.iter().map(|member| (*member).into()).collect();
    Cluster { name: "c1".into(), network: "n".into(), hostset, ..Cluster::default() }
}

/// The texts in the database under keys with this prefix.
fn stored(fixture: &Fixture, prefix: &str) -> Vec<String> {
    let database = fixture.database();
    let mut values = database
        .prepare("SELECT value FROM records WHERE key LIKE ?1 || '%' ORDER BY key")
        .unwrap();
    let values = values.query_map([prefix], |row| row.get(0)).unwrap();
    values.map(Result::unwrap).collect()
}

async fn head(storage: &StorageClient) -> Revised<ClusterHead> {
    storage.get("c1").await.unwrap()
}

async fn join(
    storage: &StorageClient,
    head: &Revised<ClusterHead>,
    address: &str,
) -> Result<u64, Error> {
    let join = queries::join(Transaction::default(), &mut head.clone(), &[address]).unwrap();
    storage.transact(&join).await
}

async fn next(changes: &mut Subscription) -> (String, Value) {
    let change = changes.next().await.unwrap();
    (change.key, change.params["model"].clone())
}

#[tokio::test]
async fn host_that_joins_changes_no_record_of_the_others() {
    let fixture = start().await;
    let storage = &fixture.storage;
    storage.save(&cluster(&["a"])).await.unwrap();
    let before = head(storage).await;
    // Both saw the same cluster.
    let first = join(storage, &before, "b").await.unwrap();
    let second = join(storage, &before, "c").await.unwrap();
    assert_eq!(head(storage).await, before);
    let composed = storage.get::<Cluster>("c1").await.unwrap();
    assert_eq!(composed.record.hostset, ["a", "b", "c"]);
    assert_eq!(composed.revision, second);
    assert!(first < second);
    assert_eq!(storage.list::<Cluster>().await.unwrap(), [composed]);
    assert!(!stored(&fixture, Cluster::PREFIX)[0].contains("hostset"));
    assert_eq!(
        stored(&fixture, ClusterMember::PREFIX)[1],
        json!({"address": "b", "cluster": "c1"}).to_string()
    );
    let membership = queries::cluster_of(storage, "b").await.unwrap().unwrap();
    assert_eq!(membership.cluster, before);
    // One cluster at a time.
    storage.save(&Cluster { name: "c2".into(), ..cluster(&[]) }).await.unwrap();
    let other = storage.get::<ClusterHead>("c2").await.unwrap();
    assert!(join(storage, &other, "b").await.unwrap_err().is_conflict());
    let error = storage.save(&Cluster { name: "c2".into(), ..cluster(&["b"]) }).await.unwrap_err();
    assert_eq!(error.to_string(), "the host b is a member of c1");
}

#[tokio::test]
async fn host_that_leaves_ends_what_was_decided_by_the_members_before() {
    let fixture = start().await;
    let storage = &fixture.storage;
    storage.save(&cluster(&["a", "b"])).await.unwrap();
    let before = head(storage).await;
    let member = storage.get::<ClusterMember>("a").await.unwrap();
    let leave = queries::leave(Transaction::default(), &mut before.clone(), [&member]).unwrap();
    storage.transact(&leave).await.unwrap();
    assert_eq!(storage.get::<Cluster>("c1").await.unwrap().record.hostset, ["b"]);
    assert!(join(storage, &before, "c").await.unwrap_err().is_conflict());
    assert!(storage.transact(&leave).await.unwrap_err().is_conflict());
    join(storage, &head(storage).await, "a").await.unwrap();
}

#[tokio::test]
async fn whole_record_is_saved_at_the_revision_that_it_was_read_at_only() {
    let fixture = start().await;
    let storage = &fixture.storage;
    storage.save(&cluster(&["a", "b"])).await.unwrap();
    let mut read = storage.get::<Cluster>("c1").await.unwrap();
    join(storage, &head(storage).await, "c").await.unwrap();
    read.record.hostset = vec!["a".into()];
    let update = Transaction::default().update(&read).unwrap();
    let error = storage.transact(&update).await.unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("Cluster c1"), "{error}");
    let mut read = storage.get::<Cluster>("c1").await.unwrap();
    read.record.hostset = vec!["a".into(), "d".into()];
    storage.transact(&Transaction::default().update(&read).unwrap()).await.unwrap();
    assert_eq!(storage.get::<Cluster>("c1").await.unwrap().record.hostset, ["a", "d"]);
    // Without a revision the last one counts.
    let saved = fixture
        .ask("save", json!(["Cluster", {"name": "c1", "network": "n", "hostset": ["e", "a"]}]))
        .await
        .unwrap();
    assert_eq!(saved["hostset"], json!(["a", "e"]));
    let many: Vec<_> = (0..200).map(|host| format!("h{host}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let error = storage.save(&cluster(&many)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidParams);
    assert!(
        error.to_string().contains("202 members") && error.to_string().contains("128"),
        "{error}"
    );
    storage.delete::<Cluster>("c1").await.unwrap();
    assert_eq!(stored(&fixture, ClusterMember::PREFIX), Vec::<String>::new());
}

#[tokio::test]
async fn members_that_join_and_leave_are_changes_of_their_cluster() {
    let fixture = start().await;
    let storage = &fixture.storage;
    storage.save(&cluster(&["a"])).await.unwrap();
    let mut changes = fixture.bus.subscribe("notify.storage.#").await.unwrap();
    join(storage, &head(storage).await, "b").await.unwrap();
    let model = json!({"name": "c1", "status": "", "network": "n", "container_manager": ""});
    assert_eq!(next(&mut changes).await, ("notify.storage.Cluster.updated".into(), model.clone()));
    let member = storage.get::<ClusterMember>("a").await.unwrap();
    let mut cluster = head(storage).await;
    let leave = queries::leave(Transaction::default(), &mut cluster, [&member]).unwrap();
    storage.transact(&leave).await.unwrap();
    assert_eq!(next(&mut changes).await, ("notify.storage.Cluster.updated".into(), model.clone()));
    fixture
        .ask("save", json!(["Cluster", {"name": "c1", "network": "n", "hostset": []}]))
        .await
        .unwrap();
    assert_eq!(next(&mut changes).await, ("notify.storage.Cluster.updated".into(), model));
    storage.delete::<Cluster>("c1").await.unwrap();
    let deleted = next(&mut changes).await;
    assert_eq!(deleted, ("notify.storage.Cluster.deleted".into(), json!({"name": "c1"})));
}

/// An operation on three hosts, the first of which is done.
fn operation(id: &str, status: OperationStatus) -> Operation {
    serde_json::from_value(json!({
        "id": id, "cluster": "c1", "kind": "restart", "status": status, "started_at": "t0",
        "hosts": ["a", "b", "c"],
    }))
    .unwrap()
}

fn part(step: Step, address: &str) -> OperationHost {
    OperationHost { step, ..OperationHost::pending("o1", address) }
}

#[tokio::test]
async fn record_of_the_newest_operation_follows_its_hosts() {
    let fixture = start().await;
    let storage = &fixture.storage;
    let mut changes = fixture.bus.subscribe("notify.storage.ClusterRestart.*").await.unwrap();
    let running = operation("o1", OperationStatus::InProcess);
    let newest = NewestOperation::<Restart>::new(&"c1".into(), "o1");
    let begin = Transaction::default().create(&running).unwrap().save(&newest).unwrap();
    storage.transact(&begin).await.unwrap();
    let (key, model) = next(&mut changes).await;
    assert_eq!(key, "notify.storage.ClusterRestart.created");
    assert_eq!((&model["status"], &model["restarted"]), (&json!("in_process"), &json!([])));

    storage.save(&part(Step::Done, "a")).await.unwrap();
    storage.save(&part(Step::Reboot, "b")).await.unwrap();
    let shown = fixture.ask("get", json!(["ClusterRestart", {"name": "c1"}])).await.unwrap();
    let expected = json!({
        "name": "c1", "status": "in_process", "started_at": "t0", "finished_at": null,
        "in_process": ["b"], "restarted": ["a"],
    });
    assert_eq!(shown, expected);
    let pointer = json!({"name": "c1", "operation": "o1"}).to_string();
    assert_eq!(stored(&fixture, "/commissaire/cluster/c1/restart"), [pointer]);

    // One that is not the newest is not announced as the cluster's.
    storage.save(&operation("o0", OperationStatus::Finished)).await.unwrap();
    storage.save(&operation("o1", OperationStatus::Failed)).await.unwrap();
    let (key, model) = next(&mut changes).await;
    assert_eq!(
        (key.as_str(), &model["status"]),
        ("notify.storage.ClusterRestart.updated", &json!("failed"))
    );
    assert_eq!(model["restarted"], json!(["a"]));

    storage.delete::<Operation>("o1").await.unwrap();
    assert!(storage.find::<ClusterRestart>("c1").await.unwrap().is_none());
}

#[tokio::test]
async fn record_of_an_operation_of_the_original_is_kept_as_it_is() {
    let fixture = start().await;
    let record = json!({
        "name": "c1", "status": "finished", "started_at": "t0", "finished_at": "t1",
        "in_process": [], "restarted": ["a"],
    });
    fixture.ask("save", json!(["ClusterRestart", record])).await.unwrap();
    let shown = fixture.ask("get", json!(["ClusterRestart", {"name": "c1"}])).await.unwrap();
    assert_eq!(shown, record);
    let newest = fixture.storage.get::<NewestOperation<Restart>>("c1").await.unwrap();
    assert_eq!(newest.record.operation, "");
}

#[tokio::test]
async fn members_in_the_records_of_earlier_versions_are_converted() {
    let fixture = start().await;
    fixture.storage.save(&cluster(&["a"])).await.unwrap();
    let hostset: Vec<_> = (0..120).map(|host| format!("h{host:03}")).chain(["a".into()]).collect();
    let inline = json!({"name": "c1", "network": "n", "hostset": hostset}).to_string();
    let key = Cluster::key("c1");
    fixture
        .database()
        .execute("UPDATE records SET value = ?1 WHERE key = ?2", [&inline, &key])
        .unwrap();
    fixture
        .database()
        .execute("DELETE FROM records WHERE key = '/commissaire/format'", [])
        .unwrap();
    // The next start of the service, here a second one on the same file.
    let (bus, life) = (Bus::memory(), Lifecycle::new());
    storage_svc::run(&bus, &config(fixture.folder.path()), &life).await.unwrap();
    let storage = StorageClient::new(bus, Context::service("test"));
    let read = storage.get::<Cluster>("c1").await.unwrap().record;
    assert_eq!((read.hostset.len(), read.network.as_str()), (121, "n"));
    assert!(!stored(&fixture, &key)[0].contains("hostset"));
    assert_eq!(stored(&fixture, ClusterMember::PREFIX).len(), 121);
}
