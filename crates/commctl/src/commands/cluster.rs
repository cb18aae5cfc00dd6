//! `commctl cluster`

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{Context, operation};
use crate::cli::{One, Several, name};
use crate::error::Error;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a cluster
    #[command(after_help = "\
Examples:
  commctl cluster create web
  commctl cluster create --network internal --container-manager ocp web

Creating the same cluster again changes nothing; a different one of that name is refused.")]
    Create(Create),
    /// Show a cluster, its members and how many of them are available
    #[command(after_help = "Example:\n  commctl cluster get web")]
    Get(One),
    /// List the clusters
    #[command(after_help = "Example:\n  commctl cluster list")]
    List,
    /// Delete clusters; their hosts stay, as members of none
    #[command(after_help = "Example:\n  commctl cluster delete web staging")]
    Delete(Several),
    /// Restart the hosts of a cluster, one after the other
    #[command(subcommand)]
    Restart(operation::Command<operation::Restart>),
    /// Bring the hosts of a cluster up to date, one after the other
    #[command(subcommand)]
    Upgrade(operation::Command<operation::Upgrade>),
    /// Deploy a version of the tree to the OSTree hosts of a cluster, one after the other
    #[command(subcommand)]
    Deploy(operation::Command<operation::Deploy>),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Type of the cluster
    #[arg(short = 't', long = "type", value_enum, default_value_t = Type::Kubernetes)]
    kind: Type,
    /// Network of its hosts
    #[arg(short, long, default_value = "default", value_parser = name)]
    network: String,
    /// Container manager its hosts join
    #[arg(short, long, value_name = "NAME", value_parser = name)]
    container_manager: Option<String>,
    /// Name of the new cluster
    #[arg(value_parser = name)]
    name: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Type {
    Kubernetes,
    HostOnly,
}

impl Type {
    fn as_str(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::HostOnly => "host_only",
        }
    }
}

impl Command {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), Error> {
        match self {
            Self::Create(create) => create.run(context).await,
            Self::Get(One { name }) => context.show(&["cluster", name], "cluster").await,
            Self::List => context.show(&["clusters"], "cluster").await,
            Self::Delete(Several { names }) => context.delete("cluster", names).await,
            Self::Restart(command) => command.run(&operation::RESTART, context).await,
            Self::Upgrade(command) => command.run(&operation::UPGRADE, context).await,
            Self::Deploy(command) => command.run(&operation::DEPLOY, context).await,
        }
    }
}

impl Create {
    async fn run(&self, context: &Context) -> Result<(), Error> {
        let record = context.client()?.put(&["cluster", &self.name], &self.body()).await?;
        context.print(&record, "cluster")
    }

    fn body(&self) -> Value {
        let mut body = json!({"type": self.kind.as_str(), "network": self.network});
        if let Some(container_manager) = &self.container_manager {
            body["container_manager"] = json!(container_manager);
        }
        body
    }
}
