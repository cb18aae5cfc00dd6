//! The methods of the storage service, over the bus.

use std::path::Path;

use bus::{Bus, Context, Error, Kind};
use model::{Address, Cluster, Host, HostCreds, Model as _};
use runtime::Lifecycle;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use storage_client::{StorageClient, Transaction};

pub(crate) struct Fixture {
    pub(crate) bus: Bus,
    pub(crate) storage: StorageClient,
    pub(crate) folder: tempfile::TempDir,
    life: Lifecycle,
}

pub(crate) async fn start() -> Fixture {
    start_in(tempfile::tempdir().unwrap()).await
}

pub(crate) fn config(folder: &Path) -> storage_svc::Config {
    storage_svc::Config::sqlite(folder.join("store.db"), folder.join("secret.key"))
}

async fn start_in(folder: tempfile::TempDir) -> Fixture {
    let config = config(folder.path());
    start_with(folder, &config).await
}

/// The service with a configuration; `folder` is what the fixture keeps.
pub(crate) async fn start_with(folder: tempfile::TempDir, config: &storage_svc::Config) -> Fixture {
    let (bus, life) = (Bus::memory(), Lifecycle::new());
    storage_svc::run(&bus, config, &life).await.unwrap();
    let storage = StorageClient::new(bus.clone(), Context::service("test"));
    Fixture { bus, storage, folder, life }
}

/// Why the service does not start with this configuration.
pub(crate) async fn refused(config: &storage_svc::Config) -> String {
    let (bus, life) = (Bus::memory(), Lifecycle::new());
    let error = storage_svc::run(&bus, config, &life).await.unwrap_err();
    bus::error::chain(&error)
}

impl Fixture {
    pub(crate) async fn ask(&self, method: &str, params: Value) -> Result<Value, Error> {
        self.bus.request(&format!("storage.{method}"), &params, &Context::default()).await
    }

    pub(crate) fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.folder.path().join("store.db")).unwrap()
    }
}

pub(crate) fn host(address: &str) -> Host {
    Host { address: address.into(), ..Host::default() }
}

#[tokio::test]
async fn a_saved_record_comes_back_with_its_defaults() {
    let fixture = start().await;
    let whole = json!({"name": "n1", "type": "flannel_etcd", "options": {}});
    for data in [json!({"name": "n1"}), json!("{\"name\": \"n1\"}")] {
        let params = json!({"model_type_name": "Network", "model_json_data": data});
        assert_eq!(fixture.ask("save", params).await.unwrap(), whole);
    }
    assert_eq!(fixture.ask("get", json!(["Network", {"name": "n1"}])).await.unwrap(), whole);
    assert_eq!(fixture.ask("list", json!(["Networks"])).await.unwrap(), json!([whole]));
    assert_eq!(
        fixture.ask("delete", json!(["Network", {"name": "n1"}])).await.unwrap(),
        Value::Null
    );
    let error = fixture.ask("get", json!(["Network", {"name": "n1"}])).await.unwrap_err();
    assert_eq!(error.kind().code(), -20000);
    assert_eq!(
        error.data(),
        Some(&json!({"model_type_name": "Network", "model_json_data": [{"name": "n1"}]}))
    );
    fixture.life.shutdown(std::time::Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_list_with_a_bad_record_is_not_saved_at_all() {
    let fixture = start().await;
    for bad in [json!({"name": "a b"}), json!({"name": "x", "type": "vlan"}), json!({}), json!(7)] {
        let data = json!([{"name": "good"}, bad]);
        let error = fixture.ask("save", json!(["Network", data])).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidParams, "{bad}");
    }
    assert_eq!(fixture.ask("list", json!(["Networks"])).await.unwrap(), json!([]));
    let saved =
        fixture.ask("save", json!(["Network", [{"name": "a"}, {"name": "b"}]])).await.unwrap();
    assert_eq!(saved.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn nonsense_is_refused_and_never_a_panic() {
    let fixture = start().await;
    for (method, params) in [
        ("save", json!(["Nonsense", {}])),
        ("save", json!({})),
        ("get", json!(["Host", {"address": "../../x"}])),
        ("get", json!(["Host", "{"])),
        ("list", json!(["Host"])),
        ("list", json!(["ClusterRestarts"])),
        ("delete", json!(["Cluster", {"name": 7}])),
        ("transact", json!({"checks": 1})),
        ("transact", json!({"saves": [{"model_type_name": "Host", "model_json_data": {}}]})),
    ] {
        let error = fixture.ask(method, params.clone()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidParams, "{method} {params}");
    }
    assert_eq!(fixture.ask("explode", json!({})).await.unwrap_err().kind(), Kind::MethodNotFound);
}

#[tokio::test]
async fn a_stale_revision_is_a_conflict_also_after_deletion() {
    let fixture = start().await;
    let storage = &fixture.storage;
    storage.save(&host("10.0.0.1")).await.unwrap();
    let seen = storage.get::<Host>("10.0.0.1").await.unwrap();
    let with = |revision| {
        json!({"model_type_name": "Host", "model_json_data": {"address": "10.0.0.1", "os": "fedora"},
               "revision": revision})
    };
    fixture.ask("save", with(seen.revision)).await.unwrap();
    assert!(fixture.ask("save", with(seen.revision)).await.unwrap_err().is_conflict());
    let now = storage.get::<Host>("10.0.0.1").await.unwrap();
    storage.delete::<Host>("10.0.0.1").await.unwrap();
    assert!(fixture.ask("save", with(now.revision)).await.unwrap_err().is_conflict());
    assert!(storage.find::<Host>("10.0.0.1").await.unwrap().is_none());
}

/// As etcd does by default, so that no store accepts what another would refuse.
#[tokio::test]
async fn a_transaction_of_more_than_128_checks_or_changes_is_refused_and_changes_nothing() {
    let fixture = start().await;
    let storage = &fixture.storage;
    let address = |n: usize| format!("10.0.0.{n}");
    let saves = |count| {
        let save = |transaction: Transaction, n| transaction.save(&host(&address(n))).unwrap();
        (0..count).fold(Transaction::default(), save)
    };
    let checks = |count| {
        let check = |transaction: Transaction, n| transaction.check::<Host>(&address(n), None);
        (0..count).fold(Transaction::default(), check)
    };
    for (refused, named) in [
        (saves(129), "129 changes"),
        (saves(128).delete::<Host>("10.1.0.1"), "129 changes"),
        (checks(129), "129 checks"),
    ] {
        let error = storage.transact(&refused).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidParams);
        assert!(error.to_string().contains(named), "{error}");
    }
    assert!(storage.list::<Host>().await.unwrap().is_empty());
    storage.transact(&checks(128)).await.unwrap();
    storage.transact(&saves(128)).await.unwrap();
    assert_eq!(storage.list::<Host>().await.unwrap().len(), 128);
}

#[tokio::test]
async fn a_transaction_is_all_or_nothing_and_names_the_check() {
    let fixture = start().await;
    let storage = &fixture.storage;
    let both = |address: &str| {
        let cluster = Cluster {
            name: "c1".into(),
            network: "default".into(),
            hostset: vec![address.into()],
            ..Cluster::default()
        };
        Transaction::default().create(&host(address)).unwrap().create(&cluster).unwrap()
    };
    let revision = storage.transact(&both("10.0.0.1")).await.unwrap();
    assert_eq!(storage.get::<Cluster>("c1").await.unwrap().revision, revision);
    let error = storage.transact(&both("10.0.0.2")).await.unwrap_err();
    assert!(error.is_conflict());
    assert_eq!(
        error.data(),
        Some(&json!({"check": {"model_type_name": "Cluster", "key": "c1", "revision": null}}))
    );
    assert!(storage.find::<Host>("10.0.0.2").await.unwrap().is_none());
    let deletion = Transaction::default()
        .check::<Cluster>("c1", Some(revision))
        .delete::<Cluster>("c1")
        .delete::<Host>("10.0.0.1")
        .delete::<Host>("10.0.0.99");
    storage.transact(&deletion).await.unwrap();
    assert!(storage.list::<Host>().await.unwrap().is_empty());
}

#[tokio::test]
async fn ids_are_asked_for_as_records_are() {
    let fixture = start().await;
    for address in ["10.0.0.1", "10.0.0.2"] {
        fixture.storage.save(&host(address)).await.unwrap();
    }
    let records = json!([{"address": "10.0.0.2"}, {"address": "10.0.0.1"}]);
    let by_records = fixture.ask("get", json!(["Host", records])).await.unwrap();
    let ask = async |params| fixture.ask("get", params).await;
    let ids = json!(["10.0.0.2", "10.0.0.1"]);
    let by_ids = ask(json!({"model_type_name": "Host", "ids": ids})).await.unwrap();
    assert_eq!(by_ids, by_records);
    assert_eq!(by_ids[0]["address"], "10.0.0.2");

    let missing = ask(json!({"model_type_name": "Host", "ids": ["10.0.0.3"]})).await.unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound);
    assert_eq!(missing.data().unwrap()["model_json_data"], json!([{"address": "10.0.0.3"}]));
    for wrong in [
        json!({"model_type_name": "Host", "ids": ids, "model_json_data": records}),
        json!({"model_type_name": "Host", "ids": ["../x"]}),
        json!({"model_type_name": "Host", "ids": "10.0.0.1"}),
        json!({"model_type_name": "Host"}),
    ] {
        assert_eq!(ask(wrong.clone()).await.unwrap_err().kind(), Kind::InvalidParams, "{wrong}");
    }
}

#[tokio::test]
async fn gaps_are_null_where_the_caller_wants_them() {
    let fixture = start().await;
    fixture.storage.save(&host("10.0.0.2")).await.unwrap();
    let ids = ["10.0.0.1".to_owned(), "10.0.0.2".to_owned()];
    let found = fixture.storage.get_many::<Host>(&ids).await.unwrap();
    assert!(found[0].is_none());
    assert_eq!(found[1].as_ref().unwrap().record, host("10.0.0.2"));
}

#[tokio::test]
async fn changes_are_announced_without_hidden_fields_and_never_for_credentials() {
    let fixture = start().await;
    let mut changes = fixture.bus.subscribe("notify.storage.#").await.unwrap();
    let cluster = Cluster { name: "c1".into(), network: "n".into(), ..Cluster::default() };
    fixture.storage.save(&HostCreds::new("10.0.0.1")).await.unwrap();
    fixture.storage.save(&cluster).await.unwrap();
    // The same once more is no change.
    fixture.storage.save(&cluster).await.unwrap();
    let moved = Cluster { network: "other".into(), ..cluster };
    fixture.storage.save(&moved).await.unwrap();
    fixture.storage.delete::<Cluster>("c1").await.unwrap();
    let created = changes.next().await.unwrap();
    assert_eq!(created.key, "notify.storage.Cluster.created");
    assert_eq!(
        created.params["model"],
        json!({"name": "c1", "status": "", "network": "n", "container_manager": ""})
    );
    assert_eq!(
        (&created.params["event"], &created.params["class"]),
        (&json!("created"), &json!("Cluster"))
    );
    let updated = changes.next().await.unwrap();
    assert_eq!(updated.key, "notify.storage.Cluster.updated");
    assert_eq!(updated.params["model"]["network"], "other");
    let deleted = changes.next().await.unwrap();
    assert_eq!(deleted.params["model"], json!({"name": "c1"}));
    assert!(deleted.params["revision"].as_u64() > created.params["revision"].as_u64());
}

#[tokio::test]
async fn members_of_another_client_may_be_in_any_order() {
    let fixture = start().await;
    let members = json!(["10.0.0.2", "10.0.0.1"]);
    let record = json!({"name": "c1", "network": "default", "hostset": members});
    fixture.ask("save", json!(["Cluster", record])).await.unwrap();
    let read = fixture.storage.get::<Cluster>("c1").await.unwrap().record;
    assert_eq!(read.hostset, ["10.0.0.1", "10.0.0.2"]);
}

#[tokio::test]
async fn credentials_are_sealed_in_the_store() {
    let fixture = start().await;
    let mut creds = HostCreds::new("10.0.0.1");
    creds.ssh_priv_key = "Y2FuYXJ5LWtleQ==".into();
    fixture.storage.save(&creds).await.unwrap();
    let back = fixture.storage.get::<HostCreds>("10.0.0.1").await.unwrap().record;
    assert_eq!(back.ssh_priv_key.expose_secret(), "Y2FuYXJ5LWtleQ==");
    for file in std::fs::read_dir(fixture.folder.path()).unwrap() {
        let content = std::fs::read(file.unwrap().path()).unwrap();
        for canary in ["Y2FuYXJ5LWtleQ", "canary-key"] {
            assert!(!content.windows(canary.len()).any(|window| window == canary.as_bytes()));
        }
    }
}

#[tokio::test]
async fn a_damaged_record_names_its_key_and_hides_no_neighbour() {
    let fixture = start().await;
    for n in 1..=4 {
        fixture.storage.save(&host(&format!("10.0.0.{n}"))).await.unwrap();
    }
    let database = fixture.database();
    let damage = |key: &str, value: &str| {
        let changed = database
            .execute("UPDATE records SET value = ? WHERE key = ?", [value, &Host::key(key)])
            .unwrap();
        assert_eq!(changed, 1);
    };
    damage("10.0.0.1", "{");
    damage("10.0.0.2", r#"{"address": "10.0.0.2", "status": "confused"}"#);
    damage("10.0.0.3", r#"{"address": "10.9.9.9"}"#);
    for n in 1..=3 {
        let error = fixture.storage.get::<Host>(&format!("10.0.0.{n}")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Internal);
        assert!(error.to_string().contains(&format!("/commissaire/hosts/10.0.0.{n}")), "{error}");
    }
    let healthy: Vec<_> = fixture
        .storage
        .list::<Host>()
        .await
        .unwrap()
        .into_iter()
        .map(|h| h.record.address)
        .collect();
    assert_eq!(healthy, ["10.0.0.4"]);
    // Who asks for several and tolerates gaps gets the readable ones; who does not gets the error.
    let ids = ["10.0.0.3", "10.0.0.4", "10.0.0.5"].map(Address::from);
    let found = fixture.storage.get_many::<Host>(&ids).await.unwrap();
    let found: Vec<_> = found.iter().map(|host| host.as_ref().map(|h| &h.record.address)).collect();
    assert_eq!(found, [None, Some(&ids[1]), None]);
    let wanted = json!(["Host", [{"address": ids[0]}, {"address": ids[1]}]]);
    let error = fixture.ask("get", wanted).await.unwrap_err();
    assert!(error.to_string().contains(&Host::key(&ids[0])), "{error}");
}

#[tokio::test]
async fn a_credential_moved_to_another_host_does_not_open() {
    let fixture = start().await;
    fixture.storage.save(&HostCreds::new("10.0.0.1")).await.unwrap();
    fixture.database().execute("UPDATE records SET key = replace(key, '.1', '.2')", []).unwrap();
    let error = fixture.storage.get::<HostCreds>("10.0.0.2").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Internal);
}

#[tokio::test]
async fn updates_by_many_lose_nothing() {
    let fixture = start().await;
    let cluster = Cluster { name: "c1".into(), network: "n".into(), ..Cluster::default() };
    fixture.storage.save(&cluster).await.unwrap();
    let join = |n: usize| {
        let storage = fixture.storage.clone();
        async move {
            let address = format!("10.0.1.{n}");
            let join = |cluster: &mut Cluster| {
                cluster.hostset.push(address.clone().into());
                Ok(true)
            };
            storage.update("c1", join).await.unwrap();
        }
    };
    futures_util::future::join_all((0..20).map(join)).await;
    assert_eq!(fixture.storage.get::<Cluster>("c1").await.unwrap().record.hostset.len(), 20);
    let gone = fixture.storage.update::<Cluster>("c2", |_| Ok(true)).await.unwrap_err();
    assert!(gone.is_not_found());
}

#[tokio::test]
async fn the_store_handlers_are_listed() {
    let fixture = start().await;
    let handlers = fixture.ask("list_store_handlers", json!([])).await.unwrap();
    assert_eq!(handlers[0]["handler_type"], "sqlite");
    assert!(handlers[0]["model_types"].as_array().unwrap().contains(&json!("Host")));
}

#[tokio::test]
async fn after_a_rekey_everything_opens_with_the_new_key_and_nothing_with_the_old() {
    let fixture = start().await;
    for n in 1..=3 {
        let mut creds = HostCreds::new(&format!("10.0.0.{n}"));
        creds.ssh_priv_key = format!("key {n}").into();
        fixture.storage.save(&creds).await.unwrap();
    }
    let Fixture { folder, life, .. } = fixture;
    life.shutdown(std::time::Duration::from_secs(5)).await;
    let key_file = folder.path().join("secret.key");
    let old = std::fs::read_to_string(&key_file).unwrap();
    assert_eq!(storage_svc::rekey::run(&config(folder.path())).await.unwrap(), 3);
    let new = std::fs::read_to_string(&key_file).unwrap();
    assert_eq!(new.lines().count(), 1);
    assert_ne!(old, new);

    let fixture = start_in(folder).await;
    let creds = fixture.storage.list::<HostCreds>().await.unwrap();
    let keys: Vec<_> = creds.iter().map(|c| c.record.ssh_priv_key.expose_secret()).collect();
    assert_eq!(keys, ["key 1", "key 2", "key 3"]);
    std::fs::write(&key_file, old).unwrap();
    let Fixture { folder, life, .. } = fixture;
    life.shutdown(std::time::Duration::from_secs(5)).await;
    let error = refused(&config(folder.path())).await;
    let id = new.split(' ').next().unwrap();
    assert!(error.contains(&format!("sealed with the key {id}")), "{error}");
}
