//! Lists of objects, with what people need to know about each.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use crate::client::Client;
use crate::context::Context;
use crate::error::Error;
use crate::output::{Filters, View};

/// The most objects of a list whose details are requested.
const DETAILS_MAX: usize = 200;

/// The most requests at a time.
const AT_A_TIME: usize = 8;

/// Prints a list of records.
pub(crate) async fn records(
    context: &Context,
    path: &[&str],
    view: &View,
    filters: &Filters,
) -> Result<(), Error> {
    filters.check(view)?;
    let records = array(context.client()?.get(path).await?);
    print(context, view, filters, records.iter().map(|record| (record.clone(), record.clone())))
}

/// Prints a list of names; tables and filters show each object, which has its own path.
pub(crate) async fn objects(
    context: &Context,
    [plural, singular]: [&str; 2],
    view: &View,
    filters: &Filters,
) -> Result<(), Error> {
    filters.check(view)?;
    let client = context.client()?;
    let names = array(client.get(&[plural]).await?);
    if !are_details_shown(context, filters)? {
        return context.print(&Value::Array(names), view);
    }
    let find = async |name: &str| client.find(&[singular, name]).await;
    let details = of_each(&strings(&names), !filters.is_empty(), find).await?;
    let rows = names.into_iter().zip(details);
    print(
        context,
        view,
        filters,
        rows.map(|(name, details)| {
            (name.clone(), details.unwrap_or_else(|| json!({"name": name})))
        }),
    )
}

/// Whether more is shown than the server's list.
pub(crate) fn are_details_shown(context: &Context, filters: &Filters) -> Result<bool, Error> {
    Ok(context.format()?.is_for_people() || !filters.is_empty())
}

/// Prints those for which the filters hold: of each pair the first one is the answer of the server, and the second one
/// what tables show.
pub(crate) fn print(
    context: &Context,
    view: &View,
    filters: &Filters,
    rows: impl Iterator<Item = (Value, Value)>,
) -> Result<(), Error> {
    let is_for_people = context.format()?.is_for_people();
    let mut printed = Vec::new();
    for (record, shown) in rows {
        if filters.accept(&shown, view)? {
            printed.push(if is_for_people { shown } else { record });
        }
    }
    context.print(&Value::Array(printed), view)
}

/// Requests something for each name; `None` where there is nothing. Of more than [`DETAILS_MAX`] names it is requested for
/// the first ones, unless the result depends on all of them.
pub(crate) async fn of_each(
    names: &[&str],
    needs_all: bool,
    request: impl AsyncFn(&str) -> Result<Option<Value>, Error>,
) -> Result<Vec<Option<Value>>, Error> {
    let rest = names.len().saturating_sub(DETAILS_MAX);
    if rest > 0 && needs_all {
        return Err(Error::Failed(format!(
            "this needs the details of {} objects, which are requested of {DETAILS_MAX} at most: name a cluster, or \
             leave the filter out",
            names.len()
        )));
    }
    if rest > 0 {
        eprintln!("note: details are shown for {DETAILS_MAX} of {} only", names.len());
    }
    let first = names.iter().take(DETAILS_MAX).map(|name| request(name));
    let mut details: Vec<_> = stream::iter(first).buffered(AT_A_TIME).try_collect().await?;
    details.resize(names.len(), None);
    Ok(details)
}

/// The operations of all clusters, the newest first; each has the field `cluster`.
pub(crate) async fn operations(client: &Client) -> Result<Vec<Value>, Error> {
    let names = array(client.get(&["clusters"]).await?);
    let names = strings(&names);
    let find = async |name: &str| client.find(&["cluster", name, "operations"]).await;
    let mut all = Vec::new();
    for (name, operations) in names.iter().zip(of_each(&names, true, find).await?) {
        all.extend(array(operations.unwrap_or_default()).into_iter().map(|mut operation| {
            if let Some(fields) = operation.as_object_mut() {
                fields.insert("cluster".to_owned(), json!(name));
            }
            operation
        }));
    }
    // Time stamps are all of one format.
    all.sort_by(|a, b| b["started_at"].as_str().cmp(&a["started_at"].as_str()));
    Ok(all)
}

/// The items of a list; none of anything else.
pub(crate) fn array(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

/// The texts in a list.
pub(crate) fn strings(values: &[Value]) -> Vec<&str> {
    values.iter().filter_map(Value::as_str).collect()
}
