//! Operators pause, resume and abort operations in process.

use axum::Json;
use axum::extract::State;
use model::{Operation, OperationControl, OperationStatus, Wanted};
use storage_client::{Revised, Transaction};

use super::history::{OperationSummary, found, summary};
use crate::api::Api;
use crate::error::ApiError;
use crate::params::{Name, Params};
use crate::state::AppState;

/// Lets an operation start no further host until it is resumed; those under way end their turns.
#[utoipa::path(
    post,
    path = "/api/v0/operation/{id}/pause",
    responses(
        (status = 200, body = OperationSummary),
        (status = 404, description = "there is no such operation"),
        (status = 409, description = "it has ended, or is being aborted"),
    ),
)]
pub(super) async fn pause(
    api: Api,
    state: State<AppState>,
    id: Params<Name>,
) -> Result<Json<OperationSummary>, ApiError> {
    control(&api, state, id, Wanted::Pause).await
}

/// Lets an operation go on that was paused.
#[utoipa::path(
    post,
    path = "/api/v0/operation/{id}/resume",
    responses(
        (status = 200, body = OperationSummary),
        (status = 404, description = "there is no such operation"),
        (status = 409, description = "it has ended, or is being aborted"),
    ),
)]
pub(super) async fn resume(
    api: Api,
    state: State<AppState>,
    id: Params<Name>,
) -> Result<Json<OperationSummary>, ApiError> {
    control(&api, state, id, Wanted::Run).await
}

/// Ends an operation: it starts no further host, and those under way end their turns.
#[utoipa::path(
    post,
    path = "/api/v0/operation/{id}/abort",
    responses(
        (status = 200, body = OperationSummary),
        (status = 404, description = "there is no such operation"),
        (status = 409, description = "it has ended"),
    ),
)]
pub(super) async fn abort(
    api: Api,
    state: State<AppState>,
    id: Params<Name>,
) -> Result<Json<OperationSummary>, ApiError> {
    control(&api, state, id, Wanted::Abort).await
}

async fn control(
    api: &Api,
    State(state): State<AppState>,
    Params(Name(id)): Params<Name>,
    wanted: Wanted,
) -> Result<Json<OperationSummary>, ApiError> {
    let plan = || async {
        let operation = found(api, &id).await?;
        let known = api.storage.find::<OperationControl>(&id).await?;
        let before = known.as_ref().map(|known| known.record.wanted).unwrap_or_default();
        check(&operation.record, before, wanted)?;
        let transaction = if before == wanted {
            Transaction::default()
        } else {
            let (by, at) = (api.context.bus.principal.clone(), api.clock.stamp());
            let control = OperationControl { id: id.clone(), wanted, by, at, ..Default::default() };
            // It must not end in the meantime: an operation that has ended has no such record.
            let unchanged =
                Transaction::default().check::<Operation>(&id, Some(operation.revision));
            match known {
                Some(Revised { revision, .. }) => {
                    unchanged.update(&Revised { record: control, revision })?
                }
                None => unchanged.create(&control)?,
            }
        };
        Ok((transaction, operation.record))
    };
    let operation = api.commit(plan).await?;
    Ok(Json(summary(api, &state, operation).await?))
}

fn check(operation: &Operation, before: Wanted, wanted: Wanted) -> Result<(), ApiError> {
    let Operation { id, kind, cluster, status, .. } = operation;
    let ended = match status {
        OperationStatus::InProcess => None,
        OperationStatus::Finished => Some("finished"),
        OperationStatus::Failed => Some("failed"),
    };
    if let Some(ended) = ended {
        return Err(ApiError::conflict(format!(
            "the {kind} {id} of the cluster {cluster} has ended already: it has {ended}"
        )));
    }
    if before == Wanted::Abort && wanted != Wanted::Abort {
        return Err(ApiError::conflict(format!(
            "the {kind} {id} of the cluster {cluster} is being aborted, and that cannot be taken back: \
             start another one when it has ended"
        )));
    }
    Ok(())
}
