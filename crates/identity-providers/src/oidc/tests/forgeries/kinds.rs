//! Tokens of another kind than the one that is accepted.

use serde_json::{Value, json};

use super::cases::Case;
use super::signatures::remove;

const NOT_ACCESS: &str = "is not an access token";
const NOT_ID: &str = "is not an ID token";
const BOUND: &str = "bound to a key";
const EVENT: &str = "describes an event";
const CLIENT: &str = "another client";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, reason, claim, value) in [
        ("ID token, by at_hash", NOT_ACCESS, "at_hash", json!("MTIzNDU2Nzg5MDEyMzQ1Ng")),
        ("ID token, by c_hash", NOT_ACCESS, "c_hash", json!("MTIzNDU2Nzg5MDEyMzQ1Ng")),
        ("ID token of Keycloak", NOT_ACCESS, "typ", json!("ID")),
        ("refresh token of Keycloak", NOT_ACCESS, "typ", json!("Refresh")),
        ("offline token of Keycloak", NOT_ACCESS, "typ", json!("Offline")),
        ("typ among the claims is null", NOT_ACCESS, "typ", Value::Null),
        (
            "logout token",
            EVENT,
            "events",
            json!({"http://schemas.openid.net/event/backchannel-logout": {}}),
        ),
        ("token of a DPoP key", BOUND, "cnf", json!({"jkt": "0ZcOCORZNYy"})),
        ("token of a certificate", BOUND, "cnf", json!({"x5t#S256": "bwcK0esc3"})),
    ] {
        let plain = |header: &mut Value, _: &mut Value| header["typ"] = json!("JWT");
        let name = format!("as an access token: {name}");
        cases.push(Case::prepared(&name, reason, json!({}), plain, |_, claims| {
            claims[claim] = value;
        }));
    }
    let id = |name: &str, reason, forge: &dyn Fn(&mut Value, &mut Value)| {
        let options = json!({"token": "id", "audience": ["commissaire", "commctl"]});
        let prepare = |header: &mut Value, claims: &mut Value| {
            header["typ"] = json!("JWT");
            claims["at_hash"] = json!("MTIzNDU2Nzg5MDEyMzQ1Ng");
            claims["nonce"] = json!("n-0S6_WzA2Mj");
            claims["azp"] = json!("commctl");
        };
        Case::prepared(&format!("as an ID token: {name}"), reason, options, prepare, forge)
    };
    for (name, media_type) in [
        ("access token", "at+jwt"),
        ("access token with the whole media type", "application/at+jwt"),
        ("access token in upper case", "AT+JWT"),
    ] {
        cases.push(id(name, NOT_ID, &|header, _| header["typ"] = json!(media_type)));
    }
    for (name, reason, claim, value) in [
        ("access token, by scope", NOT_ID, "scope", json!("openid")),
        ("access token, by scp", NOT_ID, "scp", json!(["openid"])),
        ("access token of Keycloak", NOT_ID, "typ", json!("Bearer")),
        ("logout token", EVENT, "events", json!({})),
        ("token of a DPoP key", BOUND, "cnf", json!({"jkt": "0ZcOCORZNYy"})),
        ("of another client", CLIENT, "azp", json!("grafana")),
        ("azp is a list", CLIENT, "azp", json!(["commctl"])),
        ("azp is null", CLIENT, "azp", Value::Null),
    ] {
        cases.push(id(name, reason, &|_, claims| claims[claim] = value.clone()));
    }
    cases.push(id("several audiences without azp", CLIENT, &|_, claims| {
        claims["aud"] = json!(["commissaire", "grafana"]);
        remove(claims, "azp");
    }));
    cases.push(id("several audiences, of another client", CLIENT, &|_, claims| {
        claims["aud"] = json!(["commissaire", "grafana"]);
        claims["azp"] = json!("grafana");
    }));
    cases
}
