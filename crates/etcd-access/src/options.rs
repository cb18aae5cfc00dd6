//! Where etcd is, and who we are to it.

use std::path::{Path, PathBuf};

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use super::{CONNECT_TIMEOUT, TCP_KEEPALIVE};
use model::ident::is_loopback;

/// Where etcd is when nobody says.
const DEFAULT_URL: &str = "http://127.0.0.1:2379";

/// How etcd is reached: the members of that name of an etcd store handler.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The client URLs of its members; in a configuration one text, separated by commas, will do.
    /// None: one etcd on this host, without TLS.
    #[serde(deserialize_with = "urls")]
    pub server_url: Vec<String>,
    /// Our certificate (PEM).
    pub certificate_path: Option<PathBuf>,
    /// The private key of our certificate (PEM).
    pub certificate_key_path: Option<PathBuf>,
    /// The CA that its certificates must come from (PEM); the system's CAs where there is none.
    pub certificate_ca_path: Option<PathBuf>,
    /// The user to log in as.
    pub username: Option<String>,
    /// The user's password.
    #[serde(deserialize_with = "secret")]
    pub password: Option<SecretString>,
    /// etcd's `--quota-backend-bytes`, in bytes, for warnings where its members do not say it themselves (before
    /// etcd 3.6); default 2 GiB, as etcd's own.
    pub quota_backend_bytes: Option<u64>,
    /// Whether another machine may be talked to without TLS.
    pub insecure: bool,
}

/// Why etcd cannot be reached that way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Not the URL of an etcd member.
    #[error("{url:?} is not the URL of an etcd member, like https://10.0.0.1:2379: {why}")]
    Url {
        /// The URL, without what may be a secret.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Two members belong together, and one is missing.
    #[error("`{given}` needs `{missing}` too")]
    Half {
        /// The one that is there.
        given: &'static str,
        /// The one that is missing.
        missing: &'static str,
    },
    /// Certificates without TLS.
    #[error("`{member}` needs https, and {url} is http")]
    Plain {
        /// The member that asks for TLS.
        member: &'static str,
        /// The URL without it.
        url: String,
    },
    /// Records and a password would cross the network in plaintext.
    #[error(
        "{url} was refused: etcd on another machine needs https, or `\"insecure\": true` (ETCD_INSECURE=true in the \
         environment) on a trusted network"
    )]
    Insecure {
        /// The URL.
        url: String,
    },
    /// A file of a certificate or key cannot be used.
    #[error("cannot use {} as `{member}`: {why}", path.display())]
    File {
        /// The member that names it.
        member: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
}

impl Options {
    /// The etcd at these URLs, separated by commas, without TLS options and user.
    pub fn at(urls: &str) -> Self {
        Self { server_url: split(urls), ..Self::default() }
    }

    /// The options that the environment gives, if `ETCD_MACHINES` is set: `ETCD_TLSPEM`,
    /// `ETCD_TLSKEY`, `ETCD_CACERT`, `ETCD_USERNAME`, `ETCD_PASSWORD`, `ETCD_INSECURE`.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads these variables")]
    pub fn from_env() -> Option<Self> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        Some(Self {
            server_url: split(&set("ETCD_MACHINES")?),
            certificate_path: set("ETCD_TLSPEM").map(PathBuf::from),
            certificate_key_path: set("ETCD_TLSKEY").map(PathBuf::from),
            certificate_ca_path: set("ETCD_CACERT").map(PathBuf::from),
            username: set("ETCD_USERNAME"),
            password: set("ETCD_PASSWORD").map(SecretString::from),
            quota_backend_bytes: None,
            insecure: set("ETCD_INSECURE").is_some_and(|value| value == "true"),
        })
    }

    /// The same with its gaps filled from the environment, as a store handler wants it. What belongs
    /// together is taken together: a certificate and its key, a user and its password, and nothing
    /// about TLS for a `server_url` of one's own that is without.
    #[must_use]
    pub fn merged_with_env(self) -> Self {
        self.merged_with(Self::from_env())
    }

    fn merged_with(mut self, other: Option<Self>) -> Self {
        let Some(other) = other else { return self };
        if self.server_url.is_empty() {
            self.server_url = other.server_url;
            self.insecure |= other.insecure;
        }
        if self.server_url.iter().all(|url| !url.starts_with("http://")) {
            if self.certificate_path.is_none() && self.certificate_key_path.is_none() {
                self.certificate_path = other.certificate_path;
                self.certificate_key_path = other.certificate_key_path;
            }
            self.certificate_ca_path = self.certificate_ca_path.or(other.certificate_ca_path);
        }
        if self.username.is_none() && self.password.is_none() {
            self.username = other.username;
            self.password = other.password;
        }
        self
    }

    /// Checks everything that can be checked without reading a file or asking etcd.
    ///
    /// # Errors
    /// [`OptionsError`], naming the culprit.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let pairs = [
            ("certificate_path", self.certificate_path.is_some()),
            ("certificate_key_path", self.certificate_key_path.is_some()),
            ("username", self.username.is_some()),
            ("password", self.password.is_some()),
        ];
        for pair in pairs.chunks(2) {
            match pair {
                [(given, true), (missing, false)] | [(missing, false), (given, true)] => {
                    return Err(OptionsError::Half { given, missing });
                }
                _ => {}
            }
        }
        let tls = [
            ("certificate_path", &self.certificate_path),
            ("certificate_ca_path", &self.certificate_ca_path),
        ];
        let tls = tls.into_iter().find_map(|(member, path)| path.is_some().then_some(member));
        for url in self.endpoints() {
            check_url(&url).map_err(|why| OptionsError::Url { url: masked(&url), why })?;
            if let Some(member) = tls
                && url.starts_with("http://")
            {
                return Err(OptionsError::Plain { member, url });
            }
            if !self.insecure
                && url.strip_prefix("http://").is_some_and(|at| !is_loopback(host(at)))
            {
                return Err(OptionsError::Insecure { url });
            }
        }
        Ok(())
    }

    /// The URLs to try.
    pub fn endpoints(&self) -> Vec<String> {
        if self.server_url.is_empty() {
            return vec![DEFAULT_URL.to_owned()];
        }
        self.server_url.clone()
    }

    /// The URLs, for people: without a user and password, which do not belong there, but may be there.
    pub fn shown(&self) -> String {
        let urls: Vec<_> = self.endpoints().iter().map(|url| masked(url)).collect();
        urls.join(",")
    }

    /// What the client of one endpoint wants to know. Reads the files anew each time: certificates
    /// are renewed while daemons run.
    pub(super) async fn connect_options(&self, url: &str) -> Result<ConnectOptions, OptionsError> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_tcp_keepalive(TCP_KEEPALIVE);
        if url.starts_with("https://") {
            options = options.with_tls(self.tls().await?);
        }
        if let (Some(name), Some(password)) = (&self.username, &self.password) {
            options = options.with_user(name, password.expose_secret());
        }
        Ok(options)
    }

    async fn tls(&self) -> Result<TlsOptions, OptionsError> {
        let mut tls = TlsOptions::new();
        tls = match &self.certificate_ca_path {
            None => tls.with_native_roots(),
            Some(path) => {
                let pem = certificates("certificate_ca_path", path).await?;
                tls.ca_certificate(Certificate::from_pem(pem))
            }
        };
        if let (Some(path), Some(key_path)) = (&self.certificate_path, &self.certificate_key_path) {
            let certificate = certificates("certificate_path", path).await?;
            let member = "certificate_key_path";
            let key = read(member, key_path).await?;
            // The reason could quote the file.
            PrivateKeyDer::from_pem_slice(&key)
                .map_err(|_| file_error(member, key_path, "no private key in PEM"))?;
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        Ok(tls)
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let urls: Vec<_> = self.server_url.iter().map(|url| masked(url)).collect();
        f.debug_struct("Options")
            .field("server_url", &urls)
            .field("certificate_path", &self.certificate_path)
            .field("certificate_key_path", &self.certificate_key_path)
            .field("certificate_ca_path", &self.certificate_ca_path)
            .field("username", &self.username)
            .field("password", &self.password)
            .field("quota_backend_bytes", &self.quota_backend_bytes)
            .field("insecure", &self.insecure)
            .finish()
    }
}

async fn read(member: &'static str, path: &Path) -> Result<Vec<u8>, OptionsError> {
    tokio::fs::read(path).await.map_err(|error| file_error(member, path, &error))
}

async fn certificates(member: &'static str, path: &Path) -> Result<Vec<u8>, OptionsError> {
    let pem = read(member, path).await?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if !found.is_empty() => Ok(pem),
        _ => Err(file_error(member, path, "no certificate in PEM")),
    }
}

fn file_error(member: &'static str, path: &Path, why: &(impl ToString + ?Sized)) -> OptionsError {
    OptionsError::File { member, path: path.to_owned(), why: why.to_string() }
}

fn split(list: &str) -> Vec<String> {
    let urls = list.split(',').map(str::trim).filter(|url| !url.is_empty());
    urls.map(|url| url.trim_end_matches('/').to_owned()).collect()
}

/// A URL for people: without a user and password, which do not belong there, but may be there.
fn masked(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => url.to_owned(),
    }
}

/// The host in `HOST:PORT`, without brackets.
fn host(at: &str) -> &str {
    match at.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => at.rsplit_once(':').map_or(at, |(host, _)| host),
    }
}

/// Says what is wrong with the URL of a member.
fn check_url(url: &str) -> Result<(), &'static str> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let rest = rest.ok_or("it has to begin with http:// or https://")?;
    if rest.contains('@') {
        return Err("a user belongs in `username` and `password`");
    }
    if rest.contains(['/', '?', '#']) {
        return Err("it has to end with the port");
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().map_or(true, |port| port == 0)) {
        return Err("the port is not a number from 1 to 65535");
    }
    let is_ip6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let good = match is_ip6 {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        }
    };
    if good { Ok(()) } else { Err("the host is not a name or an address") }
}

fn urls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let wrong = || de::Error::custom("server_url is a URL, or a list of URLs");
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(Vec::new()),
        Value::String(list) => Ok(split(&list)),
        Value::Array(urls) => {
            let texts = urls.iter().map(|url| url.as_str().map(split).ok_or_else(wrong));
            Ok(texts.collect::<Result<Vec<_>, _>>()?.concat())
        }
        _ => Err(wrong()),
    }
}

/// serde quotes a value of the wrong type in its error.
fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::String(secret) => Ok(Some(secret.into())),
        _ => Err(de::Error::custom("password is a text")),
    }
}

#[cfg(test)]
mod tests;
