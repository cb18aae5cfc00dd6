//! `commctl container_manager`

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use crate::args::{One, Several, name};
use crate::context::Context;
use crate::error::Error;
use crate::files::ReadError;
use crate::lists;
use crate::output::{Filters, views};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tell the server of a Kubernetes or OpenShift that clusters can be registered with
    #[command(after_help = "\
Examples:
  commctl container_manager create -t kubernetes -o server_url=https://10.0.0.1:6443 -o token=T k1
  commctl container_manager create -o '{\"server_url\": \"https://10.0.0.1:8443\"}' os1

Options add up; of two with the same name the last wins. What is given on the command line can be
seen in the list of processes: with `-o -` a JSON object is read from standard input instead.")]
    Create(Create),
    /// Show a container manager, without its secrets
    #[command(after_help = "Example:\n  commctl container_manager get k1")]
    Get(One),
    /// List the container managers
    #[command(after_help = "Example:\n  commctl container_manager list")]
    List(Filters),
    /// Delete container managers that no cluster uses
    #[command(after_help = "Example:\n  commctl container_manager delete k1")]
    Delete(Several),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Type of the container manager
    #[arg(short = 't', long = "type", value_enum, default_value_t = Type::Openshift)]
    kind: Type,
    /// Options: KEY=VALUE, a JSON object, or `-` for one on standard input
    #[arg(short, long = "options", value_name = "OPTION")]
    options: Vec<String>,
    /// Clusters that may use it: a name, or a pattern such as `web-*`; may be repeated [default: all]
    #[arg(short, long = "cluster", value_name = "CLUSTER")]
    clusters: Vec<String>,
    /// Name of the new container manager
    #[arg(value_parser = name)]
    name: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Type {
    /// OpenShift
    Openshift,
    /// Kubernetes
    Kubernetes,
    /// None: for trying things out
    Trivial,
}

impl Type {
    fn as_str(self) -> &'static str {
        match self {
            Self::Openshift => "openshift",
            Self::Kubernetes => "kubernetes",
            Self::Trivial => "trivial",
        }
    }
}

impl Command {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), Error> {
        match self {
            Self::Create(create) => create.run(context).await,
            Self::Get(One { name }) => {
                context.show(&["containermanager", name], &views::CONTAINER_MANAGER).await
            }
            Self::List(filters) => {
                lists::objects(
                    context,
                    ["containermanagers", "containermanager"],
                    &views::CONTAINER_MANAGER,
                    filters,
                )
                .await
            }
            Self::Delete(Several { names }) => context.delete("containermanager", names).await,
        }
    }
}

impl Create {
    async fn run(&self, context: &Context) -> Result<(), Error> {
        let stdin = || {
            std::io::read_to_string(std::io::stdin())
                .map_err(|source| ReadError { path: "standard input".into(), source }.into())
        };
        let options = merged(&self.options, stdin)?;
        let mut body = json!({"type": self.kind.as_str(), "options": options});
        if !self.clusters.is_empty() {
            body["clusters"] = json!(self.clusters);
        }
        let record = context.client()?.put(&["containermanager", &self.name], &body).await?;
        context.print(&record, &views::CONTAINER_MANAGER)
    }
}

/// All options in one object.
fn merged(
    given: &[String],
    stdin: impl Fn() -> Result<String, Error>,
) -> Result<Map<String, Value>, Error> {
    let mut options = Map::new();
    for text in given {
        let from_stdin = if text == "-" { Some(stdin()?) } else { None };
        let text = from_stdin.as_ref().unwrap_or(text);
        if from_stdin.is_some() || text.trim_start().starts_with('{') {
            // Neither the text nor the parser's words about it: there may be a token in it.
            let object: Map<String, Value> = serde_json::from_str(text)
                .map_err(|_| Error::Usage("an option is no JSON object".to_owned()))?;
            options.extend(object);
        } else {
            let pair = text.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
            let (key, value) = pair.filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
                Error::Usage("an option is KEY=VALUE or a JSON object; -o is not the output format here: that is --output"
                        .to_owned())
            })?;
            options.insert(key.to_owned(), value.into());
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_add_up_and_the_last_wins() {
        let given = [" a = 1", r#"{"b": true, "a": "2"}"#, "-", "url=https://h?x=y", "b="];
        let given = given.map(str::to_owned);
        let options = merged(&given, || Ok(r#"{"c": [1]}"#.to_owned())).unwrap();
        assert_eq!(
            Value::Object(options),
            json!({"a": "2", "b": "", "c": [1], "url": "https://h?x=y"})
        );
    }

    #[test]
    fn a_secret_is_not_in_the_error() {
        for bad in ["secret", "=secret", "{secret", r#"{"token": secret}"#] {
            let error = merged(&[bad.to_owned()], || unreachable!()).unwrap_err().report();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
