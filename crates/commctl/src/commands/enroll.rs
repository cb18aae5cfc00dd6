//! `commctl enroll`: tokens with which hosts register themselves.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::args::{count, name};
use crate::context::Context;
use crate::error::Error;
use crate::lists;
use crate::output::{self, Filters, views};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a token; it is shown this once
    #[command(after_help = "\
Examples:
  commctl enroll create --cluster web --uses 20 --expires 2h --from 10.0.0.0/8
  token=$(commctl enroll create --bare)")]
    Create(Create),
    /// List the enrollments, without their tokens
    #[command(after_help = "Example:\n  commctl -o table enroll list")]
    List(Filters),
    /// Revoke tokens; hosts that registered with them stay
    #[command(after_help = "Example:\n  commctl enroll revoke 5c1f0e6a")]
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Hosts become members of this cluster
    #[arg(short, long, value_parser = name)]
    cluster: Option<String>,
    /// When it ends: seconds, a duration like `2h`, or a time like `2026-12-31T12:00:00Z`
    #[arg(short, long, default_value = "24h")]
    expires: String,
    /// How many hosts may register with it
    #[arg(short, long, value_name = "COUNT", default_value_t = 1, value_parser = count)]
    uses: u32,
    /// Only from this network; may be repeated [default: from anywhere]
    #[arg(short, long, value_name = "NETWORK")]
    from: Vec<String>,
    /// Print nothing but the token
    #[arg(short, long)]
    bare: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Their ids, as `enroll list` shows them
    #[arg(value_name = "ID", value_parser = name, required = true)]
    ids: Vec<String>,
}

impl Command {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), Error> {
        match self {
            Self::Create(create) => create.run(context).await,
            Self::List(filters) => {
                lists::records(context, &["enrollments"], &views::ENROLLMENT, filters).await
            }
            Self::Revoke(Revoke { ids }) => context.delete("enrollment", ids).await,
        }
    }
}

impl Create {
    async fn run(&self, context: &Context) -> Result<(), Error> {
        let body = request(self.cluster.as_deref(), &self.expires, self.uses, &self.from);
        let made = context.client()?.post(&["enrollments"], &body).await?;
        if self.bare {
            output::print_line(token(&made)?)
        } else {
            context.print(&made, &views::ENROLLMENT)
        }
    }
}

/// What an enrollment is asked for with.
pub(super) fn request(cluster: Option<&str>, expires: &str, uses: u32, from: &[String]) -> Value {
    let mut body = json!({"expires": self::expires(expires), "uses": uses, "from": from});
    if let Some(cluster) = cluster {
        body["cluster"] = json!(cluster);
    }
    body
}

/// When a token ends, as the server reads it: a plain number is one of seconds.
pub(super) fn expires(text: &str) -> Value {
    match text.parse::<u64>() {
        Ok(seconds) => json!(seconds),
        Err(_) => json!(text),
    }
}

/// The token that was just made.
pub(super) fn token(made: &Value) -> Result<&str, Error> {
    match made.get("token").and_then(Value::as_str) {
        Some(token) if !token.contains(char::is_control) => Ok(token),
        _ => Err(Error::Failed("the server's answer holds no token".to_owned())),
    }
}
