//! `~/.commissaire.json`: read once, checked once.

pub(crate) mod ask;
mod edit;
mod file;
mod kubeconfig;
mod source;

use std::path::{Path, PathBuf};

use reqwest::Url;

use self::ask::{Asker, Wanted};
pub(crate) use self::edit::{ConfigFile, Credentials, NewLogin};
use self::file::Members;
use self::kubeconfig::KubeconfigError;
pub(crate) use self::source::{ContextName, Source, delete, variable_in_effect};
use crate::files::is_missing;
use crate::login::{Login, Password};
use crate::oidc::{ProviderSession, TokenFile};
use crate::output::Format;
use crate::pem::{Identity, Pem};

const USERNAME: Wanted = Wanted { name: "username", example: r#""username": "…""# };
const PASSWORD: Wanted = Wanted { name: "password", example: r#""password": "…""# };
const ENDPOINT: Wanted =
    Wanted { name: "endpoint", example: r#""endpoint": "http://127.0.0.1:8000""# };

/// Everything needed to talk to a server.
#[derive(Debug)]
pub(crate) struct Config {
    /// At least one; none ends with `/`.
    pub(crate) endpoints: Vec<Url>,
    pub(crate) login: Login,
    /// The client certificate, unless a credential plugin has another one.
    pub(crate) identity: Option<Identity>,
    /// Servers are trusted by this authority alone; without it, by the roots of the system.
    pub(crate) certificate_authority: Option<Pem>,
    /// The file all this comes from, which may not be there.
    pub(crate) file: PathBuf,
    /// And the log-in, if it does.
    kubeconfig: Option<PathBuf>,
}

/// What is wrong with the configuration, and how to put it right.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the configuration {}", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the configuration {} is not valid JSON", .path.display())]
    Syntax { path: PathBuf, source: serde_json::Error },
    #[error("the configuration {} is not a JSON object", .path.display())]
    NotAnObject { path: PathBuf },
    #[error("{}: unknown member {name:?}{}", .path.display(), suggestion(*.nearest))]
    Unknown { path: PathBuf, name: String, nearest: Option<&'static str> },
    #[error("{}: {name:?} is given twice", .path.display())]
    Twice { path: PathBuf, name: &'static str },
    #[error("{}: {name:?} must be {expected}", .path.display())]
    Type { path: PathBuf, name: &'static str, expected: &'static str },
    #[error("endpoint {endpoint:?}: {problem}")]
    Endpoint { endpoint: String, problem: String },
    #[error("{present:?} is configured without {missing:?}; both are needed")]
    HalfIdentity { present: &'static str, missing: &'static str },
    #[error("no {name} is configured: put {example} into {}, or name another file with --config or COMMCTL_CONFIG{}", .path.display(), beginning(.path))]
    Missing { name: &'static str, example: &'static str, path: PathBuf },
    #[error("{} logs in with \"kubeconfig\", which wins over a user name and a password: remove that field, or name another file with --config or COMMCTL_CONFIG. Nothing was changed.", .path.display())]
    KubeconfigWins { path: PathBuf },
    #[error("the kubeconfig {}: {problem}", .path.display())]
    Kubeconfig { path: PathBuf, problem: KubeconfigError },
    #[error("there is no context {name}: `commctl login --context {name} ENDPOINT` makes it")]
    NoContext { name: ContextName },
    #[error(
        "both a configuration file (--config or COMMCTL_CONFIG) and a context (--context or COMMCTL_CONTEXT) are named: leave one out"
    )]
    FileAndContext,
    #[error("{name}: {problem}")]
    Variable { name: &'static str, problem: String },
    #[error("{} does not name a context: {problem}; choose one with `commctl context use NAME`", .path.display())]
    CurrentContext { path: PathBuf, problem: String },
    #[error("cannot ask for the {name}")]
    Ask { name: &'static str, source: std::io::Error },
}

impl Config {
    /// For messages about the log-in.
    pub(crate) fn login_source(&self) -> LoginSource {
        let file = self.file.display();
        let who = match (&self.kubeconfig, &self.login) {
            (Some(path), _) => {
                format!("the user of the current context of {}", path.display())
            }
            (None, Login::Password(Password { username, .. })) => {
                format!("the user {username:?} of {file}")
            }
            (None, Login::Provider(session)) => {
                format!("the log-in with {:?} of {file}", session.name())
            }
            (None, _) => format!("the client certificate of {file}"),
        };
        let doubt = match &self.login {
            Login::Password(_) => "wrong user name or password".to_owned(),
            Login::Certificate => "an unknown certificate".to_owned(),
            Login::Token(_) | Login::TokenFile(_) | Login::Plugin(_) => {
                "unknown credentials".to_owned()
            }
            Login::Provider(session) => {
                let command = session.login_command();
                format!("its token is not accepted (`{command}` obtains another one)")
            }
        };
        LoginSource { who, doubt }
    }
}

/// The source of a log-in, for messages about it.
#[derive(Debug)]
pub(crate) struct LoginSource {
    /// The user, and the file that says so.
    pub(crate) who: String,
    /// The usual cause of a refusal.
    pub(crate) doubt: String,
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean {name:?}?")).unwrap_or_default()
}

/// For those who have none yet.
fn beginning(path: &Path) -> String {
    if path.exists() {
        return String::new();
    }
    format!("\nthere is no {} yet; commctl login makes it", path.display())
}

/// Reads the configuration, and asks for what it lacks.
pub(crate) fn load(source: &Source) -> Result<Config, ConfigError> {
    let (path, members) = read(source)?;
    if members.password.is_some() {
        warn_if_open(&path, "a password");
    }
    complete(members, source, &Asker::of_this_process())
}

/// The file of the authority that servers are trusted by, if one is configured; asks for nothing.
pub(crate) fn certificate_authority(source: &Source) -> Result<Option<PathBuf>, ConfigError> {
    let (path, members) = read(source)?;
    Ok(members.certificate_authority.map(|file| beside(&path, &file)))
}

/// The format of data that is configured; asks for nothing. A configuration that cannot be read has none: commands that
/// need it have reported that by then, and `context list` shows the other ones.
pub(crate) fn output(source: &Source) -> Option<Format> {
    read(source).ok().and_then(|(_, members)| members.output)
}

fn read(source: &Source) -> Result<(PathBuf, Members), ConfigError> {
    let path = source.path();
    match std::fs::read_to_string(&path) {
        Ok(text) => file::parse(&text, &path).map(|members| (path, members)),
        Err(error) if is_missing(&error) => {
            source.missing(error).map_or_else(|| Ok((path, Members::default())), Err)
        }
        Err(source) => Err(ConfigError::Read { path, source }),
    }
}

/// Checks what is there and asks for what is not.
fn complete(members: Members, source: &Source, asker: &Asker) -> Result<Config, ConfigError> {
    let path = &source.path();
    let own = identity(&members, path)?;
    let kubeconfig = members.kubeconfig.map(|file| beside(path, &file));
    let provider = members.identity_provider.filter(|_| kubeconfig.is_none());
    let (login, identity) = match &kubeconfig {
        Some(file) => {
            let (login, identity) = of_kubeconfig(file)?;
            (Some(login), identity.or(own))
        }
        None if provider.is_none() && members.username.is_none() && own.is_some() => {
            (Some(Login::Certificate), own)
        }
        None => (None, own),
    };
    let username = match (&login, members.username) {
        (None, None) if provider.is_none() => asker.line(USERNAME, path)?,
        (_, username) => username.unwrap_or_default(),
    };
    let endpoints = match members.endpoints {
        Some(endpoints) => endpoints,
        None => vec![asker.line(ENDPOINT, path)?],
    };
    let endpoints = endpoints.iter().map(|text| endpoint(text)).collect::<Result<Vec<_>, _>>()?;
    let login = match (login, provider, members.password) {
        (Some(login), _, _) => login,
        (None, Some(name), _) => {
            let session = ProviderSession::new(name, endpoints.clone(), TokenFile::of(source));
            Login::Provider(Box::new(session))
        }
        (None, None, Some(password)) => Login::Password(Password { username, password }),
        (None, None, None) => {
            let password = asker.hidden(PASSWORD, path)?;
            Login::Password(Password { username, password })
        }
    };
    if matches!(login, Login::Certificate)
        && let Some(plain) = endpoints.iter().find(|endpoint| endpoint.scheme() == "http")
    {
        let problem =
            "a client certificate is the log-in, and only https:// has it shown".to_owned();
        return Err(ConfigError::Endpoint { endpoint: plain.to_string(), problem });
    }
    let certificate_authority =
        members.certificate_authority.map(|file| Pem::File(beside(path, &file)));
    let file = path.to_owned();
    Ok(Config { endpoints, login, identity, certificate_authority, file, kubeconfig })
}

fn identity(members: &Members, path: &Path) -> Result<Option<Identity>, ConfigError> {
    let (certificate, key) = ("client_certificate", "client_key");
    match (&members.client_certificate, &members.client_key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            let [certificate, key] = [certificate, key].map(|file| Pem::File(beside(path, file)));
            Ok(Some(Identity { certificate, key }))
        }
        (Some(_), None) => Err(ConfigError::HalfIdentity { present: certificate, missing: key }),
        (None, Some(_)) => Err(ConfigError::HalfIdentity { present: key, missing: certificate }),
    }
}

fn of_kubeconfig(path: &Path) -> Result<(Login, Option<Identity>), ConfigError> {
    let credentials = kubeconfig::read(path, &cache())
        .map_err(|problem| ConfigError::Kubeconfig { path: path.to_owned(), problem })?;
    if credentials.in_clear {
        warn_if_open(path, "credentials");
    }
    Ok((credentials.login, credentials.identity))
}

/// Where answers of credential plugins are kept.
fn cache() -> PathBuf {
    let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = named.filter(|path| path.is_absolute());
    base.unwrap_or_else(|| std::env::home_dir().unwrap_or_default().join(".cache")).join("commctl")
}

fn warn_if_open(path: &Path, what: &str) {
    if file::is_open_to_others(path) {
        let path = path.display();
        eprintln!("warning: {path} holds {what} and others can read it; run: chmod 600 {path}");
    }
}

/// A file named in the configuration: `~/` is the home directory, other relative paths start from
/// the configuration's own directory.
fn beside(config: &Path, file: &str) -> PathBuf {
    match file.strip_prefix("~/") {
        Some(file) => std::env::home_dir().unwrap_or_default().join(file),
        None => config.parent().unwrap_or(Path::new("")).join(file),
    }
}

const NO_ADDRESS: &str = "not an address such as http://127.0.0.1:8000";

/// An endpoint as it is written, checked.
pub(crate) fn endpoint(text: &str) -> Result<Url, ConfigError> {
    // Endpoints appear in messages, and before an `@` there may be a password.
    let shown = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let refuse = |problem: &str| {
        Err(ConfigError::Endpoint { endpoint: shown.to_owned(), problem: problem.to_owned() })
    };
    let trimmed = text.trim_end_matches('/');
    if shown.len() < text.len() {
        return refuse("put the user name and password into \"username\" and \"password\" instead");
    }
    if !trimmed.contains("://") {
        let host = trimmed.trim_start_matches("https:").trim_start_matches("http:");
        return match host.trim_start_matches('/') {
            "" => refuse(NO_ADDRESS),
            host => refuse(&format!(
                "it has no scheme; write http://{host}, or https://{host} if TLS is spoken there"
            )),
        };
    }
    let Ok(url) = Url::parse(trimmed) else {
        return refuse(NO_ADDRESS);
    };
    if !matches!(url.scheme(), "http" | "https") {
        return refuse("an endpoint begins with http:// or https://");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("an endpoint has neither ? nor #");
    }
    match trimmed.split_once("/api/v0") {
        Some((root, rest)) if rest.is_empty() || rest.starts_with('/') => {
            refuse(&format!("leave the path out, since commctl adds it; write {root}"))
        }
        _ => Ok(url),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn config(text: &str) -> Result<Config, ConfigError> {
        let path = Path::new("/etc/c/commctl.json");
        complete(
            file::parse(text, path)?,
            &Source::File(path.to_owned()),
            &Asker::without_terminal(),
        )
    }

    fn refusal(text: &str) -> String {
        config(text).unwrap_err().to_string()
    }

    #[test]
    fn a_whole_configuration() {
        let config = config(
            r#"{"username": "a", "password": "b", "endpoint": ["http://h:1/", "https://h/api//"],
                "certificate-authority": "ca.pem", "client_certificate": "/c.pem", "client-key": "/k.pem"}"#,
        )
        .unwrap();
        let endpoints: Vec<&str> = config.endpoints.iter().map(Url::as_str).collect();
        assert_eq!(endpoints, ["http://h:1/", "https://h/api"]);
        let Login::Password(Password { username, password }) = config.login else {
            panic!("{:?}", config.login)
        };
        assert_eq!((username.as_str(), password.expose_secret()), ("a", "b"));
        let Some(Pem::File(authority)) = config.certificate_authority else {
            panic!("{:?}", config.certificate_authority)
        };
        assert_eq!(authority, Path::new("/etc/c/ca.pem"));
        let Some(Identity { certificate: Pem::File(certificate), key: Pem::File(key) }) =
            config.identity
        else {
            panic!("{:?}", config.identity)
        };
        assert_eq!((certificate, key), ("/c.pem".into(), "/k.pem".into()));
    }

    #[test]
    fn what_is_missing_is_named() {
        let message = refusal(r#"{"username": "a", "password": "b"}"#);
        assert!(
            message.starts_with(
                "no endpoint is configured: put \"endpoint\": \"http://127.0.0.1:8000\" into \
                 /etc/c/commctl.json, or name another file with --config or COMMCTL_CONFIG"
            ),
            "{message}"
        );
        assert!(refusal(r#"{"endpoint": "http://h", "password": "b"}"#).contains("no username"));
        assert!(refusal(r#"{"endpoint": "http://h", "username": "b"}"#).contains("no password"));
    }

    #[test]
    fn a_client_certificate_is_a_log_in() {
        let config =
            config(r#"{"endpoint": "https://h", "client_certificate": "c", "client_key": "k"}"#);
        assert!(matches!(config.unwrap().login, Login::Certificate));
        assert!(
            refusal(r#"{"endpoint": "http://h", "client_certificate": "c", "client_key": "k"}"#)
                .contains("only https://")
        );
        assert_eq!(
            refusal(r#"{"endpoint": "https://h", "client_key": "k"}"#),
            "\"client_key\" is configured without \"client_certificate\"; both are needed"
        );
    }

    #[test]
    fn endpoints_are_checked() {
        let with = |endpoint: &str| {
            refusal(&format!(r#"{{"username": "a", "password": "b", "endpoint": "{endpoint}"}}"#))
        };
        assert!(with("127.0.0.1:8000").contains("no scheme; write http://127.0.0.1:8000"));
        assert!(with("localhost:8000/").contains("no scheme; write http://localhost:8000"));
        assert!(with("ftp://h").contains("begins with http://"));
        assert!(with("https:/h:8000").contains("write http://h:8000, or https://h:8000"));
        assert!(with("http://").contains("such as http://127.0.0.1:8000"));
        for path in ["/api/v0", "/api/v0/", "/api/v0/clusters"] {
            assert!(with(&format!("http://h:1{path}")).ends_with("write http://h:1"), "{path}");
        }
        assert!(with("http://h/?x").contains("neither"));
        for secret in ["http://me:hidden@h", "me:hidden@h", "ftp://me:hidden@h/?x"] {
            let message = with(secret);
            assert!(message.contains("instead") && !message.contains("hidden"), "{message}");
        }
    }
}
