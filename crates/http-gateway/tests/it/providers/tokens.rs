//! API tokens of users that an identity provider knows.

use futures_util::FutureExt as _;
use serde_json::json;
use tokio::net::TcpListener;

use super::{ANN, OpenShift, config, send, send_with, send_with_body};
use crate::support::{Gateway, basic};

#[tokio::test]
async fn token_of_a_providers_user_has_the_role_that_its_groups_give_now() {
    let gateway = Gateway::start().await;
    let openshift = OpenShift::start(&gateway).await;
    let service = gateway.service_with(&config(json!([openshift.options(true)]))).await.unwrap();
    let asked = json!({"name": "ci", "role": "operator", "clusters": ["*"]});
    let made = send_with_body(&service, "POST", "/tokens", &format!("Bearer {ANN}"), &asked).await;
    let (201, made, _) = made else { panic!("{made:?}") };
    let token = format!("Bearer {}", made["token"].as_str().unwrap());
    // The provider is not asked about it: not when it is used, and not about one that is damaged.
    openshift.api.set_api_unavailable(true);
    assert_eq!(send(&service, "GET", "/whoami", &format!("{token}x")).await.0, 401);
    for (roles, expected) in [
        (json!({"web-team": "admin"}), Ok("operator")),
        (json!({"openshift:web-team": "reader"}), Ok("reader")),
        (json!({"dba": "admin"}), Err("openshift:ann, is not known any more or has no role here")),
    ] {
        let mut options = openshift.options(true);
        options["roles"] = roles;
        let service = gateway.service_with(&config(json!([options]))).await.unwrap();
        let (status, body, _) = send(&service, "GET", "/whoami", &token).await;
        match expected {
            Ok(role) => assert_eq!((status, body["role"].as_str()), (200, Some(role)), "{body}"),
            Err(words) => {
                let detail = body["detail"].as_str().unwrap();
                assert!(status == 403 && detail.contains(words), "{status} {detail}");
            }
        }
    }
    let users =
        json!({"ann": {"hash": "$2b$04$haIXtq/l8f9dr71quEC/0eggb9M4KTViTTrRQaa63qcxTRw/efz/O"}});
    let plugins = json!([{"name": "httpbasicauth", "users": users}]);
    let service = gateway.service_with(&config(plugins)).await.unwrap();
    assert_eq!(send(&service, "GET", "/whoami", &token).await.0, 403, "a user with the same name");
}

#[tokio::test]
async fn api_token_is_shown_to_no_keystone() {
    let gateway = Gateway::start().await;
    let keystone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", keystone.local_addr().unwrap());
    let plugins = json!([{"name": "keystonepasswordauth", "url": url}, {"name": "keystonetokenauth", "url": url}]);
    let service = gateway.service_with(&config(plugins)).await.unwrap();
    let password = basic("ann:cmsr_canary");
    for header in [("authorization", password.as_str()), ("x-auth-token", "cmsr_canary")] {
        assert_eq!(send_with(&service, "GET", "/whoami", &[header]).await.0, 403);
        assert!(keystone.accept().now_or_never().is_none(), "{header:?}");
    }
    let password = basic("ann:another");
    let header = [("authorization", password.as_str())];
    let shown = send_with(&service, "GET", "/whoami", &header);
    let seen = async { drop((keystone.accept().await.unwrap(), keystone)) };
    let (answer, ()) = tokio::join!(shown, seen);
    assert_eq!(answer.0, 503);
}
