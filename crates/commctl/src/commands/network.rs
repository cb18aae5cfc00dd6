//! `commctl network`

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use crate::args::{One, Several, name};
use crate::context::Context;
use crate::error::Error;
use crate::lists;
use crate::output::{Filters, views};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a network
    #[command(after_help = "\
Examples:
  commctl network create internal
  commctl network create -t flannel_server -o '{\"address\": \"10.0.0.1:8472\"}' internal
  commctl network create -t none bare")]
    Create(Create),
    /// Show a network
    #[command(after_help = "Example:\n  commctl network get internal")]
    Get(One),
    /// List the networks
    #[command(after_help = "Example:\n  commctl network list")]
    List(Filters),
    /// Delete networks that no cluster uses
    #[command(after_help = "Example:\n  commctl network delete internal")]
    Delete(Several),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Type of the network
    #[arg(short = 't', long = "type", value_enum, default_value_t = Type::FlannelEtcd)]
    kind: Type,
    /// Its options, a JSON object
    #[arg(short, long, value_name = "JSON", default_value = "{}", value_parser = object)]
    options: Map<String, Value>,
    /// Name of the new network
    #[arg(value_parser = name)]
    name: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Type {
    /// flannel, configured through etcd
    FlannelEtcd,
    /// flannel, configured by a flannel server: needs the option `address`
    FlannelServer,
    /// Nothing to install
    None,
}

impl Type {
    fn as_str(self) -> &'static str {
        match self {
            Self::FlannelEtcd => "flannel_etcd",
            Self::FlannelServer => "flannel_server",
            Self::None => "none",
        }
    }
}

impl Command {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), Error> {
        match self {
            Self::Create(create) => create.run(context).await,
            Self::Get(One { name }) => context.show(&["network", name], &views::NETWORK).await,
            Self::List(filters) => {
                lists::objects(context, ["networks", "network"], &views::NETWORK, filters).await
            }
            Self::Delete(Several { names }) => context.delete("network", names).await,
        }
    }
}

impl Create {
    async fn run(&self, context: &Context) -> Result<(), Error> {
        let body = json!({"type": self.kind.as_str(), "options": self.options});
        let record = context.client()?.put(&["network", &self.name], &body).await?;
        context.print(&record, &views::NETWORK)
    }
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|_| {
        "not a JSON object; -o is not the output format here: that is --output".to_owned()
    })
}
