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
    with_files(options, &[]).await
}

async fn with_files(options: Value, files: &[(&str, &str)]) -> Fixture {
    let fixture = Fixture::start().await;
    for (path, content) in files {
        fixture.files.write(path, *content);
    }
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
    let path = "/pki/ca.pem";
    let from_file = json!({"certificate_authority_data": null, "certificate_authority_path": path});
    let from_text = json!({"certificate_authority_data": BASE64.encode(api.pki.pem())});
    for changes in [from_file, from_text] {
        let fixture = with_files(options(&api, changes), &[(path, &api.pki.pem())]).await;
        fixture.call("register_node", "10.0.0.1").await.unwrap();
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
    let paths = json!({"certificate_path": "/pki/crt", "certificate_key_path": "/pki/key"});
    let shown = options(&api, paths);
    let mut without_token = shown.clone();
    without_token.as_object_mut().unwrap().remove("token");
    let (certificate, key) = api.pki.client();
    let files = [("/pki/crt", &*certificate), ("/pki/key", &*key)];
    with_files(without_token.clone(), &files)
        .await
        .call("register_node", "10.0.0.1")
        .await
        .unwrap();

    let (certificate, key) = Pki::new().client();
    let files = [("/pki/crt", &*certificate), ("/pki/key", &*key)];
    let message =
        with_files(without_token, &files).await.refused("register_node", "10.0.0.1").await;
    assert!(message.contains("no trusted connection"), "{message}");

    let files = [("/pki/crt", "no certificate"), ("/pki/key", "no key")];
    let message = with_files(shown, &files).await.refused("register_node", "10.0.0.1").await;
    assert!(message.contains("are no certificate and its private key in PEM"), "{message}");
}
