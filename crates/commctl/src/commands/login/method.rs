//! How the user logs in: with a password, or at an identity provider that the server names.

use reqwest::Url;

use super::{Login, cannot_ask};
use crate::client::Client;
use crate::config::ConfigFile;
use crate::config::ask::{Asker, prompt};
use crate::endpoint::shown;
use crate::error::Error;
use crate::login::Login as Credentials;
use crate::oidc::{Flow, Logins, Provider};
use crate::pem::Pem;
use crate::text::printable;

/// The answer that chooses a user name and a password.
const PASSWORD: &str = "password";

/// How the user logs in.
#[derive(Debug)]
pub(super) enum Method {
    Password,
    Provider(Provider),
}

impl Login {
    pub(super) fn flow(&self) -> Flow {
        if self.device { Flow::Device } else { Flow::Browser { opens: !self.no_browser } }
    }

    /// The method that the options name, else the only one, else the one that is chosen on the terminal.
    pub(super) async fn method(
        &self,
        endpoint: &Url,
        authority: Option<&Pem>,
        file: &ConfigFile,
        asker: &Asker,
    ) -> Result<Method, Error> {
        if self.username.is_some() {
            return Ok(Method::Password);
        }
        let logins = logins(endpoint, authority, file).await?;
        let shown = shown(endpoint);
        let names: Vec<_> = logins.providers.iter().map(|provider| provider.name.clone()).collect();
        let known = printable(&names.join(", "));
        let find = |name: &str| logins.providers.iter().find(|provider| provider.name == name);
        if let Some(name) = &self.provider {
            let unknown = || match known.as_str() {
                "" => format!("{shown} has no identity providers for log-ins"),
                known => format!("{shown} has no identity provider {name:?}; it has {known}"),
            };
            let provider = find(name).ok_or_else(|| Error::Usage(unknown()))?;
            return Ok(Method::Provider(provider.clone()));
        }
        let wants_provider = self.device || self.no_browser;
        let allows_password = logins.password && !wants_provider;
        match &logins.providers[..] {
            [] if wants_provider => {
                Err(Error::Usage(format!("{shown} has no identity providers for log-ins")))
            }
            [] => Ok(Method::Password),
            [provider] if !allows_password => Ok(Method::Provider(provider.clone())),
            [first, ..] if asker.is_at_a_terminal() => {
                let default = match (file.provider().and_then(find), file.username()) {
                    (Some(provider), _) => &provider.name,
                    (None, Some(_)) if allows_password => PASSWORD,
                    _ => &first.name,
                };
                let choices = names.iter().map(String::as_str);
                let choices = choices.chain(allows_password.then_some(PASSWORD));
                let choices = choices.map(|choice| {
                    if choice == default { format!("[{choice}]") } else { choice.to_owned() }
                });
                let choices: Vec<_> = choices.collect();
                let answer = prompt(&format!("log in with {}", printable(&choices.join("/"))));
                let answer = answer.map_err(|error| cannot_ask(&error))?;
                let answer = if answer.is_empty() { default } else { answer.as_str() };
                match find(answer) {
                    Some(provider) => Ok(Method::Provider(provider.clone())),
                    None if answer == PASSWORD && allows_password => Ok(Method::Password),
                    None => {
                        Err(Error::Usage(format!("{answer:?} is not one of {}", choices.join("/"))))
                    }
                }
            }
            _ if allows_password => Ok(Method::Password),
            _ => Err(Error::Usage(format!(
                "{shown} has several identity providers: choose one of {known} with --provider"
            ))),
        }
    }
}

/// The ways to log in that the server names. An older one has passwords only; a proxy may answer in its place.
async fn logins(
    endpoint: &Url,
    authority: Option<&Pem>,
    file: &ConfigFile,
) -> Result<Logins, Error> {
    // The server answers anyone; a proxy before it may ask for the client certificate.
    let client = Client::new(file.connection(endpoint, authority, Credentials::Certificate))?;
    let answer = match client.get(&["login"]).await {
        Err(
            Error::Refused { status: 401 | 403 | 404, .. }
            | Error::NotCommissaire { .. }
            | Error::NotJson { .. },
        ) => {
            return Ok(Logins { password: true, providers: Vec::new() });
        }
        answer => answer?,
    };
    let logins = serde_json::from_value(answer).ok().filter(Logins::has_valid_names);
    logins.ok_or_else(|| {
        Error::Failed(format!(
            "{} does not say how to log in: GET /api/v0/login has another form than commctl expects. \
             To log in with a password, pass --username",
            shown(endpoint)
        ))
    })
}
