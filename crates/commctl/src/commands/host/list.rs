//! `commctl host list`

use std::collections::HashMap;

use clap::Args;
use serde_json::{Value, json};

use crate::args::name;
use crate::client::Client;
use crate::context::Context;
use crate::error::Error;
use crate::lists::{self, array, of_each, strings};
use crate::live::text;
use crate::output::{Filters, views};

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    filters: Filters,
    /// Only the members of this cluster
    #[arg(value_parser = name)]
    cluster: Option<String>,
}

impl List {
    pub(super) async fn run(&self, context: &Context) -> Result<(), Error> {
        self.filters.check(&views::HOST)?;
        let client = context.client()?;
        let listed = match &self.cluster {
            None => client.get(&["hosts"]).await?,
            Some(cluster) => client.get(&["cluster", cluster, "hosts"]).await?,
        };
        if !lists::are_details_shown(context, &self.filters)? {
            return context.print(&listed, &views::HOST);
        }
        let listed = array(listed);
        let shown = match &self.cluster {
            None => {
                let clusters = array(client.get(&["clusters"]).await?);
                let clusters: Vec<_> = strings(&clusters).into_iter().map(str::to_owned).collect();
                self.filters.check_values("cluster", &clusters)?;
                self.with_clusters(&client, listed.clone(), &clusters).await?
            }
            Some(cluster) => members(&client, &listed, cluster).await?,
        };
        let shown = self.with_reasons(&client, shown).await?;
        lists::print(context, &views::HOST, &self.filters, listed.into_iter().zip(shown))
    }

    /// The hosts with the names of their clusters.
    async fn with_clusters(
        &self,
        client: &Client,
        mut hosts: Vec<Value>,
        clusters: &[String],
    ) -> Result<Vec<Value>, Error> {
        let names: Vec<_> = clusters.iter().map(String::as_str).collect();
        let find = async |name: &str| client.find(&["cluster", name, "hosts"]).await;
        let members = of_each(&names, self.filters.use_field("cluster"), find).await?;
        let mut cluster_of = HashMap::new();
        for (name, members) in names.iter().zip(&members) {
            for member in members.as_ref().and_then(Value::as_array).into_iter().flatten() {
                cluster_of.insert(member.as_str().unwrap_or_default(), *name);
            }
        }
        for host in &mut hosts {
            let cluster = cluster_of.get(text(host, "address")).copied().unwrap_or_default();
            set(host, "cluster", cluster);
        }
        Ok(hosts)
    }

    /// The hosts, of which those that have failed have a reason.
    async fn with_reasons(
        &self,
        client: &Client,
        mut hosts: Vec<Value>,
    ) -> Result<Vec<Value>, Error> {
        let failed = hosts.iter().filter(|host| text(host, "status") == "failed");
        let failed: Vec<_> = failed.map(|host| text(host, "address").to_owned()).collect();
        let addresses: Vec<_> = failed.iter().map(String::as_str).collect();
        let find = async |address: &str| client.find(&["host", address, "status"]).await;
        let statuses = of_each(&addresses, self.filters.use_field("reason"), find).await?;
        let reasons: HashMap<_, _> = addresses.iter().zip(&statuses).collect();
        for host in &mut hosts {
            if let Some(Some(status)) = reasons.get(&text(host, "address")) {
                set(host, "reason", text(&status["host"], "reason"));
            }
        }
        Ok(hosts)
    }
}

/// The records of the members of a cluster; a member without one has its address only.
async fn members(client: &Client, addresses: &[Value], cluster: &str) -> Result<Vec<Value>, Error> {
    let hosts = array(client.get(&["hosts"]).await?);
    let records: HashMap<&str, &Value> =
        hosts.iter().map(|host| (text(host, "address"), host)).collect();
    let member = |address: &Value| {
        let record = address.as_str().and_then(|address| records.get(address));
        let mut host = record.map_or_else(|| json!({"address": address}), |host| (*host).clone());
        set(&mut host, "cluster", cluster);
        host
    };
    Ok(addresses.iter().map(member).collect())
}

fn set(host: &mut Value, field: &str, value: &str) {
    if let Some(fields) = host.as_object_mut() {
        fields.insert(field.to_owned(), json!(value));
    }
}
