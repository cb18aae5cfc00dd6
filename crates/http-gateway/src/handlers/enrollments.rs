//! Enrollments: tokens with which hosts register themselves.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use model::{Address, ClusterName, Enrollment, Networks, Stamp, stamp};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage_client::Transaction;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::hosts::{Registrant, joined};
use crate::api::Api;
use crate::auth::token::Minted;
use crate::endpoint::{Endpoint, Endpoints};
use crate::error::ApiError;
use crate::params::{Body, Name, Params, present};
use crate::state::AppState;

/// How long a token is good when nobody says.
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The most hosts that one token registers.
const USES_MAX: u32 = 10_000;

/// An enrollment as it is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(default)]
pub struct NewEnrollment {
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    cluster: Option<ClusterName>,
    /// Seconds, a duration like `2h`, or a time.
    #[serde(deserialize_with = "present")]
    expires: Option<Value>,
    #[schema(minimum = 1, maximum = 10_000)]
    uses: u32,
    /// Networks (`10.0.0.0/8`) that hosts register from; none: from anywhere.
    #[schema(value_type = Vec<String>)]
    from: Networks,
}

impl Default for NewEnrollment {
    fn default() -> Self {
        Self { cluster: None, expires: None, uses: 1, from: Networks::default() }
    }
}

/// An enrollment as it is shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct EnrollmentView {
    id: String,
    /// Once: when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[schema(value_type = String)]
    cluster: ClusterName,
    #[schema(value_type = String)]
    expires: Stamp,
    uses: u32,
    #[schema(value_type = Vec<String>)]
    from: Networks,
    #[schema(value_type = Vec<String>)]
    hosts: Vec<Address>,
    created_by: String,
    #[schema(value_type = String)]
    created_at: Stamp,
    /// When a restore from a backup voided it; missing for one that is valid.
    #[serde(skip_serializing_if = "str::is_empty")]
    #[schema(value_type = Option<String>)]
    voided_at: Stamp,
}

impl EnrollmentView {
    fn of(enrollment: Enrollment, token: Option<String>) -> Self {
        let Enrollment {
            id,
            cluster,
            expires,
            uses,
            from,
            hosts,
            created_by,
            created_at,
            voided_at,
            ..
        } = enrollment;
        Self { id, token, cluster, expires, uses, from, hosts, created_by, created_at, voided_at }
    }
}

/// The endpoints of enrollments.
pub fn endpoints() -> Endpoints<AppState> {
    Endpoints::new("enrollments")
        .add(routes!(list, create), Endpoint::ADMIN)
        .add(routes!(revoke), Endpoint::ADMIN)
}

/// The enrollments, without their tokens.
#[utoipa::path(
    get,
    path = "/api/v0/enrollments",
    responses((status = 200, body = [EnrollmentView])),
)]
async fn list(api: Api) -> Result<Json<Vec<EnrollmentView>>, ApiError> {
    let enrollments = api.storage.list::<Enrollment>().await?;
    let view = |found: storage_client::Revised<_>| EnrollmentView::of(found.record, None);
    Ok(Json(enrollments.into_iter().map(view).collect()))
}

/// Makes a token with which hosts register themselves: the answer is the only one that shows it.
#[utoipa::path(
    post,
    path = "/api/v0/enrollments",
    request_body = NewEnrollment,
    responses(
        (status = 201, body = EnrollmentView),
        (status = 409, description = "there is no such cluster"),
    ),
)]
async fn create(
    api: Api,
    State(state): State<AppState>,
    Body(new): Body<NewEnrollment>,
) -> Result<(StatusCode, Json<EnrollmentView>), ApiError> {
    if !(1..=USES_MAX).contains(&new.uses) {
        return Err(ApiError::bad_request(format!("uses is 1 to {USES_MAX}")));
    }
    let now = state.clock.wall();
    let expires = end(new.expires.as_ref(), DAY, now)?;
    let Minted { id, token, hash } = Minted::random();
    let enrollment = Enrollment {
        id,
        token_hash: hash,
        cluster: new.cluster.unwrap_or_default(),
        expires: Stamp::of(expires),
        uses: new.uses,
        from: new.from,
        hosts: Vec::new(),
        created_by: api.context.bus.principal.clone(),
        created_at: Stamp::of(now),
        voided_at: Stamp::default(),
    };
    if !enrollment.cluster.is_empty() {
        joined(&api, &enrollment.cluster, Registrant::Client).await?;
    }
    api.storage.transact(&Transaction::default().create(&enrollment)?).await?;
    let token = Some(token.expose_secret().to_owned());
    Ok((StatusCode::CREATED, Json(EnrollmentView::of(enrollment, token))))
}

/// Revokes a token; hosts that registered with it stay.
#[utoipa::path(
    delete,
    path = "/api/v0/enrollment/{id}",
    responses(
        (status = 200),
        (status = 404, description = "there is no such enrollment"),
    ),
)]
async fn revoke(api: Api, Params(Name(id)): Params<Name>) -> Result<Json<[(); 0]>, ApiError> {
    api.storage.delete::<Enrollment>(&id).await.map_err(|error| {
        if error.is_not_found() {
            ApiError::not_found(format!("there is no enrollment {id}"))
        } else {
            error.into()
        }
    })?;
    Ok(Json([]))
}

/// When a token ends: at the given time, or after `default`.
///
/// # Errors
/// 400 for an invalid time, or one that is not in the future.
pub(super) fn end(
    given: Option<&Value>,
    default: SignedDuration,
    now: Timestamp,
) -> Result<Timestamp, ApiError> {
    future(given, default, now).ok_or_else(|| {
        ApiError::bad_request(
            "expires is a number of seconds, a duration like \"24h\" or a time like \
             \"2026-12-31T12:00:00Z\", and lies in the future",
        )
    })
}

fn future(given: Option<&Value>, default: SignedDuration, now: Timestamp) -> Option<Timestamp> {
    let after = |duration| now.checked_add(SignedDuration::try_from(duration).ok()?).ok();
    let end = match given {
        None => now.checked_add(default).ok()?,
        Some(Value::Number(seconds)) => after(std::time::Duration::from_secs(seconds.as_u64()?))?,
        Some(Value::String(text)) => match humantime::parse_duration(text) {
            Ok(duration) => after(duration)?,
            Err(_) => stamp::parse(text).or_else(|| text.parse().ok())?,
        },
        Some(_) => return None,
    };
    (end > now).then_some(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn ends(given: &Value) -> Option<Stamp> {
        future(Some(given), DAY, "2026-11-21T00:00:00Z".parse().unwrap()).map(Stamp::of)
    }

    #[test]
    fn an_end_is_said_in_three_ways() {
        for given in [
            json!(3600),
            json!("1h"),
            json!("60 min"),
            json!("2026-11-21T01:00:00Z"),
            json!("2026-11-21T02:00:00+01:00"),
            json!("2026-11-21T01:00:00.000000"),
        ] {
            assert_eq!(ends(&given).as_deref(), Some("2026-11-21T01:00:00.000000"), "{given}");
        }
    }

    #[test]
    fn what_is_no_end_is_refused() {
        for given in [
            json!(0),
            json!(-1),
            json!(1.5),
            json!(u64::MAX),
            json!(""),
            json!("0s"),
            json!("soon"),
            json!("99999999999y"),
            json!("2026-11-21T00:00:00Z"),
            json!("1999-01-01"),
            json!(null),
            json!([]),
        ] {
            assert_eq!(ends(&given), None, "{given}");
        }
    }

    proptest! {
        #[test]
        fn an_end_is_in_the_future(
            text in "[0-9]{1,20}(s|m|h|days|months|y)|[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:00(Z|[+-][0-2][0-9]:00|[.]0{6})|\\PC{0,30}",
            number: u64,
        ) {
            for end in [ends(&json!(text)), ends(&json!(number))].into_iter().flatten() {
                prop_assert!(*end > *"2026-11-21T00:00:00.000000", "{}", end);
            }
        }
    }
}
