//! Unfinished work, each with a lease in the store: the replica that acquires the lease does it. A leaf.
//!
//! The lease of an operation is acquired when the operation is accepted. The one for late hosts is written without a
//! holder, in the transaction that ends the operation, so that a crash in between does not lose it. A webhook is a record
//! of its own, and its lease is created when a replica acquires it.

use model::Lease;

/// The prefix of the name of a lease for a pending webhook; the id of the record follows.
const WEBHOOK: &str = "webhook.";

/// The prefix of the name of a lease for late hosts; the id of the operation follows.
const LATE_HOSTS: &str = "late.";

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
    pub(crate) fn of(lease: &'a str) -> Option<Self> {
        let operation = lease.strip_prefix(Lease::OPERATION).map(Self::Operation);
        let webhook = || lease.strip_prefix(WEBHOOK).map(Self::Webhook);
        let late_hosts = || lease.strip_prefix(LATE_HOSTS).map(Self::LateHosts);
        operation.or_else(webhook).or_else(late_hosts)
    }

    /// The name of the lease.
    pub(crate) fn lease_name(self) -> String {
        match self {
            Self::Operation(cluster) => Lease::of_operation(cluster),
            Self::Webhook(id) => format!("{WEBHOOK}{id}"),
            Self::LateHosts(id) => format!("{LATE_HOSTS}{id}"),
        }
    }

    /// The lease without a holder: the first replica that finds it acquires it.
    pub(crate) fn lease(self) -> Lease {
        Lease { name: self.lease_name(), ..Lease::default() }
    }
}
