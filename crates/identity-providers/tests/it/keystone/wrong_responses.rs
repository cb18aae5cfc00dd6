//! Responses that say nothing about credentials: none of them makes these valid, or invalid.

use std::net::Ipv4Addr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use wiremock::{MockServer, ResponseTemplate};

use super::support::*;

/// The two plugins, each with the credentials that a healthy Keystone accepts.
async fn assert_all_unavailable(url: &str, case: &str) {
    let password = password_plugin(url, json!({"project": "fleet"})).await;
    let result = password.identify("ann", &secret(PASSWORD)).await;
    assert!(assert_unavailable(&result).contains("identity provider"), "{case}");
    assert_eq!(password.remembered("ann", &secret(PASSWORD)), None, "{case}");
    let options = json!({"domain": "Default", "project": "fleet"});
    let token = token_plugin(url, options).await;
    assert_unavailable(&token.identify(&secret(TOKEN)).await);
    assert_eq!(token.remembered(&secret(TOKEN)), None, "{case}");
}

/// Responds to logins and to validations by a token itself. Each is the healthy response but for one thing.
async fn responds(to_login: ResponseTemplate, to_validation: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    on_issue().respond_with(to_login).mount(&server).await;
    on_validation(TOKEN).respond_with(to_validation).mount(&server).await;
    server
}

#[tokio::test]
async fn the_healthy_responses_that_the_others_differ_from_are_accepted() {
    let server = responds(issued(OWN_TOKEN), validated()).await;
    let password = password_plugin(&server.uri(), json!({"project": "fleet"})).await;
    assert_eq!(password.identify("ann", &secret(PASSWORD)).await, Ok(ann()));
    let options = json!({"domain": "Default", "project": "fleet"});
    let token = token_plugin(&server.uri(), options).await;
    assert_eq!(token.identify(&secret(TOKEN)).await, Ok(ann()));
}

#[tokio::test]
async fn other_statuses_are_not_valid() {
    let with_status = |status| {
        ResponseTemplate::new(status)
            .insert_header("X-Subject-Token", OWN_TOKEN)
            .insert_header("Location", "/v3/auth/tokens")
            .set_body_json(description())
    };
    for status in
        [202, 204, 206, 300, 301, 302, 307, 308, 400, 402, 403, 404, 405, 407, 409, 413, 429]
            .into_iter()
            .chain([500, 501, 502, 503, 504])
    {
        let server = responds(with_status(status), with_status(status)).await;
        assert_all_unavailable(&server.uri(), &status.to_string()).await;
    }
    // A login makes a token, and a validation none.
    let server = responds(with_status(200), with_status(201)).await;
    assert_all_unavailable(&server.uri(), "200 to a login, 201 to a validation").await;
}

#[tokio::test]
async fn other_bodies_are_not_valid() {
    let html = "<html><body>Welcome to the portal</body></html>";
    let without = |pointer: &str, field: &str| {
        let mut body = description();
        let object = body.pointer_mut(pointer).and_then(Value::as_object_mut).unwrap();
        object.remove(field).unwrap();
        body.to_string()
    };
    let with = |pointer: &str, value: Value| {
        let mut body = description();
        *body.pointer_mut(pointer).unwrap() = value;
        body.to_string()
    };
    // Valid JSON, if it were read to its end.
    let too_long = format!("{}{}", description(), " ".repeat(1024 * 1024));
    let twice = description().to_string();
    let twice = twice.replace(
        "\"roles\"",
        "\"user\":{\"name\":\"ann\",\"domain\":{\"name\":\"Default\"}},\"roles\"",
    );
    for body in [
        String::new(),
        "{}".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        json!({"token": null}).to_string(),
        json!({"token": {}}).to_string(),
        json!({"token": {"user": {"name": "ann"}}}).to_string(),
        json!({"error": {"code": 401, "title": "Unauthorized"}}).to_string(),
        html.to_owned(),
        without("/token", "user"),
        without("/token", "expires_at"),
        without("/token/user", "name"),
        without("/token/user", "domain"),
        without("/token/user/domain", "name"),
        without("/token/project", "domain"),
        with("/token/user/name", json!(7)),
        with("/token/roles", json!(["operator"])),
        with("/token/expires_at", json!("soon")),
        with("/token/expires_at", json!(4_102_444_800_u64)),
        with("/token/expires_at", Value::Null),
        format!("{}x", description()),
        description().to_string()[1..].to_owned(),
        twice,
        too_long,
    ] {
        let set = |response: ResponseTemplate| {
            response.set_body_raw(body.clone().into_bytes(), "application/json")
        };
        let server = responds(set(issued(OWN_TOKEN)), set(validated())).await;
        assert_all_unavailable(&server.uri(), &body[..body.len().min(300)]).await;
    }
}

#[tokio::test]
async fn login_without_a_token_is_not_valid() {
    for response in [
        ResponseTemplate::new(201).set_body_json(description()),
        issued("").set_body_json(description()),
    ] {
        let server = responds(response, ResponseTemplate::new(500)).await;
        assert_all_unavailable(&server.uri(), "no X-Subject-Token").await;
    }
}

#[tokio::test]
async fn response_that_breaks_off_is_not_valid() {
    let body = description().to_string();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let break_off = async {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let read = connection.read(&mut request).await.unwrap();
            let status =
                if request[..read].starts_with(b"POST") { "201 Created" } else { "200 OK" };
            // All of the JSON, but not all that was announced.
            let head = format!(
                "HTTP/1.1 {status}\r\nX-Subject-Token: {OWN_TOKEN}\r\nContent-Length: {}\r\n\r\n",
                body.len() + 1
            );
            connection.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        }
    };
    tokio::select! {
        () = assert_all_unavailable(&url, "truncated") => {}
        () = break_off => {}
    }
}

#[tokio::test]
async fn provider_that_is_down_is_unavailable_and_used_once_it_is_up() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let plugin = token_plugin(&format!("http://{address}"), with_service()).await;
    assert_unavailable(&plugin.identify(&secret(TOKEN)).await);
    let listener = std::net::TcpListener::bind(address).unwrap();
    let server = MockServer::builder().listener(listener).start().await;
    on_issue().respond_with(issued(OWN_TOKEN)).mount(&server).await;
    on_validation(OWN_TOKEN).respond_with(validated()).mount(&server).await;
    assert_eq!(plugin.identify(&secret(TOKEN)).await, Ok(ann()));
}

/// In paused time, which advances whenever nothing else is left to do: a server that is silent takes no real time.
#[tokio::test(start_paused = true)]
async fn provider_that_accepts_connections_and_does_not_answer_is_unavailable_after_10_s() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let begun = tokio::time::Instant::now();
    assert_all_unavailable(&url, "silent").await;
    assert_eq!(begun.elapsed().as_secs(), 20, "10 s for each of the two plugins");
}
