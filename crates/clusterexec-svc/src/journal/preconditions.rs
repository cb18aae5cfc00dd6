//! What must not have changed when a write is accepted.

use bus::Result;
use model::{BudgetClaims, ClusterHead, ClusterName, Freeze, OperationControl};
use storage_client::Transaction;

/// The revisions that a decision is based on. A transaction that checks them is rejected once an operator has paused,
/// aborted or frozen the operation in the meantime.
#[derive(Debug)]
pub struct Preconditions {
    /// The id of the operation.
    operation: String,
    control_revision: Option<u64>,
    /// Whether a freeze also rejects the transaction.
    no_freeze: bool,
    /// The cluster, and the revision that it had when its members were read.
    cluster: Option<(ClusterName, Option<u64>)>,
    /// The claims that are saved along, each with the revision that it is based on.
    claims: Vec<(BudgetClaims, Option<u64>)>,
}

impl Preconditions {
    /// The revision of the operation's control record, and with `no_freeze` that there is no freeze.
    pub(crate) fn new(operation: &str, control_revision: Option<u64>, no_freeze: bool) -> Self {
        Self {
            operation: operation.to_owned(),
            control_revision,
            no_freeze,
            cluster: None,
            claims: Vec::new(),
        }
    }

    /// Adds the revision of the cluster, which a member that leaves increases.
    pub(crate) fn with_cluster(self, name: &ClusterName, revision: Option<u64>) -> Self {
        Self { cluster: Some((name.clone(), revision)), ..self }
    }

    /// Adds claims, among them a host's own, each with the revision that it is based on.
    pub(crate) fn with_claims(self, claims: Vec<(BudgetClaims, Option<u64>)>) -> Self {
        Self { claims, ..self }
    }

    /// The ids of the claims.
    pub(super) fn claimed(&self) -> Vec<String> {
        self.claims.iter().map(|(claims, _)| claims.id.clone()).collect()
    }

    /// Adds the checks to a transaction.
    pub(super) fn check(&self, transaction: Transaction) -> Result<Transaction> {
        let mut checked =
            transaction.check::<OperationControl>(&self.operation, self.control_revision);
        if let Some((name, revision)) = &self.cluster {
            checked = checked.check::<ClusterHead>(name, *revision);
        }
        if self.no_freeze {
            checked = checked.check::<Freeze>(Freeze::ALL, None);
        }
        self.claims.iter().try_fold(checked, |checked, (claims, revision)| {
            checked.check::<BudgetClaims>(&claims.id, *revision).save(claims)
        })
    }
}
