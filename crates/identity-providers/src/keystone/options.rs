//! Options of the two plugins for Keystone.

use std::path::PathBuf;

use serde::Deserialize;
use url::Url;

use super::rules::Scope;
use crate::client::{ClientError, is_loopback};

/// The domain that every Keystone has.
const DEFAULT_DOMAIN: &str = "Default";

/// The project that the services of OpenStack have by convention.
const SERVICE_PROJECT: &str = "service";

/// How passwords are checked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PasswordOptions {
    /// Keystone, such as `https://HOST:5000/v3`; `/v3` and `/v3/auth/tokens` may be left out.
    pub(super) url: Url,
    /// The name of the domain of all users.
    #[serde(default = "default_domain")]
    pub(super) domain: String,
    /// The name of the project whose roles count.
    project: Option<String>,
    /// The domain of `project`; `domain` if it is left out.
    #[serde(alias = "project_domain")]
    project_domain: Option<String>,
    /// The name of the domain whose roles count, instead of those of a project.
    #[serde(alias = "scope_domain")]
    scope_domain: Option<String>,
    /// A file with the authorities that verify Keystone's certificate; those of the system if it is left out.
    #[serde(alias = "certificate_authority_path")]
    pub(super) certificate_authority_path: Option<PathBuf>,
}

/// How tokens are checked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TokenOptions {
    /// As in [`PasswordOptions`].
    pub(super) url: Url,
    /// The name of the domain whose users are accepted; those of all domains if it is left out.
    pub(super) domain: Option<String>,
    /// The name of the project that a token must be for.
    project: Option<String>,
    /// The domain of `project`; `domain` if it is left out.
    #[serde(alias = "project_domain")]
    project_domain: Option<String>,
    /// The name of the domain that a token must be for, instead of a project.
    #[serde(alias = "scope_domain")]
    scope_domain: Option<String>,
    /// The user that may validate tokens; each token validates itself if it is left out.
    #[serde(alias = "service_user")]
    service_user: Option<String>,
    /// A file with the password of `service-user`.
    #[serde(alias = "service_password_file")]
    service_password_file: Option<PathBuf>,
    /// The project that `service-user` has its role on; `service` if it is left out.
    #[serde(alias = "service_project")]
    service_project: Option<String>,
    /// The domain of `service-user` and `service-project`; `Default` if it is left out.
    #[serde(alias = "service_domain")]
    service_domain: Option<String>,
    /// As in [`PasswordOptions`].
    #[serde(alias = "certificate_authority_path")]
    pub(super) certificate_authority_path: Option<PathBuf>,
}

/// The user that validates tokens.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) user: String,
    pub(super) domain: String,
    pub(super) password_file: PathBuf,
    pub(super) scope: Scope,
}

impl PasswordOptions {
    pub(super) fn scope(&self) -> Result<Option<Scope>, ClientError> {
        let project_domain = self.project_domain.as_deref();
        scope(self.project.as_deref(), project_domain, self.scope_domain.as_deref(), &self.domain)
    }
}

impl TokenOptions {
    pub(super) fn scope(&self) -> Result<Option<Scope>, ClientError> {
        let domain = self.domain.as_deref().unwrap_or(DEFAULT_DOMAIN);
        let project_domain = self.project_domain.as_deref();
        scope(self.project.as_deref(), project_domain, self.scope_domain.as_deref(), domain)
    }

    pub(super) fn service(&self) -> Result<Option<Account>, ClientError> {
        let (user, password_file) = match (&self.service_user, &self.service_password_file) {
            (Some(user), Some(file)) => (user.clone(), file.clone()),
            (None, None) if self.service_project.is_none() && self.service_domain.is_none() => {
                return Ok(None);
            }
            _ => {
                let message =
                    "`service-…` options need both `service-user` and `service-password-file`";
                return Err(option(message));
            }
        };
        let domain = self.service_domain.clone().unwrap_or_else(default_domain);
        let name = self.service_project.clone().unwrap_or_else(|| SERVICE_PROJECT.to_owned());
        let scope = Scope::Project { name, domain: domain.clone() };
        Ok(Some(Account { user, domain, password_file, scope }))
    }
}

fn scope(
    project: Option<&str>,
    project_domain: Option<&str>,
    scope_domain: Option<&str>,
    default_domain: &str,
) -> Result<Option<Scope>, ClientError> {
    match (project, project_domain, scope_domain) {
        (Some(name), domain, None) => {
            let domain = domain.unwrap_or(default_domain).to_owned();
            Ok(Some(Scope::Project { name: name.to_owned(), domain }))
        }
        (None, None, Some(name)) => Ok(Some(Scope::Domain { name: name.to_owned() })),
        (None, None, None) => Ok(None),
        (Some(_), _, Some(_)) => {
            Err(option("`project` and `scope-domain` exclude each other: give one of them"))
        }
        (None, Some(_), _) => Err(option("`project-domain` needs `project`")),
    }
}

/// The resource of tokens, for a URL that ends before it or with it.
pub(super) fn tokens_url(url: &Url) -> Url {
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/auth/tokens").unwrap_or(path);
    let path = path.strip_suffix("/v3").unwrap_or(path);
    let mut tokens = url.clone();
    tokens.set_path(&format!("{path}/v3/auth/tokens"));
    // The catalogue of an OpenStack is long, and without use here.
    tokens.set_query(Some("nocatalog"));
    tokens.set_fragment(None);
    tokens
}

/// Configurations of the original have such URLs, so they are accepted.
pub(super) fn warn_of_plaintext(plugin: &str, url: &Url, secrets: &str) {
    if url.scheme() != "https" && !is_loopback(url) {
        tracing::warn!(
            %url,
            "{plugin}: {secrets} are sent to Keystone unencrypted: configure a `url` with https://"
        );
    }
}

fn default_domain() -> String {
    DEFAULT_DOMAIN.to_owned()
}

fn option(message: &str) -> ClientError {
    ClientError::Option(message.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use testbed::log::Log;

    use super::*;

    fn url(url: &str) -> Url {
        url.parse().unwrap()
    }

    fn with(url: &str, options: &Value) -> Value {
        let mut all = json!({"url": url});
        all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        all
    }

    fn password_options(options: &Value) -> PasswordOptions {
        serde_json::from_value(with("https://k", options)).unwrap()
    }

    fn token_options(options: &Value) -> TokenOptions {
        serde_json::from_value(with("https://k", options)).unwrap()
    }

    fn project(name: &str, domain: &str) -> Scope {
        Scope::Project { name: name.to_owned(), domain: domain.to_owned() }
    }

    #[test]
    fn url_may_end_before_the_version_or_with_the_resource_of_tokens() {
        let root = "https://k:5000/v3/auth/tokens?nocatalog";
        let below = "https://k/identity/v3/auth/tokens?nocatalog";
        for (given, expected) in [
            ("https://k:5000", root),
            ("https://k:5000/", root),
            ("https://k:5000/v3", root),
            ("https://k:5000/v3/", root),
            ("https://k:5000/v3//", root),
            ("https://k:5000/v3/auth/tokens", root),
            ("https://k:5000/v3/auth/tokens/", root),
            ("https://k:5000/v3/auth/tokens?nocatalog#x", root),
            ("https://k/identity", below),
            ("https://k/identity/", below),
            ("https://k/identity/v3", below),
            ("https://k/identity/v3/auth/tokens", below),
        ] {
            assert_eq!(tokens_url(&url(given)).as_str(), expected, "{given}");
        }
    }

    #[test]
    fn defaults_are_those_of_the_original() {
        let password = password_options(&json!({}));
        assert_eq!((password.domain.as_str(), password.scope().unwrap()), ("Default", None));
        let token = token_options(&json!({}));
        assert_eq!((&token.domain, token.scope().unwrap()), (&None, None));
        assert!(token.service().unwrap().is_none());
    }

    #[test]
    fn scope_is_a_project_or_a_domain() {
        let domain = Scope::Domain { name: "corp".to_owned() };
        for (options, expected) in [
            (json!({"project": "fleet"}), project("fleet", "Default")),
            (json!({"project": "fleet", "domain": "corp"}), project("fleet", "corp")),
            (json!({"project": "fleet", "project-domain": "ops"}), project("fleet", "ops")),
            (json!({"project": "fleet", "project_domain": "ops"}), project("fleet", "ops")),
            (json!({"scope-domain": "corp"}), domain.clone()),
            (json!({"scope_domain": "corp"}), domain),
        ] {
            let expected = Some(expected);
            assert_eq!(password_options(&options).scope().unwrap(), expected, "{options}");
            assert_eq!(token_options(&options).scope().unwrap(), expected, "{options}");
        }
        for options in [
            json!({"project": "fleet", "scope-domain": "corp"}),
            json!({"project-domain": "ops"}),
            json!({"project-domain": "ops", "scope-domain": "corp"}),
        ] {
            assert!(password_options(&options).scope().is_err(), "{options}");
            assert!(token_options(&options).scope().is_err(), "{options}");
        }
    }

    #[test]
    fn service_user_needs_a_password_file_and_has_a_project() {
        let account = |options| token_options(&options).service();
        let minimal = json!({"service-user": "commissaire", "service-password-file": "/p"});
        let minimal = account(minimal).unwrap().unwrap();
        assert_eq!((minimal.user.as_str(), minimal.domain.as_str()), ("commissaire", "Default"));
        assert_eq!(minimal.scope, project("service", "Default"));
        let all = json!({"service_user": "c", "service_password_file": "/p",
            "service_project": "s", "service_domain": "d"});
        let all = account(all).unwrap().unwrap();
        assert_eq!((all.domain.as_str(), all.password_file.to_str()), ("d", Some("/p")));
        assert_eq!(all.scope, project("s", "d"));
        for incomplete in [
            json!({"service-user": "c"}),
            json!({"service-password-file": "/p"}),
            json!({"service-project": "s"}),
            json!({"service-domain": "d"}),
        ] {
            let error = account(incomplete.clone()).unwrap_err().to_string();
            assert!(error.contains("`service-password-file`"), "{incomplete}: {error}");
        }
    }

    #[test]
    fn unknown_options_are_rejected() {
        for unknown in ["service-user", "password", "nonsense"] {
            let options = with("https://k", &json!({unknown: "x"}));
            let error = serde_json::from_value::<PasswordOptions>(options).unwrap_err();
            assert!(error.to_string().contains(unknown), "{error}");
        }
        for unknown in ["service-password", "token", "nonsense"] {
            let options = with("https://k", &json!({unknown: "x"}));
            let error = serde_json::from_value::<TokenOptions>(options).unwrap_err();
            assert!(error.to_string().contains(unknown), "{error}");
        }
    }

    #[test]
    fn plaintext_is_warned_of_unless_it_stays_on_the_machine() {
        for (given, warns) in [
            ("http://keystone.example:5000/v3/auth/tokens", true),
            ("http://10.0.0.1:35357/v3", true),
            ("http://127.0.0.1:5000", false),
            ("http://[::1]:5000", false),
            ("http://localhost:5000", false),
            ("https://keystone.example:5000", false),
        ] {
            let log = Log::capture();
            warn_of_plaintext("keystonetokenauth", &url(given), "tokens");
            let lines = log.from_warn();
            assert_eq!(lines.len(), usize::from(warns), "{given}: {lines:?}");
            assert!(!warns || lines[0].contains("tokens are sent to Keystone unencrypted"));
        }
    }
}
