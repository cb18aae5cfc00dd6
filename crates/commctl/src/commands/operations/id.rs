//! Ids of operations: whole, as unambiguous prefixes, or `@last`.

use clap::Args;
use serde_json::Value;

use crate::args::name;
use crate::client::Client;
use crate::error::Error;
use crate::lists;
use crate::live::text;
use crate::text::printable;

/// Stands for the operation that was started last.
const LAST: &str = "@last";

/// The least length of a prefix.
const PREFIX_MIN: usize = 4;

/// The length of an id.
const LENGTH: usize = 36;

/// The most ids in a message.
const CANDIDATES_MAX: usize = 10;

/// An operation.
#[derive(Debug, Args)]
pub(crate) struct Id {
    /// Its id, as `operation list` shows it, or at least 4 characters of its beginning, or @last for the newest one
    #[arg(value_parser = name)]
    id: String,
}

impl Id {
    /// The whole id. One that the list of operations does not have is left to the server to reject.
    pub(super) async fn resolve(&self, client: &Client) -> Result<String, Error> {
        let is_prefix = (PREFIX_MIN..LENGTH).contains(&self.id.len())
            && self.id.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        if self.id != LAST && !is_prefix {
            return Ok(self.id.clone());
        }
        let operations = lists::operations(client).await?;
        if self.id == LAST {
            let last = operations.first().map(|operation| text(operation, "id").to_owned());
            return last.ok_or_else(|| Error::Failed("there is no operation yet".to_owned()));
        }
        one_of(&operations, &self.id)
    }
}

fn one_of(operations: &[Value], prefix: &str) -> Result<String, Error> {
    let begins = |operation: &&Value| text(operation, "id").starts_with(prefix);
    let candidates: Vec<_> = operations.iter().filter(begins).collect();
    match candidates.as_slice() {
        [] => Ok(prefix.to_owned()),
        [only] => Ok(text(only, "id").to_owned()),
        several => {
            let named = several.iter().take(CANDIDATES_MAX).map(|operation| {
                let [id, kind, cluster] =
                    ["id", "kind", "cluster"].map(|field| text(operation, field));
                printable(&format!("{id} ({kind} of {cluster})"))
            });
            let named = named.collect::<Vec<_>>().join(", ");
            let more = match several.len().saturating_sub(CANDIDATES_MAX) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            Err(Error::Usage(format!(
                "{} operations begin with {prefix}: {named}{more}; write more of the id",
                several.len()
            )))
        }
    }
}
