//! The names of leases: what each is for.

use crate::text::text_type;

text_type! {
    /// The name of a lease: that of a [`LeasePurpose`].
    LeaseName
}

impl LeaseName {
    /// What the lease is for; `None` for a name that this version does not know.
    pub fn purpose(&self) -> Option<LeasePurpose<'_>> {
        LeasePurpose::of(self)
    }
}

/// What a lease is for. Its name is a word, a dot, and what identifies the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeasePurpose<'a> {
    /// `operation.CLUSTER`: the operation on a cluster.
    Operation(&'a str),
    /// `change.CLUSTER`: the change of the members of a cluster, or its deletion.
    Change(&'a str),
    /// `investigation.ADDRESS`: the investigation of a host, or its registration with its container manager.
    Investigation(&'a str),
    /// `watcher.UUID`: a watcher that is alive; those divide the hosts.
    Watcher(&'a str),
    /// `webhook.ID`: the delivery of a pending webhook.
    Webhook(&'a str),
    /// `late.ID`: the failed hosts of an operation that may come back.
    LateHosts(&'a str),
    /// `compaction.STORE`: the compaction of the etcd of a store handler.
    Compaction(&'a str),
}

const OPERATION: &str = "operation";
const CHANGE: &str = "change";
const INVESTIGATION: &str = "investigation";
const WATCHER: &str = "watcher";
const WEBHOOK: &str = "webhook";
const LATE_HOSTS: &str = "late";
const COMPACTION: &str = "compaction";

impl<'a> LeasePurpose<'a> {
    /// What the lease with this name is for; `None` for a name that this version does not know.
    pub fn of(name: &'a str) -> Option<Self> {
        let (word, object) = name.split_once('.')?;
        Some(match word {
            OPERATION => Self::Operation(object),
            CHANGE => Self::Change(object),
            INVESTIGATION => Self::Investigation(object),
            WATCHER => Self::Watcher(object),
            WEBHOOK => Self::Webhook(object),
            LATE_HOSTS => Self::LateHosts(object),
            COMPACTION => Self::Compaction(object),
            _ => return None,
        })
    }

    /// The name of the lease.
    pub fn name(self) -> LeaseName {
        let (word, object) = match self {
            Self::Operation(cluster) => (OPERATION, cluster),
            Self::Change(cluster) => (CHANGE, cluster),
            Self::Investigation(address) => (INVESTIGATION, address),
            Self::Watcher(id) => (WATCHER, id),
            Self::Webhook(id) => (WEBHOOK, id),
            Self::LateHosts(operation) => (LATE_HOSTS, operation),
            Self::Compaction(store) => (COMPACTION, store),
        };
        format!("{word}.{object}").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_as_the_purpose_that_it_was_made_of() {
        for (purpose, name) in [
            (LeasePurpose::Operation("c1"), "operation.c1"),
            (LeasePurpose::Change("c1"), "change.c1"),
            (LeasePurpose::Investigation("10.0.0.1"), "investigation.10.0.0.1"),
            (LeasePurpose::Watcher("1-2"), "watcher.1-2"),
            (LeasePurpose::Webhook("1-2.3"), "webhook.1-2.3"),
            (LeasePurpose::LateHosts("1-2"), "late.1-2"),
            (LeasePurpose::Compaction("etcd"), "compaction.etcd"),
        ] {
            assert_eq!(purpose.name(), name);
            assert_eq!(LeaseName::from(name).purpose(), Some(purpose));
        }
    }

    #[test]
    fn other_names_have_no_purpose() {
        for name in ["", "operation", "operations.c1", "Operation.c1", ".c1", "other.c1"] {
            assert_eq!(LeaseName::from(name).purpose(), None, "{name}");
        }
    }

    #[test]
    fn on_the_wire_a_name_is_a_string() {
        let name = LeasePurpose::Operation("c1").name();
        assert_eq!(serde_json::to_string(&name).unwrap(), r#""operation.c1""#);
        assert_eq!(serde_json::from_str::<LeaseName>(r#""odd name""#).unwrap(), "odd name");
        let error = serde_json::from_str::<LeaseName>("1").unwrap_err().to_string();
        assert_eq!(error, serde_json::from_str::<String>("1").unwrap_err().to_string());
        assert_eq!(format!("{name} {name:?}"), r#"operation.c1 "operation.c1""#);
    }
}
