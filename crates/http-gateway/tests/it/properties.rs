//! Whatever is sent: never a 500, never a hang, and every refusal says why.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::support::{Answer, Gateway, ROUTES, WITH_BODY};

const ANYTHING: &str = "/[A-Za-z0-9._~:@!$&'()*+,;=%/?-]{0,60}";

/// A path: a real one with parts replaced, or anything that HTTP lets stand there.
fn target() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[A-Za-z0-9._:%-]{1,12}",
        Just("c1".to_owned()),
        Just("10.0.0.1".to_owned()),
        Just("::1".to_owned()),
        Just("%2e%2e".to_owned()),
        Just("%ff".to_owned()),
        Just(String::new()),
    ];
    let route = prop::sample::select(ROUTES.map(|(path, _)| path).to_vec());
    let real = (route, part.clone(), part, any::<[bool; 2]>()).prop_map(|(path, a, b, replace)| {
        let [first, second] = replace;
        let path = if first { path.replace("c1", &a) } else { path.to_owned() };
        if second { path.replace("10.0.0.1", &b) } else { path }
    });
    prop_oneof![4 => real, 1 => ANYTHING, 1 => "/api/v0/[a-z0-9/%?.:-]{0,60}"]
}

fn method() -> impl Strategy<Value = String> {
    let known =
        prop::sample::select(vec!["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH"]);
    prop_oneof![6 => known.prop_map(str::to_owned), 1 => "[A-Z]{1,12}"]
}

/// Any JSON, among it what bodies of this API are made of.
fn json_value() -> impl Strategy<Value = Value> {
    let text =
        prop::sample::select(vec!["c1", "10.0.0.1", "default", "none", "flannel_server", "a2V5"]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,10}".prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    let member = prop::sample::select(vec![
        "name",
        "address",
        "host",
        "network",
        "container_manager",
        "type",
        "options",
        "old",
        "new",
        "ssh_priv_key",
        "remote_user",
        "cluster",
        "source",
        "ssh_port",
        "ssh_host_key",
        "bootstrap",
        "addresses",
        "dry_run",
        "max_unavailable",
        "order",
        "hosts",
        "health_url",
        "reason",
        "fingerprint",
        "expires",
        "uses",
        "from",
        "status",
        "x",
    ]);
    leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            4 => prop::collection::btree_map(member.clone(), inner, 0..6).prop_map(|members| {
                members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            }),
        ]
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => json_value().prop_map(|value| value.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => Just(Vec::new()),
    ]
}

/// Runs `cases` at one gateway with everything in it.
fn hold<S: Strategy>(cases: u32, strategy: &S, send: &impl AsyncFn(&Gateway, S::Value) -> Answer) {
    let runtime = Runtime::new().unwrap();
    let gateway = runtime.block_on(async { Gateway::start().await.with_everything().await });
    let config = Config { failure_persistence: None, ..Config::with_cases(cases) };
    let result = TestRunner::new(config).run(strategy, |value| {
        let answer = runtime.block_on(send(&gateway, value));
        let what = &answer.what;
        prop_assert!(answer.status != 500, "{what}: {}", answer.text());
        if answer.status >= 400 && !what.starts_with("HEAD ") {
            let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            prop_assert!(problem["detail"].is_string(), "{what}: {}", answer.text());
            prop_assert_eq!(answer.header("content-type"), "application/problem+json");
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn no_request_is_a_500_or_a_hang() {
    hold(300, &(method(), target(), body()), &async |gateway, (method, target, body)| {
        // The one method that turns a connection into something else.
        let method = if method == "CONNECT" { "GET".to_owned() } else { method };
        gateway.raw(&method, target.as_bytes(), &body).await
    });
}

/// A call that reads a body, one that would fit but for some members, and a query.
fn call() -> impl Strategy<Value = (&'static str, String, Vec<u8>)> {
    let call = prop::sample::select(WITH_BODY.to_vec());
    let query = "(\\?[A-Za-z0-9._~:@!$&'()*+,;=%/?-]{0,40})?";
    (call, json_value(), query).prop_map(|((method, path, fitting), others, query)| {
        let mut body: Value = serde_json::from_str(fitting).unwrap();
        if let (Some(members), Value::Object(others)) = (body.as_object_mut(), others) {
            members.extend(others);
        }
        (method, format!("{path}{query}"), body.to_string().into_bytes())
    })
}

#[test]
fn no_body_and_no_query_of_any_call_is_a_500() {
    hold(400, &call(), &async |gateway, (method, target, body)| {
        gateway.raw(method, target.as_bytes(), &body).await
    });
}

#[test]
fn no_authorization_header_is_a_500_or_lets_anybody_in() {
    let value = prop_oneof![
        prop::collection::vec(0x20..=0xff_u8, 0..60),
        "(Basic|basic|Bearer|Digest)? ?[A-Za-z0-9+/=:]{0,40}".prop_map(String::into_bytes),
    ];
    hold(50, &(value, target()), &async |gateway, (value, target)| {
        let value: Vec<u8> = value.into_iter().filter(|byte| *byte != 0x7f).collect();
        let target = format!("/api/v0{target}");
        let answer = gateway.raw_as(&value, "GET", target.as_bytes(), b"").await;
        let is_bearer = value.to_ascii_lowercase().starts_with(b"bearer ");
        let is_refused = answer.status == 403 || is_bearer && answer.status == 401;
        assert!(is_refused, "{}: {}", answer.what, answer.status);
        answer
    });
}

#[test]
fn no_bytes_are_a_500_or_a_hang() {
    let runtime = Runtime::new().unwrap();
    let gateway = runtime.block_on(Gateway::start());
    let config = Config { failure_persistence: None, ..Config::with_cases(100) };
    let noise = prop::collection::vec(any::<u8>(), 1..200);
    let result = TestRunner::new(config).run(&noise, |noise| {
        let request = [&noise[..], b"\r\n\r\n\r\n\r\n"].concat();
        let answer = runtime.block_on(gateway.bytes(&request));
        prop_assert!(answer.status < 500, "{}", answer.status);
        Ok(())
    });
    result.unwrap();
}
