//! `commctl host create`

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::address::resolve;
use crate::args::{duration, name};
use crate::client::Client;
use crate::context::Context;
use crate::error::Error;
use crate::files::{ReadError, read_text};
use crate::output::views;
use crate::progress::{Progress, Step};
use crate::text::printable;
use crate::wait::Wait;

pub(super) const EXAMPLES: &str = "\
Examples:
  commctl host create 10.0.0.1                      the server's own key opens the host
  commctl host create -c web 10.0.0.1 ~/.ssh/fleet  this private key does
  vault read -field=key ssh/web1 | commctl host create web1.example.com -
  commctl host create --wait --bootstrap none -u fedora 10.0.0.1

For the server's own key put the line that `commctl host publickey` prints into the host's
authorized_keys first. With --wait the exit status is 0 once the host is ready, 1 when it failed.";

/// The port of a record that has none.
const DEFAULT_PORT: u16 = 22;

const PUBLIC_KEY_TYPES: [&str; 3] = ["ssh-", "ecdsa-", "sk-"];

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Put the host into this cluster
    #[arg(short, long, value_name = "CLUSTER", value_parser = name)]
    pub(crate) cluster: Option<String>,
    /// Whom to log in as [default: root]
    #[arg(short = 'u', long, value_name = "USER")]
    remote_user: Option<String>,
    /// Port of its SSH server [default: 22]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    ssh_port: Option<u16>,
    /// Its SSH host key, or a file with it (a copy of its `.pub` file): no other
    /// is then accepted
    #[arg(long, value_name = "KEY|FILE")]
    host_key: Option<String>,
    /// How much to set up [default: the server's, which is auto]
    #[arg(long, value_enum)]
    bootstrap: Option<Bootstrap>,
    /// Wait until the host is ready, and show its progress
    #[arg(short, long)]
    wait: bool,
    /// Stop waiting after this long
    #[arg(long, value_name = "DURATION", requires = "wait", default_value = "1h", value_parser = duration)]
    timeout: Duration,
    /// Its address; a name is resolved to an IPv4 address first
    #[arg(value_parser = name)]
    address: String,
    /// Private key that opens the host (- for standard input) [default: the server's own]
    keyfile: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Bootstrap {
    /// All that the manual says
    Full,
    /// All of it, but only on hosts that run no containers yet
    Auto,
    /// Only look
    None,
}

impl Bootstrap {
    fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Auto => "auto",
            Self::None => "none",
        }
    }
}

impl Create {
    pub(super) async fn run(&self, context: &Context) -> Result<(), Error> {
        let body = self.body()?;
        let client = context.client()?;
        let address = resolve(&self.address).await?;
        let asks_for_login = self.remote_user.is_some() || self.ssh_port.is_some();
        let is_known = asks_for_login && client.find(&["host", &address]).await?.is_some();
        let record = client.put(&["host", &address], &body).await.map_err(|error| {
            if error.outcome_unknown() {
                let status = come_back(&address);
                error.advise(format!("it may have been added nevertheless; look with: {status}"))
            } else {
                error
            }
        })?;
        if is_known {
            self.warn_of_another_login(&client, &address).await;
        }
        if !self.wait {
            return context.print(&record, &views::HOST);
        }
        let status = self.see_through(&client, &address, &record).await?;
        context.print(&client.get(&["host", &address]).await?, &views::HOST)?;
        outcome(&address, &status)
    }

    fn body(&self) -> Result<Value, Error> {
        let mut body = json!({});
        let mut set = |member: &str, value: Option<Value>| {
            if let Some(value) = value {
                body[member] = value;
            }
        };
        if let Some(path) = &self.keyfile {
            let key = STANDARD.encode(private_key(path)?.expose_secret());
            set("ssh_priv_key", Some(json!(key)));
        }
        set("cluster", self.cluster.as_ref().map(|cluster| json!(cluster)));
        set("remote_user", self.remote_user.as_ref().map(|user| json!(user)));
        set("ssh_port", self.ssh_port.map(|port| json!(port)));
        set("bootstrap", self.bootstrap.map(|bootstrap| json!(bootstrap.as_str())));
        let host_key = self.host_key.as_deref().map(host_key).transpose()?;
        set("ssh_host_key", host_key.map(|key| json!(key)));
        Ok(body)
    }

    /// The server leaves the user and port of a known host as they are, and answers as if it had taken these.
    async fn warn_of_another_login(&self, client: &Client, address: &str) {
        let user = self.remote_user.as_ref().map(|user| format!(" -u {user}")).unwrap_or_default();
        let port = self.ssh_port.map(|port| format!(" --ssh-port {port}")).unwrap_or_default();
        let rotate = format!("commctl host rotate{user}{port} {address}");
        let unchanged = match client.get(&["host", address, "creds"]).await {
            Ok(creds) => {
                let user = creds["remote_user"].as_str().unwrap_or_default();
                let port = creds["ssh_port"].as_u64().unwrap_or(DEFAULT_PORT.into());
                let is_same = self.remote_user.as_deref().is_none_or(|given| given == user)
                    && self.ssh_port.is_none_or(|given| u64::from(given) == port);
                if is_same {
                    return;
                }
                format!("is still logged in to as {} on port {port}", printable(user))
            }
            // Only administrators may read them.
            Err(error) => format!("keeps its user and port ({})", error.report()),
        };
        eprintln!("warning: {address} was known already and {unchanged}; to change that: {rotate}");
    }

    /// Shows the progress until the host is ready or has failed.
    async fn see_through(
        &self,
        client: &Client,
        address: &str,
        record: &Value,
    ) -> Result<Value, Error> {
        let what = format!("the set-up of {address}");
        let mut wait = Wait::new(what, come_back(address), self.timeout)?;
        let progress = Progress::default();
        let show = |host: &Value| {
            let status = host["status"].as_str().unwrap_or_default();
            let (host, state) = (address.to_owned(), status.to_owned());
            match status {
                "" => {}
                "disassociated" | "active" | "failed" => progress.show(Step::last(host, state)),
                _ => progress.show(Step::under_way(host, state)),
            }
            matches!(status, "disassociated" | "active" | "failed")
        };
        show(record);
        let done = |answer: &Value| Ok(show(&answer["host"]));
        wait.until(client, &["host", address, "status"], &progress, done).await
    }
}

fn come_back(address: &str) -> String {
    format!("commctl host status {address}")
}

fn outcome(address: &str, answer: &Value) -> Result<(), Error> {
    let host = &answer["host"];
    if host["status"] != "failed" {
        return Ok(());
    }
    let text = |member: &str| host[member].as_str().filter(|text| !text.is_empty());
    let reason: Vec<String> =
        [text("reason"), text("detail")].into_iter().flatten().map(printable).collect();
    let reason =
        if reason.is_empty() { "no reason is given".to_owned() } else { reason.join(": ") };
    Err(Error::Failed(format!("{address} failed: {reason}")))
}

/// A private key from a file, or from standard input.
pub(super) fn private_key(path: &Path) -> Result<SecretString, Error> {
    let mut key = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().read_to_string(&mut key)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut key))
    };
    let key = SecretString::from(key);
    read.map_err(|source| ReadError { path: path.to_owned(), source })?;
    let text = key.expose_secret();
    if text.trim().is_empty() {
        return Err(Error::Usage(format!("{} is empty", path.display())));
    }
    if is_public_key(text) {
        return Err(Error::Usage(format!(
            "{} holds a public key; the private one is needed",
            path.display()
        )));
    }
    Ok(key)
}

/// The host key itself, or the name of a file that holds it.
pub(super) fn host_key(given: &str) -> Result<String, Error> {
    let key = if is_public_key(given) { given.to_owned() } else { read_text(Path::new(given))? };
    let key = key.trim();
    if key.contains("PRIVATE KEY") {
        return Err(Error::Usage("--host-key is for the host's public key".to_owned()));
    }
    Ok(key.to_owned())
}

fn is_public_key(text: &str) -> bool {
    let mut words = text.split_whitespace();
    words.next().is_some_and(|kind| PUBLIC_KEY_TYPES.iter().any(|prefix| kind.starts_with(prefix)))
        && words.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_keys_are_told_from_file_names() {
        assert!(is_public_key("ssh-ed25519 AAAA root@h"));
        assert!(is_public_key("ecdsa-sha2-nistp256 AAAA"));
        assert!(!is_public_key("ssh-key.pub"));
        assert!(!is_public_key("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA"));
    }

    #[test]
    fn a_failure_has_its_reasons() {
        let answer =
            json!({"host": {"status": "failed", "reason": "unreachable", "detail": "no route"}});
        let error = outcome("10.0.0.1", &answer).unwrap_err();
        assert_eq!(error.report(), "10.0.0.1 failed: unreachable: no route");
        assert!(outcome("10.0.0.1", &json!({"host": {"status": "active"}})).is_ok());
    }
}
