//! Secrets, with Custodia and without.

rows! {
    CASES on with_custodia:
    secrets_listed: ok(200, "POST /secrets/c$/", "GET /secrets/c$/", "", "[]"),
    a_secret_as_it_was_given: ok(200, r#"PUT /secrets/s$ {"value":"x"}"#, "GET /secrets/s$", "",
        r#"{"value": "x"}"#),
    a_secret_with_a_query_for_custodia: ok(200, "PUT /secrets/s$ {}", "GET /secrets/s$?type=simple",
        "", "{}"),
    head_of_a_secret: head(200, "PUT /secrets/s$ {}", "HEAD /secrets/s$"),
    a_missing_secret: no(404, "", "GET /secrets/s$", "", "no such secret"),
    a_secret_again: no(409, "PUT /secrets/s$ {}", "PUT /secrets/s$", "{}", "delete that first"),
    delete_of_a_missing_secret: no(404, "", "DELETE /secrets/s$", "", "no such secret"),
    a_container_where_a_secret_is_meant: not_allowed("", "PUT /secrets/c$/",
        "DELETE, GET, HEAD, POST, PUT", "ends with a slash"),
    d05_put_of_all_secrets: not_allowed("", "PUT /secrets", "GET, HEAD", "method"),
    a_path_out_of_the_secrets: no(404, "", "GET /secrets/../clusters", "", "path"),
    an_escaped_path_out_of_the_secrets: no(404, "", "GET /secrets/%2e%2e/x", "", "path"),
    nobody_at_the_secrets: no(403, "", "nobody GET /secrets/s$", "", "user name and password"),
    custodia_with_a_defect: no(502, "", "GET /secrets/status/500", "", "fails"),
}

rows! {
    WITHOUT on storage_alone:
    all_secrets_without_custodia: no(404, "", "GET /secrets", "", "path"),
    a_container_without_custodia: no(404, "", "POST /secrets/a/", "", "path"),
    a_wrong_method_without_custodia: no(404, "", "PATCH /secrets/a", "", "path"),
    nobody_without_custodia: no(403, "", "nobody GET /secrets/a", "", "user name and password"),
}
