//! The surroundings of a command: its configuration, its connection, and how its data is printed.

use std::cell::{OnceCell, RefCell};
use std::path::PathBuf;

use serde_json::Value;

use crate::client::Client;
use crate::config::{self, ConfigError, ContextName, LoginSource, Source};
use crate::error::Error;
use crate::login::Login;
use crate::oidc::Refreshes;
use crate::output::{self, Format, Screen, View};

/// What every command gets.
#[derive(Debug)]
pub(crate) struct Context {
    /// The configuration file that was named.
    file: Option<PathBuf>,
    /// The context that was named.
    name: Option<ContextName>,
    source: OnceCell<Source>,
    /// The format that was asked for on the command line.
    pub(crate) asked: Option<Format>,
    /// The format of the environment.
    preset: Option<Format>,
    /// Whether times in tables are absolute, in UTC.
    is_utc: bool,
    /// What has been read of the configuration, for messages.
    origin: OnceCell<Origin>,
    /// Refreshes of tokens that may not have ended when the command does.
    refreshes: RefCell<Vec<Refreshes>>,
}

#[derive(Debug)]
struct Origin {
    file: PathBuf,
    login: LoginSource,
}

impl Context {
    pub(crate) fn new(
        file: Option<PathBuf>,
        name: Option<ContextName>,
        asked: Option<Format>,
        is_utc: bool,
    ) -> Result<Self, Error> {
        let preset = output::preset()?;
        let (source, origin, refreshes) = (OnceCell::new(), OnceCell::new(), RefCell::default());
        Ok(Self { file, name, source, asked, preset, is_utc, origin, refreshes })
    }

    /// Which configuration is used.
    pub(crate) fn source(&self) -> Result<&Source, ConfigError> {
        if let Some(source) = self.source.get() {
            return Ok(source);
        }
        let source = Source::resolve(self.file.clone(), self.name.clone())?;
        Ok(self.source.get_or_init(|| source))
    }

    /// Reads the configuration and prepares the connection.
    pub(crate) fn client(&self) -> Result<Client, Error> {
        let config = config::load(self.source()?)?;
        self.origin
            .get_or_init(|| Origin { file: config.file.clone(), login: config.login_source() });
        if let Login::Provider(session) = &config.login {
            self.refreshes.borrow_mut().push(session.refreshes());
        }
        Client::new(config)
    }

    /// Waits, for a limited time, until refreshed tokens are saved.
    pub(crate) async fn finish(&self) {
        for refreshes in self.refreshes.take() {
            refreshes.finish().await;
        }
    }

    /// Says what to look at, where the message alone does not.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let help = self.origin.get().and_then(|Origin { file, login }| error.help(file, login));
        let error = match help {
            Some(help) => error.advise(help),
            None => error,
        };
        match self.source.get().and_then(Source::named_context) {
            Some(context) if !names_context(&error) => {
                error.advise(format!("this was in the context {context}"))
            }
            _ => error,
        }
    }

    /// How data is printed: by the command line, the environment, the configuration, or what standard output is.
    pub(crate) fn format(&self) -> Result<Format, Error> {
        match self.asked.or(self.preset) {
            Some(format) => Ok(format),
            None => Ok(config::output(self.source()?).unwrap_or_else(Format::of_stdout)),
        }
    }

    /// What tables are fitted to.
    pub(crate) fn screen(&self) -> Screen {
        Screen::of_stdout(self.is_utc)
    }

    /// Prints data.
    pub(crate) fn print(&self, value: &Value, view: &View) -> Result<(), Error> {
        output::print(self.format()?, value, view, &self.screen())
    }

    /// Fetches and prints.
    pub(crate) async fn show(&self, path: &[&str], view: &View) -> Result<(), Error> {
        self.print(&self.client()?.get(path).await?, view)
    }

    /// Deletes one after the other, going on after a refusal.
    pub(crate) async fn delete(&self, kind: &str, names: &[String]) -> Result<(), Error> {
        let client = self.client()?;
        delete_each(names, async |name| client.delete(&[kind, name]).await.map(drop)).await
    }
}

/// Whether an error is about the context itself, or about the command line.
fn names_context(error: &Error) -> bool {
    matches!(error, Error::Usage(_) | Error::Config(ConfigError::NoContext { .. }))
}

/// Deletes one after the other, going on after a refusal.
pub(crate) async fn delete_each(
    names: &[String],
    delete: impl AsyncFn(&str) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut refused = 0;
    for name in names {
        match delete(name).await {
            Ok(()) => eprintln!("deleted {name}"),
            // Every further name would only wait for the same time-outs.
            Err(error @ Error::Unreachable { .. }) => return Err(error),
            Err(error) if names.len() == 1 => return Err(error),
            Err(error) => {
                eprintln!("error: {name}: {}", error.report());
                refused += 1;
            }
        }
    }
    match refused {
        0 => Ok(()),
        _ => Err(Error::Failed(format!("{refused} of {} were not deleted", names.len()))),
    }
}
