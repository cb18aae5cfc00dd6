//! What each role may do, on every route with every method.

use model::{ApiToken, Model as _};

use crate::support::{Custodia, Gateway, PASSWORD, ROUTES, SECRET_ROUTES, Setup, WITH_BODY, basic};

/// Paths that need no log-in.
pub(crate) const PUBLIC: [&str; 5] =
    ["/healthz", "/readyz", "/docs", "/api/v0/openapi.json", "/api/v0/login"];

pub(crate) const METHODS: [&str; 7] = ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"];

/// What the contract says, in other words than the table that is tested.
pub(crate) fn may(role: &str, method: &str, path: &str) -> bool {
    let reads = ["GET", "HEAD"].contains(&method);
    let is = |part: &str| path.contains(part);
    match role {
        "enroll" => {
            method == "PUT" && (path.ends_with("/host") || path.ends_with("/host/10.0.0.1"))
        }
        "reader" => {
            let is_own_token = is("/token");
            (reads || is_own_token)
                && !is("/creds")
                && !is("/enrollment")
                && !is("/secrets")
                && !is("/binding")
                && !is("/backup")
        }
        "operator" => {
            let configures =
                is("/healthcheck") || is("/containermanager") || is("/network") || is("/placement");
            let is_admins =
                ["/creds", "/enrollment", "/secrets", "/binding", "/backup"].into_iter().any(is);
            !is_admins && (reads || !configures)
        }
        _ => true,
    }
}

#[tokio::test]
async fn every_call_is_open_to_the_roles_it_is_for_and_to_no_other() {
    for role in ["admin", "operator", "reader", "enroll"] {
        let setup = Setup { custodia: Some(Custodia::open()), ..Setup::default() };
        let gateway = setup.start().await.with_everything().await;
        let authorization = basic(format!("{role}:{PASSWORD}"));
        let of_roles =
            ROUTES.iter().chain(&SECRET_ROUTES).filter(|(path, _)| !PUBLIC.contains(path));
        for (path, served) in of_roles {
            for method in METHODS {
                // Nothing to be done: only whether it may be asked for is asked.
                let headers = [("authorization", authorization.as_str())];
                let answer = gateway.send_plain(&headers, (method, path), "[]").await;
                let refused = answer.status == 403;
                let allowed = may(role, method, path) && served.contains(&method);
                assert!(!(allowed && refused), "{role} {method} {path}");
                assert_eq!(role == "admin" || allowed, !refused, "{role} {method} {path}");
                if refused && method != "HEAD" {
                    let needed = match role {
                        "enroll" if !(path.ends_with("/backup") && method == "GET") => {
                            "the role enroll may register hosts, and nothing else"
                        }
                        _ => "this needs the role ",
                    };
                    answer.refused(403, needed);
                }
                // What a call of the administrator has taken away is needed by the next one.
                if method == "DELETE" && !refused {
                    drop(gateway.send("PUT", path, "{}").await);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_reader_changes_nothing_and_sees_no_credential() {
    let gateway = Gateway::start().await.with_everything().await;
    let canary = "Y2FuYXJ5LWNhbmFyeQ==";
    let body = serde_json::json!({"ssh_priv_key": canary, "remote_user": "canaryuser"});
    assert_eq!(gateway.put("/host/10.0.0.5", body).await.status, 201);
    let made = gateway.send("POST", "/api/v0/enrollments", "{}").await;
    let token = made.json()["token"].as_str().unwrap().to_owned();
    let before = gateway.records().await;
    let authorization = basic(format!("reader:{PASSWORD}"));
    let headers = [("authorization", authorization.as_str())];
    let fitting = WITH_BODY.iter().map(|(method, path, body)| (*method, *path, *body));
    let every = ROUTES.iter().flat_map(|(path, _)| METHODS.map(|method| (method, *path, "{}")));
    for (method, path, body) in fitting.chain(every) {
        for path in [path.to_owned(), path.replace("10.0.0.1", "10.0.0.5")] {
            let answer = gateway.send_plain(&headers, (method, &path), body).await;
            let text = answer.text();
            for secret in ["Y2FuYXJ5", "canaryuser", &token, "token_hash"] {
                assert!(!text.contains(secret), "{method} {path}: {text}");
            }
        }
    }
    let mut records = gateway.records().await;
    // Its own API token, which gives no further right.
    records.retain(|entry| !entry.key.starts_with(ApiToken::PREFIX));
    assert_eq!(records, before);
    assert!(gateway.restarts().is_empty());
}
