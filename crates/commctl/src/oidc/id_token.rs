//! Claims of tokens. Tokens come from the issuer over TLS, so their signatures are for the server to verify (OpenID Connect
//! Core 1.0, section 3.1.3.7).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::Provider;

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Value,
    exp: i64,
    nonce: Option<String>,
}

/// Checks an ID token of this client, and returns its expiry.
pub(super) fn check(
    token: &str,
    provider: &Provider,
    nonce: Option<&str>,
) -> Result<Timestamp, &'static str> {
    let claims: Claims = claims(token).ok_or("its ID token cannot be read")?;
    if claims.iss != provider.issuer {
        return Err("its ID token is of another issuer");
    }
    let is_meant = match &claims.aud {
        Value::String(audience) => *audience == provider.client_id,
        Value::Array(all) => all.iter().any(|audience| *audience == *provider.client_id),
        _ => false,
    };
    if !is_meant {
        return Err("its ID token is for another client");
    }
    if nonce.is_some() && claims.nonce.as_deref() != nonce {
        return Err("its ID token belongs to another log-in (nonce)");
    }
    Timestamp::from_second(claims.exp).map_err(|_| "its ID token has no valid expiry")
}

/// The expiry of an access token, if it is a JSON Web Token.
pub(super) fn expiry(token: &str) -> Option<Timestamp> {
    let claims: Value = claims(token)?;
    Timestamp::from_second(claims.get("exp")?.as_i64()?).ok()
}

fn claims<T: for<'de> Deserialize<'de>>(token: &str) -> Option<T> {
    let mut parts = token.split('.');
    let (_, payload) = (parts.next()?, parts.next()?);
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(claims: &Value) -> String {
        format!("e30.{}.signature", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    #[test]
    fn id_token_of_another_log_in_is_rejected() {
        let provider: Provider = serde_json::from_value(json!({
            "name": "corp", "issuer": "https://id", "client_id": "commctl", "scopes": [], "token": "id",
        }))
        .unwrap();
        let good = json!({"iss": "https://id", "aud": "commctl", "exp": 1000, "nonce": "n"});
        let with = |field: &str, value: Value| {
            let mut claims = good.clone();
            claims[field] = value;
            check(&token(&claims), &provider, Some("n"))
        };
        assert_eq!(with("exp", json!(2000)).unwrap().as_second(), 2000);
        assert!(with("aud", json!(["a", "commctl"])).is_ok());
        for (field, value) in [
            ("iss", json!("https://id/")),
            ("aud", json!("a")),
            ("aud", json!(["a"])),
            ("aud", json!({"commctl": 1})),
            ("nonce", json!("m")),
            ("nonce", Value::Null),
            ("exp", json!("soon")),
            ("exp", json!(i64::MAX)),
        ] {
            assert!(with(field, value.clone()).is_err(), "{field}: {value}");
        }
        assert!(check("opaque", &provider, None).is_err());
        assert!(check(&token(&good), &provider, None).is_ok());
        assert_eq!(expiry(&token(&good)).unwrap().as_second(), 1000);
        assert_eq!(expiry("opaque"), None);
    }
}
