//! Bearer tokens of OpenShift and Kubernetes: by a TokenReview where there is an account for it, else with the token itself, as
//! the original does.

use std::path::PathBuf;

use reqwest::StatusCode;
use reqwest::header::AUTHORIZATION;
use runtime::{Clock, Files};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;

use crate::client::{Client, ClientError, Response, is_loopback};
use crate::remembered::Remembered;
use crate::{Identity, ProviderError, Result};

const TOKEN_REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

const SELF_SUBJECT_REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// How tokens are checked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The API server; without an account, a URL that responds with 200 to a valid token, such as
    /// `https://HOST:6443/apis/user.openshift.io/v1/users/~`.
    openshift_endpoint: Url,
    /// A file with the token of an account that may create TokenReviews.
    token_path: Option<PathBuf>,
    /// Audiences of which a token needs one; with `token_path`.
    #[serde(default)]
    audiences: Vec<String>,
    /// A file with the authorities that the certificate of the API server is verified by; those of the system if it is left
    /// out.
    certificate_authority_path: Option<PathBuf>,
}

/// An OpenShift or a Kubernetes.
#[derive(Debug)]
pub struct OpenShift {
    client: Client,
    endpoint: Url,
    account: Option<Account>,
    remembered: Remembered,
}

#[derive(Debug)]
struct Account {
    token_path: PathBuf,
    audiences: Vec<String>,
    files: Files,
}

#[derive(Deserialize)]
struct Review {
    status: ReviewStatus,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
struct ReviewStatus {
    authenticated: bool,
    user: UserInfo,
    /// That of a SelfSubjectReview.
    user_info: UserInfo,
    audiences: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UserInfo {
    username: String,
    groups: Vec<String>,
}

/// A user as OpenShift has it.
#[derive(Deserialize)]
struct User {
    kind: String,
    metadata: Metadata,
    #[serde(default)]
    groups: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

impl OpenShift {
    /// Sets it up; the API server need not answer yet.
    ///
    /// # Errors
    /// When an option is wrong.
    pub async fn new(options: Options, files: &Files, clock: Clock) -> Result<Self, ClientError> {
        let Options { openshift_endpoint: endpoint, token_path, audiences, .. } = options;
        if endpoint.scheme() != "https" && !is_loopback(&endpoint) {
            let message = "openshift_endpoint: tokens are sent to it, so it needs https://";
            return Err(ClientError::Option(message.to_owned()));
        }
        if token_path.is_none() && !audiences.is_empty() {
            let message = "audiences: they are checked by a TokenReview, which needs `token_path`";
            return Err(ClientError::Option(message.to_owned()));
        }
        let authorities = options.certificate_authority_path.as_deref();
        let client = Client::new(&endpoint, authorities, files).await?;
        let account =
            token_path.map(|token_path| Account { token_path, audiences, files: files.clone() });
        Ok(Self { client, endpoint, account, remembered: Remembered::new(clock) })
    }

    /// The user whose token was accepted within the last 300 s.
    pub fn remembered(&self, token: &SecretString) -> Option<Identity> {
        self.remembered.get(&[token.expose_secret()])
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn identify(&self, token: &SecretString) -> Result<Identity> {
        if let Some(identity) = self.remembered(token) {
            return Ok(identity);
        }
        let identity = match &self.account {
            Some(account) => self.reviewed(account, token).await?,
            None => self.shown(token).await?,
        };
        self.remembered.insert(&[token.expose_secret()], &identity);
        Ok(identity)
    }

    async fn reviewed(&self, account: &Account, token: &SecretString) -> Result<Identity> {
        let path = account.token_path.display();
        let own = account.files.read_to_string(&account.token_path).await;
        let own =
            own.map_err(|error| self.client.unavailable(&format!("cannot read {path}: {error}")))?;
        let spec = json!({"token": token.expose_secret(), "audiences": account.audiences});
        let review =
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec});
        let response = self.post(TOKEN_REVIEWS, own.trim(), &review).await?;
        if !response.status.is_success() {
            let status = response.status;
            let why = format!("{status} to a TokenReview with the token in {path}");
            return Err(self.client.unavailable(&why));
        }
        let status = self.read::<Review>(&response)?.status;
        if !status.authenticated {
            return Err(rejected("the API server does not know the token, or it has expired"));
        }
        let has_audience = account.audiences.is_empty()
            || status.audiences.iter().any(|audience| account.audiences.contains(audience));
        if !has_audience {
            return Err(rejected("the token is for another audience"));
        }
        Identity::new(&status.user.username, status.user.groups, None)
    }

    /// By a request with the token itself.
    async fn shown(&self, token: &SecretString) -> Result<Identity> {
        let token = token.expose_secret();
        let request = self.client.get(self.endpoint.clone());
        let response = self.client.send(request.header(AUTHORIZATION, bearer(token)?)).await?;
        match response.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(rejected("the API server rejects the token"));
            }
            status => return Err(self.client.unavailable(&status.to_string())),
        }
        if let Some(user) = response.json::<User>().filter(|user| user.kind == "User") {
            return Identity::new(&user.metadata.name, user.groups.unwrap_or_default(), None);
        }
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let response = self.post(SELF_SUBJECT_REVIEWS, token, &review).await?;
        match response.status {
            status if status.is_success() => {
                let user = self.read::<Review>(&response)?.status.user_info;
                Identity::new(&user.username, user.groups, None)
            }
            StatusCode::UNAUTHORIZED => Err(rejected("the API server rejects the token")),
            status => Err(self.client.unavailable(&format!(
                "{status} to a SelfSubjectReview: have openshift_endpoint end with /apis/user.openshift.io/v1/users/~"
            ))),
        }
    }

    async fn post(
        &self,
        path: &str,
        token: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<Response> {
        let mut url = self.endpoint.clone();
        url.set_path(path);
        url.set_query(None);
        let request = self.client.post(url).header(AUTHORIZATION, bearer(token)?).json(body);
        self.client.send(request).await
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, response: &Response) -> Result<T> {
        let why = "its answer is not that of the Kubernetes API";
        response.json().ok_or_else(|| self.client.unavailable(why))
    }
}

fn bearer(token: &str) -> Result<reqwest::header::HeaderValue> {
    let value = reqwest::header::HeaderValue::try_from(format!("Bearer {token}"));
    let mut value =
        value.map_err(|_| rejected("the token has characters that are not allowed in a token"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn rejected(message: &str) -> ProviderError {
    ProviderError::Rejected(message.to_owned())
}
