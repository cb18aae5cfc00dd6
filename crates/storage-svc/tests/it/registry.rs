//! Several stores: which records are where, and hosts by their source.

use bus::Kind;
use model::{Cluster, Host, Model as _, Network};
use serde_json::{Value, json};
use storage_client::Transaction;

use crate::service::{Fixture, host, refused, start_with};

fn handler(name: &str, folder: &std::path::Path, models: &Value) -> Value {
    let path = folder.join(format!("{name}.db"));
    json!({"type": "sqlite", "name": name, "path": path, "models": models})
}

fn config(folder: &std::path::Path, handlers: &[(&str, Value)]) -> storage_svc::Config {
    let handlers: Vec<_> =
        handlers.iter().map(|(name, models)| handler(name, folder, models)).collect();
    let key = folder.join("secret.key");
    serde_json::from_value(json!({"storage_handlers": handlers, "secret_key_file": key})).unwrap()
}

async fn start(handlers: &[(&str, Value)]) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), handlers);
    start_with(folder, &config).await
}

/// Everything in `main`, and hosts of the source `other` in another store.
async fn with_source() -> Fixture {
    start(&[("main", json!(["*"])), ("other", json!(["Host"]))]).await
}

impl Fixture {
    /// The keys in a store's file.
    fn keys(&self, store: &str) -> Vec<String> {
        let file = self.folder.path().join(format!("{store}.db"));
        let database = rusqlite::Connection::open(file).unwrap();
        let mut keys = database.prepare("SELECT key FROM records ORDER BY key").unwrap();
        let keys = keys.query_map([], |row| row.get(0)).unwrap();
        let is_record = |key: &String| !key.ends_with("/mark") && key != "/commissaire/format";
        keys.map(Result::unwrap).filter(is_record).collect()
    }
}

fn sourced(address: &str, source: &str) -> Host {
    Host { source: source.into(), ..host(address) }
}

fn cluster(name: &str) -> Cluster {
    Cluster { name: name.into(), network: "n".into(), ..Cluster::default() }
}

#[tokio::test]
async fn each_model_is_in_its_store() {
    let fixture = start(&[("a", json!(["[!N]*"])), ("b", json!(["N*"]))]).await;
    fixture.storage.save(&cluster("c")).await.unwrap();
    fixture.ask("save", json!(["Network", {"name": "n"}])).await.unwrap();
    assert_eq!(fixture.keys("a"), [Cluster::key("c")]);
    assert_eq!(fixture.keys("b"), [Network::key("n")]);
    let of_handlers = fixture.ask("list_store_handlers", json!([])).await.unwrap();
    assert_eq!(of_handlers.as_array().unwrap().len(), 2);
    assert_eq!(of_handlers[1]["handler_type"], "sqlite");
    assert_eq!(of_handlers[1]["config"]["name"], "b");
    assert_eq!(of_handlers[1]["model_types"], json!(["Network"]));
}

#[tokio::test]
async fn a_host_is_where_its_source_says() {
    let fixture = with_source().await;
    let hosts =
        [sourced("10.0.0.2", ""), sourced("10.0.0.1", "other"), sourced("10.0.0.3", "main")];
    for host in &hosts {
        fixture.storage.save(host).await.unwrap();
    }
    assert_eq!(fixture.keys("main"), [Host::key("10.0.0.2"), Host::key("10.0.0.3")]);
    assert_eq!(fixture.keys("other"), [Host::key("10.0.0.1")]);

    let listed = fixture.storage.list::<Host>().await.unwrap();
    let listed: Vec<_> = listed.iter().map(|host| host.record.address.as_str()).collect();
    assert_eq!(listed, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    let ids = ["10.0.0.1", "10.0.0.9", "10.0.0.2"].map(str::to_owned);
    let found = fixture.storage.get_many::<Host>(&ids).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|host| host.map(|h| h.record)).collect();
    assert_eq!(found, [Some(hosts[1].clone()), None, Some(hosts[0].clone())]);

    let update = |host: &mut Host| {
        host.os = "fedora".into();
        Ok(true)
    };
    fixture.storage.update::<Host>("10.0.0.1", update).await.unwrap();
    assert_eq!(fixture.keys("main").len(), 2, "it stays where it is");
    fixture.storage.delete::<Host>("10.0.0.1").await.unwrap();
    assert!(fixture.keys("other").is_empty());
    assert!(fixture.storage.find::<Host>("10.0.0.1").await.unwrap().is_none());
}

#[tokio::test]
async fn a_host_is_never_in_two_stores() {
    let fixture = with_source().await;
    for (first, second) in [("", "other"), ("other", "main")] {
        let address = if first.is_empty() { "10.0.0.1" } else { "10.0.0.2" };
        fixture.storage.save(&sourced(address, first)).await.unwrap();
        let error = fixture.storage.save(&sourced(address, second)).await.unwrap_err();
        assert!(error.is_conflict());
        assert!(error.to_string().contains("other") && error.to_string().contains("main"));
        assert_eq!(fixture.storage.get::<Host>(address).await.unwrap().record.source, first);
    }
    let error = fixture.storage.save(&sourced("10.0.0.3", "cloudforms")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidParams);
    assert!(error.to_string().ends_with("there are main, other"), "{error}");
}

/// What another program has put into both stores is not shown twice.
#[tokio::test]
async fn of_two_records_the_default_stores_counts() {
    let fixture = with_source().await;
    fixture.storage.save(&sourced("10.0.0.1", "other")).await.unwrap();
    let path = |name: &str| fixture.folder.path().join(format!("{name}.db"));
    let main = rusqlite::Connection::open(path("main")).unwrap();
    let value = json!({"address": "10.0.0.1", "os": "debian"}).to_string();
    main.execute("INSERT INTO records VALUES (?, ?, 7)", [Host::key("10.0.0.1"), value]).unwrap();
    let listed = fixture.storage.list::<Host>().await.unwrap();
    assert_eq!((listed.len(), listed[0].record.os.as_str()), (1, "debian"));
    assert_eq!(fixture.storage.get::<Host>("10.0.0.1").await.unwrap().record.os, "debian");
}

#[tokio::test]
async fn no_transaction_spans_two_stores() {
    let fixture = with_source().await;
    let create = |host: &Host| Transaction::default().create(host).unwrap();
    let both = create(&sourced("10.0.0.1", "other")).create(&cluster("c")).unwrap();
    let error = fixture.storage.transact(&both).await.unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidParams);
    for says in ["Host", "Cluster", "\"main\"", "\"other\"", "`models`"] {
        assert!(error.to_string().contains(says), "{error}");
    }
    let list =
        json!(["Host", [{"address": "10.0.0.1", "source": "other"}, {"address": "10.0.0.2"}]]);
    let error = fixture.ask("save", list).await.unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidParams);
    assert!(fixture.keys("main").is_empty() && fixture.keys("other").is_empty());

    let one = create(&sourced("10.0.0.1", "other")).create(&sourced("10.0.0.2", "other")).unwrap();
    fixture.storage.transact(&one).await.unwrap();
    assert!(fixture.storage.transact(&one).await.unwrap_err().is_conflict());
    assert_eq!(fixture.keys("other").len(), 2);
    let in_main = create(&sourced("10.0.0.3", "main")).create(&cluster("c")).unwrap();
    fixture.storage.transact(&in_main).await.unwrap();
}

#[tokio::test]
async fn a_configuration_that_makes_no_sense_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    for (handlers, says) in [
        (
            vec![("a", json!(["*"])), ("b", json!(["*"]))],
            "assigned to the store handlers \"a\" and \"b\"",
        ),
        (vec![("a", json!(["Host"]))], "no store handler takes the models"),
    ] {
        let error = refused(&config(folder.path(), &handlers)).await;
        assert!(error.contains(says), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is made");
    }
}
