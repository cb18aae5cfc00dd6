//! `commctl context`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::logout::delete_tokens;
use crate::config::{self, ConfigError, ConfigFile, ContextName, Source};
use crate::context::Context;
use crate::endpoint::shown;
use crate::error::Error;
use crate::lists;
use crate::oidc::TokenFile;
use crate::output::{Filters, print_line, views};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show all contexts: their servers, the users or identity providers, and which is used
    #[command(after_help = "Example:\n  commctl -o table context list")]
    List(Filters),
    /// Show the name of the context that is used
    #[command(after_help = "Example:\n  commctl context current")]
    Current,
    /// Use a context from now on, where neither --context nor `COMMCTL_CONTEXT` names another one
    #[command(after_help = "Examples:\n  commctl context use prod\n  commctl context use default")]
    Use(Named),
    /// Delete a context: log out, and remove its configuration
    #[command(after_help = "Example:\n  commctl context delete prod")]
    Delete(Named),
}

/// A context that there is.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Its name
    name: ContextName,
}

impl Command {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), Error> {
        match self {
            Self::List(filters) => list(context, filters),
            Self::Current => print_line(&current(context)?.to_string()),
            Self::Use(Named { name }) => {
                check(name)?;
                name.make_current()?;
                match config::variable_in_effect() {
                    None => eprintln!("the context is {name} now"),
                    Some(variable) => eprintln!(
                        "warning: the context {name} is used only where {variable} is not set: \
                         it is set here, and stays in effect; run: unset {variable}"
                    ),
                }
                Ok(())
            }
            Self::Delete(Named { name }) => delete(name).await,
        }
    }
}

/// The context that commands use.
fn current(context: &Context) -> Result<&ContextName, Error> {
    match context.source()? {
        Source::Context(name) => Ok(name),
        Source::File(path) => Err(Error::Usage(format!(
            "no context is used: the configuration is {}, by --config or COMMCTL_CONFIG",
            path.display()
        ))),
    }
}

fn list(context: &Context, filters: &Filters) -> Result<(), Error> {
    filters.check(&views::CONTEXT)?;
    let used = context.source()?;
    let mut contexts = Vec::new();
    for name in ContextName::all()? {
        let mut described = json!({
            "name": name.to_string(),
            "endpoint": null, "user": null, "provider": null,
            "current": *used == Source::Context(name.clone()),
        });
        // One that cannot be read does not hide the others.
        match ConfigFile::inspect(Source::Context(name.clone())) {
            Ok(file) => describe(&file, &mut described),
            Err(error) => eprintln!("warning: the context {name}: {}", Error::from(error).report()),
        }
        contexts.push(described);
    }
    let rows = contexts.into_iter().map(|described| (described.clone(), described));
    lists::print(context, &views::CONTEXT, filters, rows)
}

fn describe(file: &ConfigFile, described: &mut Value) {
    let endpoint = file.endpoint().and_then(|text| config::endpoint(text).ok());
    described["endpoint"] = json!(endpoint.as_ref().map(shown));
    if file.has_kubeconfig() {
        return;
    }
    described["provider"] = json!(file.provider());
    described["user"] = json!(file.username().filter(|_| file.provider().is_none()));
}

/// Whether there is such a context. The one called `default` always is.
fn check(name: &ContextName) -> Result<(), Error> {
    if name.is_default() || name.path().exists() {
        return Ok(());
    }
    Err(ConfigError::NoContext { name: name.clone() }.into())
}

async fn delete(name: &ContextName) -> Result<(), Error> {
    if name.is_default() {
        return Err(Error::Usage(format!(
            "the context default cannot be deleted: `commctl logout` deletes its log-in, and its configuration is {}",
            name.path().display()
        )));
    }
    check(name)?;
    // Without reading the configuration, which may be damaged, or have a kubeconfig by now.
    let tokens = TokenFile::of(&Source::Context(name.clone()));
    delete_tokens(&tokens).await?;
    tokens.delete_lock()?;
    config::delete(name)?;
    if ContextName::current().is_ok_and(|current| current == *name) {
        ContextName::default().make_current()?;
        eprintln!("the context is default now");
    }
    eprintln!("deleted {name}");
    Ok(())
}
