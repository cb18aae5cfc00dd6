//! `commctl token`: API tokens, with which programs act for a user.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::enroll::{expires, token};
use crate::args::name;
use crate::client::Client;
use crate::context::{Context, delete_each};
use crate::error::Error;
use crate::lists;
use crate::output::{self, Filters, views};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a token with a part of your rights, and print it: it is shown this once
    #[command(after_help = "\
Examples:
  commctl token create --role operator --cluster web --expires 90d deploy
  commctl token create --role reader --cluster '*' --from 10.0.0.0/8 monitoring > token

A program sends it as a bearer token. commctl sends it as the password of the user `token`:
  printf 'Authorization: Bearer %s' \"$(cat token)\" | curl -H @- https://10.0.0.9:8000/api/v0/hosts
  commctl --config ci.json login https://10.0.0.9:8000 --username token < token
  {\"username\": \"token\", \"password\": \"cmsr_…\", \"endpoint\": \"https://10.0.0.9:8000\"}

It never has more rights than you have when it is used, and makes no further tokens.")]
    Create(Create),
    /// List your tokens, without their secrets; an administrator of all clusters sees those of all users
    #[command(after_help = "Example:\n  commctl -o table token list")]
    List(Filters),
    /// Revoke tokens: from then on, they are refused
    #[command(after_help = "Examples:
  commctl token revoke deploy
  commctl token revoke 5c1f0e6a12ab")]
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The highest role that it gives; `backup` takes backups, and nothing else
    #[arg(short, long, value_parser = ["backup", "reader", "operator", "admin"])]
    role: String,
    /// A cluster that it gives the role on, a pattern like `web-*`, or `*` for all; may be repeated
    #[arg(short, long = "cluster", value_name = "CLUSTER", value_parser = name, required = true)]
    clusters: Vec<String>,
    /// When it ends, within 366 days: seconds, a duration like `90d`, or a time like
    /// `2026-12-31T12:00:00Z`
    #[arg(short, long, default_value = "90d")]
    expires: String,
    /// Accepted only from this network; may be repeated [default: from anywhere]
    #[arg(short, long, value_name = "NETWORK")]
    from: Vec<String>,
    /// Its name, unique among your tokens
    #[arg(value_parser = name)]
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Their names, or their ids, as `token list` shows them; those of other users by their ids alone
    #[arg(value_name = "NAME|ID", value_parser = name, required = true)]
    tokens: Vec<String>,
}

impl Command {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), Error> {
        match self {
            Self::Create(create) => create.run(context).await,
            Self::List(filters) => {
                lists::records(context, &["tokens"], &views::TOKEN, filters).await
            }
            Self::Revoke(revoke) => revoke.run(context).await,
        }
    }
}

impl Create {
    /// The bare token, ready to be written into a file, unless a format was asked for.
    async fn run(&self, context: &Context) -> Result<(), Error> {
        let Self { name, role, clusters, from, .. } = self;
        let expires = expires(&self.expires);
        let body = json!({"name": name, "role": role, "clusters": clusters, "expires": expires, "from": from});
        let made = context.client()?.post(&["tokens"], &body).await?;
        if context.asked.is_some() {
            return context.print(&made, &views::TOKEN);
        }
        output::print_line(token(&made)?)?;
        let text = |field| made.get(field).and_then(Value::as_str).unwrap_or("?");
        eprintln!("made the token {name} ({}), which expires at {}", text("id"), text("expires"));
        eprintln!("keep it to yourself: it is shown this once");
        Ok(())
    }
}

impl Revoke {
    async fn run(&self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let own = own_tokens(&client).await?;
        let revoke = async |token: &str| {
            let named = own.iter().find(|(name, _)| name == token);
            let id = named.map_or(token, |(_, id)| id.as_str());
            client.delete(&["token", id]).await.map(drop)
        };
        delete_each(&self.tokens, revoke).await
    }
}

/// The names and ids of the caller's own tokens.
async fn own_tokens(client: &Client) -> Result<Vec<(String, String)>, Error> {
    let caller = client.get(&["whoami"]).await?;
    let tokens = client.get(&["tokens"]).await?;
    let own =
        tokens.as_array().into_iter().flatten().filter(|token| token["owner"] == caller["name"]);
    let text = |token: &Value, field: &str| token[field].as_str().unwrap_or_default().to_owned();
    Ok(own.map(|token| (text(token, "name"), text(token, "id"))).collect())
}
