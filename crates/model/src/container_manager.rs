//! Container managers: what schedules containers on the hosts of a cluster.
//!
//! Options that are secret never stand in the plain record: [`ContainerManagerConfig::split`] puts
//! [`MASK`] in their place and moves them to a [`ContainerManagerSecret`], which is sealed. The storage
//! service does that with whatever it is given; whoever reads the plain record sees the mask, and may
//! send it back, where it means "unchanged".

mod options;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

pub use options::{Authority, ClientCertificate, KubeconfigFile, KubernetesOptions};

use super::{Address, ClusterPatterns, Model, ident};

/// What stands for a secret option in the plain record.
pub const MASK: &str = "********";

/// What the container manager is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ContainerManagerType {
    /// None: only remembers its nodes.
    Trivial,
    /// Kubernetes.
    Kubernetes,
    /// OpenShift: the API of Kubernetes.
    #[default]
    Openshift,
}

/// How a container manager is reached. Its `Debug` shows no secrets.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContainerManagerConfig {
    /// Its name.
    pub name: String,
    /// What it is.
    #[serde(default, rename = "type")]
    #[schema(required)]
    pub kind: ContainerManagerType,
    /// What its type needs to know: see [`KubernetesOptions`]; a trivial one keeps any.
    #[serde(default)]
    #[schema(required)]
    pub options: Map<String, Value>,
    /// The clusters that may use it; all where this is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub clusters: Option<ClusterPatterns>,
}

/// What [`ContainerManagerConfig::split`] found.
#[derive(Debug)]
pub enum Secrets {
    /// No secret options: those of an earlier record are void.
    None,
    /// Masks only: those of the earlier record stay.
    Unchanged,
    /// These replace all earlier ones.
    Given(ContainerManagerSecret),
}

impl ContainerManagerConfig {
    /// Separates the secret options from the others, leaving masks in their places.
    ///
    /// # Errors
    /// When some are masks and others are not, or one cannot be used.
    pub fn split(mut self) -> Result<(Self, Secrets), String> {
        let mut taken = Map::new();
        let mut masks = false;
        for (name, value) in &mut self.options {
            if !is_secret(name, value) {
                continue;
            }
            if value == MASK {
                masks = true;
                continue;
            }
            if self.kind != ContainerManagerType::Trivial {
                options::check_secret(name, value)?;
            }
            taken.insert(name.clone(), std::mem::replace(value, MASK.into()));
        }
        let secrets = match (taken.is_empty(), masks) {
            (true, false) => Secrets::None,
            (true, true) => Secrets::Unchanged,
            (false, false) => {
                Secrets::Given(ContainerManagerSecret { name: self.name.clone(), options: taken })
            }
            (false, true) => {
                return Err(format!("give all secret options, or leave them all as {MASK:?}"));
            }
        };
        Ok((self, secrets))
    }

    /// The options with the secrets in their places.
    ///
    /// # Errors
    /// When a secret is missing.
    pub fn joined(
        &self,
        secret: Option<&ContainerManagerSecret>,
    ) -> Result<Map<String, Value>, String> {
        let mut options = self.options.clone();
        for (name, value) in &mut options {
            if value == MASK {
                let stored = secret.and_then(|secret| secret.options.get(name));
                *value = stored.cloned().ok_or_else(|| {
                    format!("the option `{name}` is not stored: save the container manager with it")
                })?;
            }
        }
        Ok(options)
    }
}

/// Whether an option, or a member of one, holds what nobody should see. Paths do not: what they lead
/// to stays where it is.
fn is_secret(name: &str, value: &Value) -> bool {
    const WORDS: [&str; 6] = ["token", "password", "passwd", "secret", "key", "credential"];
    let name = name.to_ascii_lowercase();
    if name.ends_with("_path") {
        return false;
    }
    WORDS.iter().any(|word| name.contains(word))
        || match value {
            Value::Object(members) => members.iter().any(|(name, value)| is_secret(name, value)),
            Value::Array(items) => items.iter().any(|item| is_secret("", item)),
            _ => false,
        }
}

impl fmt::Debug for ContainerManagerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = self.options.clone();
        for (name, value) in &mut options {
            if is_secret(name, value) {
                *value = MASK.into();
            }
        }
        f.debug_struct("ContainerManagerConfig")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("clusters", &self.clusters)
            .field("options", &options)
            .finish()
    }
}

impl Model for ContainerManagerConfig {
    const TYPE: &'static str = "ContainerManagerConfig";
    const LIST_TYPE: &'static str = "ContainerManagerConfigs";
    const ID: &'static str = "name";
    const PREFIX: &'static str = "/commissaire/container_managers/";
    // Until the storage service has split the secret options off.
    const CONFIDENTIAL: bool = true;

    fn id(&self) -> &str {
        &self.name
    }

    /// Also refuses a secret that is in the clear: see [`Self::split`].
    fn validate(&self) -> Result<(), String> {
        ident::name(&self.name)?;
        let exposed = |(name, value): &(&String, &Value)| is_secret(name, value) && *value != MASK;
        if let Some((name, _)) = self.options.iter().find(exposed) {
            return Err(format!("the option `{name}` is secret and has to be sealed apart"));
        }
        match self.kind {
            ContainerManagerType::Trivial => Ok(()),
            ContainerManagerType::Kubernetes | ContainerManagerType::Openshift => {
                KubernetesOptions::parse(&self.options).map(drop)
            }
        }
    }
}

/// The secret options of a container manager. Sealed before they reach the store; their `Debug` shows
/// names only. Always written together with the [`ContainerManagerConfig`], whose notification is the
/// only one there is.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerManagerSecret {
    /// The container manager.
    pub name: String,
    /// Its secret options.
    pub options: Map<String, Value>,
}

impl fmt::Debug for ContainerManagerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContainerManagerSecret")
            .field("name", &self.name)
            .field("options", &self.options.keys())
            .finish()
    }
}

impl Model for ContainerManagerSecret {
    const TYPE: &'static str = "ContainerManagerSecret";
    const LIST_TYPE: &'static str = "ContainerManagerSecrets";
    const ID: &'static str = "name";
    const PREFIX: &'static str = "/commissaire/secrets/container_managers/";
    const SECRET: bool = true;

    fn id(&self) -> &str {
        &self.name
    }

    fn validate(&self) -> Result<(), String> {
        ident::name(&self.name)
    }
}

/// The nodes of a trivial container manager.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerManagerNodes {
    /// The container manager.
    pub name: String,
    /// The addresses of its nodes, sorted.
    #[serde(default)]
    pub nodes: std::collections::BTreeSet<Address>,
}

impl Model for ContainerManagerNodes {
    const TYPE: &'static str = "ContainerManagerNodes";
    const LIST_TYPE: &'static str = "ContainerManagerNodesList";
    const ID: &'static str = "name";
    const PREFIX: &'static str = "/commissaire/container_manager_nodes/";

    fn id(&self) -> &str {
        &self.name
    }

    fn validate(&self) -> Result<(), String> {
        self.nodes.iter().try_for_each(|node| ident::address(node))?;
        ident::name(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(value: Value) -> ContainerManagerConfig {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_type_is_openshift_unless_said_otherwise() {
        let plain = config(json!({"name": "ocp", "options": {"server_url": "https://ocp"}}));
        assert_eq!(
            serde_json::to_value(&plain).unwrap(),
            json!({"name": "ocp", "type": "openshift", "options": {"server_url": "https://ocp"}})
        );
        assert!(plain.validate().is_ok());
        let unknown = json!({"name": "x", "type": "nomad"});
        assert!(serde_json::from_value::<ContainerManagerConfig>(unknown).is_err());
    }

    #[test]
    fn secrets_are_taken_out_and_put_back() {
        let given = config(json!({"name": "k", "type": "kubernetes",
                                  "options": {"server_url": "https://k", "token": "canary"}}));
        assert!(given.validate().unwrap_err().contains("sealed apart"));
        assert!(!format!("{given:?}").contains("canary"));
        let (plain, secrets) = given.clone().split().unwrap();
        assert_eq!(plain.options["token"], MASK);
        assert!(plain.validate().is_ok());
        let Secrets::Given(secret) = secrets else { panic!("{secrets:?}") };
        assert!(!format!("{secret:?}").contains("canary"));
        assert_eq!(plain.joined(Some(&secret)).unwrap(), given.options);
        assert!(plain.joined(None).unwrap_err().contains("`token`"));
        assert!(matches!(plain.split().unwrap().1, Secrets::Unchanged));
    }

    #[test]
    fn a_trivial_one_keeps_any_options_and_hides_secret_ones_at_any_depth() {
        let given = config(json!({"name": "t", "type": "trivial", "options": {
            "Password": 7, "note": "x", "key_path": "/a", "auth": {"users": [{"token": "canary"}]}}}));
        let (plain, secrets) = given.split().unwrap();
        assert_eq!(
            Value::Object(plain.options.clone()),
            json!({"Password": MASK, "note": "x", "key_path": "/a", "auth": MASK})
        );
        assert!(plain.validate().is_ok() && matches!(secrets, Secrets::Given(_)));
        let none = config(json!({"name": "t", "type": "trivial"}));
        assert!(matches!(none.split().unwrap().1, Secrets::None));
    }

    #[test]
    fn what_is_neither_all_old_nor_all_new_is_refused() {
        let mixed = json!({"name": "t", "type": "trivial",
                           "options": {"token": MASK, "password": "canary"}});
        let error = config(mixed).split().unwrap_err();
        assert!(error.contains("all secret options") && !error.contains("canary"));
        for bad in [json!(""), json!(7), json!("a\nb"), json!(null), json!({"a": "canary"})] {
            let config = config(json!({"name": "k", "options": {"token": bad}}));
            assert!(config.split().unwrap_err().contains("`token`"));
        }
    }
}
