//! `commctl cluster`

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::operation;
use crate::args::{One, Several, name};
use crate::client::Client;
use crate::context::Context;
use crate::error::Error;
use crate::lists::{self, array, of_each, strings};
use crate::live::text;
use crate::output::{Filters, views};
use crate::text::printable;

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
    #[command(after_help = "\
Examples:
  commctl cluster list
  commctl cluster list --filter status!=ok")]
    List(Filters),
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
    /// Type of the cluster [default: kubernetes]
    #[arg(short = 't', long = "type", value_name = "TYPE", value_enum)]
    kind: Option<Type>,
    /// Network of its hosts
    #[arg(short, long, default_value = DEFAULT_NETWORK, value_parser = name)]
    network: String,
    /// Container manager its hosts join; '' for a cluster without one, which is the default
    #[arg(short, long, value_name = "NAME", value_parser = name_or_none)]
    container_manager: Option<String>,
    /// Name of the new cluster
    #[arg(value_parser = name)]
    name: String,
}

/// The network that there always is.
const DEFAULT_NETWORK: &str = "default";

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
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
            Self::Get(One { name }) => context.show(&["cluster", name], &views::CLUSTER).await,
            Self::List(filters) => list(context, filters).await,
            Self::Delete(Several { names }) => context.delete("cluster", names).await,
            Self::Restart(command) => command.run(&operation::RESTART, context).await,
            Self::Upgrade(command) => command.run(&operation::UPGRADE, context).await,
            Self::Deploy(command) => command.run(&operation::DEPLOY, context).await,
        }
    }
}

/// Lists clusters; tables and filters show how each is doing, and its operation in process.
async fn list(context: &Context, filters: &Filters) -> Result<(), Error> {
    filters.check(&views::CLUSTER)?;
    let client = context.client()?;
    let names = array(client.get(&["clusters"]).await?);
    if !lists::are_details_shown(context, filters)? {
        return context.print(&Value::Array(names), &views::CLUSTER);
    }
    let find = async |name: &str| {
        let Some(mut cluster) = client.find(&["cluster", name]).await? else { return Ok(None) };
        let operations = client.find(&["cluster", name, "operations"]).await?.unwrap_or_default();
        let mut operations = operations.as_array().into_iter().flatten();
        let running = operations.find(|operation| operation["status"] == "in_process");
        if let (Some(running), Some(fields)) = (running, cluster.as_object_mut()) {
            let operation = format!("{} {}", text(running, "kind"), text(running, "state"));
            fields.insert("operation".to_owned(), operation.trim().into());
        }
        Ok(Some(cluster))
    };
    let details = of_each(&strings(&names), !filters.is_empty(), find).await?;
    let rows = names.iter().zip(details);
    let rows = rows
        .map(|(name, details)| (name.clone(), details.unwrap_or_else(|| json!({"name": name}))));
    lists::print(context, &views::CLUSTER, filters, rows)
}

impl Create {
    async fn run(&self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        self.check_network(&client).await?;
        self.check_type(&client).await?;
        let record = client.put(&["cluster", &self.name], &self.body()).await?;
        context.print(&record, &views::CLUSTER)
    }

    /// Refuses an unknown network: the server would take the default one instead.
    async fn check_network(&self, client: &Client) -> Result<(), Error> {
        if self.network == DEFAULT_NETWORK {
            return Ok(());
        }
        let networks = client.get(&["networks"]).await?;
        let names = networks.as_array().into_iter().flatten().filter_map(Value::as_str);
        let names: Vec<_> = names.map(printable).collect();
        if names.contains(&self.network) {
            return Ok(());
        }
        Err(Error::Failed(format!(
            "there is no network {0}, only {1}: nothing was created; to make it: commctl network \
             create {0}",
            self.network,
            names.join(", ")
        )))
    }

    /// Refuses a cluster that exists as one of another type. The server keeps no type: a cluster of hosts only is
    /// one without a container manager.
    async fn check_type(&self, client: &Client) -> Result<(), Error> {
        if self.kind != Some(Type::HostOnly) {
            return Ok(());
        }
        let existing = client.find(&["cluster", &self.name]).await?;
        match existing.as_ref().and_then(|cluster| cluster["container_manager"].as_str()) {
            None | Some("") => Ok(()),
            Some(manager) => Err(Error::Failed(format!(
                "the cluster {0} exists and is not host_only, since its container manager is {1}: \
                 nothing was changed; see commctl cluster get {0}",
                self.name,
                printable(manager)
            ))),
        }
    }

    fn body(&self) -> Value {
        let kind = self.kind.unwrap_or(Type::Kubernetes);
        let mut body = json!({"type": kind.as_str(), "network": self.network});
        if let Some(container_manager) =
            self.container_manager.as_ref().filter(|name| !name.is_empty())
        {
            body["container_manager"] = json!(container_manager);
        }
        body
    }
}

/// A name, or nothing: scripts pass a variable that may be empty.
fn name_or_none(text: &str) -> Result<String, String> {
    if text.is_empty() { Ok(String::new()) } else { name(text) }
}
