//! `commctl explain`

use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::args::name;
use crate::client::Client;
use crate::context::Context;
use crate::error::Error;
use crate::live::text;
use crate::output::{self, views};
use crate::text::printable;

pub(crate) const EXAMPLES: &str = "\
Examples:
  commctl explain                  # the installation, and the operations in process
  commctl explain web              # a cluster: its operation, its alarm, its failed hosts
  commctl explain 10.0.0.1         # a host
  commctl explain 0b8ad2a0-6d5c-4d35-9f0c-3c1c0fd1e5d5
  commctl -o json explain web | jq -r .reason

The reasons, with cause and remedy, are in docs/failures.md.";

/// The kinds of objects that have an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Host,
    Cluster,
    Operation,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A host's address, a cluster's name or an operation's id; without it, the whole installation
    #[arg(value_name = "NAME|ID", value_parser = name)]
    object: Option<String>,
    /// The kind of object, if several have this name
    #[arg(long, value_enum, requires = "object")]
    kind: Option<Kind>,
}

impl Kind {
    fn segment(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Cluster => "cluster",
            Self::Operation => "operation",
        }
    }
}

impl Explain {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let explanation = match (&self.object, self.kind) {
            (None, _) => client.get(&["explain"]).await?,
            (Some(object), Some(kind)) => client.get(&["explain", kind.segment(), object]).await?,
            (Some(object), None) => of_any_kind(&client, object).await?,
        };
        match context.asked {
            None => output::write(&as_text(&explanation)),
            Some(_) => context.print(&explanation, &views::EXPLANATION),
        }
    }
}

/// The explanation of the one object with this name.
async fn of_any_kind(client: &Client, object: &str) -> Result<Value, Error> {
    let mut found = None;
    for kind in Kind::value_variants() {
        let Some(explanation) = client.find(&["explain", kind.segment(), object]).await? else {
            continue;
        };
        if let Some((other, _)) = found.replace((*kind, explanation)) {
            let (one, other) = (Kind::segment(other), kind.segment());
            return Err(Error::Usage(format!(
                "both a {one} and a {other} are called {object}: add --kind {one} or --kind {other}"
            )));
        }
    }
    let missing = || Error::Failed(format!("there is no host, cluster or operation {object}"));
    Ok(found.ok_or_else(missing)?.1)
}

/// An explanation and the related ones, for people. A cluster has the sentence of its operation, which is not repeated.
fn as_text(explanation: &Value) -> String {
    let is_repeated = |other: &&Value| other["sentence"] == explanation["sentence"];
    let (repeated, others): (Vec<_>, Vec<_>) = related(explanation).partition(is_repeated);
    let others = repeated.into_iter().flat_map(related).chain(others);
    let pages: Vec<_> = std::iter::once(explanation).chain(others).map(one_as_text).collect();
    pages.join("\n")
}

fn related(explanation: &Value) -> impl Iterator<Item = &Value> {
    explanation["related"].as_array().into_iter().flatten()
}

fn one_as_text(explanation: &Value) -> String {
    let labels = [
        ("state:", "state"),
        ("since:", "since"),
        ("reason:", "reason"),
        ("remedy:", "remedy"),
        ("ends when:", "ends"),
    ];
    let fields = labels.map(|(label, field)| (label, printable(text(explanation, field))));
    let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
    let fields = fields.map(|(label, value)| format!("  {label:10} {value}\n"));
    let sentence = printable(text(explanation, "sentence")) + "\n";
    std::iter::once(sentence).chain(fields).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn explanation_is_a_sentence_with_what_is_known_below() {
        let host = json!({"sentence": "the host h reboots\u{7}", "state": "active", "since": null});
        let explanation = json!({
            "sentence": "the restart 7f waits", "state": "waiting", "since": "t1", "reason": "soak",
            "remedy": "none", "ends": "the soak time has passed", "related": [host],
        });
        let cluster = json!({"sentence": "the restart 7f waits", "state": "waiting", "related": [explanation]});
        let page = "the restart 7f waits\n  state:     waiting\n\nthe host h reboots\\u{7}\n  state:     active\n";
        assert_eq!(as_text(&cluster), page);
        assert_eq!(
            as_text(&explanation),
            "the restart 7f waits\n  state:     waiting\n  since:     t1\n  reason:    soak\n  remedy:    \
             none\n  ends when: the soak time has passed\n\nthe host h reboots\\u{7}\n  state:     active\n"
        );
    }
}
