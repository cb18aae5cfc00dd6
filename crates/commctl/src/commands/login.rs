//! `commctl login`: writes the configuration, once the server is trusted and has accepted the user.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Args;
use reqwest::Url;
use rustls::pki_types::CertificateDer;
use secrecy::{ExposeSecret as _, SecretString};

use crate::client::Client;
use crate::config::ask::{Asker, prompt};
use crate::config::{self, ConfigFile, NewLogin};
use crate::context::Context;
use crate::endpoint::{is_loopback, shown};
use crate::error::Error;
use crate::login::Password;
use crate::pem::{self, Pem};
use crate::text::printable;
use crate::trust::{Chain, Fingerprint, NoAuthority};

const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:8000";
const DEFAULT_USER: &str = "admin";

/// Ends each error of which the operator must know this.
const NOTHING_DONE: &str = "No password was sent, and nothing was saved.";

/// The command that prints the fingerprint.
const WHERE: &str = "on the server, this prints its fingerprint: commissaire ca-fingerprint";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  commctl login                                  asks for everything
  commctl login https://10.0.0.9:8000            asks for the user's name and password
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

It writes endpoint, username, password and certificate_authority into the configuration, whose other
fields stay, and the authority beside it. Both files are readable by their owner only.")]
pub(crate) struct Login {
    /// Address of the server, such as `https://10.0.0.9:8000`
    // Not parsed here: clap would show a password in it.
    #[arg(value_name = "ENDPOINT")]
    endpoint: Option<String>,
    /// Name of the user
    #[arg(short, long, value_name = "NAME", value_parser = user_name)]
    username: Option<String>,
    /// Fingerprint of the server's own authority: 64 hexadecimal digits, with or without colons
    #[arg(long, value_name = "SHA256")]
    ca_fingerprint: Option<Fingerprint>,
    /// Send the password over plain HTTP to another machine, where the network can read it
    #[arg(long)]
    insecure_http: bool,
}

impl Login {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Error> {
        let file = ConfigFile::open(context.config.clone())?;
        let asker = Asker::of_this_process();
        let endpoint = self.endpoint(&file, &asker)?;
        let authority = self.authority(&endpoint, &file, &asker).await?;
        let username = self.username(&file, &asker)?;
        let password = password(&username)?;
        let login = NewLogin { endpoint, user: Password { username, password }, authority };
        let client = Client::new(file.with(&login))?;
        let NewLogin { endpoint, user: Password { username, .. }, .. } = &login;
        let endpoint = shown(endpoint);
        client.get(&["clusters"]).await.map_err(|error| {
            error.advise(format!("this was {username:?} at {endpoint}; nothing was saved"))
        })?;
        let written = file.save(&login)?;
        let written: Vec<_> = written.iter().map(|path| path.display().to_string()).collect();
        eprintln!("logged in to {endpoint} as {username:?}; written: {}", written.join(", "));
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

/// A server that shows certificates.
struct Server<'a> {
    endpoint: &'a str,
    chain: Chain,
    file: &'a ConfigFile,
}

impl Server<'_> {
    /// Its own authority, which must have this fingerprint.
    fn confirmed(&self, expected: &Fingerprint) -> Result<Pem, Error> {
        let authority = self.chain.own_authority().map_err(|reason| self.untrusted(&reason))?;
        let fingerprint = Fingerprint::of(authority);
        if fingerprint == *expected {
            return Ok(Pem::Text(pem::to_pem(authority).into()));
        }
        Err(Error::Failed(format!(
            "the authority of {} has the fingerprint {fingerprint}, not {expected}: it is another \
             server, or has another authority now; {WHERE}. {NOTHING_DONE}",
            self.endpoint
        )))
    }

    /// The authority that the configuration names, if the server still has a certificate of it.
    fn unchanged(&self, path: PathBuf) -> Result<Pem, Error> {
        let pinned = authorities(&path)?;
        let Err(cause) = self.chain.verify_by(&pinned) else { return Ok(Pem::File(path)) };
        let (endpoint, file) = (self.endpoint, self.file.path.display());
        let named = path.display();
        Err(Error::Failed(match self.chain.own_authority() {
            Ok(authority) => {
                let now = Fingerprint::of(authority);
                let pinned = pinned.iter().map(|pinned| Fingerprint::of(pinned).to_string());
                let pinned: Vec<_> = pinned.collect();
                format!(
                    "the authority of {endpoint} has changed: its fingerprint is {now} now, and \
                     {} in {named}. If that is expected, pass --ca-fingerprint, or remove the field \
                     certificate_authority from {file}; {WHERE}. {NOTHING_DONE}",
                    pinned.join(", ")
                )
            }
            Err(_) => format!(
                "the certificate of {endpoint} does not verify by the authority in {named}: {}. If \
                 it is of another authority now, remove the field certificate_authority from {file}. \
                 {NOTHING_DONE}",
                printable(&cause.to_string())
            ),
        }))
    }

    /// Its own authority, of whose fingerprint the operator types the beginning.
    fn recognized(&self, cause: &rustls::Error, asker: &Asker) -> Result<Pem, Error> {
        let endpoint = self.endpoint;
        let authority = self.chain.own_authority().map_err(|reason| match reason {
            NoAuthority::Missing => self.untrusted(cause),
            NoAuthority::Invalid(_) => self.untrusted(&reason),
        })?;
        if !asker.is_at_a_terminal() {
            return Err(Error::Failed(format!(
                "{endpoint} has a certificate of its own authority, which this machine does not \
                 know: pass that authority's fingerprint with --ca-fingerprint; {WHERE}. {NOTHING_DONE}"
            )));
        }
        // The fingerprint is not shown: it would only be copied from here.
        eprintln!(
            "{endpoint} has a certificate of its own authority, which this machine does not know.\n\
             The server has printed the authority's fingerprint at its start;\n{WHERE}"
        );
        let typed = prompt("first eight characters of the fingerprint")
            .map_err(|error| cannot_ask(&error))?;
        if Fingerprint::of(authority).is_typed(&typed) {
            return Ok(Pem::Text(pem::to_pem(authority).into()));
        }
        Err(Error::Failed(format!(
            "the authority of {endpoint} has another fingerprint than the one that was typed: is it \
             the server that is meant? {NOTHING_DONE}"
        )))
    }

    fn untrusted(&self, reason: &dyn std::error::Error) -> Error {
        Error::Failed(format!(
            "the certificate of {} is not trusted: {}. If it is of an authority whose PEM file you \
             have, put \"certificate_authority\": \"FILE\" into {}. {NOTHING_DONE}",
            self.endpoint,
            printable(&reason.to_string()),
            self.file.path.display()
        ))
    }
}

fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = Pem::File(path.to_owned()).read()?;
    pem::certificates(text.expose_secret()).map_err(|error| {
        Error::Usage(format!("{} holds no certificates in PEM: {error}", path.display()))
    })
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
