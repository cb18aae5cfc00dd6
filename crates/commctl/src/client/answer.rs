//! What the server answers.

use reqwest::{Response, StatusCode};
use serde_json::Value;

use crate::error::Error;

/// The answer's data, or the refusal it is.
pub(super) async fn read(response: Response, endpoint: &str) -> Result<Value, Error> {
    let status = response.status();
    let body = response.bytes().await.map_err(|source| Error::Unreachable {
        endpoint: endpoint.to_owned(),
        others: false,
        sent: true,
        source: source.without_url(),
    })?;
    interpret(status, &body, endpoint)
}

/// Bodies of refusals are `application/problem+json`, but a proxy's page must not confuse us.
fn interpret(status: StatusCode, body: &[u8], endpoint: &str) -> Result<Value, Error> {
    if status.is_success() {
        if body.is_empty() {
            return Ok(Value::Null);
        }
        return serde_json::from_slice(body)
            .map_err(|_| Error::NotJson { endpoint: endpoint.to_owned() });
    }
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let member = |name| {
        let text = problem.get(name).and_then(Value::as_str)?;
        (!text.is_empty()).then(|| text.to_owned())
    };
    // A proxy in front of a server answers with other statuses.
    let denies = matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
    if denies && member("title").is_none() {
        let (endpoint, status) = (endpoint.to_owned(), status.to_string());
        return Err(Error::NotCommissaire { endpoint, status });
    }
    let title = member("title").or_else(|| status.canonical_reason().map(str::to_owned));
    Err(Error::Refused {
        status: status.as_u16(),
        title: title.unwrap_or_default(),
        detail: member("detail"),
        endpoint: endpoint.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> Result<Value, String> {
        interpret(StatusCode::from_u16(status).unwrap(), body.as_bytes(), "http://h")
            .map_err(|error| error.report())
    }

    #[test]
    fn data() {
        assert_eq!(of(200, "[]"), Ok(serde_json::json!([])));
        assert_eq!(of(201, ""), Ok(Value::Null));
        assert!(of(200, "<html>").unwrap_err().contains("is it a Commissaire server?"));
    }

    #[test]
    fn refusals() {
        let problem = r#"{"title": "Not Found", "detail": "no cluster named c9", "status": 404}"#;
        assert_eq!(of(404, problem).unwrap_err(), "no cluster named c9 (404 Not Found)");
        assert_eq!(of(403, "Forbidden").unwrap_err(), "the server answers 403 Forbidden");
        assert_eq!(of(409, "[1]").unwrap_err(), "the server answers 409 Conflict");
        assert_eq!(of(302, "").unwrap_err(), "the server answers 302 Found");
        for (status, body) in
            [(404, "404 page not found"), (404, "{\"kind\": \"Status\"}"), (405, "")]
        {
            let error = of(status, body).unwrap_err();
            assert!(error.ends_with("is it the address of one?"), "{error}");
        }
    }
}
