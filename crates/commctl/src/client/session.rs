//! How requests are sent: the connection's settings and the log-in, which a plugin may renew.

use std::cell::{Ref, RefCell};
use std::time::Duration;

use reqwest::{Certificate, Identity, Method, RequestBuilder, StatusCode, Url, redirect};
use secrecy::ExposeSecret as _;

use crate::config::Config;
use crate::error::Error;
use crate::login::{Login, Password};
use crate::pem::{self, Pem};
use crate::plugin::{Credential, Plugin};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than the server's own deadlines, so that its explanation arrives.
const TOTAL_TIMEOUT: Duration = Duration::from_mins(1);
/// A server that says nothing for so long, not even that a stream has nothing new, is gone.
const SILENCE: Duration = Duration::from_secs(45);

#[derive(Debug)]
pub(super) struct Session {
    settings: Settings,
    login: Login,
    current: RefCell<Current>,
}

#[derive(Debug)]
struct Settings {
    /// For messages.
    endpoint: String,
    /// Whether no endpoint speaks TLS.
    is_plain: bool,
    certificate_authority: Option<Pem>,
    identity: Option<pem::Identity>,
}

/// What is replaced when the log-in is renewed.
#[derive(Debug)]
struct Current {
    http: reqwest::Client,
    /// The answer of a plugin.
    credential: Option<Credential>,
}

impl Session {
    /// Nothing is sent yet, but a plugin may have to be asked.
    pub(super) fn open(config: Config) -> Result<Self, Error> {
        let Config { endpoints, login, identity, certificate_authority, .. } = config;
        let endpoint = endpoints.first().map(Url::to_string).unwrap_or_default();
        let is_plain = endpoints.iter().all(|endpoint| endpoint.scheme() == "http");
        let settings = Settings { endpoint, is_plain, certificate_authority, identity };
        let credential = match &login {
            Login::Plugin(plugin) => Some(plugin.credential()?),
            _ => None,
        };
        let current = RefCell::new(settings.connect(credential)?);
        Ok(Self { settings, login, current })
    }

    /// Before a request: refreshes the token of a log-in at an identity provider, if it is due.
    pub(super) async fn prepare(&self) -> Result<(), Error> {
        match &self.login {
            Login::Provider(session) => Ok(session.prepare().await?),
            _ => Ok(()),
        }
    }

    /// A request that says who asks.
    pub(super) fn request(&self, method: Method, url: Url) -> Result<RequestBuilder, Error> {
        if let Login::Plugin(plugin) = &self.login
            && self.credential().is_some_and(|credential| credential.has_expired())
        {
            self.replace(plugin)?;
        }
        let request = self.current.borrow().http.request(method, url);
        Ok(match &self.login {
            Login::Certificate => request,
            Login::Password(Password { username, password }) => {
                request.basic_auth(username, Some(password.expose_secret()))
            }
            Login::Token(token) => request.bearer_auth(token.expose_secret()),
            Login::TokenFile(path) => {
                let token = Pem::File(path.clone()).read()?;
                request.bearer_auth(token.expose_secret().trim())
            }
            Login::Plugin(_) => match self.credential().and_then(|c| c.token.clone()) {
                Some(token) => request.bearer_auth(token.expose_secret()),
                None => request,
            },
            Login::Provider(session) => match session.token() {
                Some(token) => request.bearer_auth(token.expose_secret()),
                None => request,
            },
        })
    }

    /// After a refusal: a new answer of the plugin in place of one that was kept from before, if it
    /// was such a one; a new token of the identity provider, if this one is not accepted.
    pub(super) async fn renew(&self, status: StatusCode) -> Result<bool, Error> {
        match &self.login {
            Login::Plugin(plugin) if self.credential().is_some_and(|c| c.is_old) => {
                self.replace(plugin).map(|()| true)
            }
            Login::Provider(session) if status == StatusCode::UNAUTHORIZED => {
                Ok(session.renew().await?)
            }
            _ => Ok(false),
        }
    }

    fn credential(&self) -> Option<Ref<'_, Credential>> {
        Ref::filter_map(self.current.borrow(), |current| current.credential.as_ref()).ok()
    }

    fn replace(&self, plugin: &Plugin) -> Result<(), Error> {
        let new = self.settings.connect(Some(plugin.renew()?))?;
        self.current.replace(new);
        Ok(())
    }
}

impl Settings {
    fn connect(&self, credential: Option<Credential>) -> Result<Current, Error> {
        let setup = |source| Error::Setup { endpoint: self.endpoint.clone(), source };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("commctl/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TOTAL_TIMEOUT)
            .read_timeout(SILENCE)
            // A redirect could carry the credentials elsewhere.
            .redirect(redirect::Policy::none())
            // Servers stand in the operator's own network; a proxy for the web does not reach it.
            .no_proxy();
        if let Some(authority) = &self.certificate_authority {
            let pem = authority.read()?;
            let authorities = Certificate::from_pem_bundle(pem.expose_secret().as_bytes());
            builder = builder.tls_certs_only(authorities.map_err(setup)?);
        } else if self.is_plain {
            // A machine without roots is no reason to fail.
            builder = builder.tls_certs_only([]);
        }
        let of_plugin = credential.as_ref().and_then(|credential| credential.identity.as_ref());
        if let Some(identity) = of_plugin.or(self.identity.as_ref()) {
            let pem = identity.read()?;
            let identity = Identity::from_pem(pem.expose_secret().as_bytes());
            builder = builder.identity(identity.map_err(setup)?);
        }
        Ok(Current { http: builder.build().map_err(setup)?, credential })
    }
}
