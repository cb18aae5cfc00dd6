//! A replica whose store does not answer leaves the request queue, and comes back by itself.

use std::time::Duration;

use bus::{Bus, Context, Error, Kind, amqp};
use model::Host;
use runtime::Lifecycle;
use serde_json::json;
use storage_client::StorageClient;
use testbed::etcd::Etcd;
use testbed::proxy::Proxy;

use crate::service::{host, start};

/// Asks until the outcome is as wanted.
async fn until(
    storage: &StorageClient,
    is: impl Fn(&Result<(), Error>) -> bool,
) -> Result<(), Error> {
    let asked = async {
        loop {
            let answer = storage.get::<Host>("10.0.0.1").await.map(drop);
            if is(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), asked).await.unwrap()
}

/// A request that the last replica has taken, or that is lost with its queue, times out: whether it was carried out is
/// unknown.
fn is_unserved(answer: &Result<(), Error>) -> bool {
    let unserved =
        |error: &Error| error.kind() == Kind::Unavailable && error.part() == Some("storage");
    answer.as_ref().is_err_and(unserved)
}

/// In one process; the store is made to fail by taking its table away.
#[tokio::test]
async fn in_one_process_requests_fail_at_once_until_the_store_answers() {
    let fixture = start().await;
    fixture.storage.save(&host("10.0.0.1")).await.unwrap();
    tokio::time::pause();
    let database = fixture.database();
    database.execute_batch("ALTER TABLE records RENAME TO hidden").unwrap();
    let first = fixture.storage.get::<Host>("10.0.0.1").await.unwrap_err();
    assert_eq!((first.kind(), first.part()), (Kind::Unavailable, Some("store")));

    let refused = until(&fixture.storage, is_unserved).await.unwrap_err();
    assert!(refused.to_string().contains("no replica of the storage service"), "{refused}");
    database.execute_batch("ALTER TABLE hidden RENAME TO records").unwrap();
    until(&fixture.storage, Result::is_ok).await.unwrap();
}

struct Replica {
    life: Lifecycle,
    folder: tempfile::TempDir,
}

/// A replica on a broker, that reaches etcd at this address.
async fn replica(options: &amqp::Options, etcd: &str, key: Option<&[u8]>) -> Replica {
    let (life, folder) = (Lifecycle::new(), tempfile::tempdir().unwrap());
    let key_file = folder.path().join("secret.key");
    if let Some(key) = key {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&key_file).unwrap();
        file.write_all(key).unwrap();
    }
    let config = json!({"storage_handlers": {"type": "etcd", "server_url": etcd},
                        "secret_key_file": key_file});
    let config = serde_json::from_value(config).unwrap();
    let bus = Bus::amqp(options, &life).await.unwrap();
    storage_svc::run(&bus, &config, &life).await.unwrap();
    Replica { life, folder }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_healthy_replica_no_request_fails_once_it_has_left() {
    let etcd = Etcd::up();
    let address = etcd.endpoints().trim_start_matches("http://").parse().unwrap();
    let (first_way, second_way) = (Proxy::start(address), Proxy::start(address));
    let at = |way: &Proxy| format!("http://{}", way.address());
    let uri = testbed::rabbitmq::shared_uri();
    let exchange = format!("test-{}", runtime::random::uuid());
    let (origin, name) = ("the test".to_owned(), "test".to_owned());
    let options = amqp::Options { uri: uri.into(), origin, exchange, name };
    let first = replica(&options, &at(&first_way), None).await;
    let key = std::fs::read(first.folder.path().join("secret.key")).unwrap();
    let second = replica(&options, &at(&second_way), Some(&key)).await;

    let life = Lifecycle::new();
    let bus = Bus::amqp(&options, &life).await.unwrap();
    let storage = StorageClient::new(bus, Context::service("test"));
    storage.save(&host("10.0.0.1")).await.unwrap();
    first_way.cut();
    // Requests go to the replicas in turn: a row of successes shows that one has left.
    let left = async {
        let mut successes = 0;
        while successes < 40 {
            let answer = storage.get::<Host>("10.0.0.1").await;
            successes = if answer.is_ok() { successes + 1 } else { 0 };
        }
    };
    tokio::time::timeout(Duration::from_mins(2), left).await.unwrap();

    second_way.cut();
    until(&storage, is_unserved).await.unwrap_err();
    first_way.restore();
    until(&storage, Result::is_ok).await.unwrap();
    second_way.restore();
    for Replica { life, .. } in [first, second] {
        life.shutdown(Duration::from_secs(20)).await;
    }
}
