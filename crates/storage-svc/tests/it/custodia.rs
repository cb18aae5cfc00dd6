//! Secrets in Custodia: a stand-in that speaks its API on a Unix socket, as the original used it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use bus::Kind;
use model::{Host, HostCreds};
use runtime::Lifecycle;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use storage_client::Transaction;
use storage_svc::Config;

use crate::service::{Fixture, host, start_with};

/// What the server has: containers, and secrets by path.
#[derive(Default)]
struct Secrets {
    containers: BTreeSet<String>,
    secrets: BTreeMap<String, Bytes>,
}

type Shared = Arc<Mutex<Secrets>>;

/// As Custodia's `Secrets` consumer: nothing outside of containers, nothing is replaced.
async fn custodia(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Bytes) {
    let mut shared = shared.lock().unwrap();
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|given| given == value);
    let path = uri.path().strip_prefix("/secrets/").unwrap().to_owned();
    let container = path.rsplit_once('/').unwrap().0.to_owned();
    let status = match method {
        _ if !is("remote_user", "commissaire") => StatusCode::FORBIDDEN,
        Method::POST if !path.ends_with('/') => StatusCode::METHOD_NOT_ALLOWED,
        Method::POST if shared.containers.insert(container.clone()) => StatusCode::CREATED,
        Method::POST => StatusCode::CONFLICT,
        Method::PUT if !is("content-type", "application/octet-stream") => StatusCode::BAD_REQUEST,
        Method::PUT if !shared.containers.contains(&container) => StatusCode::NOT_FOUND,
        Method::PUT if shared.secrets.contains_key(&path) => StatusCode::CONFLICT,
        Method::PUT => {
            shared.secrets.insert(path, body);
            StatusCode::CREATED
        }
        Method::DELETE if shared.secrets.remove(&path).is_some() => StatusCode::NO_CONTENT,
        Method::GET if is("accept", "application/octet-stream") => {
            match shared.secrets.get(&path) {
                Some(secret) => return (StatusCode::OK, secret.clone()),
                None => StatusCode::NOT_FOUND,
            }
        }
        _ => StatusCode::NOT_FOUND,
    };
    (status, Bytes::new())
}

struct World {
    fixture: Fixture,
    custodia: Shared,
    life: Lifecycle,
}

impl World {
    /// The service and Custodia.
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (custodia, life) = (Shared::default(), Lifecycle::new());
        serve(folder.path(), &custodia, &life);
        let config = config(folder.path());
        Self { fixture: start_with(folder, &config).await, custodia, life }
    }

    fn secret(&self, path: &str) -> Option<Value> {
        let custodia = self.custodia.lock().unwrap();
        custodia.secrets.get(path).map(|secret| serde_json::from_slice(secret).unwrap())
    }
}

fn config(folder: &std::path::Path) -> Config {
    let custodia_socket_path = Some(folder.join("custodia.sock"));
    Config { custodia_socket_path, ..crate::service::config(folder) }
}

fn serve(folder: &std::path::Path, shared: &Shared, life: &Lifecycle) {
    let listener = tokio::net::UnixListener::bind(folder.join("custodia.sock")).unwrap();
    let router = Router::new().fallback(custodia).with_state(Arc::clone(shared));
    let stopping = life.stopping();
    life.spawn("custodia", async move {
        axum::serve(listener, router).with_graceful_shutdown(stopping).await.unwrap();
    });
}

fn creds(key: &str) -> HostCreds {
    HostCreds { ssh_priv_key: key.into(), ..HostCreds::new("10.0.0.1") }
}

#[tokio::test]
async fn secrets_are_where_the_original_keeps_them() {
    let world = World::start().await;
    let storage = &world.fixture.storage;
    let key = || async {
        let creds = storage.get::<HostCreds>("10.0.0.1").await.unwrap();
        creds.record.ssh_priv_key.expose_secret().to_owned()
    };
    storage.save(&creds("canary one")).await.unwrap();
    let kept = world.secret("hosts/10.0.0.1").unwrap();
    assert_eq!(
        (&kept["ssh_priv_key"], &kept["remote_user"]),
        (&json!("canary one"), &json!("root"))
    );
    assert_eq!(key().await, "canary one");
    storage.save(&creds("canary two")).await.unwrap();
    assert_eq!(key().await, "canary two");
    assert_eq!(storage.list::<HostCreds>().await.unwrap().len(), 1);

    let manager = json!({"name": "k", "options": {"server_url": "https://k", "token": "canary"}});
    world.fixture.ask("save", json!(["ContainerManagerConfig", manager])).await.unwrap();
    assert_eq!(world.secret("container_managers/k").unwrap()["options"]["token"], "canary");

    for file in ["store.db", "store.db-wal"] {
        let content = std::fs::read(world.fixture.folder.path().join(file)).unwrap();
        assert!(!content.windows(6).any(|window| window == b"canary"));
    }
    assert!(!world.fixture.folder.path().join("secret.key").exists());
    storage.delete::<HostCreds>("10.0.0.1").await.unwrap();
    world.fixture.ask("delete", json!(["ContainerManagerConfig", {"name": "k"}])).await.unwrap();
    assert!(world.custodia.lock().unwrap().secrets.is_empty());
    assert!(storage.find::<HostCreds>("10.0.0.1").await.unwrap().is_none());
    world.life.shutdown(std::time::Duration::from_secs(5)).await;
}

/// Neither one that is known to fail, nor one that the store refuses at the last moment.
#[tokio::test]
async fn a_commit_that_fails_leaves_secrets_as_they_were() {
    let world = World::start().await;
    let storage = &world.fixture.storage;
    let create = |creds: &HostCreds| {
        Transaction::default().create(&host(&creds.address)).unwrap().create(creds).unwrap()
    };
    storage.transact(&create(&creds("one"))).await.unwrap();
    assert!(storage.transact(&create(&creds("two"))).await.unwrap_err().is_conflict());
    assert_eq!(world.secret("hosts/10.0.0.1").unwrap()["ssh_priv_key"], "one");

    let refuse = "CREATE TRIGGER no BEFORE INSERT ON records BEGIN SELECT RAISE(ABORT, 'no'); END";
    world.fixture.database().execute(refuse, []).unwrap();
    let error = storage.save(&creds("two")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(world.secret("hosts/10.0.0.1").unwrap()["ssh_priv_key"], "one");
    storage.save(&HostCreds::new("10.0.0.2")).await.unwrap_err();
    assert_eq!(world.secret("hosts/10.0.0.2"), None);
}

#[tokio::test]
async fn without_custodia_everything_but_secrets_works() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let fixture = start_with(folder, &config).await;
    fixture.storage.save(&host("10.0.0.1")).await.unwrap();
    let error = fixture.storage.save(&creds("canary")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    let both = Transaction::default().create(&host("10.0.0.2")).unwrap();
    let both = both.create(&HostCreds::new("10.0.0.2")).unwrap();
    assert_eq!(fixture.storage.transact(&both).await.unwrap_err().kind(), Kind::Unavailable);
    assert!(fixture.storage.find::<Host>("10.0.0.2").await.unwrap().is_none());
    assert!(storage_svc::rekey::run(&config).await.unwrap_err().to_string().contains("Custodia"));
}

#[tokio::test]
async fn a_secret_that_is_gone_is_a_damaged_record() {
    let world = World::start().await;
    let storage = &world.fixture.storage;
    storage.save(&creds("one")).await.unwrap();
    storage.save(&HostCreds::new("10.0.0.2")).await.unwrap();
    world.custodia.lock().unwrap().secrets.remove("hosts/10.0.0.1");
    let error = storage.get::<HostCreds>("10.0.0.1").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Internal);
    assert!(error.to_string().contains("/commissaire/secrets/hosts/10.0.0.1"), "{error}");
    assert_eq!(storage.list::<HostCreds>().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_the_original_has_put_there_is_taken_over() {
    let world = World::start().await;
    {
        let mut custodia = world.custodia.lock().unwrap();
        let secret = json!({"address": "h1", "ssh_priv_key": "a2V5", "remote_user": "ops"});
        custodia.containers.insert("hosts".to_owned());
        custodia.secrets.insert("hosts/h1".to_owned(), secret.to_string().into());
    }
    let node = |name: &str| json!({"key": format!("/commissaire/hosts/{name}"), "value": json!({"address": name}).to_string()});
    let dump = json!({"node": {"key": "/commissaire", "nodes": [node("h1"), node("h2")]}});
    let config = config(world.fixture.folder.path());
    for round in ["taken", "present"] {
        let report = storage_svc::migrate::run(&config, dump.to_string().as_bytes()).await.unwrap();
        let counts = if round == "taken" { &report.taken } else { &report.present };
        assert_eq!(*counts, [("Host", 2), ("HostCreds", 1)].into(), "{report}");
        assert_eq!(report.left_out[0].key, "/commissaire/hosts/h2");
    }
    let creds = world.fixture.storage.get::<HostCreds>("h1").await.unwrap().record;
    assert_eq!((creds.remote_user.as_str(), creds.ssh_priv_key.expose_secret()), ("ops", "a2V5"));
}
