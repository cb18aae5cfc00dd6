//! What an issuer publishes about itself, and the requests of its tokens.

use std::fmt::Display;

use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
    BasicTokenType,
};
use oauth2::http::{Method, Request, StatusCode, header};
use oauth2::{
    AuthorizationCode, Client, ClientId, EndpointNotSet, EndpointSet, ErrorResponse,
    ExtraTokenFields, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, Scope,
    StandardErrorResponse, StandardRevocableToken, StandardTokenResponse, TokenUrl,
};
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::http::{Http, HttpError, url_of_issuer};
use super::tokens::Tokens;
use super::{LoginError, Provider};
use crate::text::printable;

const DISCOVERY: &str = "/.well-known/openid-configuration";

/// The most characters of an error of the issuer that are shown.
const ERROR_MAX: usize = 500;

/// An issuer that has said where its endpoints are.
#[derive(Debug)]
pub(super) struct Issuer<'a> {
    pub(super) provider: &'a Provider,
    pub(super) http: Http,
    pub(super) endpoints: Endpoints,
}

/// The fields of a discovery document that are used.
#[derive(Debug, Deserialize)]
pub(super) struct Endpoints {
    issuer: String,
    pub(super) authorization_endpoint: Option<String>,
    token_endpoint: String,
    pub(super) device_authorization_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    /// RFC 9207.
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

/// What comes with an access token.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Extra {
    #[serde(skip_serializing)]
    pub(super) id_token: Option<SecretString>,
}

impl ExtraTokenFields for Extra {}

pub(super) type Response = StandardTokenResponse<Extra, BasicTokenType>;

/// A client whose token endpoint is known.
pub(super) type OAuth = Client<
    BasicErrorResponse,
    Response,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

impl<'a> Issuer<'a> {
    /// Fetches the discovery document.
    pub(super) async fn discover(provider: &'a Provider) -> Result<Self, LoginError> {
        let http = Http::new(provider)?;
        let address = format!("{}{DISCOVERY}", provider.issuer.trim_end_matches('/'));
        let unusable = |problem: String| provider.unusable(problem);
        let request = Request::get(&address).header(header::ACCEPT, "application/json");
        let request = request.body(Vec::new()).map_err(|error| unusable(error.to_string()))?;
        let response = http.send(request).await.map_err(|error| unreachable(provider, error))?;
        if response.status() != StatusCode::OK {
            return Err(unusable(format!("{address} answers {}", response.status())));
        }
        let endpoints: Endpoints = serde_json::from_slice(response.body())
            .map_err(|_| unusable(format!("{address} is not a discovery document")))?;
        if endpoints.issuer != provider.issuer {
            return Err(unusable(format!(
                "its discovery document is of another issuer: {}",
                shown(&endpoints.issuer)
            )));
        }
        Ok(Self { provider, http, endpoints })
    }

    /// An endpoint that the discovery document names.
    pub(super) fn endpoint(&self, text: &str) -> Result<Url, LoginError> {
        url_of_issuer(&self.provider.issuer, text)
            .map_err(|problem| self.provider.unusable(problem))
    }

    pub(super) fn client(&self) -> Result<OAuth, LoginError> {
        let token_endpoint = self.endpoint(&self.endpoints.token_endpoint)?;
        let id = ClientId::new(self.provider.client_id.clone());
        Ok(Client::new(id).set_token_uri(TokenUrl::from_url(token_endpoint)))
    }

    pub(super) fn scopes(&self) -> impl Iterator<Item = Scope> {
        self.provider.scopes.iter().cloned().map(Scope::new)
    }

    /// Exchanges the code that the browser has brought.
    pub(super) async fn exchange(
        &self,
        code: AuthorizationCode,
        redirect: RedirectUrl,
        verifier: PkceCodeVerifier,
        nonce: Option<&str>,
    ) -> Result<Tokens, LoginError> {
        let client = self.client()?.set_redirect_uri(redirect);
        let mut request = client.exchange_code(code).set_pkce_verifier(verifier);
        if let Some(resource) = &self.provider.resource {
            request = request.add_extra_param("resource", resource);
        }
        let response = request.request_async(&self.http).await;
        let response = response.map_err(|error| self.failed(&error))?;
        Tokens::of(self.provider, &response, nonce, None)
    }

    /// Exchanges a refresh token.
    pub(super) async fn refresh(&self, token: &SecretString) -> Result<Tokens, LoginError> {
        let client = self.client()?;
        let refresh = RefreshToken::new(token.expose_secret().to_owned());
        let mut request = client.exchange_refresh_token(&refresh);
        if let Some(resource) = &self.provider.resource {
            request = request.add_extra_param("resource", resource);
        }
        let response = request.request_async(&self.http).await;
        let response = response.map_err(|error| self.failed(&error))?;
        Tokens::of(self.provider, &response, None, Some(token))
    }

    /// Revokes a refresh token (RFC 7009); false if the issuer has no endpoint for that.
    pub(super) async fn revoke(&self, token: &SecretString) -> Result<bool, LoginError> {
        let Some(endpoint) = &self.endpoints.revocation_endpoint else { return Ok(false) };
        let endpoint = self.endpoint(endpoint)?;
        let mut form = oauth2::url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("token", token.expose_secret());
        form.append_pair("token_type_hint", "refresh_token");
        form.append_pair("client_id", &self.provider.client_id);
        let request = Request::builder().method(Method::POST).uri(endpoint.as_str());
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = request.body(form.finish().into_bytes());
        let request = request.map_err(|error| self.provider.unusable(error.to_string()))?;
        let response = self.http.send(request).await;
        let status = response.map_err(|error| unreachable(self.provider, error))?.status();
        if status.is_success() {
            return Ok(true);
        }
        Err(self.provider.unusable(format!("its revocation endpoint answers {status}")))
    }

    /// Why a request of tokens has failed.
    pub(super) fn failed<T>(
        &self,
        error: &RequestTokenError<HttpError, StandardErrorResponse<T>>,
    ) -> LoginError
    where
        T: oauth2::ErrorResponseType + Display + 'static,
        StandardErrorResponse<T>: ErrorResponse,
    {
        match error {
            RequestTokenError::ServerResponse(error) => self.provider.rejected(reason(error)),
            RequestTokenError::Request(error) => LoginError::Unreachable {
                issuer: self.provider.issuer.clone(),
                source: error.clone(),
            },
            // The parser's message and the response could hold a token.
            _ => self.provider.unusable("its answer is neither tokens nor an error of OAuth"),
        }
    }
}

fn unreachable(provider: &Provider, source: HttpError) -> LoginError {
    LoginError::Unreachable { issuer: provider.issuer.clone(), source }
}

/// An error of RFC 6749, for people.
fn reason<T: oauth2::ErrorResponseType + Display>(error: &StandardErrorResponse<T>) -> String {
    let code = error.error().to_string();
    match error.error_description() {
        Some(description) => shown(&format!("{description} ({code})")),
        None => shown(&code),
    }
}

/// Text of an issuer, without control characters.
pub(super) fn shown(text: &str) -> String {
    printable(&text.chars().take(ERROR_MAX).collect::<String>())
}
