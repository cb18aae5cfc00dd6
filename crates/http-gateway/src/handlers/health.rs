//! `/healthz` and `/readyz`.

use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use bus::presence::Presence;
use model::{Alarm, LastBackup, Stamp};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::timeout;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::api::Api;
use crate::endpoint::{Endpoint, Endpoints, has_flag};
use crate::error::ApiError;
use crate::readiness::Checks;
use crate::state::AppState;

/// Timeout of all checks together, and of the wait for those of another request.
const LIMIT: Duration = Duration::from_secs(15);

/// The flag that shows every replica and alarm.
const VERBOSE: &str = "verbose";

/// The entry of `degraded` while no user can log in.
const NO_USER: &str = "no usable user";

/// How the process is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    status: &'static str,
}

/// The API can serve, and which services are missing.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    status: &'static str,
    /// Each part that the API cannot serve without, and `ok`.
    #[schema(value_type = Object)]
    parts: Map<String, Value>,
    /// Services of which no replica is running: requests that need them fail. `no usable user`: there is no user who could
    /// log in.
    degraded: Vec<String>,
    /// With `verbose`: the replicas that are running.
    #[serde(skip_serializing_if = "Option::is_none")]
    services: Option<Vec<Replica>>,
    /// With `verbose`: the alarms that last.
    #[serde(skip_serializing_if = "Option::is_none")]
    alarms: Option<Vec<Alarm>>,
    /// With `verbose`: the last backup; missing if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_backup: Option<BackupView>,
}

/// The last backup.
#[derive(Debug, Serialize, ToSchema)]
pub struct BackupView {
    /// The time at its start.
    #[schema(value_type = String)]
    taken_at: Stamp,
    /// Seconds since then.
    #[schema(required)]
    age: Option<i64>,
    /// The number of records in it.
    records: u64,
    /// Whether it holds the keys of the server.
    with_keys: bool,
}

/// A running replica of a service.
#[derive(Debug, Serialize, ToSchema)]
pub struct Replica {
    /// The name of the service.
    service: String,
    /// Distinguishes the replicas of a service.
    #[serde(rename = "replica")]
    id: String,
    /// Its version.
    version: String,
    /// When it started.
    #[schema(value_type = String)]
    started_at: Stamp,
    /// Seconds since then.
    #[schema(required)]
    age: Option<i64>,
}

/// The endpoints of health.
pub fn endpoints() -> Endpoints<AppState> {
    Endpoints::new("health")
        .add(routes!(live), Endpoint::PUBLIC.needs_no_host())
        .add(routes!(ready), Endpoint::PUBLIC.needs_no_host().reader_with(VERBOSE))
}

/// The process lives.
#[utoipa::path(
    get,
    path = "/healthz",
    responses((status = 200, body = Health)),
)]
async fn live() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// The API can serve: the broker and the storage service answer, the store can be read and written, and
/// so can the audit log. Otherwise `parts` says which of these fails; what could not be checked is
/// `unknown`. A service that is not running is no reason for 503: `degraded` names it.
#[utoipa::path(
    get,
    path = "/readyz",
    params(("verbose" = Option<String>, Query,
            description = "Show every running replica, every alarm and the last backup; needs the role reader.")),
    responses(
        (status = 200, body = Ready),
        (status = 503, description = "a part fails: `parts` says which"),
    ),
)]
async fn ready(
    State(state): State<AppState>,
    api: Api,
    RawQuery(query): RawQuery,
) -> Result<Json<Ready>, ApiError> {
    let is_verbose = has_flag(query.as_deref(), VERBOSE);
    if is_verbose && api.context.principal().is_none() {
        return Err(ApiError::forbidden(
            "`verbose` needs the role reader: log in, on the address of the API",
        ));
    }
    let ground = state.ground(&api);
    let ready = async {
        let Checks { parts, failure } = state.readiness.checks(&ground).await;
        if let Some(failure) = failure {
            let fields = Map::from_iter([("parts".to_owned(), Value::Object(parts))]);
            return Err(ApiError::unavailable(failure).with_members(fields));
        }
        let found = state.readiness.services(&ground, is_verbose).await;
        let replica = |presence| Replica::new(presence, api.clock.wall().as_second());
        let services = is_verbose.then(|| found.replicas.into_iter().map(replica).collect());
        let shows_alarms = is_verbose && api.context.refuses_storage.is_none();
        let alarms = if shows_alarms { state.readiness.alarms(&ground).await } else { None };
        let last_backup =
            if shows_alarms { state.readiness.last_backup(&ground).await } else { None };
        let last_backup =
            last_backup.map(|last| BackupView::new(last, api.clock.wall().as_second()));
        let mut degraded = found.missing;
        if !state.auth.has_users() {
            degraded.push(NO_USER.to_owned());
        }
        Ok(Json(Ready { status: "ready", parts, degraded, services, alarms, last_backup }))
    };
    timeout(LIMIT, ready).await.unwrap_or_else(|_| {
        Err(ApiError::unavailable(format!("the checks did not end within {} s", LIMIT.as_secs())))
    })
}

impl Replica {
    fn new(presence: Presence, now: i64) -> Self {
        let Presence { service, replica, version, started_at } = presence;
        let age = age(&started_at, now);
        Self { service, id: replica, version, started_at, age }
    }
}

impl BackupView {
    fn new(last: LastBackup, now: i64) -> Self {
        let LastBackup { taken_at, records, with_keys, .. } = last;
        let age = age(&taken_at, now);
        Self { taken_at, age, records, with_keys }
    }
}

/// Seconds since a time.
fn age(since: &Stamp, now: i64) -> Option<i64> {
    since.timestamp().map(|since| (now - since.as_second()).max(0))
}
