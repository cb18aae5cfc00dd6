//! `commctl host investigate`

use std::collections::HashSet;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::address;
use crate::args::{duration, name};
use crate::client::Client;
use crate::context::Context;
use crate::error::Error;
use crate::output::views;
use crate::text::printable;

pub(super) const EXAMPLES: &str = "\
Examples:
  commctl host investigate 10.0.0.1
  commctl host investigate --failed
  commctl host investigate --failed --reason auth-refused --cluster web

With --failed, three hosts are tried first. If all three fail again for the same reason, the rest is
left as it is: the cause is probably the same for all, and log-ins that are refused again could get
the server banned. Otherwise the rest is investigated, too, without waiting for its outcome.";

/// Hosts that are tried before the rest.
const FIRST: usize = 3;

/// Calls at a time.
const AT_A_TIME: usize = 16;

/// The pause between looks at the hosts that are tried first.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(crate) struct Investigate {
    /// Address of the host, or a name that resolves to it
    #[arg(value_parser = name, required_unless_present = "failed", conflicts_with = "failed")]
    address: Option<String>,
    /// All failed hosts: three first, then the rest unless those fail alike
    #[arg(long)]
    failed: bool,
    /// Only those that failed for this reason, as `host status` shows it
    #[arg(long, value_name = "WORD", requires = "failed", conflicts_with = "address")]
    reason: Option<String>,
    /// Only members of this cluster
    #[arg(long, value_name = "NAME", requires = "failed", conflicts_with = "address", value_parser = name)]
    cluster: Option<String>,
    /// How long to wait for the outcome of the first three
    #[arg(long, value_name = "DURATION", default_value = "2min", requires = "failed", value_parser = duration)]
    timeout: Duration,
}

impl Investigate {
    pub(super) async fn run(&self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        match &self.address {
            Some(name) => {
                let address = address::known(&client, name).await?;
                context.print(&ask(&client, &address).await?, &views::HOST)
            }
            None => self.all_failed(&client).await,
        }
    }

    async fn all_failed(&self, client: &Client) -> Result<(), Error> {
        let hosts = self.matching(client).await?;
        if hosts.is_empty() {
            eprintln!("no failed host matches: nothing was done");
            return Ok(());
        }
        let (first, rest) = hosts.split_at(FIRST.min(hosts.len()));
        ask_all(client, first).await?;
        let outcomes = self.outcomes(client, first).await?;
        for (address, outcome) in first.iter().zip(&outcomes) {
            eprintln!("{address}: {outcome}");
        }
        let failed = outcomes.iter().filter(|outcome| outcome.reason().is_some()).count();
        if let Some(reason) = alike(&outcomes).filter(|_| !rest.is_empty()) {
            return Err(Error::Failed(format!(
                "the first {} hosts failed alike ({}): the other {} were left as they are; remove the \
                 cause, then repeat the command",
                first.len(),
                printable(reason),
                rest.len()
            )));
        }
        ask_all(client, rest).await?;
        for address in rest {
            eprintln!("{address}: investigating");
        }
        match failed {
            0 => Ok(()),
            _ => Err(Error::Failed(format!(
                "{failed} of the first {} hosts failed again",
                first.len()
            ))),
        }
    }

    /// The addresses of the failed hosts that are meant, in the server's order.
    async fn matching(&self, client: &Client) -> Result<Vec<String>, Error> {
        let hosts = client.get(&["hosts"]).await?;
        let hosts = hosts.as_array().map(Vec::as_slice).unwrap_or_default();
        let failed = hosts.iter().filter(|host| host["status"] == "failed");
        let mut addresses: Vec<_> =
            failed.filter_map(|host| host["address"].as_str().map(str::to_owned)).collect();
        if let Some(cluster) = &self.cluster {
            let members = client.get(&["cluster", cluster, "hosts"]).await?;
            let members = members.as_array().map(Vec::as_slice).unwrap_or_default();
            let members: HashSet<_> = members.iter().filter_map(Value::as_str).collect();
            addresses.retain(|address| members.contains(address.as_str()));
        }
        let Some(reason) = &self.reason else { return Ok(addresses) };
        let mut matching = Vec::new();
        for part in addresses.chunks(AT_A_TIME) {
            for (address, outcome) in part.iter().zip(looks(client, part).await?) {
                if outcome.reason() == Some(reason) {
                    matching.push(address.clone());
                }
            }
        }
        Ok(matching)
    }

    /// What has become of the hosts once none is under investigation any more, or the time is up.
    async fn outcomes(&self, client: &Client, hosts: &[String]) -> Result<Vec<Outcome>, Error> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let outcomes = looks(client, hosts).await?;
            if outcomes.iter().all(|outcome| !matches!(outcome, Outcome::UnderWay))
                || Instant::now() >= deadline
            {
                return Ok(outcomes);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// What an investigation has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// The server has not logged in yet.
    UnderWay,
    /// The server has logged in: the host has this status.
    LoggedIn(String),
    Failed {
        reason: String,
        detail: String,
    },
}

impl Outcome {
    fn of(answer: &Value) -> Self {
        let host = &answer["host"];
        let text = |field: &str| host[field].as_str().unwrap_or_default().to_owned();
        match host["status"].as_str().unwrap_or_default() {
            "failed" => Self::Failed { reason: text("reason"), detail: text("detail") },
            "" | "investigating" => Self::UnderWay,
            status => Self::LoggedIn(status.to_owned()),
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Self::Failed { reason, .. } => Some(reason),
            Self::UnderWay | Self::LoggedIn(_) => None,
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnderWay => f.write_str("still investigating"),
            Self::LoggedIn(status) => f.write_str(&printable(status)),
            Self::Failed { reason, detail } => {
                write!(f, "failed: {}: {}", printable(reason), printable(detail))
            }
        }
    }
}

/// The reason for which all of them have failed, or why the rest must wait.
fn alike(outcomes: &[Outcome]) -> Option<&str> {
    if outcomes.iter().all(|outcome| *outcome == Outcome::UnderWay) {
        return Some("no outcome within the timeout");
    }
    let reason = outcomes.first()?.reason()?;
    outcomes.iter().all(|outcome| outcome.reason() == Some(reason)).then_some(reason)
}

async fn ask(client: &Client, address: &str) -> Result<Value, Error> {
    client.post(&["host", address, "investigate"], &json!({})).await
}

/// Asks for all of them, some at a time, going on after a refusal.
async fn ask_all(client: &Client, hosts: &[String]) -> Result<(), Error> {
    let mut refused = 0;
    for part in hosts.chunks(AT_A_TIME) {
        let asked = futures_util::future::join_all(part.iter().map(|host| ask(client, host))).await;
        for (address, asked) in part.iter().zip(asked) {
            match asked {
                Ok(_) => {}
                Err(error @ Error::Unreachable { .. }) => return Err(error),
                Err(error) => {
                    eprintln!("error: {address}: {}", error.report());
                    refused += 1;
                }
            }
        }
    }
    match refused {
        0 => Ok(()),
        _ => Err(Error::Failed(format!("{refused} of {} were not investigated", hosts.len()))),
    }
}

async fn looks(client: &Client, hosts: &[String]) -> Result<Vec<Outcome>, Error> {
    let look = |address: &String| {
        let address = address.clone();
        async move { client.get(&["host", &address, "status"]).await }
    };
    let answers = futures_util::future::join_all(hosts.iter().map(look)).await;
    answers.into_iter().map(|answer| answer.map(|answer| Outcome::of(&answer))).collect()
}
