//! The webhook: the URL to which events are posted, and the secret that signs them.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use bus::{Error, Result};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use model::WebhookEvent;
use reqwest::header::{HeaderMap, HeaderValue, InvalidHeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use url::Url;

use crate::config::Config;
use crate::web::Web;

/// The header with the id of the delivery, the same for each attempt: receivers drop duplicates by it.
const DELIVERY: &str = "x-commissaire-delivery";

/// The header with the event.
const EVENT: &str = "x-commissaire-event";

/// The header with the time of the attempt, in seconds since 1970: receivers reject replays by it.
const TIMESTAMP: &str = "x-commissaire-timestamp";

/// The header with the signature: `sha256=` and the HMAC-SHA256 of timestamp, `.` and body, in hexadecimal digits.
const SIGNATURE: &str = "x-commissaire-signature";

/// Timeout of one attempt.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The webhook that is configured.
#[derive(Debug)]
pub(crate) struct Webhook {
    url: Url,
    /// Signs with the secret; absent where no secret is configured.
    key: Option<Hmac<Sha256>>,
}

/// An event, ready to be posted.
#[derive(Debug)]
pub(crate) struct Delivery<'a> {
    pub(crate) id: &'a str,
    pub(crate) event: WebhookEvent,
    /// A JSON document.
    pub(crate) body: &'a str,
}

impl Webhook {
    /// The webhook by the configuration, if there is one.
    ///
    /// # Errors
    /// When the secret cannot be read, or is empty.
    pub(crate) fn new(config: &Config) -> Result<Option<Self>> {
        let Some(url) = config.webhook_url.clone() else { return Ok(None) };
        let key = config.webhook_secret_file.as_deref().map(key).transpose()?;
        Ok(Some(Self { url, key }))
    }

    /// Posts an event once.
    ///
    /// # Errors
    /// A message without URL and secret, if the receiver does not accept it.
    pub(crate) async fn post(
        &self,
        web: &Web,
        delivery: &Delivery<'_>,
        now: Timestamp,
    ) -> Result<(), String> {
        let headers = self.headers(delivery, now).map_err(|e| e.to_string())?;
        web.post(&self.url, headers, delivery.body.to_owned(), TIMEOUT).await
    }

    fn headers(
        &self,
        delivery: &Delivery<'_>,
        now: Timestamp,
    ) -> Result<HeaderMap, InvalidHeaderValue> {
        let mut headers = HeaderMap::new();
        headers.insert(DELIVERY, HeaderValue::from_str(delivery.id)?);
        headers.insert(EVENT, HeaderValue::from_static(delivery.event.word()));
        if let Some(key) = &self.key {
            let timestamp = now.as_second().to_string();
            let signature = signature(key, &timestamp, delivery.body);
            headers.insert(SIGNATURE, HeaderValue::from_str(&signature)?);
            headers.insert(TIMESTAMP, HeaderValue::from_str(&timestamp)?);
        }
        Ok(headers)
    }
}

/// The key that the secret in a file makes.
fn key(path: &Path) -> Result<Hmac<Sha256>> {
    let unusable = |problem| format!("{problem} {} (webhook-secret-file)", path.display());
    let secret = std::fs::read_to_string(path).map(SecretString::from);
    let secret = secret
        .map_err(|e| Error::internal(unusable("cannot read the secret in")).with_source(e))?;
    let secret = secret.expose_secret().trim();
    if secret.is_empty() {
        return Err(Error::internal(unusable("there is no secret in")));
    }
    Hmac::new_from_slice(secret.as_bytes())
        .map_err(|e| Error::internal(unusable("cannot use the secret in")).with_source(e))
}

fn signature(key: &Hmac<Sha256>, timestamp: &str, body: &str) -> String {
    let mut mac = key.clone();
    for part in [timestamp, ".", body] {
        mac.update(part.as_bytes());
    }
    mac.finalize().into_bytes().iter().fold("sha256=".to_owned(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(secret: Option<&str>) -> Result<Webhook> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), secret.unwrap_or_default()).unwrap();
        let config = Config {
            webhook_url: Some("http://h/?token=hidden".parse().unwrap()),
            webhook_secret_file: secret.map(|_| file.path().to_owned()),
            ..Config::default()
        };
        Ok(Webhook::new(&config)?.unwrap())
    }

    #[test]
    fn signature_is_the_hmac_of_timestamp_and_body() {
        let webhook = webhook(Some(" s3cret\n")).unwrap();
        let delivery = Delivery { id: "o1.paused.7", event: WebhookEvent::Paused, body: "{}" };
        let headers = webhook.headers(&delivery, "2026-11-28T12:00:00Z".parse().unwrap()).unwrap();
        let headers: Vec<_> = ["delivery", "event", "timestamp", "signature"]
            .map(|name| headers[format!("X-Commissaire-{name}")].to_str().unwrap())
            .into();
        // printf '1795867200.{}' | openssl dgst -sha256 -hmac s3cret
        let signature = "sha256=15388c9494395adbbd64e65ea819dcc2a819a8dbed33f1d616a8a51c3fabd8aa";
        assert_eq!(headers, ["o1.paused.7", "paused", "1795867200", signature]);
        assert!(!format!("{webhook:?}").contains("s3cret"));
    }

    #[test]
    fn nothing_is_signed_without_a_secret() {
        let delivery = Delivery { id: "o1.paused.7", event: WebhookEvent::Paused, body: "{}" };
        let headers = webhook(None).unwrap().headers(&delivery, Timestamp::UNIX_EPOCH).unwrap();
        assert!(!headers.contains_key(SIGNATURE) && !headers.contains_key(TIMESTAMP));
    }

    #[test]
    fn secret_that_is_missing_or_empty_is_an_error_that_names_the_file() {
        let url = Some("http://h/?token=hidden".parse().unwrap());
        let config = |path: &str| Config {
            webhook_url: url.clone(),
            webhook_secret_file: Some(path.into()),
            ..Config::default()
        };
        for (path, problem) in [("/nonexistent/secret", "cannot read"), ("/dev/null", "no secret")]
        {
            let error = Webhook::new(&config(path)).unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains(path), "{error}");
        }
    }
}
