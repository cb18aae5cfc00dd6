//! The options of a Kubernetes or OpenShift container manager.

use std::path::{Component, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use secrecy::SecretString;
use serde_json::{Map, Value};
use url::Url;

use crate::Limit;

/// Every option there is.
const KNOWN: [&str; 16] = [
    "server_url",
    "apiserver",
    "token",
    "token_path",
    "kubeconfig_path",
    "kubeconfig_context",
    "certificate_data",
    "certificate_key_data",
    "certificate_path",
    "certificate_key_path",
    "certificate_authority_path",
    "certificate_authority_data",
    "insecure_skip_tls_verify",
    "create_nodes",
    "max_unavailable",
    "single_node",
];

/// How a Kubernetes API is reached.
#[derive(Debug, Clone)]
pub struct KubernetesOptions {
    /// `server_url`, or `apiserver`: what the paths of the API (`/api/v1/…`) are appended to. `None` with a kubeconfig.
    pub server_url: Option<Url>,
    /// A kubeconfig in the service's directory for credentials.
    pub kubeconfig: Option<KubeconfigFile>,
    /// A bearer token.
    pub token: Option<SecretString>,
    /// A file with a bearer token in the service's directory for credentials; it is read again when it changes.
    pub token_file: Option<PathBuf>,
    /// A client certificate and its key.
    pub certificate: Option<ClientCertificate>,
    /// Who has signed the server's certificate; `None` for the system's authorities.
    pub authority: Option<Authority>,
    /// Take any certificate of the server.
    pub insecure_skip_tls_verify: bool,
    /// Make the nodes that are missing; otherwise their kubelets have to.
    pub create_nodes: bool,
    /// How many nodes may be unavailable at a time, over all operations; by default the smallest budget of those that are
    /// under way.
    pub max_unavailable: Option<Limit>,
    /// Whether the last node on which pods can be scheduled may be rebooted.
    pub single_node: bool,
}

/// A kubeconfig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubeconfigFile {
    /// Its path below the service's directory for credentials.
    pub path: PathBuf,
    /// The context in it; `None` for its current one.
    pub context: Option<String>,
}

/// A client certificate and its private key.
#[derive(Debug, Clone)]
pub enum ClientCertificate {
    /// In files, in PEM.
    Files {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// Here, in PEM.
    Pem {
        /// The certificate.
        certificate: String,
        /// The key, in base64.
        key: SecretString,
    },
}

/// Where the certificates of the authorities are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authority {
    /// In a file, in PEM.
    Path(PathBuf),
    /// Here, in PEM.
    Pem(String),
}

impl KubernetesOptions {
    /// Reads and checks the options.
    ///
    /// # Errors
    /// A sentence that names the option and what is wrong with it; never a secret.
    pub fn parse(options: &Map<String, Value>) -> Result<Self, String> {
        if let Some(unknown) = options.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(unknown_option(unknown));
        }
        let kubeconfig = kubeconfig(options)?;
        let server_url = match (text(options, "server_url")?, text(options, "apiserver")?) {
            (Some(url), None) | (None, Some(url)) => Some(base_url(url)?),
            (None, None) if kubeconfig.is_some() => None,
            (None, None) => return Err("the option `server_url` is missing".to_owned()),
            (Some(_), Some(_)) => {
                return Err("`server_url` and `apiserver` are the same option: give one".to_owned());
            }
        };
        let parsed = Self {
            kubeconfig,
            token: text(options, "token")?.map(SecretString::from),
            token_file: below(options, "token_path")?,
            certificate: certificate(options)?,
            authority: authority(options)?,
            insecure_skip_tls_verify: flag(options, "insecure_skip_tls_verify", false)?,
            create_nodes: flag(options, "create_nodes", true)?,
            max_unavailable: limit(options, "max_unavailable")?,
            single_node: flag(options, "single_node", false)?,
            server_url,
        };
        let any_certificate = parsed.certificate.is_some() || parsed.authority.is_some();
        let is_http = parsed.server_url.as_ref().is_some_and(|url| url.scheme() == "http");
        if parsed.kubeconfig.is_some() {
            const OWN: [&str; 5] = [
                "kubeconfig_path",
                "kubeconfig_context",
                "create_nodes",
                "max_unavailable",
                "single_node",
            ];
            if let Some(other) = options.keys().find(|name| !OWN.contains(&name.as_str())) {
                return Err(format!("the option `{other}` does not go with `kubeconfig_path`"));
            }
        }
        if parsed.token.is_some() && parsed.token_file.is_some() {
            return Err("give `token` or `token_path`, not both".to_owned());
        }
        if is_http && any_certificate {
            return Err("certificates go with https: the `server_url` says http".to_owned());
        }
        if parsed.insecure_skip_tls_verify && parsed.authority.is_some() {
            return Err("`insecure_skip_tls_verify` would make the authority given of no use: \
                        leave one of them out"
                .to_owned());
        }
        Ok(parsed)
    }
}

/// Checks a secret option before it is put away: afterwards nobody sees what is wrong with it.
pub(super) fn check_secret(name: &str, value: &Value) -> Result<(), String> {
    if !KNOWN.contains(&name) {
        return Err(unknown_option(name));
    }
    match value.as_str() {
        Some(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()) => Ok(()),
        _ => Err(format!("the option `{name}` is a text of printable characters")),
    }
}

fn unknown_option(unknown: &str) -> String {
    let distance = |known: &&str| strsim::levenshtein(unknown, known);
    let nearest = KNOWN.into_iter().min_by_key(distance);
    match nearest.filter(|known| distance(known) <= 1 + unknown.len() / 3) {
        Some(known) => format!("there is no option `{unknown}`: did you mean `{known}`?"),
        None => format!("there is no option `{unknown}`; the options are {}", KNOWN.join(", ")),
    }
}

fn text<'a>(options: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    match options.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
        Some(_) => Err(format!("the option `{name}` is a text that is not empty")),
    }
}

fn flag(options: &Map<String, Value>, name: &str, default: bool) -> Result<bool, String> {
    match options.get(name) {
        None => Ok(default),
        Some(Value::Bool(flag)) => Ok(*flag),
        // As `commctl` sends KEY=VALUE.
        Some(Value::String(text)) if text == "true" => Ok(true),
        Some(Value::String(text)) if text == "false" => Ok(false),
        Some(_) => Err(format!("the option `{name}` is true or false")),
    }
}

fn limit(options: &Map<String, Value>, name: &str) -> Result<Option<Limit>, String> {
    let Some(given) = options.get(name) else { return Ok(None) };
    let limit = serde_json::from_value(given.clone());
    limit.map(Some).map_err(|error| format!("the option `{name}`: {error}"))
}

/// The URL that paths of the API are appended to: the manual's example ends with `/api/`.
fn base_url(text: &str) -> Result<Url, String> {
    let wrong = |why: &str| format!("the option `server_url` {why}");
    let mut url = Url::parse(text).map_err(|_| wrong("is no URL: https://host:port"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("begins with https:// or http://"));
    }
    // It is shown and logged: what is secret has no place in it.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("holds a user or a password: use `token`, or a client certificate"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("has no `?` and no `#`"));
    }
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/v1").unwrap_or(path);
    let path = path.strip_suffix("/api").unwrap_or(path).to_owned();
    url.set_path(&path);
    Ok(url)
}

fn certificate(options: &Map<String, Value>) -> Result<Option<ClientCertificate>, String> {
    let files = match (text(options, "certificate_path")?, text(options, "certificate_key_path")?) {
        (None, None) => None,
        (Some(certificate), Some(key)) => {
            let (certificate, key) = (certificate.into(), key.into());
            Some(ClientCertificate::Files { certificate, key })
        }
        (Some(_), None) => return Err("`certificate_path` needs `certificate_key_path`".to_owned()),
        (None, Some(_)) => return Err("`certificate_key_path` needs `certificate_path`".to_owned()),
    };
    let data = match (text(options, "certificate_data")?, text(options, "certificate_key_data")?) {
        (None, None) => None,
        (Some(certificate), Some(key)) => {
            let certificate = pem(certificate).ok_or_else(|| {
                "the option `certificate_data` is a certificate in PEM, or that in base64"
                    .to_owned()
            })?;
            Some(ClientCertificate::Pem { certificate, key: key.to_owned().into() })
        }
        (Some(_), None) => return Err("`certificate_data` needs `certificate_key_data`".to_owned()),
        (None, Some(_)) => return Err("`certificate_key_data` needs `certificate_data`".to_owned()),
    };
    match (files, data) {
        (Some(_), Some(_)) => {
            Err("give `certificate_path` or `certificate_data`, not both".to_owned())
        }
        (files, data) => Ok(files.or(data)),
    }
}

fn kubeconfig(options: &Map<String, Value>) -> Result<Option<KubeconfigFile>, String> {
    let context = text(options, "kubeconfig_context")?.map(str::to_owned);
    match below(options, "kubeconfig_path")? {
        Some(path) => Ok(Some(KubeconfigFile { path, context })),
        None if context.is_some() => Err("`kubeconfig_context` needs `kubeconfig_path`".to_owned()),
        None => Ok(None),
    }
}

/// A path below the service's directory for credentials: an option must not name any other file of the service.
fn below(options: &Map<String, Value>, name: &str) -> Result<Option<PathBuf>, String> {
    let Some(path) = text(options, name)? else { return Ok(None) };
    let path = PathBuf::from(path);
    let is_below = path.components().all(|part| matches!(part, Component::Normal(_)));
    if is_below {
        Ok(Some(path))
    } else {
        Err(format!(
            "the option `{name}` is a path below the directory `credentials-directory`, without `..`"
        ))
    }
}

fn authority(options: &Map<String, Value>) -> Result<Option<Authority>, String> {
    let path = text(options, "certificate_authority_path")?;
    match (path, text(options, "certificate_authority_data")?) {
        (None, None) => Ok(None),
        (Some(path), None) => Ok(Some(Authority::Path(path.into()))),
        (None, Some(data)) => pem(data).map(|pem| Some(Authority::Pem(pem))).ok_or_else(|| {
            "the option `certificate_authority_data` is a certificate in PEM, or that in base64"
                .to_owned()
        }),
        (Some(_), Some(_)) => {
            Err("give `certificate_authority_path` or `certificate_authority_data`, not both"
                .to_owned())
        }
    }
}

/// PEM as it is, or in base64 as a kubeconfig has it.
fn pem(data: &str) -> Option<String> {
    let is_pem = |text: &str| CertificateDer::from_pem_slice(text.as_bytes()).is_ok();
    if is_pem(data) {
        return Some(data.to_owned());
    }
    let compact: String = data.split_ascii_whitespace().collect();
    let decoded = String::from_utf8(BASE64.decode(compact).ok()?).ok()?;
    is_pem(&decoded).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;
    use serde_json::json;

    use super::*;

    fn parsed(options: Value) -> Result<KubernetesOptions, String> {
        let Value::Object(options) = options else { panic!("an object") };
        KubernetesOptions::parse(&options)
    }

    #[test]
    fn the_defaults_verify_and_create() {
        let options = parsed(json!({"server_url": "https://k:6443", "token": "aaa"})).unwrap();
        assert!(!options.insecure_skip_tls_verify && options.create_nodes);
        assert!(options.max_unavailable.is_none() && !options.single_node);
        assert_eq!(options.token.unwrap().expose_secret(), "aaa");
        assert!(options.authority.is_none() && options.certificate.is_none());
        let texts =
            json!({"server_url": "https://k", "create_nodes": "false", "single_node": "true"});
        let options = parsed(texts).unwrap();
        assert!(!options.create_nodes && options.single_node);
    }

    #[test]
    fn credentials_may_be_in_files_of_the_service() {
        let options = parsed(json!({"kubeconfig_path": "prod/config", "kubeconfig_context": "c"}));
        let expected = KubeconfigFile { path: "prod/config".into(), context: Some("c".to_owned()) };
        let options = options.unwrap();
        assert_eq!((options.kubeconfig, options.server_url), (Some(expected), None));
        let options = parsed(json!({"server_url": "https://k", "token_path": "token"})).unwrap();
        assert_eq!(options.token_file, Some("token".into()));
    }

    #[test]
    fn urls_lead_to_the_root_of_the_api() {
        for (given, base) in [
            ("https://192.168.152.101:8080/api/", "https://192.168.152.101:8080/"),
            ("https://k:6443", "https://k:6443/"),
            ("http://[::1]:8080/api/v1", "http://[::1]:8080/"),
            ("https://rancher/k8s/clusters/c-1/", "https://rancher/k8s/clusters/c-1"),
        ] {
            assert_eq!(
                parsed(json!({"apiserver": given})).unwrap().server_url.unwrap().as_str(),
                base
            );
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let url = "https://k";
        for (options, says) in [
            (json!({}), "`server_url` is missing"),
            (json!({"server_url": url, "apiserver": url}), "the same option"),
            (json!({"server_url": "k:6443"}), "begins with https://"),
            (json!({"server_url": "ftp://k"}), "begins with https://"),
            (json!({"server_url": "https://"}), "is no URL"),
            (json!({"server_url": "https://u:canary@k"}), "holds a user or a password"),
            (json!({"server_url": "https://k?x=1"}), "has no `?`"),
            (json!({"server_url": 7}), "`server_url` is a text"),
            (json!({"server_url": ""}), "`server_url` is a text"),
            (json!({"serverurl": url}), "did you mean `server_url`?"),
            (json!({"server_url": url, "tokne": "canary"}), "did you mean `token`?"),
            (json!({"server_url": url, "xyzzy": 1}), "the options are server_url, apiserver"),
            (json!({"server_url": url, "certificate_path": "/a"}), "needs `certificate_key_path`"),
            (json!({"server_url": url, "certificate_key_path": "/a"}), "needs `certificate_path`"),
            (json!({"server_url": url, "certificate_authority_data": "canary"}), "in PEM"),
            (
                json!({"server_url": "http://k", "certificate_authority_path": "/a"}),
                "certificates go with https",
            ),
            (
                json!({"server_url": url, "certificate_authority_path": "/a",
                       "insecure_skip_tls_verify": true}),
                "of no use",
            ),
            (json!({"server_url": url, "create_nodes": "no"}), "is true or false"),
            (json!({"kubeconfig_path": "/etc/passwd"}), "`credentials-directory`"),
            (json!({"kubeconfig_path": "a/../../b"}), "`credentials-directory`"),
            (json!({"kubeconfig_path": "k", "server_url": url}), "`server_url` does not go with"),
            (json!({"server_url": url, "kubeconfig_context": "c"}), "needs `kubeconfig_path`"),
            (json!({"server_url": url, "token_path": "/etc/shadow"}), "`credentials-directory`"),
            (json!({"server_url": url, "token": "canary", "token_path": "t"}), "not both"),
            (
                json!({"server_url": url, "certificate_data": "canary"}),
                "needs `certificate_key_data`",
            ),
            (json!({"server_url": url, "max_unavailable": 0}), "`max_unavailable`: "),
            (json!({"server_url": url, "single_node": 1}), "is true or false"),
        ] {
            let error = parsed(options.clone()).unwrap_err();
            assert!(error.contains(says) && !error.contains("canary"), "{options}: {error}");
        }
    }

    #[test]
    fn an_authority_comes_as_a_file_as_pem_or_as_in_a_kubeconfig() {
        let pem = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";
        for data in [pem.to_owned(), BASE64.encode(pem)] {
            let options = json!({"server_url": "https://k", "certificate_authority_data": data});
            assert_eq!(parsed(options).unwrap().authority, Some(Authority::Pem(pem.to_owned())));
        }
        let options = json!({"server_url": "https://k", "certificate_authority_path": "/ca.pem"});
        assert_eq!(parsed(options).unwrap().authority, Some(Authority::Path("/ca.pem".into())));
    }
}
