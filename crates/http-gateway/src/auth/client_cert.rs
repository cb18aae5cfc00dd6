//! Client certificates: the connection has verified them already.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Principal, Role, SetupError};
use crate::peer::ClientCertificate;

pub(super) const PLUGIN: &str = "httpauthclientcert";

/// See the module. Two with different names may stand in a row, each with its role.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ClientCert {
    /// The common name that is accepted; any when left out.
    cn: Option<String>,
    /// What its owner may do.
    role: Role,
}

impl ClientCert {
    pub(super) fn new(options: &Map<String, Value>) -> Result<Self, SetupError> {
        super::setup::options(PLUGIN, options)
    }

    pub(super) fn accept(&self, certificate: Option<&ClientCertificate>) -> Option<Principal> {
        let ClientCertificate { common_name, .. } = certificate?;
        if self.cn.is_some() && self.cn != *common_name {
            return None;
        }
        let name = common_name.as_deref().unwrap_or("certificate without a name");
        Some(Principal::new(name, self.role))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn accepted(options: &Value, name: Option<&str>) -> Option<Principal> {
        let certificate = ClientCertificate { common_name: name.map(str::to_owned) };
        ClientCert::new(options.as_object().unwrap()).unwrap().accept(Some(&certificate))
    }

    #[test]
    fn a_certificate_is_accepted_for_its_name() {
        let web = json!({"cn": "web", "role": "reader"});
        assert_eq!(accepted(&web, Some("web")), Some(Principal::new("web", Role::Reader)));
        for other in [Some("Web"), Some("web2"), Some(""), None] {
            assert_eq!(accepted(&web, other), None);
        }
        let any = json!({});
        assert_eq!(accepted(&any, Some("x")), Some(Principal::new("x", Role::Admin)));
        assert_eq!(accepted(&any, None).unwrap().role, Role::Admin);
        assert_eq!(ClientCert::default().accept(None), None);
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
