//! Which methods a path has.

use crate::support::{Answer, Gateway, ROUTES};

#[tokio::test]
async fn a_wrong_method_is_405_and_says_which_are_right() {
    let gateway = Gateway::start().await.with_everything().await;
    let before = gateway.records().await;
    for (path, served) in ROUTES {
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
            if served.contains(&method) {
                continue;
            }
            for path in [path.to_owned(), format!("{path}/")] {
                let answer = gateway.send(method, &path, "not json").await;
                answer.refused(405, "method");
                assert_eq!(answer.allowed(), served, "{method} {path}");
            }
        }
    }
    assert_eq!(gateway.records().await, before);
}

#[tokio::test]
async fn head_works_where_get_does() {
    let gateway = Gateway::start().await.with_everything().await;
    for (path, served) in ROUTES {
        let [head, get] =
            [gateway.send("HEAD", path, "").await, gateway.send("GET", path, "").await];
        let summary = |answer: &Answer| {
            (
                answer.status,
                answer.header("content-type").to_owned(),
                answer.header("allow").to_owned(),
            )
        };
        assert_eq!(summary(&head), summary(&get), "{path}");
        assert!(head.body.is_empty());
        assert_eq!(head.status == 405, !served.contains(&"HEAD"), "{path}");
    }
    let missing = gateway.send("HEAD", "/api/v0/host/10.9.9.9", "").await;
    assert_eq!((missing.status, missing.body), (404, Vec::new()));
}
