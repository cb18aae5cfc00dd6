//! The node of a host: `commctl host cordon`, `uncordon`, `drain` and `place`, and the drain before a host leaves.

use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::address;
use crate::args::{duration, name};
use crate::client::Client;
use crate::commands::operation::NodeOptions;
use crate::context::Context;
use crate::error::Error;
use crate::live;
use crate::output::views;
use crate::wait::Wait;

pub(super) const CORDON: &str = "\
Example:
  commctl host cordon 10.0.0.1

Operations leave a host alone whose node an operator has cordoned.";

pub(super) const DRAIN: &str = "\
Examples:
  commctl host drain --dry-run 10.0.0.1
  commctl host drain --wait --drain-timeout 20m 10.0.0.1

The node stays cordoned until commctl host uncordon.";

pub(super) const PLACE: &str = "\
Examples:
  commctl host place 10.0.0.1 --node-name worker-1
  commctl host place 10.0.0.9 --quorum-group etcd
  commctl host place 10.0.0.9 --quorum-group=
  commctl host place 10.0.0.9

What is not given stays as it is; an empty value unsets it. Operations keep a majority of a quorum group available, over all clusters.";

/// The node of a host.
#[derive(Debug, Args)]
pub(crate) struct Cordon {
    /// Address of the host, or a name that resolves to it
    #[arg(value_parser = name)]
    address: String,
}

/// The node of a host, and whose cordon is removed.
#[derive(Debug, Args)]
pub(crate) struct Uncordon {
    /// Also remove the cordon of others
    #[arg(long)]
    foreign: bool,
    /// Address of the host, or a name that resolves to it
    #[arg(value_parser = name)]
    address: String,
}

/// The drain of a host.
#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// Wait until it has ended, and show its progress
    #[arg(short, long)]
    wait: bool,
    /// Stop waiting after this long
    #[arg(long, value_name = "DURATION", requires = "wait", default_value = "24h", value_parser = duration)]
    timeout: Duration,
    /// Start nothing, and show what would happen; the exit status says whether it would start
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    #[command(flatten)]
    options: NodeOptions,
    /// Address of the host, or a name that resolves to it
    #[arg(value_parser = name)]
    address: String,
}

/// What an administrator sets about a host.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Name of its node in Kubernetes, for one that does not have the host's address
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Quorum group that it is a member of
    #[arg(long, value_name = "NAME")]
    quorum_group: Option<String>,
    /// Address of the host, or a name that resolves to it
    #[arg(value_parser = name)]
    address: String,
}

impl Cordon {
    pub(super) async fn run(&self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let address = address::known(&client, &self.address).await?;
        let cordoned = client.put(&["host", &address, "cordon"], &json!({})).await?;
        context.print(&cordoned, &views::NODE)
    }
}

impl Uncordon {
    pub(super) async fn run(&self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let address = address::known(&client, &self.address).await?;
        let path = ["host", &address, "cordon"];
        let uncordoned = if self.foreign {
            client.delete_with(&path, "foreign").await?
        } else {
            client.delete(&path).await?
        };
        context.print(&uncordoned, &views::NODE)
    }
}

impl Drain {
    pub(super) async fn run(&self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let address = address::known(&client, &self.address).await?;
        let mut body = self.options.body();
        if self.dry_run {
            body.insert("dry_run".to_owned(), json!(true));
            let plan = client.post(&["host", &address, "drain"], &Value::Object(body)).await?;
            context.print(&plan, &views::PLAN)?;
            if plan["would_start"] == true {
                return Ok(());
            }
            let why = live::text(&plan, "refused");
            return Err(Error::Failed(format!("the drain of {address} would not start: {why}")));
        }
        let started = start(&client, &address, body).await?;
        if !self.wait {
            return context.print(&started, &views::OPERATION);
        }
        let operation = wait_for(&client, &address, &started, self.timeout).await?;
        context.print(&operation, &views::OPERATION)
    }
}

impl Place {
    pub(super) async fn run(&self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let address = address::known(&client, &self.address).await?;
        let fields = [("node_name", &self.node_name), ("quorum_group", &self.quorum_group)];
        let given = fields.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let given: Map<_, _> = given.map(|(name, value)| (name.to_owned(), json!(value))).collect();
        let path = ["host", &address, "placement"];
        let mut placement = client.get(&path).await?;
        if let (Some(placement), false) = (placement.as_object_mut(), given.is_empty()) {
            placement.extend(given);
            let changed = client.put(&path, &Value::Object(placement.clone())).await?;
            return context.print(&changed, &views::PLACEMENT);
        }
        context.print(&placement, &views::PLACEMENT)
    }
}

/// Drains the node of a host that leaves its cluster, and waits until that has ended. False for a host that is no node: it is
/// not drained.
pub(super) async fn drain_first(client: &Client, address: &str) -> Result<bool, Error> {
    let status = client.find(&["host", address, "status"]).await?;
    let node = status.as_ref().map(|status| &status["container_manager"]);
    if node.is_none_or(|node| node["kind"] != "Node") {
        return Ok(false);
    }
    let drained = async {
        let started = start(client, address, Map::new()).await?;
        wait_for(client, address, &started, Duration::from_hours(24)).await
    };
    drained.await.map(|_| true).map_err(|error| match error {
        Error::Interrupted(_) => error,
        error => error.advise(
            "nothing was removed: drain it later, or leave its pods where they are with --no-drain"
                .to_owned(),
        ),
    })
}

async fn start(client: &Client, address: &str, body: Map<String, Value>) -> Result<Value, Error> {
    client.post(&["host", address, "drain"], &Value::Object(body)).await
}

async fn wait_for(
    client: &Client,
    address: &str,
    started: &Value,
    timeout: Duration,
) -> Result<Value, Error> {
    let id = live::text(started, "operation").to_owned();
    let come_back = format!("commctl operation events --follow {id}");
    let mut wait = Wait::new(format!("the drain of {address}"), come_back, timeout)?;
    let ended = live::watch(client, &id, "drained", &mut wait).await?;
    let is_done = ended["hosts"]
        .as_array()
        .is_some_and(|hosts| hosts.iter().all(|host| host["step"] == "done"));
    if is_done {
        return Ok(ended);
    }
    let why = ended["hosts"][0]["skipped"].as_str();
    let why = why.or(ended["explanation"]["sentence"].as_str()).unwrap_or_default();
    Err(Error::Failed(format!("{address} was not drained: {why}")))
}
