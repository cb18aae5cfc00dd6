//! `commctl host`

mod address;
mod create;
mod investigate;
mod list;
mod node;
mod rotate;
pub(crate) mod ssh;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::create::Create;
use self::investigate::Investigate;
use self::list::List;
use self::node::{Cordon, Drain, Place, Uncordon, drain_first};
use self::rotate::Rotate;
use self::ssh::Ssh;
use crate::args::name;
use crate::client::Client;
use crate::context::{Context, delete_each};
use crate::error::Error;
use crate::output::{self, views};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add a host: the server logs in, looks at it and sets it up
    #[command(after_help = create::EXAMPLES)]
    Create(Create),
    /// Show a host
    #[command(after_help = "Example:\n  commctl host get 10.0.0.1")]
    Get(OneHost),
    /// List all hosts, or the addresses of a cluster's members
    #[command(after_help = "\
Examples:
  commctl host list
  commctl -o table host list
  commctl host list web
  commctl host list --filter status=failed --filter cluster!=test")]
    List(List),
    /// Show how a host is doing, and why when it failed
    #[command(after_help = "Example:\n  commctl host status 10.0.0.1")]
    Status(OneHost),
    /// Investigate a failed host again, or all failed ones, after the cause has been removed
    #[command(after_help = investigate::EXAMPLES)]
    Investigate(Investigate),
    /// Accept the new key of a host that was reinstalled; the host is then looked at again
    #[command(after_help = "\
Compare the fingerprint with the host's own before you accept it, at its console:
  ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub

Example:
  commctl host accept-key 10.0.0.1 SHA256:oS6uUZQPKCYRBzkbA1ZJwzcN2gCxa5wZPyXDBQ8nVbM")]
    AcceptKey(AcceptKey),
    /// Change the key, user, port or host key that a host is reached with, once a log-in with them works
    #[command(after_help = rotate::EXAMPLES)]
    Rotate(Rotate),
    /// Cordon the node of a host: no pods are scheduled on it
    #[command(after_help = node::CORDON)]
    Cordon(Cordon),
    /// Uncordon the node of a host
    #[command(after_help = "Example:\n  commctl host uncordon 10.0.0.1")]
    Uncordon(Uncordon),
    /// Cordon the node of a host and evict its pods
    #[command(after_help = node::DRAIN)]
    Drain(Box<Drain>),
    /// Set the node of a host and its quorum group
    #[command(after_help = node::PLACE)]
    Place(Place),
    /// Remove hosts, from their clusters too; the machines themselves are left as they are
    #[command(after_help = "Example:\n  commctl host delete 10.0.0.1 10.0.0.2")]
    Delete(Delete),
    /// Put a host into a cluster
    #[command(after_help = "Example:\n  commctl host join 10.0.0.1 web")]
    Join(Membership),
    /// Take a host out of a cluster
    #[command(after_help = "Example:\n  commctl host unjoin 10.0.0.1 web")]
    Unjoin(Unjoin),
    /// Log in to a host, with the credentials and the host key that the server has for it
    #[command(after_help = ssh::EXAMPLES)]
    Ssh(Ssh),
    /// Print the server's own public key, as hosts must trust it
    #[command(after_help = "\
Example:
  commctl host publickey | ssh root@10.0.0.1 'cat >> .ssh/authorized_keys'
  commctl host create 10.0.0.1")]
    Publickey,
}

/// A host.
#[derive(Debug, Args)]
pub(crate) struct OneHost {
    /// Its address, or a name that resolves to it
    #[arg(value_parser = name)]
    address: String,
}

#[derive(Debug, Args)]
pub(crate) struct Unjoin {
    /// Do not drain its node before
    #[arg(long)]
    no_drain: bool,
    #[command(flatten)]
    membership: Membership,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Do not drain their nodes before
    #[arg(long)]
    no_drain: bool,
    /// Their addresses, or names that resolve to them
    #[arg(value_name = "ADDRESS", value_parser = name, required = true)]
    addresses: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AcceptKey {
    /// Address of the host, or a name that resolves to it
    #[arg(value_parser = name)]
    address: String,
    /// Fingerprint of its new key, as `host status` shows it
    fingerprint: String,
}

#[derive(Debug, Args)]
pub(crate) struct Membership {
    /// Address of the host, or a name that resolves to it
    #[arg(value_parser = name)]
    host: String,
    /// Name of the cluster
    #[arg(value_parser = name)]
    cluster: String,
}

impl Command {
    pub(crate) async fn run(&self, context: &Context) -> Result<ExitCode, Error> {
        match self {
            Self::Ssh(ssh) => return ssh.run(context).await,
            Self::Create(create) => create.run(context).await,
            Self::Get(host) => host.show(context).await,
            Self::List(list) => list.run(context).await,
            Self::Status(host) => host.show_status(context).await,
            Self::Investigate(investigate) => investigate.run(context).await,
            Self::AcceptKey(key) => key.run(context).await,
            Self::Rotate(rotate) => rotate.run(context).await,
            Self::Delete(delete) => delete.run(context).await,
            Self::Join(membership) => membership.join(context).await,
            Self::Unjoin(Unjoin { no_drain, membership }) => {
                membership.unjoin(context, !no_drain).await
            }
            Self::Cordon(cordon) => cordon.run(context).await,
            Self::Uncordon(uncordon) => uncordon.run(context).await,
            Self::Drain(drain) => drain.run(context).await,
            Self::Place(place) => place.run(context).await,
            Self::Publickey => publickey(context).await,
        }?;
        Ok(ExitCode::SUCCESS)
    }
}

impl OneHost {
    async fn show(&self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let address = address::known(&client, &self.address).await?;
        context.print(&client.get(&["host", &address]).await?, &views::HOST)
    }

    async fn show_status(&self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let address = address::known(&client, &self.address).await?;
        context.print(&client.get(&["host", &address, "status"]).await?, &views::HOST_DETAILS)
    }
}

impl AcceptKey {
    async fn run(&self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let address = address::known(&client, &self.address).await?;
        let body = json!({"fingerprint": self.fingerprint});
        let host = client.put(&["host", &address, "hostkey"], &body).await?;
        context.print(&host, &views::HOST)
    }
}

impl Delete {
    async fn run(&self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let delete = async |name: &str| {
            let address = address::known(&client, name).await?;
            let is_drained = !self.no_drain && drain_first(&client, &address).await?;
            client.delete(&["host", &address]).await?;
            if is_drained {
                eprintln!(
                    "the node of {address} stays cordoned: delete or uncordon it with kubectl"
                );
            }
            Ok(())
        };
        delete_each(&self.addresses, delete).await
    }
}

impl Membership {
    async fn join(&self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let host = address::known(&client, &self.host).await?;
        let members = client.put(&self.path(&host), &json!({})).await?;
        context.print(&members, &views::HOST)
    }

    async fn unjoin(&self, context: &Context, drains: bool) -> Result<(), Error> {
        let client = context.client()?;
        let host = self.member(&client).await?;
        let is_drained = drains && drain_first(&client, &host).await?;
        client.delete(&self.path(&host)).await?;
        eprintln!("{host} is no longer in {}", self.cluster);
        if is_drained {
            eprintln!("its node stays cordoned: commctl host uncordon {host}");
        }
        Ok(())
    }

    /// The address of the member, checked here because the server accepts the removal of a host that is not a member.
    /// A member may have lost its own record, and is then known to its cluster alone.
    async fn member(&self, client: &Client) -> Result<String, Error> {
        if client.find(&self.path(&self.host)).await?.is_some() {
            return Ok(self.host.clone());
        }
        let host = address::known(client, &self.host).await?;
        match client.get(&self.path(&host)).await {
            Ok(_) => Ok(host),
            Err(error @ Error::Refused { status: 404, .. }) => Err(error.advise(format!(
                "nothing was changed; commctl cluster list and commctl host list {} show what there \
                 is",
                self.cluster
            ))),
            Err(error) => Err(error),
        }
    }

    fn path<'a>(&'a self, host: &'a str) -> [&'a str; 4] {
        ["cluster", &self.cluster, "hosts", host]
    }
}

/// The bare line, ready to be appended to a file, unless a format was asked for.
async fn publickey(context: &Context) -> Result<(), Error> {
    let answer = context.client()?.get(&["publickey"]).await?;
    if context.asked.is_some() {
        return context.print(&answer, &views::PUBLIC_KEY);
    }
    output::print_line(one_key(&answer)?)
}

/// The server's own public key, in its answer.
pub(super) fn one_key(answer: &Value) -> Result<&str, Error> {
    match answer.get("public_key").and_then(Value::as_str).map(str::trim) {
        // More than one line would smuggle further keys in.
        Some(key) if !key.is_empty() && !key.contains(char::is_control) => Ok(key),
        _ => Err(Error::Failed("the server's answer holds no public key".to_owned())),
    }
}
