//! What an answer of the API means. Pure.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// The longest message that is passed on, in characters: some name every field that is wrong.
const MESSAGE_MAX: usize = 1000;

/// What an answer means. The texts are the server's message and reason.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// It was done; what was asked for.
    Done(Value),
    /// There is no such node.
    Missing,
    /// There is one of that name already.
    Exists(String),
    /// The node is not what it was thought to be.
    Changed(String),
    /// The list was begun too long ago to be continued.
    Expired(String),
    /// Not now; after this time, if the server says when.
    Again(Option<Duration>, String),
    /// No.
    Refused(String),
}

/// How the API describes what it did not do.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    message: String,
    reason: String,
    details: Details,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    kind: String,
    retry_after_seconds: Option<u64>,
}

impl Answer {
    /// Why it was not done.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Done(_) => "it answered with something else",
            Self::Missing => "there is no such node",
            Self::Exists(why)
            | Self::Changed(why)
            | Self::Expired(why)
            | Self::Again(_, why)
            | Self::Refused(why) => why,
        }
    }
}

/// `retry_after` is the header of that name.
pub(super) fn classify(status: u16, retry_after: Option<&str>, body: &[u8]) -> Answer {
    if (200..300).contains(&status) {
        return match serde_json::from_slice(body) {
            Ok(value) => Answer::Done(value),
            Err(_) => Answer::Refused(format!("{} instead of JSON", no_status(status))),
        };
    }
    let parsed = serde_json::from_slice::<Status>(body).ok();
    let told = parsed.filter(|parsed| !parsed.message.is_empty());
    let Some(Status { message, reason, details }) = told else {
        return match status {
            429 | 500.. => Answer::Again(seconds(retry_after), no_status(status)),
            _ => Answer::Refused(format!("{}: check `server_url`", no_status(status))),
        };
    };
    let text = text(&message, &reason);
    match (status, reason.as_str()) {
        // A path that the API does not know is another 404.
        (404, "NotFound") if details.kind == "nodes" => Answer::Missing,
        (409, "AlreadyExists") => Answer::Exists(text),
        (409, _) => Answer::Changed(text),
        (410, _) => Answer::Expired(text),
        (429 | 500.., _) => {
            let after = details.retry_after_seconds.map(Duration::from_secs);
            Answer::Again(seconds(retry_after).or(after), text)
        }
        (401, _) => Answer::Refused(format!("the token or certificate is not accepted: {text}")),
        _ => Answer::Refused(text),
    }
}

fn no_status(status: u16) -> String {
    format!("HTTP status {status} without an answer of the Kubernetes API")
}

fn seconds(retry_after: Option<&str>) -> Option<Duration> {
    retry_after?.trim().parse().ok().map(Duration::from_secs)
}

/// The message and the reason, fit to be shown: they come from outside.
fn text(message: &str, reason: &str) -> String {
    let fit =
        |text: &str| text.chars().filter(|c| !c.is_control()).take(MESSAGE_MAX).collect::<String>();
    if reason.is_empty() { fit(message) } else { format!("{} ({})", fit(message), fit(reason)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::recorded::{Exchange, all, one};

    fn classified(exchange: &Exchange) -> Answer {
        let retry_after = exchange.headers["Retry-After"].as_str();
        classify(exchange.status.unwrap(), retry_after, &exchange.body())
    }

    #[test]
    fn answers_mean_what_they_mean() {
        use Answer::{Again, Changed, Exists, Expired, Missing, Refused};
        let done = |id| classified(&one(id)) == Answer::Done(one(id).response);
        assert!(["node-create-201", "node-get-200", "node-list-200"].into_iter().all(done));
        // A deletion answers a status, or the node while finalizers hold it.
        assert!(["delete-200", "fin-delete-200"].into_iter().all(done));
        for id in ["node-get-missing-404", "delete-again-404", "delete-missing-404"] {
            assert_eq!(classified(&one(id)), Missing, "{id}");
        }
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (id, expected) in [
            ("node-create-again-409", Exists("nodes \"worker-1\" already exists (AlreadyExists)".into())),
            (
                "fin-create-while-terminating-409",
                Exists("object is being deleted: nodes \"fin\" already exists (AlreadyExists)".into()),
            ),
            ("node-create-rv-set-500", Again(None, "resourceVersion should not be set on objects to be created".into())),
            (
                "evict-pdb-unprocessed-429",
                Again(seconds(10), "Cannot evict pod as it would violate the pod's disruption budget. (TooManyRequests)".into()),
            ),
            (
                "node-list-rv-future-504",
                Again(seconds(1), "Timeout: Too large resource version: 99999999, current: 222 (Timeout)".into()),
            ),
            (
                "etcddown-list-1x-504",
                Again(None, "Timeout: request did not complete within the allotted timeout (Timeout)".into()),
            ),
            ("etcddown-healthz-500", Again(None, no_status(500))),
            ("auth-badtoken-401", Refused("the token or certificate is not accepted: Unauthorized (Unauthorized)".into())),
            (
                "unknown-resource-404",
                Refused("the server could not find the requested resource (NotFound)".into()),
            ),
            ("unknown-path-404", Refused(format!("{}: check `server_url`", no_status(404)))),
            ("plain-http-400", Refused(format!("{}: check `server_url`", no_status(400)))),
        ] {
            assert_eq!(classified(&one(id)), expected, "{id}");
        }
        assert!(matches!(classified(&one("delete-uid-mismatch-409")), Changed(_)));
        assert!(matches!(classified(&one("gone-list-continue-expired-410")), Expired(_)));
        for id in ["auth-none-403", "node-create-badname-09-422", "node-create-body-too-large-413"]
        {
            assert!(matches!(classified(&one(id)), Refused(_)), "{id}");
        }
    }

    #[test]
    fn only_a_success_is_taken_for_one() {
        for exchange in all().into_iter().filter(|exchange| exchange.status.is_some()) {
            let success = exchange.status.unwrap() < 300 && !exchange.response.is_null();
            assert_eq!(
                matches!(classified(&exchange), Answer::Done(_)),
                success,
                "{}",
                exchange.id
            );
        }
        assert!(matches!(classify(200, None, b"<html>"), Answer::Refused(_)));
        assert!(matches!(classify(302, None, b""), Answer::Refused(_)));
        assert!(matches!(classify(503, Some("soon"), b"<html>"), Answer::Again(None, _)));
    }

    #[test]
    fn what_is_passed_on_is_one_line_of_bounded_length() {
        let body = format!(r#"{{"message": "a\u001b[2J\nb{}", "reason": "X"}}"#, "c".repeat(5000));
        let Answer::Refused(text) = classify(403, None, body.as_bytes()) else { panic!("refused") };
        assert!(text.starts_with("a[2Jbc") && text.ends_with("c (X)") && text.len() < 1010);
    }
}
