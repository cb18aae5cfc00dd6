//! Secrets, with Custodia and without.

use super::{Case, head, no, not_allowed, ok};

pub(super) const CASES: &[Case] = &[
    ok(200, "secrets, listed", "POST /secrets/c$/", "GET /secrets/c$/", "", "[]"),
    ok(
        200,
        "a secret, as it was given",
        r#"PUT /secrets/s$ {"value":"x"}"#,
        "GET /secrets/s$",
        "",
        r#"{"value": "x"}"#,
    ),
    ok(
        200,
        "a secret, with a query for Custodia",
        "PUT /secrets/s$ {}",
        "GET /secrets/s$?type=simple",
        "",
        "{}",
    ),
    head(200, "HEAD of a secret", "PUT /secrets/s$ {}", "HEAD /secrets/s$"),
    no(404, "a missing secret", "", "GET /secrets/s$", "", "no such secret"),
    no(409, "a secret again", "PUT /secrets/s$ {}", "PUT /secrets/s$", "{}", "delete that first"),
    no(404, "DELETE of a missing secret", "", "DELETE /secrets/s$", "", "no such secret"),
    not_allowed(
        "a container where a secret is meant",
        "",
        "PUT /secrets/c$/",
        "DELETE, GET, HEAD, POST, PUT",
        "ends with a slash",
    ),
    not_allowed("d05 PUT of all secrets", "", "PUT /secrets", "GET, HEAD", "method"),
    no(404, "a path out of the secrets", "", "GET /secrets/../clusters", "", "path"),
    no(404, "an escaped path out of the secrets", "", "GET /secrets/%2e%2e/x", "", "path"),
    no(403, "nobody, at the secrets", "", "nobody GET /secrets/s$", "", "user name and password"),
    no(502, "Custodia with a defect", "", "GET /secrets/status/500", "", "fails"),
];

pub(super) const WITHOUT: &[Case] = &[
    no(404, "all secrets without Custodia", "", "GET /secrets", "", "path"),
    no(404, "a container without Custodia", "", "POST /secrets/a/", "", "path"),
    no(404, "a wrong method without Custodia", "", "PATCH /secrets/a", "", "path"),
    no(403, "nobody, without Custodia", "", "nobody GET /secrets/a", "", "user name and password"),
];
