//! The log-in of a kubeconfig: the credentials of its current context's user, and nothing else. Its
//! clusters are Kubernetes, not Commissaire: neither their addresses nor their authorities are ours.

mod file;

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use self::file::{Cluster, Exec, Interactive, Kubeconfig, User};
use super::beside;
use crate::login::{Login, Password};
use crate::pem::{Identity, Pem};
use crate::plugin::{self, Plugin};

/// What a kubeconfig says about who the operator is.
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) login: Login,
    pub(super) identity: Option<Identity>,
    /// Whoever can read the file has them.
    pub(super) in_clear: bool,
}

/// What is wrong with a kubeconfig, and how to put it right.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KubeconfigError {
    #[error("cannot read it: {0}")]
    Read(std::io::Error),
    // Neither the text nor the parser's words about it: there may be a token in it.
    #[error("it is not a kubeconfig{}", at(*.0))]
    Syntax(Option<(u64, u64)>),
    #[error("it has no current context; choose one with: kubectl config use-context NAME")]
    NoContext,
    #[error("it has no {kind} {name:?}, which {of} names")]
    Absent { kind: &'static str, name: String, of: &'static str },
    #[error("user {user:?}: {problem}")]
    User { user: String, problem: String },
}

fn at(location: Option<(u64, u64)>) -> String {
    location.map(|(line, column)| format!(": line {line}, column {column}")).unwrap_or_default()
}

/// Reads the credentials of the current context's user; answers of plugins are kept below `cache`.
pub(super) fn read(path: &Path, cache: &Path) -> Result<Credentials, KubeconfigError> {
    let text = std::fs::read_to_string(path).map_err(KubeconfigError::Read)?;
    of(file::parse(&text)?, path, cache)
}

fn of(kubeconfig: Kubeconfig, path: &Path, cache: &Path) -> Result<Credentials, KubeconfigError> {
    let current = kubeconfig.current_context.filter(|name| !name.is_empty());
    let current = current.ok_or(KubeconfigError::NoContext)?;
    let absent = |kind, name: &str, of| KubeconfigError::Absent { kind, name: name.to_owned(), of };
    let context = find(kubeconfig.contexts, &current)
        .ok_or_else(|| absent("context", &current, "current-context"))?;
    let user = find(kubeconfig.users, &context.user)
        .ok_or_else(|| absent("user", &context.user, "the current context"))?;
    let reader = Reader { path, cache, cluster: find(kubeconfig.clusters, &context.cluster) };
    reader
        .credentials(user)
        .map_err(|problem| KubeconfigError::User { user: context.user, problem })
}

fn find<T: file::Entry>(entries: Option<Vec<T>>, name: &str) -> Option<T::Of> {
    let mut entries = entries.unwrap_or_default().into_iter();
    entries.find(|entry| entry.name() == name).map(T::into_inner)
}

/// Knows where the user stands; its errors are what is wrong with them.
struct Reader<'a> {
    path: &'a Path,
    cache: &'a Path,
    cluster: Option<Cluster>,
}

impl Reader<'_> {
    fn credentials(&self, user: User) -> Result<Credentials, String> {
        if user.auth_provider.is_some() {
            return Err(
                "auth-provider is what Kubernetes gave up for exec, which commctl takes".to_owned()
            );
        }
        if user.impersonates() {
            return Err(
                "Commissaire knows no impersonation, and without it (as, as-uid, as-groups, \
                        as-user-extra) this would be somebody else"
                    .to_owned(),
            );
        }
        let in_clear = user.is_secret();
        let identity = self.identity(&user)?;
        let login = self.login(user)?;
        let login = match (login, &identity) {
            (Some(login), _) => login,
            (None, Some(_)) => Login::Certificate,
            (None, None) => {
                return Err("there is nothing to log in with: token, tokenFile, username and \
                            password, a client certificate, or exec"
                    .to_owned());
            }
        };
        Ok(Credentials { login, identity, in_clear })
    }

    /// In kubectl's order; a token's file goes before the token itself, which it replaces.
    fn login(&self, user: User) -> Result<Option<Login>, String> {
        if let Some(file) = filled(user.token_file) {
            return Ok(Some(Login::TokenFile(self.beside(&file))));
        }
        if let Some(token) = user.token.filter(|token| !token.expose_secret().is_empty()) {
            return Ok(Some(Login::Token(token)));
        }
        match (filled(user.username), user.password, user.exec) {
            (Some(username), Some(password), _) => {
                Ok(Some(Login::Password(Password { username, password })))
            }
            (Some(_), None, _) => Err("there is a username without a password".to_owned()),
            (None, _, Some(exec)) => Ok(Some(Login::Plugin(Box::new(self.plugin(exec)?)))),
            (None, _, None) => Ok(None),
        }
    }

    fn identity(&self, user: &User) -> Result<Option<Identity>, String> {
        let data = (&user.client_certificate_data, "client-certificate-data");
        let certificate = self.pem(data, user.client_certificate.as_deref())?;
        let data = (&user.client_key_data, "client-key-data");
        let key = self.pem(data, user.client_key.as_deref())?;
        match (certificate, key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some(Identity { certificate, key })),
            (Some(_), None) => Err("there is a client-certificate without client-key".to_owned()),
            (None, Some(_)) => Err("there is a client-key without client-certificate".to_owned()),
        }
    }

    /// What is in the file itself wins over what it names.
    fn pem(
        &self,
        (data, member): (&Option<SecretString>, &str),
        file: Option<&str>,
    ) -> Result<Option<Pem>, String> {
        if let Some(data) = data.as_ref().filter(|data| !data.expose_secret().is_empty()) {
            let text = decoded(data.expose_secret())
                .ok_or_else(|| format!("{member} is not base64 of PEM"))?;
            return Ok(Some(Pem::Text(text)));
        }
        let file = file.filter(|file| !file.is_empty());
        Ok(file.map(|file| Pem::File(self.beside(file))))
    }

    fn plugin(&self, exec: Exec) -> Result<Plugin, String> {
        let known = plugin::API_VERSIONS.into_iter().find(|known| *known == exec.api_version);
        let api_version = known.ok_or_else(|| {
            let known = plugin::API_VERSIONS.join(" and ");
            format!("exec has the apiVersion {:?}; known are {known}", exec.api_version)
        })?;
        if exec.command.is_empty() {
            return Err("exec has no command".to_owned());
        }
        let cluster = exec.provide_cluster_info.then(|| self.cluster_info()).transpose()?;
        // A name is looked for along PATH; what has a slash is a file, beside this one.
        let program = if exec.command.contains('/') {
            self.beside(&exec.command)
        } else {
            PathBuf::from(exec.command)
        };
        let env = exec.env.unwrap_or_default();
        Ok(Plugin {
            api_version,
            program,
            arguments: exec.args.unwrap_or_default(),
            environment: env.into_iter().map(|variable| (variable.name, variable.value)).collect(),
            install_hint: exec.install_hint.filter(|hint| !hint.trim().is_empty()),
            input: match exec.interactive_mode {
                Some(Interactive::Never) => plugin::Input::Never,
                Some(Interactive::Always) => plugin::Input::Always,
                Some(Interactive::IfAvailable) | None => plugin::Input::IfAvailable,
            },
            cluster,
            cache: self.cache.to_owned(),
        })
    }

    /// The Kubernetes that the plugin is to make credentials for, as `KUBERNETES_EXEC_INFO` has it.
    fn cluster_info(&self) -> Result<Value, String> {
        let Some(cluster) = &self.cluster else {
            return Err("exec wants to know the context's cluster, which is not there".to_owned());
        };
        let mut info = json!({"server": cluster.server, "config": cluster.exec_config()});
        let mut set = |member: &str, value: Value| info[member] = value;
        if let Some(name) = filled(cluster.tls_server_name.clone()) {
            set("tls-server-name", json!(name));
        }
        if cluster.insecure_skip_tls_verify {
            set("insecure-skip-tls-verify", json!(true));
        }
        if let Some(url) = filled(cluster.proxy_url.clone()) {
            set("proxy-url", json!(url));
        }
        if cluster.disable_compression {
            set("disable-compression", json!(true));
        }
        let authority = match (&cluster.certificate_authority_data, &cluster.certificate_authority)
        {
            (Some(data), _) if !data.is_empty() => Some(data.clone()),
            (_, Some(file)) if !file.is_empty() => {
                let path = self.beside(file);
                let pem = std::fs::read(&path)
                    .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                Some(BASE64.encode(pem))
            }
            _ => None,
        };
        if let Some(authority) = authority {
            set("certificate-authority-data", json!(authority));
        }
        Ok(info)
    }

    fn beside(&self, file: &str) -> PathBuf {
        beside(self.path, file)
    }
}

/// As in Go, an empty text is none.
fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn decoded(data: &str) -> Option<SecretString> {
    let data: String = data.split_whitespace().collect();
    String::from_utf8(BASE64.decode(data).ok()?).ok().map(SecretString::from)
}

#[cfg(test)]
mod tests;
