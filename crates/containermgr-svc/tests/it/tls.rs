//! Whom the client trusts, and how it shows who it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::support::{Api, Fixture, Pki};

/// Options for this server, with others put in; null takes one out.
fn options(api: &Api, changes: Value) -> Value {
    let mut options = api.options();
    let members = options.as_object_mut().unwrap();
    let Value::Object(changes) = changes else { panic!("an object") };
    members.extend(changes);
    members.retain(|_, value| !value.is_null());
    options
}

async fn with(options: Value) -> Fixture {
    let fixture = Fixture::start().await;
    fixture.configure("k", "kubernetes", options).await;
    fixture
}

#[tokio::test]
async fn a_server_of_another_authority_gets_no_token() {
    let (api, other) = (Api::start().await, Pki::new());
    for authority in [json!(other.pem()), Value::Null] {
        let fixture = with(options(&api, json!({"certificate_authority_data": authority}))).await;
        let message = fixture.refused("register_node", "10.0.0.1").await;
        assert!(message.contains("no trusted connection"), "{message}");
        assert!(message.contains("`certificate_authority_path`"), "{message}");
    }
    assert!(api.seen().is_empty());
}

#[tokio::test]
async fn an_authority_comes_from_a_file_or_as_in_a_kubeconfig() {
    let api = Api::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, api.pki.pem()).unwrap();
    let from_file = json!({"certificate_authority_data": null, "certificate_authority_path": file});
    let from_text = json!({"certificate_authority_data": BASE64.encode(api.pki.pem())});
    for changes in [from_file, from_text] {
        with(options(&api, changes)).await.call("register_node", "10.0.0.1").await.unwrap();
    }
}

#[tokio::test]
async fn verification_is_skipped_only_when_asked() {
    let api = Api::start().await;
    let changes = json!({"certificate_authority_data": null, "insecure_skip_tls_verify": true});
    with(options(&api, changes)).await.call("register_node", "10.0.0.1").await.unwrap();
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let api = Api::start().await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (certificate, key) = api.pki.client();
    let paths = json!({"token": null, "certificate_path": write("crt", &certificate),
                       "certificate_key_path": write("key", &key)});
    with(options(&api, paths)).await.call("register_node", "10.0.0.1").await.unwrap();

    let (certificate, key) = Pki::new().client();
    let paths = json!({"token": null, "certificate_path": write("crt2", &certificate),
                       "certificate_key_path": write("key2", &key)});
    let message = with(options(&api, paths)).await.refused("register_node", "10.0.0.1").await;
    assert!(message.contains("no trusted connection"), "{message}");

    let wrong = write("wrong", "no certificate");
    let paths = json!({"certificate_path": wrong, "certificate_key_path": wrong});
    let message = with(options(&api, paths)).await.refused("register_node", "10.0.0.1").await;
    assert!(message.contains("are no certificate and its private key in PEM"), "{message}");
}
