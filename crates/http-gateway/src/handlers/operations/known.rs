//! An operation with all records that its state depends on.

use bus::topology;
use model::explain::{self, Explanation, OperationFacts, OperationState};
use model::{
    Alarm, ClusterName, Freeze, Operation, OperationControl, OperationHost, OperationStatus,
    OperationWait, Wait,
};
use storage_client::queries;

use crate::api::Api;
use crate::error::ApiError;
use crate::state::AppState;

/// An operation, and the records that its state depends on. Those that matter only until its end are not read after it.
#[derive(Debug)]
pub struct Known {
    pub(super) operation: Operation,
    pub(super) hosts: Vec<OperationHost>,
    pub(super) control: Option<OperationControl>,
    wait: Option<Wait>,
    freeze: Option<Freeze>,
    alarm: Option<Alarm>,
    has_executor: bool,
}

impl Known {
    /// Reads all records.
    ///
    /// # Errors
    /// When the storage service fails.
    pub async fn read(api: &Api, state: &AppState, operation: Operation) -> Result<Self, ApiError> {
        let hosts = queries::hosts_of(&api.storage, &operation).await?;
        Self::with_hosts(api, state, operation, hosts).await
    }

    /// Reads all records, but those of hosts only if the operation is in process: its state does not depend on them
    /// later.
    ///
    /// # Errors
    /// When the storage service fails.
    pub(super) async fn in_short(
        api: &Api,
        state: &AppState,
        operation: Operation,
    ) -> Result<Self, ApiError> {
        if operation.status == OperationStatus::InProcess {
            return Self::read(api, state, operation).await;
        }
        Self::with_hosts(api, state, operation, Vec::new()).await
    }

    async fn with_hosts(
        api: &Api,
        state: &AppState,
        operation: Operation,
        hosts: Vec<OperationHost>,
    ) -> Result<Self, ApiError> {
        let mut known = Self {
            operation,
            hosts,
            control: None,
            wait: None,
            freeze: None,
            alarm: None,
            has_executor: true,
        };
        if known.operation.status != OperationStatus::InProcess {
            return Ok(known);
        }
        let (storage, Operation { id, cluster, .. }) = (&api.storage, &known.operation);
        let (control, wait, freeze) = tokio::try_join!(
            storage.find::<OperationControl>(id),
            storage.find::<OperationWait>(id),
            queries::freeze(storage),
        )?;
        let alarm = api.alarm(cluster).await?;
        known.control = control.map(|control| control.record);
        known.wait = wait.map(|wait| wait.record.wait);
        known.freeze = freeze;
        known.alarm = alarm;
        let services = state.readiness.services(&state.ground(api), false).await;
        known.has_executor = !services.lacks(topology::CLUSTEREXEC.name);
        Ok(known)
    }

    /// The operation and its hosts.
    pub fn into_parts(self) -> (Operation, Vec<OperationHost>) {
        (self.operation, self.hosts)
    }

    /// Its state, and the reason for it.
    pub fn explain(&self) -> (OperationState, Explanation) {
        explain::operation(&OperationFacts {
            operation: &self.operation,
            hosts: &self.hosts,
            control: self.control.as_ref(),
            wait: self.wait.as_ref(),
            freeze: self.freeze.as_ref(),
            alarm: self.alarm.as_ref(),
            has_executor: self.has_executor,
        })
    }
}

/// The operation of a cluster that is in process, if there is one.
///
/// # Errors
/// When the storage service fails.
pub async fn in_process(api: &Api, cluster: &ClusterName) -> Result<Option<Operation>, ApiError> {
    let Some(lease) = queries::operation_lease(&api.storage, cluster).await? else {
        return Ok(None);
    };
    let operation = api.storage.find::<Operation>(&lease.record.operation).await?;
    let operation = operation.map(|operation| operation.record);
    Ok(operation.filter(|operation| operation.status == OperationStatus::InProcess))
}
