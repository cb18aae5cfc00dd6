//! Unfinished work, each with a lease in the store: the replica that acquires the lease does it. A leaf.
//!
//! The lease of an operation is acquired when the operation is accepted. The one for late hosts is written without a
//! holder, in the transaction that ends the operation, so that a crash in between does not lose it. A webhook is a record
//! of its own, and its lease is created when a replica acquires it.

use model::{Lease, LeaseName, LeasePurpose};

/// Work that is not done yet.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unfinished<'a> {
    /// The operation of this cluster.
    Operation(&'a str),
    /// The delivery of this pending webhook.
    Webhook(&'a str),
    /// Failed hosts of this operation that may come back.
    LateHosts(&'a str),
}

impl<'a> Unfinished<'a> {
    /// The work that the lease with this name stands for, if it is work of the executor.
    pub(crate) fn of(lease: &'a LeaseName) -> Option<Self> {
        match lease.purpose()? {
            LeasePurpose::Operation(cluster) => Some(Self::Operation(cluster)),
            LeasePurpose::Webhook(id) => Some(Self::Webhook(id)),
            LeasePurpose::LateHosts(operation) => Some(Self::LateHosts(operation)),
            LeasePurpose::Change(_)
            | LeasePurpose::Investigation(_)
            | LeasePurpose::Watcher(_)
            | LeasePurpose::Compaction(_) => None,
        }
    }

    /// The name of the lease.
    pub(crate) fn lease_name(self) -> LeaseName {
        let purpose = match self {
            Self::Operation(cluster) => LeasePurpose::Operation(cluster),
            Self::Webhook(id) => LeasePurpose::Webhook(id),
            Self::LateHosts(operation) => LeasePurpose::LateHosts(operation),
        };
        purpose.name()
    }

    /// The lease without a holder: the first replica that finds it acquires it.
    pub(crate) fn lease(self) -> Lease {
        Lease { name: self.lease_name(), ..Lease::default() }
    }
}
