//! The `OpenAPI` document: complete, as it is checked in, and what `/docs` shows.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::{Custodia, Gateway, ROUTES, SECRET_ROUTES, Setup};

const CHECKED_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

#[test]
fn the_document_is_the_one_that_is_checked_in() {
    let made = http_gateway::routes::DOCUMENT.text();
    if std::env::var_os("COMMISSAIRE_TEST_UPDATE").is_some() {
        std::fs::write(CHECKED_IN, &made).unwrap();
    }
    let same = std::fs::read_to_string(CHECKED_IN).unwrap_or_default() == made;
    assert!(
        same,
        "docs/openapi.json is not what the code says; when it shall be, write it anew with\n\
         COMMISSAIRE_TEST_UPDATE=1 cargo nextest run -p http-gateway openapi"
    );
}

fn document() -> Value {
    serde_json::from_str(&http_gateway::routes::DOCUMENT.text()).unwrap()
}

/// The methods of every documented path, its parameters filled in.
fn documented() -> BTreeMap<String, Vec<String>> {
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    let methods =
        |item: &Value| item.as_object().unwrap().keys().map(|m| m.to_uppercase()).collect();
    paths.iter().map(|(path, item)| (filled(path), methods(item))).collect()
}

fn filled(path: &str) -> String {
    let name = match path {
        _ if path.contains("/network/") => "n1",
        _ if path.contains("/binding/") => "b1",
        _ if path.contains("/healthcheck/") => "w1",
        _ if path.contains("/containermanager/") => "k1",
        _ => "c1",
    };
    let id = if path.contains("/operation/") { "o1" } else { "e1" };
    path.replace("{name}", name)
        .replace("{address}", "10.0.0.1")
        .replace("{host}", "10.0.0.1")
        .replace("{id}", id)
        .replace("{path}", "s1")
        .replace("{*path}", "s1")
}

#[tokio::test]
async fn every_route_is_documented_and_everything_documented_is_a_route() {
    let documented = documented();
    let listed = ROUTES.iter().chain(&SECRET_ROUTES).map(|(path, _)| (*path).to_owned());
    assert_eq!(documented.keys().cloned().collect::<BTreeSet<_>>(), listed.collect());

    let setup = Setup { custodia: Some(Custodia::open()), ..Setup::default() };
    let gateway = setup.start().await.with_everything().await;
    for (path, mut methods) in documented {
        let answer = gateway.send("PATCH", &path, "").await;
        answer.refused(405, "method");
        methods.sort();
        assert_eq!(answer.allowed(), methods, "{path}");
    }
}

#[tokio::test]
async fn anybody_may_read_it_and_the_page_about_it() {
    let gateway = Gateway::start().await;
    for path in ["/api/v0/openapi.json", "/api/v0/openapi.json/"] {
        let answer = gateway.send_as("", "GET", path).await;
        answer.is(200, &document());
        assert_eq!(answer.text(), http_gateway::routes::DOCUMENT.text());
    }
    let page = gateway.send_as("", "GET", "/docs").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    for (path, item) in document()["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|method| *method != "head") {
            let call = format!("<code>{} {path}</code>", method.to_uppercase());
            assert!(page.text().contains(&call), "{call}");
        }
    }
}

#[test]
fn it_is_openapi_3_1_with_every_refusal_a_problem() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let problem = json!({"$ref": "#/components/schemas/Problem"});
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
            assert!(operation["summary"].is_string(), "{method} {path}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {path}");
            for (status, response) in responses {
                let what = format!("{method} {path} {status}");
                assert!(!response["description"].as_str().unwrap().is_empty(), "{what}");
                if status.starts_with('2') || method == "head" {
                    continue;
                }
                assert_eq!(
                    response["content"]["application/problem+json"]["schema"], problem,
                    "{what}"
                );
            }
        }
    }
}
