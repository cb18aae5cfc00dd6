//! `commctl access`: the roles of users, groups and certificates on clusters.

use std::io::{BufRead as _, IsTerminal as _};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::args::{One, Several, name};
use crate::client::Client;
use crate::context::{Context, delete_each};
use crate::error::Error;
use crate::lists;
use crate::output::{Filters, views};
use crate::text::printable;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bind a user, a group or a certificate to a role on clusters, or replace such a binding
    #[command(
        override_usage = "commctl access create SUBJECT --role <ROLE> --cluster <CLUSTER>... <NAME>",
        after_help = "\
Examples:
  commctl access create web-team --group corp:web-team --role operator --cluster web --cluster 'web-*'
  commctl access create ann --user corp:ann --role admin --cluster '*'
  commctl access create backup --certificate 'Example CA/backup' --role reader --cluster '*'

`commctl whoami` shows the names of a user and of its groups. The bindings of a user and of its groups
add up. A user with a binding has no other rights; one without any has the role of the configuration,
on all clusters. Hosts in no cluster, networks, container managers and the freeze need `--cluster '*'`."
    )]
    Create(Create),
    /// Show a binding
    #[command(after_help = "Example:\n  commctl access get web-team")]
    Get(One),
    /// List the bindings
    #[command(after_help = "Example:\n  commctl -o table access list")]
    List(Filters),
    /// Accept bindings that were restored from a backup: until then they give no rights
    #[command(
        override_usage = "commctl access accept <--all|NAME...>",
        after_help = "\
Examples:
  commctl access accept web-team
  commctl access accept --all          shows those that wait, and asks

A binding may have been deleted after the backup: compare the list with what you know before you accept it."
    )]
    Accept(Accept),
    /// Delete bindings
    #[command(after_help = "Example:\n  commctl access delete web-team")]
    Delete(Several),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    subject: Subject,
    /// The role
    #[arg(long, value_enum)]
    role: Role,
    /// Where it is valid: a cluster, a pattern such as `web-*`, or `*` for all; may be repeated
    #[arg(short, long = "cluster", value_name = "CLUSTER", required = true)]
    clusters: Vec<String>,
    /// Let them have commands of their own run on hosts, as administrators may
    #[arg(long)]
    run_commands: bool,
    /// Name of the binding
    #[arg(value_parser = name)]
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Accept {
    /// Names of the bindings
    #[arg(value_parser = name, required_unless_present = "all")]
    names: Vec<String>,
    /// All that wait
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Do not ask
    #[arg(short, long, requires = "all")]
    yes: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
#[command(next_help_heading = "Subject, one of")]
struct Subject {
    /// A user as `whoami` names it: `ann`, or with the prefix of an identity provider, `corp:ann`
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// A group with the prefix of its identity provider: `corp:web-team`
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// The owner of a client certificate: `ISSUER/COMMON NAME`
    #[arg(long, value_name = "NAME")]
    certificate: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    /// Take backups, and nothing else
    Backup,
    Reader,
    Operator,
    Admin,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl Subject {
    fn body(&self) -> [(&'static str, Value); 2] {
        let all =
            [("user", &self.user), ("group", &self.group), ("certificate", &self.certificate)];
        let given = all.into_iter().find_map(|(kind, name)| Some((kind, name.as_deref()?)));
        let (kind, name) = given.unwrap_or_default();
        [("kind", json!(kind)), ("subject", json!(name))]
    }
}

impl Command {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), Error> {
        match self {
            Self::Create(create) => create.run(context).await,
            Self::Get(One { name }) => context.show(&["binding", name], &views::BINDING).await,
            Self::List(filters) => {
                lists::records(context, &["bindings"], &views::BINDING, filters).await
            }
            Self::Accept(accept) => accept.run(context).await,
            Self::Delete(Several { names }) => {
                let client = context.client()?;
                delete_each(names, async |name| delete(&client, name).await).await
            }
        }
    }
}

impl Create {
    async fn run(&self, context: &Context) -> Result<(), Error> {
        let mut body = json!({"role": self.role.word(), "clusters": self.clusters,
                              "run_commands": self.run_commands});
        for (field, value) in self.subject.body() {
            body[field] = value;
        }
        let record = context.client()?.put(&["binding", &self.name], &body).await?;
        context.print(&record, &views::BINDING)
    }
}

impl Accept {
    async fn run(&self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let names = if self.all { self.pending(&client).await? } else { self.names.clone() };
        if names.is_empty() {
            eprintln!("no binding waits to be accepted");
            return Ok(());
        }
        let accepted = client.post(&["bindings", "accept"], &json!({"names": names})).await?;
        context.print(&accepted, &views::BINDING)
    }

    /// The bindings that wait; none if the user declines.
    async fn pending(&self, client: &Client) -> Result<Vec<String>, Error> {
        let bindings = client.get(&["bindings"]).await?;
        let all = bindings.as_array().map(Vec::as_slice).unwrap_or_default();
        let pending: Vec<_> =
            all.iter().filter(|binding| binding.get("pending") == Some(&json!(true))).collect();
        let text = |binding: &Value, field| {
            let text = binding.get(field).and_then(Value::as_str);
            printable(text.unwrap_or_default())
        };
        if !pending.is_empty() && !self.yes {
            for binding in &pending {
                let clusters = binding.get("clusters").map(Value::to_string).unwrap_or_default();
                let [name, kind, subject, role] =
                    ["name", "kind", "subject", "role"].map(|field| text(binding, field));
                eprintln!("{name}: {kind} {subject}, role {role} on {clusters}");
            }
            if !confirmed()? {
                return Err(Error::Failed("nothing was accepted".to_owned()));
            }
        }
        Ok(pending.into_iter().map(|binding| text(binding, "name")).collect())
    }
}

/// Asks whether the bindings that are shown are accepted.
fn confirmed() -> Result<bool, Error> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::Usage(
            "cannot ask without a terminal: name the bindings, or add --yes; nothing was accepted"
                .to_owned(),
        ));
    }
    eprint!("accept them? [y/N] ");
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Error::Failed(format!("cannot read the answer: {error}")))?;
    Ok(["y", "yes"].contains(&line.trim().to_lowercase().as_str()))
}

/// Deletes a binding, and says so if its subject has no other one: it may then do more than before.
async fn delete(client: &Client, name: &str) -> Result<(), Error> {
    let deleted = client.get(&["binding", name]).await?;
    client.delete(&["binding", name]).await?;
    let field = |name| deleted.get(name).and_then(Value::as_str).unwrap_or_default();
    let bindings = match client.get(&["bindings"]).await {
        Ok(bindings) => bindings,
        Err(error) => {
            eprintln!(
                "warning: cannot check whether the {} {:?} has another binding: {}",
                field("kind"),
                field("subject"),
                error.report()
            );
            return Ok(());
        }
    };
    let is_same = |binding: &Value| {
        ["kind", "subject"].iter().all(|field| binding.get(field) == deleted.get(field))
    };
    if !bindings.as_array().is_some_and(|all| all.iter().any(is_same)) {
        eprintln!(
            "note: the {} {:?} has no binding any more: what the configuration gives it counts again, on all clusters",
            field("kind"),
            field("subject"),
        );
    }
    Ok(())
}
