//! The way to etcd: TLS, users, and configuration that is kept there.

use std::path::{Path, PathBuf};

use etcd_access::config::{LoadError, Loaded, load_from};
use etcd_access::{Client, Error, Options};
use etcd_client::{GetOptions, Txn, TxnOp};
use runtime::error_text::chain;
use secrecy::SecretString;
use serde_json::json;
use testbed::etcd::{ALL, Etcd};

const KEY: &str = "/commissaire/x";

async fn put(client: &Client, value: &str) -> Result<(), Error> {
    let put = Txn::new().and_then([TxnOp::put(KEY, value, None)]);
    client.commit(&put).await.map(drop)
}

async fn get(client: &Client) -> Result<Option<String>, Error> {
    let answer = client.get(KEY.as_bytes(), GetOptions::new()).await?;
    Ok(answer.kvs().first().map(|found| found.value_str().unwrap().to_owned()))
}

/// The whole error, as a log would have it, and its `Debug`.
fn everything(error: &Error) -> String {
    format!("{} {error:?}", chain(error))
}

fn with_tls(etcd: &Etcd) -> Options {
    Options {
        certificate_ca_path: Some(etcd.ca_path()),
        certificate_path: Some(etcd.certificate_path()),
        certificate_key_path: Some(etcd.key_path()),
        ..Options::at(etcd.endpoints())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_a_client_certificate() {
    let etcd = Etcd::with_tls();
    let client = Client::new(&with_tls(&etcd)).await.unwrap();
    put(&client, "1").await.unwrap();
    assert_eq!(get(&client).await.unwrap().as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_another_ca_is_not_talked_to() {
    let etcd = Etcd::with_tls();
    let key = rcgen::KeyPair::generate().unwrap();
    let other = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), other.pem()).unwrap();
    let wrong = Options { certificate_ca_path: Some(file.path().to_owned()), ..with_tls(&etcd) };
    let client = Client::new(&wrong).await.unwrap();
    let error = put(&client, "1").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(chain(&error).contains("invalid peer certificate"), "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_client_certificate_there_is_no_connection() {
    let etcd = Etcd::with_tls();
    let none = Options { certificate_path: None, certificate_key_path: None, ..with_tls(&etcd) };
    let client = Client::new(&none).await.unwrap();
    let error = get(&client).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_cannot_be_used_are_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, garbage) = (folder.path().join("missing"), folder.path().join("garbage"));
    std::fs::write(&garbage, "-----BEGIN SECRET-----").unwrap();
    for file in [missing, garbage] {
        let options = Options {
            certificate_ca_path: Some(file.clone()),
            ..Options::at("https://127.0.0.1:1")
        };
        let error = Client::new(&options).await.unwrap_err();
        assert!(chain(&error).contains(file.to_str().unwrap()), "{}", chain(&error));
        assert!(chain(&error).contains("certificate_ca_path"), "{}", chain(&error));
        assert!(!everything(&error).contains("SECRET"));
    }
}

fn add_users(etcd: &Etcd) {
    etcd.ctl(&["user", "add", "root:hunter2"]);
    etcd.ctl(&["user", "add", "reader:hunter3"]);
    etcd.ctl(&["role", "add", "reads"]);
    etcd.ctl(&["role", "grant-permission", "reads", "read", KEY]);
    etcd.ctl(&["user", "grant-role", "reader", "reads"]);
    etcd.ctl(&["auth", "enable"]);
}

fn user(etcd: &Etcd, name: &str, password: &str) -> Options {
    Options {
        username: Some(name.to_owned()),
        password: Some(SecretString::from(password)),
        ..Options::at(etcd.endpoints())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_with_passwords() {
    let etcd = Etcd::up();
    add_users(&etcd);
    let root = Client::new(&user(&etcd, "root", "hunter2")).await.unwrap();
    put(&root, "1").await.unwrap();
    // A user who may not read what a new connection is tried with.
    let reader = Client::new(&user(&etcd, "reader", "hunter3")).await.unwrap();
    assert_eq!(get(&reader).await.unwrap().as_deref(), Some("1"));
    let error = put(&reader, "2").await.unwrap_err();
    assert!(chain(&error).contains("permission denied"), "{}", chain(&error));
    assert!(!format!("{root:?}").contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_password_is_refused_and_the_password_is_not_shown() {
    let etcd = Etcd::up();
    add_users(&etcd);
    let wrong = Client::new(&user(&etcd, "root", "wrong-hunter2")).await.unwrap();
    let nobody = Client::new(&Options::at(etcd.endpoints())).await.unwrap();
    for (client, why) in [(wrong, "invalid user ID or password"), (nobody, "user name is empty")] {
        let error = put(&client, "1").await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{error:?}");
        assert!(chain(&error).contains(why), "{}", chain(&error));
        assert!(!everything(&error).contains("hunter2"));
    }
}

/// A restarted member knows no token any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_forgotten_is_made_again() {
    let etcd = Etcd::up();
    add_users(&etcd);
    let client = Client::new(&user(&etcd, "root", "hunter2")).await.unwrap();
    put(&client, "1").await.unwrap();
    etcd.stop(ALL);
    etcd.start(ALL);
    put(&client, "2").await.unwrap();
    assert_eq!(get(&client).await.unwrap().as_deref(), Some("2"));
}

/// What `storage` is configured with, by this etcd or a file that says `{"from": "file"}`.
async fn configured(etcd: &Options) -> Result<Loaded, LoadError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), r#"{"from": "file"}"#).unwrap();
    load_from(Some(etcd), "storage", file.path(), true).await
}

const CONFIG: &str = "/commissaire/config/storage";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_in_etcd_comes_first() {
    let etcd = Etcd::up();
    let options = Options::at(etcd.endpoints());
    let absent = configured(&options).await.unwrap();
    assert_eq!(absent.members["from"], "file");

    etcd.ctl(&["put", CONFIG, r#"{"from": "etcd"}"#]);
    let present = configured(&options).await.unwrap();
    assert_eq!(json!(present.members), json!({"from": "etcd"}));
    assert_eq!(present.origin, PathBuf::from("etcd:/commissaire/config/storage"));
    // Then the file need not be there.
    let missing = Path::new("/nonexistent/storage.conf");
    load_from(Some(&options), "storage", missing, true).await.unwrap();
    load_from(Some(&options), "watcher", missing, true).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_configuration_is_named_and_not_passed_over() {
    let etcd = Etcd::up();
    for damaged in ["[]", "{", "null"] {
        etcd.ctl(&["put", CONFIG, damaged]);
        let error = configured(&Options::at(etcd.endpoints())).await.unwrap_err();
        assert!(error.to_string().contains(CONFIG), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_etcd_the_file_counts() {
    let etcd = Etcd::up();
    etcd.ctl(&["put", CONFIG, r#"{"from": "etcd"}"#]);
    let options = Options::at(etcd.endpoints());
    for away in [Etcd::pause, Etcd::kill] {
        away(&etcd, ALL);
        assert_eq!(configured(&options).await.unwrap().members["from"], "file");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_not_passed_over() {
    let etcd = Etcd::up();
    add_users(&etcd);
    let error = configured(&user(&etcd, "root", "wrong")).await.unwrap_err();
    assert!(matches!(error, LoadError::Etcd { .. }), "{error:?}");
    let half = Options { username: Some("root".into()), ..Options::at(etcd.endpoints()) };
    let error = configured(&half).await.unwrap_err();
    assert!(chain(&error).contains("`username` needs `password` too"), "{}", chain(&error));
}
