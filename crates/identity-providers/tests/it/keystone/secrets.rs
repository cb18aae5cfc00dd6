//! Secrets appear in no error, no `Debug` output and no log line.

use serde_json::json;
use testbed::log::Log;
use tracing::level_filters::LevelFilter;
use wiremock::{MockServer, ResponseTemplate};

use super::support::*;

#[tokio::test]
async fn secrets_are_in_no_error_debug_output_or_log() {
    let log = Log::capture_from(LevelFilter::TRACE);
    let echo = format!("{PASSWORD} {TOKEN} {OWN_TOKEN} {SERVICE_PASSWORD}");
    let mut shown = String::new();
    let mut show = |text: String| shown.push_str(&text);
    for (to_login, to_validation) in [
        (issued(OWN_TOKEN), validated()),
        (ResponseTemplate::new(401), ResponseTemplate::new(401)),
        (issued(OWN_TOKEN), ResponseTemplate::new(401)),
        (issued(OWN_TOKEN), ResponseTemplate::new(404)),
        (issued(OWN_TOKEN), ResponseTemplate::new(403)),
        (ResponseTemplate::new(500).set_body_string(&echo), ResponseTemplate::new(500)),
        (
            issued(OWN_TOKEN).set_body_string(&echo),
            ResponseTemplate::new(200).set_body_string(&echo),
        ),
        (
            issued(OWN_TOKEN),
            ResponseTemplate::new(302).insert_header("Location", format!("/?{TOKEN}")),
        ),
    ] {
        let server = MockServer::start().await;
        on_issue().respond_with(to_login).mount(&server).await;
        for authority in [OWN_TOKEN, TOKEN] {
            on_validation(authority).respond_with(to_validation.clone()).mount(&server).await;
        }
        let password = password_plugin(&server.uri(), json!({"project": "fleet"})).await;
        let result = password.identify("ann", &secret(PASSWORD)).await;
        show(format!("{result:?} {password:?} {}\n", text(&result)));
        for options in [with_service(), json!({})] {
            let token = token_plugin(&server.uri(), options).await;
            let result = token.identify(&secret(TOKEN)).await;
            show(format!("{result:?} {token:?} {}\n", text(&result)));
        }
    }
    // A token with a line feed, one that is too long, and one that cannot be validated.
    let plugin = token_plugin("http://127.0.0.1:1", with_service()).await;
    for invalid in [format!("{TOKEN}\n"), TOKEN.repeat(400), TOKEN.to_owned()] {
        show(format!("{:?}\n", plugin.identify(&secret(&invalid)).await));
    }
    tracing::trace!("all responses were given");
    let log = log.text();
    assert!(log.contains("all responses were given"), "the log is captured: {log}");
    assert!(shown.contains("KeystoneToken {") && shown.contains("Unavailable("), "{shown}");
    for text in [shown, log] {
        let line = text.lines().find(|line| line.contains(CANARY));
        assert_eq!(line, None);
    }
}

fn text(result: &identity_providers::Result<identity_providers::Identity>) -> String {
    result.as_ref().err().map(ToString::to_string).unwrap_or_default()
}
