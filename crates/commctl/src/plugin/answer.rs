//! What a credential plugin prints.

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::clock::now;
use crate::login::is_bearer;
use crate::pem::{Identity, Pem};

pub(super) const KIND: &str = "ExecCredential";

/// So long before its end a credential is too old: a request takes its time.
const MARGIN: SignedDuration = SignedDuration::from_secs(10);

/// What it says about who the operator is.
#[derive(Debug)]
pub(crate) struct Credential {
    pub(crate) token: Option<SecretString>,
    pub(crate) identity: Option<Identity>,
    /// None: as long as this process lives.
    pub(super) expires: Option<Timestamp>,
    /// An earlier answer: it may have been withdrawn since.
    pub(crate) is_old: bool,
}

/// Why an answer is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    // The parser's words could hold the token.
    #[error("something that is no ExecCredential in JSON")]
    Syntax,
    #[error("the apiVersion {found:?} instead of {wanted:?}")]
    Version { found: String, wanted: &'static str },
    #[error("no credentials: neither status.token nor status.clientCertificateData")]
    Empty,
    #[error("half a client certificate: clientCertificateData and clientKeyData belong together")]
    HalfIdentity,
    #[error("a token that no header can carry")]
    Token,
    #[error("the expirationTimestamp {0:?}, which is no RFC 3339 time")]
    Time(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential {
    api_version: String,
    kind: String,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<SecretString>,
    client_certificate_data: Option<SecretString>,
    client_key_data: Option<SecretString>,
    expiration_timestamp: Option<String>,
}

impl Credential {
    pub(super) fn read(text: &[u8], wanted: &'static str) -> Result<Self, AnswerError> {
        let answer: ExecCredential =
            serde_json::from_slice(text).map_err(|_| AnswerError::Syntax)?;
        if answer.kind != KIND {
            return Err(AnswerError::Syntax);
        }
        if answer.api_version != wanted {
            return Err(AnswerError::Version { found: answer.api_version, wanted });
        }
        let status = answer.status.ok_or(AnswerError::Empty)?;
        let filled = |secret: Option<SecretString>| {
            secret.filter(|secret| !secret.expose_secret().is_empty())
        };
        let token = filled(status.token);
        if token.as_ref().is_some_and(|token| !is_bearer(token)) {
            return Err(AnswerError::Token);
        }
        let identity =
            match (filled(status.client_certificate_data), filled(status.client_key_data)) {
                (None, None) if token.is_none() => return Err(AnswerError::Empty),
                (None, None) => None,
                (Some(certificate), Some(key)) => {
                    Some(Identity { certificate: Pem::Text(certificate), key: Pem::Text(key) })
                }
                _ => return Err(AnswerError::HalfIdentity),
            };
        let expires = match status.expiration_timestamp.filter(|time| !time.is_empty()) {
            None => None,
            Some(time) => Some(time.parse().map_err(|_| AnswerError::Time(time))?),
        };
        Ok(Self { token, identity, expires, is_old: false })
    }

    /// Whether a new one is needed.
    pub(crate) fn has_expired(&self) -> bool {
        self.expires.is_some_and(|expires| now() + MARGIN >= expires)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const V1: &str = "client.authentication.k8s.io/v1";

    fn read(status: &Value) -> Result<Credential, String> {
        let text = json!({"apiVersion": V1, "kind": KIND, "status": status}).to_string();
        Credential::read(text.as_bytes(), V1).map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_and_its_end() {
        let credential = read(&json!({"token": "t"})).unwrap();
        assert_eq!(credential.token.as_ref().unwrap().expose_secret(), "t");
        assert!(!credential.has_expired() && credential.identity.is_none());
        let with_end = |end: Timestamp| {
            read(&json!({"token": "t", "expirationTimestamp": end.to_string()})).unwrap()
        };
        assert!(!with_end(now() + SignedDuration::from_mins(1)).has_expired());
        assert!(with_end(now() + SignedDuration::from_secs(5)).has_expired());
        assert!(with_end(now() - SignedDuration::from_secs(5)).has_expired());
    }

    #[test]
    fn a_certificate_and_its_key() {
        let credential =
            read(&json!({"clientCertificateData": "c", "clientKeyData": "k"})).unwrap();
        assert_eq!(credential.identity.unwrap().read().unwrap().expose_secret(), "c\nk");
        assert!(credential.token.is_none());
    }

    #[test]
    fn what_is_no_answer() {
        let refusal = |status| read(&status).unwrap_err();
        assert!(refusal(json!(null)).starts_with("no credentials"));
        assert!(refusal(json!({})).starts_with("no credentials"));
        assert!(refusal(json!({"token": ""})).starts_with("no credentials"));
        assert!(refusal(json!({"token": "t", "clientKeyData": "k"})).starts_with("half a client"));
        assert!(refusal(json!({"token": "a b"})).contains("no header"));
        let time = json!({"token": "secret", "expirationTimestamp": "tomorrow"});
        assert_eq!(
            refusal(time),
            "the expirationTimestamp \"tomorrow\", which is no RFC 3339 time"
        );
        for text in ["", "secret", "[]", r#"{"kind": "Secret", "apiVersion": "v1"}"#] {
            let error = Credential::read(text.as_bytes(), V1).unwrap_err().to_string();
            assert_eq!(error, "something that is no ExecCredential in JSON");
        }
        let beta = r#"{"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1beta1", "status": {"token": "t"}}"#;
        let error = Credential::read(beta.as_bytes(), V1).unwrap_err().to_string();
        assert!(
            error.ends_with("v1beta1\" instead of \"client.authentication.k8s.io/v1\""),
            "{error}"
        );
    }
}
