//! The services, as one request uses them.

use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use runtime::retry::Schedule;
use runtime::{Clock, random};
use serde::Serialize;
use serde_json::Value;
use storage_client::{StorageClient, Transaction};
use tokio::sync::Mutex;
use tokio::time::timeout;

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

    /// The id of the operation that the request may start.
    pub fn operation_id(&self) -> String {
        self.context.operation_id.clone().unwrap_or_else(|| random::uuid().to_string())
    }

    /// Whether the sender of the request has this role, or a higher one.
    pub fn has_role(&self, role: Role) -> bool {
        self.context.principal().is_some_and(|principal| principal.role >= role)
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
        Ok(self.bus.request(key, params, &self.context.bus).await?)
    }
}
