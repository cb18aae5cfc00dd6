//! Client certificates: the connection has verified them already.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::plugins::{CLIENT_CERT, SetupError, read_options};
use crate::access::Rights;
use crate::access::bindings::Index;
use crate::peer::ClientCertificate;
use crate::principal::{Principal, Role};

const NO_ROLE: &str =
    "configure `role` of the authentication plugin httpauthclientcert, or `cn` for one common name";

/// See the module. Two with different names may stand in a row, each with its role. Without `cn` and `role` it accepts
/// no certificate: an authority that signs certificates for other purposes, too, would otherwise make administrators.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ClientCert {
    /// The common name that is accepted; any when left out.
    cn: Option<String>,
    /// What its owner may do: everything when left out, but only where `cn` is given.
    role: Option<Role>,
}

impl ClientCert {
    pub(super) fn new(options: &Map<String, Value>) -> Result<Self, SetupError> {
        let plugin: Self = read_options(CLIENT_CERT, options)?;
        if plugin.role().is_none() {
            tracing::warn!("no client certificate is accepted: {NO_ROLE}");
        }
        Ok(plugin)
    }

    fn role(&self) -> Option<Role> {
        self.role.or_else(|| self.cn.as_ref().map(|_| Role::default()))
    }

    /// Why a certificate is refused, if it is for want of a role.
    pub(super) fn refusal(&self, certificate: Option<&ClientCertificate>) -> Option<String> {
        (certificate.is_some() && self.role().is_none())
            .then(|| format!("this client certificate has no role: {NO_ROLE}"))
    }

    /// The owner of a certificate, if it has the configured name, and has a role by the configuration or a binding, which may
    /// still wait to be accepted.
    pub(super) fn accept(
        &self,
        certificate: Option<&ClientCertificate>,
        bindings: &Index,
    ) -> Option<Principal> {
        let ClientCertificate { common_name, issuer } = certificate?;
        if self.cn.is_some() && self.cn != *common_name {
            return None;
        }
        let name = common_name.as_deref().unwrap_or("certificate without a name");
        let rights = self.role().map(Rights::everywhere).unwrap_or_default();
        let principal = bindings.bind(Principal::certificate(issuer, name, rights));
        Some(principal).filter(|found| !found.rights.is_empty() || found.replaced.is_some())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn accepted(options: &Value, name: Option<&str>) -> Option<Principal> {
        let common_name = name.map(str::to_owned);
        let certificate = ClientCertificate { common_name, issuer: "CA".to_owned() };
        ClientCert::new(options.as_object().unwrap())
            .unwrap()
            .accept(Some(&certificate), &Index::default())
    }

    #[test]
    fn a_certificate_is_accepted_for_its_name() {
        let web = json!({"cn": "web", "role": "reader"});
        assert_eq!(
            accepted(&web, Some("web")),
            Some(Principal::certificate("CA", "web", Rights::everywhere(Role::Reader)))
        );
        for other in [Some("Web"), Some("web2"), Some(""), None] {
            assert_eq!(accepted(&web, other), None);
        }
        let any = json!({"role": "operator"});
        assert_eq!(
            accepted(&any, Some("x")),
            Some(Principal::certificate("CA", "x", Rights::everywhere(Role::Operator)))
        );
        assert_eq!(accepted(&any, None).unwrap().role(), Some(Role::Operator));
        assert_eq!(ClientCert::default().accept(None, &Index::default()), None);
    }

    #[test]
    fn role_is_admin_for_a_named_certificate_alone() {
        assert_eq!(accepted(&json!({"cn": "x"}), Some("x")).unwrap().role(), Some(Role::Admin));
        for name in [Some("x"), Some(""), None] {
            assert_eq!(accepted(&json!({}), name), None);
        }
        let certificate = ClientCertificate { common_name: None, issuer: String::new() };
        for (options, explained) in [
            (json!({}), true),
            (json!({"cn": "x"}), false),
            (json!({"role": "reader"}), false),
            (json!({"role": "admin"}), false),
        ] {
            let plugin = ClientCert::new(options.as_object().unwrap()).unwrap();
            assert_eq!(plugin.refusal(Some(&certificate)).is_some(), explained, "{options}");
            assert_eq!(plugin.refusal(None), None);
        }
    }

    #[test]
    fn wrong_options_are_refused() {
        for (options, says) in [
            (json!({"role": "root"}), "role: unknown variant `root`"),
            (json!({"cm": "web"}), "unknown field `cm`"),
        ] {
            let error = ClientCert::new(options.as_object().unwrap()).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
