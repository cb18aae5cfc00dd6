//! The device authorization grant (RFC 8628): with a browser on any machine.

use oauth2::{DeviceAuthorizationUrl, StandardDeviceAuthorizationResponse};
use tokio::time::sleep;

use super::LoginError;
use super::issuer::{Issuer, shown};
use super::tokens::Tokens;

pub(super) async fn log_in(issuer: &Issuer<'_>) -> Result<Tokens, LoginError> {
    let provider = issuer.provider;
    let Some(endpoint) = &issuer.endpoints.device_authorization_endpoint else {
        return Err(
            provider.unusable("it has no device authorization endpoint: log in without --device")
        );
    };
    let endpoint = DeviceAuthorizationUrl::from_url(issuer.endpoint(endpoint)?);
    let client = issuer.client()?.set_device_authorization_url(endpoint);
    let mut request = client.exchange_device_code().add_scopes(issuer.scopes());
    if let Some(resource) = &provider.resource {
        request = request.add_extra_param("resource", resource);
    }
    let details: StandardDeviceAuthorizationResponse =
        request.request_async(&issuer.http).await.map_err(|error| issuer.failed(&error))?;
    let address = issuer.endpoint(details.verification_uri())?;
    eprintln!(
        "to log in, open {address} in a browser on any machine, and enter the code {}",
        shown(details.user_code().secret())
    );
    let mut request = client.exchange_device_access_token(&details);
    if let Some(resource) = &provider.resource {
        request = request.add_extra_param("resource", resource);
    }
    let response = request.request_async(&issuer.http, sleep, None).await;
    let response = response.map_err(|error| issuer.failed(&error))?;
    Tokens::of(provider, &response, None, None)
}
