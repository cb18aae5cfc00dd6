//! What can go wrong, and the exit status of each.

mod connection;

use std::path::Path;
use std::process::ExitCode;

use crate::config::{ConfigError, LoginSource};
use crate::files::{ReadError, WriteError};
use crate::oidc::LoginError;
use crate::plugin::PluginError;
use crate::text::printable;

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line asks for something that makes no sense.
    #[error("{0}")]
    Usage(String),

    /// A file named on the command line, or standard input, cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),

    /// A file or directory named on the command line cannot be written.
    #[error(transparent)]
    WriteFile(#[from] WriteError),

    /// A program that commctl needs cannot be run.
    #[error("cannot run {program}")]
    Start { program: &'static str, source: std::io::Error },

    /// Standard output is gone.
    #[error("cannot write to standard output")]
    Write(#[source] std::io::Error),

    /// The configuration is missing or wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),

    /// A credential plugin has not said who the operator is.
    #[error(transparent)]
    Plugin(#[from] PluginError),

    /// There is no token of the identity provider.
    #[error(transparent)]
    Login(#[from] LoginError),

    /// Certificates, endpoints: the configuration reads well, but no client can be made of it.
    #[error("cannot set up the connection to {endpoint}")]
    Setup { endpoint: String, source: reqwest::Error },

    /// None of the endpoints answered; the cause is the last one's.
    #[error("cannot reach {endpoint}{}", if *.others { " nor any other endpoint" } else { "" })]
    Unreachable {
        endpoint: String,
        others: bool,
        /// Whether the request may have arrived nevertheless.
        sent: bool,
        source: reqwest::Error,
    },

    /// There is no server at the endpoint, or none that speaks TLS; no request was sent.
    #[error("cannot reach {endpoint}")]
    Connect { endpoint: String, source: std::io::Error },

    /// The server answered, and the answer is no.
    #[error("{}", refusal(*.status, .title, .detail.as_deref()))]
    Refused { status: u16, title: String, detail: Option<String>, endpoint: String },

    /// Something answered that does not seem to be a Commissaire server.
    #[error("{endpoint} answers with something that is not JSON; is it a Commissaire server?")]
    NotJson { endpoint: String },

    /// Something answered that does not seem to be a Commissaire server, with a status that denies what was asked for.
    #[error(
        "{endpoint} answers {status} without the error document of a Commissaire server; is it the address of one?"
    )]
    NotCommissaire { endpoint: String, status: String },

    /// As the error within, with what to do about it.
    #[error("{error}")]
    WithAdvice { error: Box<Error>, advice: String },

    /// What was asked for, or waited for, did not come to be.
    #[error("{0}")]
    Failed(String),

    /// Ctrl-C while waiting.
    #[error("{0}")]
    Interrupted(String),
}

impl Error {
    /// The process's exit status, as `--help` documents it.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) | Self::Read(_) | Self::Config(_) | Self::Setup { .. } => 2,
            Self::Unreachable { .. }
            | Self::Connect { .. }
            | Self::Login(LoginError::Unreachable { .. }) => 3,
            Self::Interrupted(_) => 130,
            Self::WithAdvice { error, .. } => return error.exit_code(),
            Self::Plugin(_)
            | Self::Login(_)
            | Self::Write(_)
            | Self::WriteFile(_)
            | Self::Start { .. }
            | Self::Refused { .. }
            | Self::NotJson { .. }
            | Self::NotCommissaire { .. }
            | Self::Failed(_) => 1,
        })
    }

    /// One line for people: the message and its root cause, then any advice on a line of its own.
    pub(crate) fn report(&self) -> String {
        if let Self::WithAdvice { error, advice } = self {
            return format!("{}\n{advice}", error.report());
        }
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {}", root_cause(source)),
            None => self.to_string(),
        }
    }

    /// What the command ends with on standard error.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Interrupted(_) => self.report(),
            _ => format!("error: {}", self.report()),
        }
    }

    /// Whether the server may merely be away for a moment.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Login(LoginError::Unreachable { .. }) => true,
            Self::Refused { status, .. } => matches!(status, 429 | 500..),
            _ => false,
        }
    }

    /// Whether the request may have been carried out although this error came back.
    pub(crate) fn outcome_unknown(&self) -> bool {
        matches!(self, Self::Unreachable { sent: true, .. } | Self::Refused { status: 504, .. })
    }

    /// Whether another log-in might have been let in.
    pub(crate) fn is_about_who_asks(&self) -> bool {
        matches!(self, Self::Refused { status: 401 | 403, .. } | Self::Plugin(_) | Self::Login(_))
    }

    /// Advice about the connection or the log-in, where the message alone does not say enough.
    pub(crate) fn help(&self, configuration: &Path, login: &LoginSource) -> Option<String> {
        let LoginSource { who, doubt } = login;
        match self {
            Self::Unreachable { endpoint, source, .. } => {
                Some(connection::advice(source, endpoint, configuration))
            }
            Self::Refused { status: 401 | 403, endpoint, .. } => {
                Some(format!("{who} was refused by {endpoint}: {doubt}, or no permission"))
            }
            Self::Plugin(_) => Some(format!("this was {who}")),
            Self::NotJson { endpoint } | Self::NotCommissaire { endpoint, .. } => {
                path_advice(endpoint, configuration)
            }
            Self::Refused { status: 404, detail, endpoint, .. }
                if detail.as_deref().is_none_or(|detail| detail == NO_ROUTE) =>
            {
                path_advice(endpoint, configuration)
            }
            _ => None,
        }
    }

    /// Adds what the operator can do about it.
    pub(crate) fn advise(self, advice: String) -> Self {
        Self::WithAdvice { error: Box::new(self), advice }
    }
}

/// The innermost cause: the layers between say only that a request was sent.
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    printable(&cause.to_string())
}

/// The server's detail where no route leads, as to any name that commctl would not send.
const NO_ROUTE: &str = "there is nothing at this path";

/// Where the endpoint has a path, that may be what is wrong.
fn path_advice(endpoint: &str, configuration: &Path) -> Option<String> {
    let (_, rest) = endpoint.split_once("://")?;
    let (_, path) = rest.split_once('/')?;
    let file = configuration.display();
    Some(format!(
        "the \"endpoint\" in {file} has the path /{path}: leave it out, unless a proxy has \
         Commissaire there"
    ))
}

fn refusal(status: u16, title: &str, detail: Option<&str>) -> String {
    let title = printable(title);
    match detail {
        Some(detail) => format!("{} ({status} {title})", printable(detail)),
        None => format!("the server answers {status} {title}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, detail: Option<&str>) -> Error {
        let detail = detail.map(str::to_owned);
        let endpoint = "http://h".to_owned();
        Error::Refused { status, title: "Not Found".to_owned(), detail, endpoint }
    }

    #[test]
    fn a_refusal_reads_well() {
        assert_eq!(
            refused(404, Some("no cluster named c9")).report(),
            "no cluster named c9 (404 Not Found)"
        );
        assert_eq!(refused(404, None).report(), "the server answers 404 Not Found");
        assert_eq!(
            refused(404, Some("bad \u{1b}[31m")).report(),
            "bad \\u{1b}[31m (404 Not Found)"
        );
    }

    #[test]
    fn path_of_an_endpoint_is_named_where_it_may_be_wrong() {
        let file = Path::new("c.json");
        let advice = path_advice("http://h:8000/commissaire", file).unwrap();
        assert!(advice.contains("has the path /commissaire: leave it out"), "{advice}");
        assert_eq!(path_advice("http://h:8000", file), None);
        let login =
            LoginSource { who: "the user \"a\"".to_owned(), doubt: "wrong password".to_owned() };
        let missing = refused(404, Some("there is no host h"));
        assert_eq!(missing.help(file, &login), None);
        let denied = refused(403, None).help(file, &login).unwrap();
        assert_eq!(
            denied,
            "the user \"a\" was refused by http://h: wrong password, or no permission"
        );
    }

    #[test]
    fn advice_comes_last_and_keeps_the_exit_status() {
        let error = refused(404, None).advise("look elsewhere".to_owned());
        assert_eq!(error.report(), "the server answers 404 Not Found\nlook elsewhere");
        assert_eq!(error.exit_code(), ExitCode::from(1));
    }

    #[test]
    fn an_outage_is_not_a_refusal() {
        assert!(refused(503, None).is_outage());
        assert!(!refused(404, None).is_outage());
        assert!(refused(504, None).outcome_unknown());
        assert!(!refused(409, None).outcome_unknown());
    }
}
