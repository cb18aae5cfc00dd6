//! The authorization code flow with PKCE (RFC 6749, RFC 7636, RFC 8252), in a browser on this machine.

use std::process::{Command, Stdio};

use oauth2::{AuthUrl, CsrfToken, PkceCodeChallenge, RedirectUrl};
use reqwest::Url;

use super::callback::{ANSWER_TIMEOUT, Expected, Listener};
use super::issuer::Issuer;
use super::tokens::Tokens;
use super::{LoginError, TokenKind};

/// The program that opens a URL in the browser.
const OPENER: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };

pub(super) async fn log_in(issuer: &Issuer<'_>, opens: bool) -> Result<Tokens, LoginError> {
    let provider = issuer.provider;
    let Some(authorization) = &issuer.endpoints.authorization_endpoint else {
        return Err(provider.unusable("it has no authorization endpoint"));
    };
    let authorization = AuthUrl::from_url(issuer.endpoint(authorization)?);
    let listener = Listener::bind().await.map_err(LoginError::Listen)?;
    let redirect = listener.redirect_uri().map_err(LoginError::Listen)?;
    let redirect =
        RedirectUrl::new(redirect).map_err(|error| provider.unusable(error.to_string()))?;
    let client = issuer.client()?.set_auth_uri(authorization).set_redirect_uri(redirect.clone());
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let nonce = (provider.token == TokenKind::Id).then(CsrfToken::new_random);
    let mut request = client.authorize_url(CsrfToken::new_random);
    request = request.set_pkce_challenge(challenge).add_scopes(issuer.scopes());
    if let Some(nonce) = &nonce {
        request = request.add_extra_param("nonce", nonce.secret().clone());
    }
    if let Some(resource) = &provider.resource {
        request = request.add_extra_param("resource", resource);
    }
    if provider.scopes.iter().any(|scope| scope == "offline_access") {
        // OpenID Connect Core 1.0, section 11: without it, the issuer may ignore that scope.
        request = request.add_extra_param("prompt", "consent");
    }
    let (url, state) = request.url();
    show(&url, issuer, opens);
    let expected = Expected {
        state: state.secret(),
        issuer: &provider.issuer,
        announces_issuer: issuer.endpoints.authorization_response_iss_parameter_supported,
    };
    let answer = listener
        .answer(&expected)
        .await
        .ok_or(LoginError::Timeout { minutes: ANSWER_TIMEOUT.as_secs() / 60 })?;
    let code = answer.map_err(|reason| provider.rejected(reason))?;
    let nonce = nonce.as_ref().map(|nonce| nonce.secret().as_str());
    issuer.exchange(code, redirect, verifier, nonce).await
}

fn show(url: &Url, issuer: &Issuer<'_>, opens: bool) {
    eprintln!("to log in, open this address in a browser on this machine:\n\n  {url}\n");
    let has_display = cfg!(target_os = "macos") || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY");
    let has_devices = issuer.endpoints.device_authorization_endpoint.is_some();
    if is_set("SSH_CONNECTION") && !has_display && has_devices {
        eprintln!(
            "with a browser on another machine: press Ctrl-C, and repeat the command with --device"
        );
    }
    if opens && has_display {
        let mut command = Command::new(OPENER);
        command.arg(url.as_str());
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if quiet.spawn().is_err() {
            eprintln!("the browser cannot be opened with {OPENER}: open the address by hand");
        }
    }
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}
