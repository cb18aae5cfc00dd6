//! `commctl whoami`

use serde_json::Value;

use crate::context::Context;
use crate::error::Error;
use crate::output::views;

/// Prints the user as the server knows it, with the context unless that is the one called `default`.
pub(crate) async fn run(context: &Context) -> Result<(), Error> {
    let mut principal = context.client()?.get(&["whoami"]).await?;
    if let (Some(name), Value::Object(fields)) = (context.source()?.named_context(), &mut principal)
    {
        fields.insert("context".to_owned(), name.to_string().into());
    }
    context.print(&principal, &views::PRINCIPAL)
}
