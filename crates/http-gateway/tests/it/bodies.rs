//! What a body has to be, and that it never takes the place of the URL.

use serde_json::{Map, Value, json};

use crate::support::{Gateway, WITH_BODY};

/// The largest body, in bytes.
const BODY_MAX: usize = 1024 * 1024;

#[tokio::test]
async fn what_is_no_json_object_is_refused_and_nothing_is_stored() {
    let gateway = Gateway::with_executor(Ok(json!({}))).await.with_everything().await;
    let before = gateway.records().await;
    let deep = "[".repeat(100_000);
    let deep_object = format!("{}1{}", r#"{"options":"#.repeat(65), "}".repeat(65));
    let bodies: [&[u8]; 18] = [
        b"null",
        b"7",
        b"true",
        br#""text""#,
        b"[]",
        br#"[["network", "default"]]"#,
        b"[{}]",
        b"{",
        b"{}{}",
        b"{'network': 1}",
        br#"{"network": }"#,
        b"{\"network\": \"\xff\"}",
        br#"{"network": "\ud800"}"#,
        br#"{"options": 1e999}"#,
        b"\xef\xbb\xbf{}",
        b"network=default",
        deep.as_bytes(),
        deep_object.as_bytes(),
    ];
    for (method, path, _) in WITH_BODY {
        for body in bodies {
            gateway.send(method, path, body.to_vec()).await.refused(400, "JSON");
        }
    }
    assert_eq!(gateway.records().await, before);
    assert!(gateway.restarts().is_empty() && gateway.investigations().await.is_empty());
}

#[tokio::test]
async fn a_body_over_one_mib_is_413_and_nothing_is_stored() {
    let gateway = Gateway::with_executor(Ok(json!({}))).await.with_everything().await;
    let before = gateway.records().await;
    for (method, path, body) in WITH_BODY {
        let padded = |size| format!("{body}{}", " ".repeat(size - body.len()));
        gateway.send(method, path, padded(BODY_MAX + 1)).await.refused(413, "1048576 bytes");
    }
    assert_eq!(gateway.records().await, before);
    for (method, path, body) in WITH_BODY {
        let padded = format!("{body}{}", " ".repeat(BODY_MAX - body.len()));
        let answer = gateway.send(method, path, padded).await;
        assert!(answer.status < 300, "{} {}", answer.what, answer.text());
    }
}

#[tokio::test]
async fn no_body_is_an_empty_object_whatever_the_content_type() {
    let gateway = Gateway::start().await;
    let network = json!({"name": "n1", "type": "flannel_etcd", "options": {}});
    for body in ["", " \r\n\t", "{}"] {
        gateway.send("PUT", "/api/v0/network/n1", body).await.is(201, &network);
    }
    for content_type in ["text/html", "application/x-www-form-urlencoded", "nonsense", "a/b; c=\""]
    {
        let header = ("content-type", content_type);
        let body = r#"{"type": "flannel_etcd"}"#;
        gateway.send_with(header, "PUT", "/api/v0/network/n1", body).await.is(201, &network);
    }
    gateway.send("PUT", "/api/v0/cluster/none/hosts", "").await.refused(400, "missing field `old`");
}

#[tokio::test]
async fn unknown_members_are_ignored() {
    let gateway = Gateway::with_executor(Ok(json!({}))).await.with_everything().await;
    for (method, path, body) in WITH_BODY {
        let mut body: Value = serde_json::from_str(body).unwrap();
        for (member, value) in
            [("kind", json!("kubernetes")), ("x", Value::Null), ("", json!([{}]))]
        {
            if body.get(member).is_none() {
                body[member] = value;
            }
        }
        let answer = gateway.send(method, path, body.to_string()).await;
        assert!(answer.status < 300, "{} {}", answer.what, answer.text());
    }
    // `commctl` of the original sends it.
    let body = json!({"type": "host_only", "network": "default"});
    assert_eq!(gateway.put("/cluster/c9", body).await.status, 201);
}

#[tokio::test]
async fn a_field_that_misspells_another_is_refused_and_nothing_is_stored() {
    let gateway = Gateway::with_executor(Ok(json!({}))).await.with_everything().await;
    let before = gateway.records().await;
    for (method, path, misspelt, meant) in [
        ("PUT", "/cluster/c3", "container-manger", "container_manager"),
        ("PUT", "/cluster/c3", "netwrok", "network"),
        ("PUT", "/cluster/c1/hosts/10.0.0.2", "hots", "host"),
        ("PUT", "/host/10.0.0.3", "clustr", "cluster"),
        ("PUT", "/host/10.0.0.3", "ssh-prot", "ssh_port"),
        ("PUT", "/host/10.0.0.3", "sshprivkey", "ssh_priv_key"),
        ("PUT", "/host", "addres", "address"),
        ("PUT", "/host/10.0.0.1/creds", "remote-usr", "remote_user"),
        ("PUT", "/host/10.0.0.1/hostkey", "finger_print", "fingerprint"),
        ("POST", "/host/10.0.0.1/investigate", "adress", "address"),
        ("POST", "/operation/o1/continue", "dryrun", "dry_run"),
    ] {
        let body = json!({misspelt: true}).to_string();
        let answer = gateway.send(method, &format!("/api/v0{path}"), body).await;
        let question = format!("unknown field {misspelt:?}; did you mean {meant:?}?");
        answer.refused(400, &format!("{question} Nothing was changed."));
    }
    for kind in ["restart", "upgrade"] {
        let answer = gateway.put(&format!("/cluster/c1/{kind}"), json!({"dryrun": true})).await;
        answer.refused(
            400,
            "unknown field \"dryrun\"; did you mean \"dry_run\"? Nothing was started.",
        );
    }
    assert_eq!(gateway.records().await, before);
    assert!(gateway.restarts().is_empty() && gateway.investigations().await.is_empty());
}

#[tokio::test]
async fn no_field_that_an_answer_has_counts_as_misspelt() {
    let gateway = Gateway::start().await.with_everything().await;
    let document: Value = serde_json::from_str(&http_gateway::routes::DOCUMENT.text()).unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap().values();
    let properties = schemas.filter_map(|schema| schema["properties"].as_object());
    let all: Map<_, _> =
        properties.flat_map(Map::keys).map(|name| (name.clone(), Value::Null)).collect();
    assert!(all.contains_key("last_check") && all.contains_key("hostset"));
    for path in [
        "/cluster/c1",
        "/cluster/c1/hosts",
        "/cluster/c1/hosts/10.0.0.1",
        "/host/10.0.0.1",
        "/host",
        "/host/10.0.0.1/creds",
        "/host/10.0.0.1/hostkey",
    ] {
        let answer = gateway.put(path, Value::Object(all.clone())).await;
        // It is `null` for a field that is read.
        assert_eq!(answer.status, 400, "{path}");
        assert!(!answer.text().contains("unknown field"), "{path}: {}", answer.text());
    }
    for path in ["/cluster/c1", "/host/10.0.0.1"] {
        let record = gateway.send("GET", &format!("/api/v0{path}"), "").await.text();
        let answer = gateway.send("PUT", &format!("/api/v0{path}"), record).await;
        assert_eq!(answer.status, 201, "{path}: {}", answer.text());
    }
}

/// What is no string, no number, …, for the members that are one.
fn wrong(kind: &str) -> Vec<Value> {
    let all = [
        ("null", Value::Null),
        ("number", json!(7)),
        ("fraction", json!(7.5)),
        ("boolean", json!(true)),
        ("string", json!("text")),
        ("array", json!(["10.0.0.1"])),
        ("object", json!({"a": 1})),
        ("object", json!({})),
        // What serde takes for a variant of an enumeration.
        ("variant", json!({"none": null})),
    ];
    all.into_iter().filter(|(is, _)| *is != kind).map(|(_, value)| value).collect()
}

#[tokio::test]
async fn a_wrong_type_is_refused_and_nothing_is_stored() {
    let gateway = Gateway::with_executor(Ok(json!({}))).await.with_everything().await;
    let before = gateway.records().await;
    let cluster = [("name", "string"), ("network", "string"), ("container_manager", "string")];
    let members = [("old", "array"), ("new", "array"), ("name", "string")];
    let member = [("name", "string"), ("host", "string")];
    let network = [("name", "string"), ("type", "variable"), ("options", "object")];
    let hostkey = [("address", "string"), ("fingerprint", "string")];
    let host = [
        ("address", "string"),
        ("ssh_priv_key", "string"),
        ("remote_user", "string"),
        ("cluster", "string"),
        ("source", "string"),
        ("ssh_port", "number"),
        ("ssh_host_key", "string"),
        ("bootstrap", "enumeration"),
        ("addresses", "array"),
    ];
    for (path, fits, fields) in [
        ("/cluster/c1", json!({}), &cluster[..]),
        ("/cluster/c2", json!({}), &cluster),
        ("/cluster/c1/hosts", json!({"old": ["10.0.0.1"], "new": []}), &members),
        ("/cluster/c1/hosts/10.0.0.2", json!({}), &member),
        ("/cluster/c1/restart", json!({}), &[("name", "string")]),
        ("/host/10.0.0.1/hostkey", json!({"fingerprint": "SHA256:x"}), &hostkey),
        ("/network/n1", json!({}), &network),
        ("/network/n2", json!({}), &network),
        ("/containermanager/k1", json!({"type": "trivial"}), &network),
        ("/containermanager/k2", json!({"type": "trivial"}), &network),
        ("/host/10.0.0.1", json!({}), &host),
        ("/host/10.0.0.3", json!({"cluster": "c1"}), &host),
        ("/host", json!({"address": "10.0.0.3"}), &host),
    ] {
        for (name, kind) in fields {
            for value in wrong(kind) {
                // `options` may hold any object, and so may stand for a variant.
                if *kind == "object" && value.is_object() {
                    continue;
                }
                let mut body = fits.clone();
                body[name] = value;
                gateway.put(path, body).await.refused(400, name);
            }
        }
    }
    for list in ["old", "new", "addresses"] {
        for element in wrong("string") {
            let mut body = json!({"address": "10.0.0.3", "old": ["10.0.0.1"], "new": []});
            body[list] = json!(["10.0.0.1", element]);
            let path = if list == "addresses" { "/host" } else { "/cluster/c1/hosts" };
            gateway.put(path, body).await.refused(400, &format!("{list}[1]"));
        }
    }
    assert_eq!(gateway.records().await, before);
    assert!(gateway.restarts().is_empty() && gateway.investigations().await.is_empty());
}

#[tokio::test]
async fn a_body_that_names_another_object_is_refused_and_nothing_is_stored() {
    let gateway = Gateway::with_executor(Ok(json!({}))).await.with_everything().await;
    let before = gateway.records().await;
    for (path, member, other) in [
        ("/cluster/c1", "name", "c2"),
        ("/cluster/c3", "name", "c1"),
        ("/cluster/c3", "name", ""),
        ("/cluster/c1/hosts", "name", "c2"),
        ("/cluster/c1/hosts/10.0.0.2", "name", "c2"),
        ("/cluster/c1/hosts/10.0.0.2", "host", "10.0.0.3"),
        ("/cluster/c1/hosts/10.0.0.2", "host", "not an address"),
        ("/cluster/c1/restart", "name", "c2"),
        ("/network/n1", "name", "n2"),
        ("/network/n3", "name", "N3"),
        ("/host/10.0.0.1", "address", "10.0.0.2"),
        ("/host/10.0.0.3", "address", "10.0.0.2"),
        ("/host/10.0.0.3", "address", ""),
        ("/host/10.0.0.1/hostkey", "address", "10.0.0.2"),
    ] {
        let mut body = json!({"old": ["10.0.0.1"], "new": [], "fingerprint": ""});
        body[member] = other.into();
        gateway.put(path, body).await.refused(400, &format!("`{member}` says {other:?}"));
    }
    let investigate = "/api/v0/host/10.0.0.1/investigate";
    gateway
        .send("POST", investigate, r#"{"address": "10.0.0.2"}"#)
        .await
        .refused(400, "`address` says");
    assert_eq!(gateway.records().await, before);
    assert!(gateway.restarts().is_empty() && gateway.investigations().await.is_empty());
    for (path, member, own) in [
        ("/cluster/c1", "name", "c1"),
        ("/cluster/c1/hosts/10.0.0.1", "host", "::ffff:10.0.0.1"),
        ("/cluster/c1/restart", "name", "c1"),
        ("/network/n1", "name", "n1"),
        ("/host/10.0.0.1", "address", "::ffff:10.0.0.1"),
    ] {
        let answer = gateway.put(path, Map::from_iter([(member.into(), own.into())]).into()).await;
        assert!(answer.status < 300, "{} {}", answer.what, answer.text());
    }
}

#[tokio::test]
async fn a_query_never_overrides_the_url_or_the_body() {
    let gateway = Gateway::start().await.with_everything().await;
    let before = gateway.records().await;
    for (method, path, status) in [
        ("GET", "/api/v0/cluster/c1?name=c9", 200),
        ("GET", "/api/v0/host/10.0.0.1?address=10.9.9.9", 200),
        ("GET", "/api/v0/cluster/c9?name=c1", 404),
        ("DELETE", "/api/v0/cluster/c9?name=c1", 404),
        ("DELETE", "/api/v0/host/10.9.9.9?address=10.0.0.1", 404),
        ("DELETE", "/api/v0/network/n9?name=n1", 404),
        ("PUT", "/api/v0/host?address=10.0.0.9", 400),
        ("PUT", "/api/v0/cluster/c1?network=n1", 201),
        ("PUT", "/api/v0/cluster/c1/hosts/10.9.9.9?host=10.0.0.2", 404),
    ] {
        assert_eq!(gateway.send(method, path, "").await.status, status, "{method} {path}");
    }
    assert_eq!(gateway.records().await, before);
    gateway.send("PUT", "/api/v0/cluster/c3?name=c4&network=n1", "").await.is(
        201,
        &json!({"name": "c3", "status": "", "network": "default", "container_manager": ""}),
    );
}
