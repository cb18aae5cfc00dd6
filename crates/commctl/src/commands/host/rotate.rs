//! `commctl host rotate`

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{ArgGroup, Args};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::address;
use super::create::{host_key, private_key};
use crate::args::name;
use crate::context::Context;
use crate::error::Error;
use crate::output::views;

pub(super) const EXAMPLES: &str = "\
Examples:
  commctl host rotate 10.0.0.1 ~/.ssh/fleet-2026    this private key from now on
  vault read -field=key ssh/web1 | commctl host rotate 10.0.0.1 -
  commctl host rotate --server-key 10.0.0.1         the server's own key from now on
  commctl host rotate -u fedora --ssh-port 2222 10.0.0.1

What is not named stays as it is. The server logs in with the new credentials first, so put a new
key into the host's authorized_keys before: while the log-in is refused nothing changes. A host that
had failed is then looked at again.";

#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("change").required(true).multiple(true)),
    // At least one change; made by itself the line is too long for a terminal.
    override_usage = "commctl host rotate [OPTIONS] <ADDRESS> [KEYFILE]"
)]
pub(crate) struct Rotate {
    /// Whom to log in as
    #[arg(short = 'u', long, value_name = "USER", group = "change")]
    remote_user: Option<String>,
    /// Port of its SSH server
    #[arg(long, value_name = "PORT", group = "change", value_parser = clap::value_parser!(u16).range(1..))]
    ssh_port: Option<u16>,
    /// Its SSH host key, or a file with it (a copy of its `.pub` file): no other
    /// is then accepted
    #[arg(long, value_name = "KEY|FILE", group = "change")]
    host_key: Option<String>,
    /// Log in with the server's own key
    #[arg(long, group = "change", conflicts_with = "keyfile")]
    server_key: bool,
    /// Its address, or a name that resolves to it
    #[arg(value_parser = name)]
    address: String,
    /// Private key that opens the host (- for standard input)
    #[arg(group = "change")]
    keyfile: Option<PathBuf>,
}

impl Rotate {
    pub(super) async fn run(&self, context: &Context) -> Result<(), Error> {
        let body = self.body()?;
        let client = context.client()?;
        let address = address::known(&client, &self.address).await?;
        let host = client.put(&["host", &address, "creds"], &body).await?;
        context.print(&host, &views::HOST)
    }

    /// What is to change.
    fn body(&self) -> Result<Value, Error> {
        let mut body = json!({});
        if let Some(path) = &self.keyfile {
            body["ssh_priv_key"] = json!(STANDARD.encode(private_key(path)?.expose_secret()));
        }
        if self.server_key {
            body["ssh_priv_key"] = json!("");
        }
        if let Some(user) = &self.remote_user {
            body["remote_user"] = json!(user);
        }
        if let Some(port) = self.ssh_port {
            body["ssh_port"] = json!(port);
        }
        if let Some(given) = &self.host_key {
            body["ssh_host_key"] = json!(host_key(given)?);
        }
        Ok(body)
    }
}
