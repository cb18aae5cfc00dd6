//! The record types that the service knows: a table made from the models.

use bus::{Error, Result};
use model::{
    Alarm, ApiToken, ApiTokenUse, Binding, BudgetClaims, CheckReport, CheckRoster, Cluster,
    ClusterHead, ClusterMember, ClusterRecord, ContainerManagerConfig, ContainerManagerNodes,
    ContainerManagerSecret, CordonDebt, Enrollment, Freeze, HealthCheck, Host, HostCreds,
    HostPlacement, HostState, IdempotentRequest, Instance, LastBackup, Lease, Model, Network,
    NewestOperation, Operation, OperationControl, OperationEvent, OperationHost, OperationKind,
    OperationWait, PendingWebhook, RefusedLogIns, ServerKeys, WriteProbe, each_kind, json,
};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

/// What identifies a record, or its key, and its text with defaults filled in; or what is wrong with it.
pub(crate) type Checked = Result<(String, Box<RawValue>), String>;

/// A record type.
#[derive(Debug)]
pub struct Kind {
    /// Its name on the bus.
    pub type_name: &'static str,
    /// The name of a list of them.
    pub list_type: &'static str,
    /// The member that identifies it.
    pub id: &'static str,
    /// What its keys begin with.
    pub prefix: &'static str,
    /// What its keys end with.
    suffix: &'static str,
    /// The documented record that it is a part of, or itself.
    pub part_of: &'static str,
    /// Members that notifications leave out.
    pub hidden: &'static [&'static str],
    /// Sealed before it reaches the store.
    pub secret: bool,
    check: fn(&str) -> Checked,
    check_id: fn(&str) -> Result<(), String>,
    key: fn(&str) -> String,
}

/// The documented records of operations.
static CLUSTER_RECORDS: [Kind; OperationKind::ALL.len()] =
    each_kind!(W => Kind::of::<ClusterRecord<W>>());

/// The records under their keys.
static NEWEST_OPERATIONS: [Kind; OperationKind::ALL.len()] =
    each_kind!(W => Kind::of::<NewestOperation<W>>());

/// All others.
static KINDS: [Kind; 35] = [
    Kind::of::<Alarm>(),
    Kind::of::<ApiToken>(),
    Kind::of::<ApiTokenUse>(),
    Kind::of::<Binding>(),
    Kind::of::<BudgetClaims>(),
    Kind::of::<CheckReport>(),
    Kind::of::<CheckRoster>(),
    Kind::of::<Cluster>(),
    Kind::of::<ClusterHead>(),
    Kind::of::<ClusterMember>(),
    Kind::of::<ContainerManagerConfig>(),
    Kind::of::<ContainerManagerNodes>(),
    Kind::of::<ContainerManagerSecret>(),
    Kind::of::<CordonDebt>(),
    Kind::of::<Enrollment>(),
    Kind::of::<HealthCheck>(),
    Kind::of::<Host>(),
    Kind::of::<HostCreds>(),
    Kind::of::<HostPlacement>(),
    Kind::of::<HostState>(),
    Kind::of::<IdempotentRequest>(),
    Kind::of::<Instance>(),
    Kind::of::<LastBackup>(),
    Kind::of::<Lease>(),
    Kind::of::<Network>(),
    Kind::of::<Operation>(),
    Kind::of::<OperationControl>(),
    Kind::of::<OperationWait>(),
    Kind::of::<PendingWebhook>(),
    Kind::of::<OperationHost>(),
    Kind::of::<OperationEvent>(),
    Kind::of::<Freeze>(),
    Kind::of::<WriteProbe>(),
    Kind::of::<RefusedLogIns>(),
    Kind::of::<ServerKeys>(),
];

impl Kind {
    /// The kind of a model.
    pub(crate) const fn of<T: Model>() -> Self {
        Self {
            type_name: T::TYPE,
            list_type: T::LIST_TYPE,
            id: T::ID,
            prefix: T::PREFIX,
            suffix: T::SUFFIX,
            part_of: T::PART_OF,
            hidden: T::HIDDEN,
            secret: T::SECRET,
            check: check::<T>,
            check_id: T::validate_id,
            key: T::key,
        }
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        KINDS.iter().chain(&CLUSTER_RECORDS).chain(&NEWEST_OPERATIONS)
    }

    /// Whether its records are parts of documented ones.
    pub fn is_part(&self) -> bool {
        self.part_of != self.type_name
    }

    /// The type of that name.
    ///
    /// # Errors
    /// When nobody knows it.
    pub fn named(name: &str) -> Result<&'static Self> {
        Self::all().find(|kind| kind.type_name == name).ok_or_else(|| unknown(name))
    }

    /// The type whose list has that name.
    ///
    /// # Errors
    /// When nobody knows it, or there is no such list.
    pub fn listed_as(name: &str) -> Result<&'static Self> {
        // Records that share a prefix with others cannot be listed by it.
        let listable = |kind: &&Self| (kind.key)("").as_str() == kind.prefix;
        Self::all()
            .filter(listable)
            .find(|kind| kind.list_type == name)
            .ok_or_else(|| unknown(name))
    }

    /// The kinds that a record under this key may have: the documented one first, then those that its parts have in
    /// its place.
    pub fn of_key(key: &str) -> impl Iterator<Item = &'static Self> {
        Self::all().filter(move |kind| kind.id_in(key).is_some())
    }

    /// What identifies the record under this key; `None` if it is not one of this kind.
    pub fn id_in<'a>(&self, key: &'a str) -> Option<&'a str> {
        let id = key.strip_prefix(self.prefix)?.strip_suffix(self.suffix)?;
        (self.check_id)(id).is_ok().then_some(id)
    }

    /// Checks the text of a record; returns its key and its text with defaults filled in.
    ///
    /// # Errors
    /// A sentence that names the member and what is wrong with it.
    pub fn check(&self, text: &str) -> Checked {
        let (id, record) = (self.check)(text)?;
        Ok(((self.key)(&id), record))
    }

    /// The key of the record `id`.
    ///
    /// # Errors
    /// When it cannot identify such a record.
    pub fn key(&self, id: &str) -> Result<String> {
        (self.check_id)(id)
            .map_err(|e| Error::invalid(format!("{} {id:?}: {e}", self.type_name)))?;
        Ok((self.key)(id))
    }

    /// The key of a record of which the identifying member suffices.
    ///
    /// # Errors
    /// When that is missing, or cannot identify such a record.
    pub fn key_of(&self, record: &Value) -> Result<String> {
        let id = record[self.id].as_str().ok_or_else(|| {
            Error::invalid(format!("a {} is identified by its `{}`", self.type_name, self.id))
        })?;
        self.key(id)
    }
}

fn check<T: Model>(text: &str) -> Checked {
    let record: T = parse(text)?;
    Ok((record.id().to_owned(), written(&record)?))
}

/// The text of a record.
///
/// # Errors
/// When it cannot be written as JSON.
pub(crate) fn written(record: &impl Serialize) -> Result<Box<RawValue>, String> {
    to_raw_value(record).map_err(|e| e.to_string())
}

/// Reads the text of a record and checks it.
///
/// # Errors
/// A sentence that names the field and what is wrong with it.
pub(crate) fn parse<T: Model>(text: &str) -> Result<T, String> {
    let record: T = serde_json::from_str(text).map_err(|e| json::without_place(&e))?;
    T::validate_id(record.id())?;
    record.validate()?;
    Ok(record)
}

fn unknown(name: &str) -> Error {
    Error::invalid(format!("there is no record type {name:?}"))
}

#[cfg(test)]
mod tests {
    use std::any::type_name;
    use std::sync::Mutex;

    use bus::jsonrpc::Params;
    use serde::{Deserialize, Deserializer, Serializer};
    use serde_json::json;
    use storage_client::Transaction;

    use super::*;

    #[test]
    fn the_store_keys_are_the_documented_ones() {
        for (type_name, id, key) in [
            ("ApiToken", "t1", "/commissaire/api_tokens/t1"),
            ("ApiTokenUse", "t1", "/commissaire/api_token_uses/t1"),
            ("Binding", "web", "/commissaire/bindings/web"),
            ("HealthCheck", "web", "/commissaire/health_checks/web"),
            ("Host", "10.0.0.1", "/commissaire/hosts/10.0.0.1"),
            ("HostCreds", "10.0.0.1", "/commissaire/secrets/hosts/10.0.0.1"),
            ("HostState", "10.0.0.1", "/commissaire/host_state/10.0.0.1"),
            ("CheckReport", "w1", "/commissaire/check_reports/w1"),
            ("CheckRoster", "w1.2", "/commissaire/check_rosters/w1.2"),
            ("Cluster", "c1", "/commissaire/clusters/c1"),
            ("ClusterHead", "c1", "/commissaire/clusters/c1"),
            ("ClusterMember", "10.0.0.1", "/commissaire/cluster_members/10.0.0.1"),
            ("NewestClusterRestart", "c1", "/commissaire/cluster/c1/restart"),
            ("ClusterDeploy", "c1", "/commissaire/cluster/c1/deploy"),
            ("ClusterRestart", "c1", "/commissaire/cluster/c1/restart"),
            ("ClusterUpgrade", "c1", "/commissaire/cluster/c1/upgrade"),
            ("ContainerManagerConfig", "k1", "/commissaire/container_managers/k1"),
            ("ContainerManagerSecret", "k1", "/commissaire/secrets/container_managers/k1"),
            ("ContainerManagerNodes", "k1", "/commissaire/container_manager_nodes/k1"),
            ("Enrollment", "e1", "/commissaire/enrollments/e1"),
            ("Network", "n1", "/commissaire/networks/n1"),
            ("Operation", "1-2", "/commissaire/operations/1-2"),
            ("OperationControl", "1-2", "/commissaire/operation_control/1-2"),
            ("OperationHost", "1-2.10.0.0.1", "/commissaire/operation_hosts/1-2.10.0.0.1"),
            ("OperationEvent", "1-2.0000000001", "/commissaire/operation_events/1-2.0000000001"),
            ("PendingWebhook", "1-2.paused", "/commissaire/pending_webhooks/1-2.paused"),
            ("Freeze", "all", "/commissaire/freeze/all"),
            ("RefusedLogIns", "10.0.0.1", "/commissaire/refused_log_ins/10.0.0.1"),
            ("ServerKeys", "all", "/commissaire/server_keys/all"),
            ("IdempotentRequest", "k-1", "/commissaire/idempotency/k-1"),
            ("Lease", "operation.c1", "/commissaire/leases/operation.c1"),
        ] {
            assert_eq!(Kind::named(type_name).unwrap().key(id).unwrap(), key);
        }
    }

    /// The serializers and deserializers that records of this type went through.
    static PASSES: Mutex<Vec<&str>> = Mutex::new(Vec::new());

    #[derive(Clone)]
    struct Noted(String);

    impl Serialize for Noted {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            PASSES.lock().unwrap().push(type_name::<S>());
            json!({"name": self.0}).serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for Noted {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            PASSES.lock().unwrap().push(type_name::<D>());
            let read = Value::deserialize(deserializer)?;
            Ok(Self(read["name"].as_str().unwrap_or_default().to_owned()))
        }
    }

    impl Model for Noted {
        const TYPE: &'static str = "Noted";
        const LIST_TYPE: &'static str = "AllNoted";
        const ID: &'static str = "name";
        const PREFIX: &'static str = "/commissaire/noted/";

        fn id(&self) -> &str {
            &self.0
        }

        fn validate(&self) -> Result<(), String> {
            Ok(())
        }
    }

    #[test]
    fn record_on_its_way_into_the_store_is_written_twice_and_parsed_once_as_text() {
        let sent = Transaction::default().save(&Noted("n1".into())).unwrap();
        let params = Params::of(&sent).unwrap();
        let Transaction { saves, .. } = params.parse(&[]).unwrap();
        let (key, text) = Kind::of::<Noted>().check(saves[0].model_json_data.get()).unwrap();
        assert_eq!((key.as_str(), text.get()), ("/commissaire/noted/n1", r#"{"name":"n1"}"#));
        let passes = PASSES.lock().unwrap();
        // By the sender, then by the storage service; never through a value in between.
        let [sent, read, stored] = passes.as_slice() else { panic!("{passes:?}") };
        assert!(sent.contains("serde_json::ser::Serializer"), "{sent}");
        assert!(read.contains("serde_json::de::Deserializer"), "{read}");
        assert!(stored.contains("serde_json::ser::Serializer"), "{stored}");
    }

    #[test]
    fn nothing_from_outside_forms_a_key_unchecked() {
        for kind in Kind::all() {
            for id in ["", "../x", "a/b", "a b", "-x/", "\u{0}"] {
                assert!(kind.key(id).is_err(), "{} {id:?}", kind.type_name);
            }
            assert!(kind.key_of(&json!({kind.id: 7})).is_err());
            assert!(kind.key_of(&json!("x")).is_err());
        }
    }

    #[test]
    fn what_shares_a_prefix_has_no_list() {
        assert!(Kind::listed_as("Hosts").is_ok());
        assert!(Kind::listed_as("ClusterRestarts").is_err());
        assert!(Kind::listed_as("Host").is_err() && Kind::named("Hosts").is_err());
    }
}
