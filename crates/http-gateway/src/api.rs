//! The services, as one request uses them.

use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use model::{Alarm, ClusterName};
use runtime::retry::Schedule;
use runtime::{Clock, random};
use serde::Serialize;
use serde_json::Value;
use storage_client::{StorageClient, Transaction, queries};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::access::gate;
use crate::error::ApiError;
use crate::principal::Role;
use crate::request::RequestContext;

/// How often a plan is made anew when others change its records meanwhile: those of other gateways, and
/// those who try for the first time. Each round at least one of those who compete gets through.
const COMMIT_ATTEMPTS: usize = 256;

/// How long a request waits for its turn to try again before it tries without: the one whose turn it is
/// may wait for a store that hangs.
const TURN: Duration = Duration::from_secs(2);

/// The services as one request sees them: every message carries who asks.
#[derive(Debug)]
pub struct Api {
    /// The storage service.
    pub storage: StorageClient,
    /// What is known about the request.
    pub context: RequestContext,
    /// The other services.
    pub bus: Bus,
    /// The time.
    pub clock: Clock,
    pub(crate) retrying: Arc<Mutex<()>>,
}

impl Api {
    /// Reads, decides and writes as one step: `plan` reads the records and answers what to write
    /// (checking the revisions it has seen) and what to return. When somebody else was faster it is
    /// asked again, one request after the other: hundreds of hosts that join one cluster at the same
    /// time would otherwise spoil each other's tries. A plan without anything to write just answers.
    ///
    /// # Errors
    /// Those of `plan`, and of the storage service.
    pub async fn commit<T, Plan>(&self, plan: impl Fn() -> Plan + Send) -> Result<T, ApiError>
    where
        T: Send,
        Plan: Future<Output = Result<(Transaction, T), ApiError>> + Send,
    {
        let plan = || self.with_host_right(plan());
        let mut turn = None;
        let mut stale = Schedule::STALE_RECORDS.pauses();
        for _ in 0..COMMIT_ATTEMPTS {
            let (transaction, answer) = match plan().await {
                Err(error) if error.is_stale() => {
                    if stale.sleep().await {
                        continue;
                    }
                    return Err(error);
                }
                planned => planned?,
            };
            if transaction.saves.is_empty() && transaction.deletes.is_empty() {
                return Ok(answer);
            }
            match self.storage.transact(&transaction).await {
                Ok(_) => return Ok(answer),
                Err(error) if !error.is_conflict() => return Err(error.into()),
                Err(_) if turn.is_some() => {}
                Err(_) => turn = timeout(TURN, self.retrying.lock()).await.ok(),
            }
        }
        Err(ApiError::unavailable("others keep changing the same records: try again"))
    }

    /// A plan that goes through only while the sender has the right that the request depends on.
    async fn with_host_right<T>(
        &self,
        plan: impl Future<Output = Result<(Transaction, T), ApiError>> + Send,
    ) -> Result<(Transaction, T), ApiError> {
        let (Some(right), Some(principal)) = (&self.context.host_right, self.context.principal())
        else {
            return plan.await;
        };
        let condition = right.transaction(&self.storage, principal).await?;
        let (mut transaction, answer) = plan.await?;
        transaction.checks.extend(condition.checks);
        Ok((transaction, answer))
    }

    /// Whether the sender may see a cluster; with `None`, objects without a cluster. The gateway itself may see all, and so may
    /// the clients of a path that authenticates by itself.
    pub fn shows(&self, cluster: Option<&ClusterName>) -> bool {
        let cluster = cluster.map(ClusterName::as_str);
        self.context.principal().is_none_or(|principal| principal.rights.shows(cluster))
    }

    /// The alarm that concerns a cluster, without what it says about others that the sender may not see.
    ///
    /// # Errors
    /// When the storage service fails.
    pub async fn alarm(&self, cluster: &ClusterName) -> Result<Option<Alarm>, ApiError> {
        let alarm = queries::alarm(&self.storage, cluster).await?;
        Ok(alarm.map(|alarm| self.visible_alarm(alarm)))
    }

    /// An alarm without what it says about clusters that the sender may not see.
    pub fn visible_alarm(&self, alarm: Alarm) -> Alarm {
        let is_of_one_cluster = alarm.scope.starts_with("cluster.");
        if is_of_one_cluster || self.shows(None) {
            return alarm;
        }
        let reason =
            "hosts of several clusters became unreachable or refuse log-ins at once".to_owned();
        Alarm { reason, ..alarm }
    }

    /// Whether the sender has a role on a cluster, or on objects without a cluster.
    ///
    /// # Errors
    /// 403 without the role; `missing` if the sender may not see it.
    pub fn require(
        &self,
        role: Role,
        cluster: Option<&ClusterName>,
        missing: impl FnOnce() -> ApiError,
    ) -> Result<(), ApiError> {
        let principal = self.context.principal();
        principal.map_or(Ok(()), |principal| gate::require(principal, role, cluster, missing))
    }

    /// The id of the operation that the request may start.
    pub fn operation_id(&self) -> String {
        self.context.operation_id.clone().unwrap_or_else(|| random::uuid().to_string())
    }

    /// Whether the sender is known and has this role on a cluster, or a higher one.
    pub fn has_role(&self, role: Role, cluster: &ClusterName) -> bool {
        let known = self.context.principal();
        known.is_some_and(|principal| principal.rights.on(Some(cluster)) >= Some(role))
    }

    /// Asks another service.
    ///
    /// # Errors
    /// The service's own.
    pub async fn request(
        &self,
        key: &str,
        params: &(impl Serialize + Sync),
    ) -> Result<Value, ApiError> {
        if let Some(error) = &self.context.refuses_storage {
            return Err(bus::Error::clone(error).into());
        }
        Ok(self.bus.request(key, params, &self.context.bus).await?)
    }
}
