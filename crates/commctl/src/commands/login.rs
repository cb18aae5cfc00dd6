//! `commctl login`: writes the configuration, once the server is trusted and has accepted the user.

mod method;
mod server;

use std::io::{BufRead as _, IsTerminal as _};

use clap::Args;
use reqwest::Url;
use secrecy::SecretString;
use serde_json::Value;

use self::method::Method;
use self::server::Server;
use crate::client::Client;
use crate::config::ask::{Asker, prompt};
use crate::config::{self, ConfigFile, Credentials, NewLogin};
use crate::context::Context;
use crate::endpoint::{is_loopback, shown};
use crate::error::Error;
use crate::login::Password;
use crate::pem::Pem;
use crate::text::printable;
use crate::trust::{Chain, Fingerprint};

const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:8000";
const DEFAULT_USER: &str = "admin";

/// Ends each error of which the operator must know this.
const NOTHING_DONE: &str = "No password was sent, and nothing was saved.";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  commctl login                                  asks for everything
  commctl login https://10.0.0.9:8000            asks how to log in, or for name and password
  commctl login https://10.0.0.9:8000 --provider corp    opens a browser
  commctl login --context prod https://10.0.0.8:8000     another server beside the first one
  commctl login --device                         the browser is on another machine
  commctl login < /var/lib/commissaire/admin-password    on the server, once it is installed
  commctl login https://10.0.0.9:8000 --username ci --ca-fingerprint AB:CD:… < password.txt
  commctl --config test.json login https://10.0.0.7:8000

On a terminal it asks for what is missing. Without one, the password is the first line of standard
input, and what is missing has the defaults: the configuration's endpoint and username, else
http://127.0.0.1:8000 and admin. The server is verified before the password is sent: by the roots of
the system, or by the certificate_authority that the configuration names for this endpoint. A server
with an authority of its own is trusted by that, once --ca-fingerprint has its SHA-256 fingerprint,
or the first eight characters of it are typed on the terminal: the server prints it at its start,
and `commissaire ca-fingerprint` prints it there later.

An authority that has changed since is refused without a question; --ca-fingerprint accepts it.

If the server names identity providers, one of them can be chosen instead of a user name and a
password. commctl then opens the provider's page in a browser, waits up to five minutes for the
answer, and refreshes the tokens before they expire.

It writes endpoint, certificate_authority and either username and password or identity_provider into
the configuration, whose other fields stay, the authority beside it, and tokens into the directory
.commissaire-tokens beside it. All files are readable by their owner only.")]
pub(crate) struct Login {
    /// Address of the server, such as `https://10.0.0.9:8000`
    // Not parsed here: clap would show a password in it.
    #[arg(value_name = "ENDPOINT")]
    endpoint: Option<String>,
    /// Name of the user
    #[arg(short, long, value_name = "NAME", value_parser = user_name)]
    username: Option<String>,
    /// Log in at this identity provider, which the server names
    #[arg(long, value_name = "NAME", conflicts_with = "username")]
    provider: Option<String>,
    /// Log in at an identity provider with a browser on another machine, by entering a code
    #[arg(long, conflicts_with_all = ["username", "no_browser"])]
    device: bool,
    /// Log in at an identity provider, and print the address to open instead of opening it
    #[arg(long, conflicts_with = "username")]
    no_browser: bool,
    /// Fingerprint of the server's own authority: 64 hexadecimal digits, with or without colons
    #[arg(long, value_name = "SHA256")]
    ca_fingerprint: Option<Fingerprint>,
    /// Send credentials, and receive the provider's address, over plain HTTP to another machine,
    /// where the network can read and change them
    #[arg(long)]
    insecure_http: bool,
}

impl Login {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Error> {
        let file = ConfigFile::open(context.source()?.clone())?;
        let asker = Asker::of_this_process();
        let endpoint = self.endpoint(&file, &asker)?;
        let authority = self.authority(&endpoint, &file, &asker).await?;
        let credentials = match self.method(&endpoint, authority.as_ref(), &file, &asker).await? {
            Method::Password => {
                let username = self.username(&file, &asker)?;
                let password = password(&username)?;
                Credentials::Password(Password { username, password })
            }
            Method::Provider(provider) => {
                file.check_writable()?;
                Credentials::Tokens(Box::new(provider.log_in(self.flow()).await?))
            }
        };
        let login = NewLogin { endpoint, credentials, authority };
        let client = Client::new(file.with(&login))?;
        let shown = shown(&login.endpoint);
        let user = match &login.credentials {
            Credentials::Password(Password { username, .. }) => {
                client.get(&["clusters"]).await.map_err(|error| {
                    error.advise(format!("this was {username:?} at {shown}; nothing was saved"))
                })?;
                username.clone()
            }
            Credentials::Tokens(tokens) => {
                let provider = &tokens.provider.name;
                let caller = match client.get(&["whoami"]).await {
                    Ok(caller) => caller,
                    Err(error) => {
                        // Best effort: they are not kept here.
                        let _revoked = tokens.revoke().await;
                        let advice = format!(
                            "this was the log-in with {provider:?} at {shown}; nothing was saved"
                        );
                        return Err(error.advise(advice));
                    }
                };
                caller.get("name").and_then(Value::as_str).unwrap_or(provider).to_owned()
            }
        };
        let written = match file.save(&login).await {
            Ok(written) => written,
            Err(error) => {
                if let Credentials::Tokens(tokens) = &login.credentials {
                    // Best effort: they are not kept here.
                    let _revoked = tokens.revoke().await;
                }
                return Err(error);
            }
        };
        let written: Vec<_> = written.iter().map(|path| path.display().to_string()).collect();
        let user = printable(&user);
        eprintln!("logged in to {shown} as {user:?}; written: {}", written.join(", "));
        Ok(())
    }

    fn endpoint(&self, file: &ConfigFile, asker: &Asker) -> Result<Url, Error> {
        let default = file.endpoint().unwrap_or(DEFAULT_ENDPOINT);
        Ok(config::endpoint(&given_or_asked("endpoint", self.endpoint.as_ref(), default, asker)?)?)
    }

    fn username(&self, file: &ConfigFile, asker: &Asker) -> Result<String, Error> {
        let default = file.username().unwrap_or(DEFAULT_USER);
        let name = given_or_asked("username", self.username.as_ref(), default, asker)?;
        user_name(&name).map_err(Error::Usage)
    }

    /// The authority that the server is trusted by, if not by the roots of the system. No request is
    /// sent to find out.
    async fn authority(
        &self,
        endpoint: &Url,
        file: &ConfigFile,
        asker: &Asker,
    ) -> Result<Option<Pem>, Error> {
        let known = file.authority_of(endpoint);
        if endpoint.scheme() == "http" {
            self.check_plain(endpoint)?;
            return Ok(known.map(Pem::File));
        }
        let server = Server { endpoint: shown(endpoint), chain: Chain::of(endpoint).await?, file };
        match (&self.ca_fingerprint, known) {
            (Some(fingerprint), _) => server.confirmed(fingerprint).map(Some),
            (None, Some(path)) => server.unchanged(path).map(Some),
            (None, None) => match server.chain.verify_by_system() {
                Ok(()) => Ok(None),
                Err(cause) => server.recognized(&cause, asker).map(Some),
            },
        }
    }

    /// Passwords do not travel over plain HTTP unless the operator says so.
    fn check_plain(&self, endpoint: &Url) -> Result<(), Error> {
        let is_this_machine = is_loopback(endpoint);
        let endpoint = shown(endpoint);
        if self.ca_fingerprint.is_some() {
            return Err(Error::Usage(format!(
                "--ca-fingerprint: {endpoint} is plain HTTP, and shows no certificate: use https://"
            )));
        }
        if is_this_machine || self.insecure_http {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "{endpoint} is plain HTTP on another machine: the network could read the password. Use \
             https://, or pass --insecure-http. {NOTHING_DONE}"
        )))
    }
}

/// What the command line gives, else the answer on a terminal, else the default.
fn given_or_asked(
    name: &str,
    given: Option<&String>,
    default: &str,
    asker: &Asker,
) -> Result<String, Error> {
    if let Some(given) = given {
        return Ok(given.clone());
    }
    if !asker.is_at_a_terminal() {
        return Ok(default.to_owned());
    }
    let answer = prompt(&format!("{name} [{default}]")).map_err(|error| cannot_ask(&error))?;
    Ok(if answer.is_empty() { default.to_owned() } else { answer })
}

fn password(username: &str) -> Result<SecretString, Error> {
    let password = if std::io::stdin().is_terminal() {
        rpassword::prompt_password(format!("password of {username}: "))
            .map_err(|error| cannot_ask(&error))?
    } else {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map_err(|error| {
            Error::Failed(format!("cannot read the password from standard input: {error}"))
        })?;
        let line = line.strip_suffix('\n').unwrap_or(&line);
        line.strip_suffix('\r').unwrap_or(line).to_owned()
    };
    if password.is_empty() {
        return Err(Error::Usage(format!(
            "the password of {username} is empty: type it on a terminal, or give it as the first \
             line of standard input"
        )));
    }
    Ok(password.into())
}

/// HTTP Basic ends a user name at the first colon.
fn user_name(text: &str) -> Result<String, String> {
    match text.chars().find(|c| *c == ':' || c.is_control()) {
        Some(c) => Err(format!("the name of a user cannot contain {c:?}")),
        None if text.is_empty() => Err("the name of a user cannot be empty".to_owned()),
        None => Ok(text.to_owned()),
    }
}

fn cannot_ask(error: &std::io::Error) -> Error {
    Error::Failed(format!("cannot ask on the terminal: {error}"))
}
