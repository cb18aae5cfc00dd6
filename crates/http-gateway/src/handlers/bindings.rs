//! Bindings: the roles of users, groups and certificates on clusters.

use std::collections::HashSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::{Binding, ClusterPatterns, Model as _, Role, SubjectKind};
use serde::Deserialize;
use storage_client::{Revised, Transaction};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::access::Rights;
use crate::access::bindings::Index;
use crate::api::Api;
use crate::endpoint::{Endpoint, Endpoints};
use crate::error::ApiError;
use crate::params::{Name, Params, SpelledBody, present, same};
use crate::state::AppState;

/// A binding as it is asked for.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewBinding {
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    /// Whether `subject` is a user, a group or the owner of a client certificate.
    kind: SubjectKind,
    /// A user as logs name it, such as `ann` or `corp:ann`; a group with the prefix of its identity provider, such as
    /// `corp:web-team`; a certificate as `ISSUER/COMMON NAME`.
    #[schema(min_length = 1, max_length = 512)]
    subject: String,
    role: Role,
    /// Names and patterns of clusters, such as `web-*`; `*` is all of them, and objects without a cluster.
    #[schema(value_type = Vec<String>, min_items = 1)]
    clusters: ClusterPatterns,
    /// Whether the subject may have commands of its own run on hosts, as administrators may.
    #[serde(default)]
    run_commands: bool,
}

/// The endpoints of bindings.
pub fn endpoints() -> Endpoints<AppState> {
    Endpoints::new("bindings")
        .add(routes!(list), Endpoint::ADMIN)
        .add(routes!(get, put, delete), Endpoint::ADMIN.unchanged_by_tokens())
        .add(routes!(accept), Endpoint::ADMIN.unchanged_by_tokens())
}

/// The bindings that are accepted.
#[derive(Debug, Deserialize, ToSchema)]
pub struct AcceptedBindings {
    /// Their names.
    #[schema(min_items = 1, max_items = 20_000)]
    names: Vec<String>,
}

/// The bindings, sorted by their names.
#[utoipa::path(get, path = "/api/v0/bindings", responses((status = 200, body = [Binding])))]
async fn list(api: Api) -> Result<Json<Vec<Binding>>, ApiError> {
    let bindings = api.storage.list::<Binding>().await?;
    Ok(Json(bindings.into_iter().map(|found| found.record).collect()))
}

/// A binding.
#[utoipa::path(
    get,
    path = "/api/v0/binding/{name}",
    responses(
        (status = 200, body = Binding),
        (status = 404, description = "there is no such binding"),
    ),
)]
async fn get(api: Api, Params(Name(name)): Params<Name>) -> Result<Json<Binding>, ApiError> {
    let found = api.storage.find::<Binding>(&name).await?;
    found.map(|found| Json(found.record)).ok_or_else(|| missing(&name))
}

/// Makes a binding, or replaces it in one step.
#[utoipa::path(
    put,
    path = "/api/v0/binding/{name}",
    request_body = NewBinding,
    responses(
        (status = 200, body = Binding, description = "it was there, and is now as it was asked for"),
        (status = 201, body = Binding, description = "it was made"),
        (status = 409, description = "the caller would no longer be an administrator of all clusters, or there are too many"),
    ),
)]
async fn put(
    api: Api,
    State(state): State<AppState>,
    Params(Name(name)): Params<Name>,
    SpelledBody(new): SpelledBody<NewBinding>,
) -> Result<(StatusCode, Json<Binding>), ApiError> {
    let NewBinding { name: in_body, kind, subject, role, clusters, run_commands } = new;
    same("name", in_body.as_deref(), &name)?;
    let (changed_by, changed_at) = (api.context.bus.principal.clone(), api.clock.stamp());
    let binding = Binding {
        name,
        kind,
        subject,
        role,
        clusters,
        run_commands,
        changed_by,
        changed_at,
        pending: false,
    };
    binding.validate().map_err(ApiError::bad_request)?;
    let plan = || async {
        let mut all = api.storage.list_complete::<Binding>().await?;
        let Some(found) = all.iter_mut().find(|found| found.record.name == binding.name) else {
            if all.len() >= Binding::MAX {
                let most = Binding::MAX;
                return Err(ApiError::conflict(format!(
                    "there are {most} bindings, the most allowed"
                )));
            }
            let new = Revised { record: binding.clone(), revision: 0 };
            let transaction = stays_administrator(&api, all.iter().chain([&new]), &binding.name)?;
            return Ok((transaction.create(&binding)?, (StatusCode::CREATED, binding.clone())));
        };
        let Binding { changed_by, changed_at, .. } = found.record.clone();
        if found.record == (Binding { changed_by, changed_at, ..binding.clone() }) {
            return Ok((Transaction::default(), (StatusCode::OK, found.record.clone())));
        }
        found.record = binding.clone();
        let changed = found.clone();
        let transaction = stays_administrator(&api, all.iter(), &binding.name)?;
        Ok((transaction.update(&changed)?, (StatusCode::OK, binding.clone())))
    };
    let (status, binding) = api.commit(plan).await?;
    take_effect(&state).await?;
    Ok((status, Json(binding)))
}

/// Removes a binding. A subject without a further one has the role that the configuration gives it, on all clusters.
#[utoipa::path(
    delete,
    path = "/api/v0/binding/{name}",
    responses(
        (status = 200),
        (status = 404, description = "there is no such binding"),
        (status = 409, description = "the caller would no longer be an administrator of all clusters"),
    ),
)]
async fn delete(
    api: Api,
    State(state): State<AppState>,
    Params(Name(name)): Params<Name>,
) -> Result<Json<[(); 0]>, ApiError> {
    let plan = || async {
        let all = api.storage.list_complete::<Binding>().await?;
        let found = all.iter().find(|found| found.record.name == name);
        let found = found.ok_or_else(|| missing(&name))?;
        let rest = all.iter().filter(|found| found.record.name != name);
        let transaction = stays_administrator(&api, rest, &name)?;
        let transaction = transaction.check::<Binding>(&name, Some(found.revision));
        Ok((transaction.delete::<Binding>(&name), ()))
    };
    api.commit(plan).await?;
    take_effect(&state).await?;
    Ok(Json([]))
}

/// Accepts bindings that were restored from a backup: until then they give no rights. They may have been deleted after the
/// backup, so the request names each. One that is not pending stays as it is.
#[utoipa::path(
    post,
    path = "/api/v0/bindings/accept",
    request_body = AcceptedBindings,
    responses(
        (status = 200, body = [Binding], description = "the bindings that are named"),
        (status = 404, description = "there is no binding with one of the names; nothing was changed"),
    ),
)]
async fn accept(
    api: Api,
    State(state): State<AppState>,
    SpelledBody(AcceptedBindings { names }): SpelledBody<AcceptedBindings>,
) -> Result<Json<Vec<Binding>>, ApiError> {
    if names.is_empty() {
        return Err(ApiError::bad_request("names: at least one"));
    }
    let all = api.storage.list_complete::<Binding>().await?;
    let known: HashSet<_> = all.iter().map(|found| found.record.name.as_str()).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name.as_str())) {
        return Err(missing(unknown));
    }
    let mut accepted = Vec::with_capacity(names.len());
    for part in names.chunks(Transaction::MAX / 2) {
        let plan = || async {
            let mut transaction = Transaction::default();
            let mut bindings = Vec::with_capacity(part.len());
            for (name, found) in part.iter().zip(api.storage.get_many::<Binding>(part).await?) {
                let mut found = found.ok_or_else(|| missing(name))?;
                if found.record.pending {
                    found.record.pending = false;
                    transaction = transaction.update(&found)?;
                }
                bindings.push(found.record);
            }
            Ok((transaction, bindings))
        };
        accepted.extend(api.commit(plan).await?);
    }
    take_effect(&state).await?;
    Ok(Json(accepted))
}

/// Refuses a change by which the caller would no longer be an administrator of all clusters, by a mistake that it could not
/// take back. `bindings` are those after the change, of which `changed` is the one that changes. The transaction goes through
/// only while another one, that makes the caller an administrator, stays as it is.
fn stays_administrator<'a>(
    api: &Api,
    bindings: impl Iterator<Item = &'a Revised<Binding>> + Clone,
    changed: &str,
) -> Result<Transaction, ApiError> {
    let unconditional = Transaction::default();
    let Some(caller) = api.context.principal() else { return Ok(unconditional) };
    let is_admin = |rights: &Rights| rights.on(None) == Some(Role::Admin);
    let rights_by = |binding: &Binding| Index::of([binding]).rights_of(caller);
    let mut own = bindings.filter_map(|found| Some((found, rights_by(&found.record)?))).peekable();
    if own.peek().is_none() && is_admin(caller.owner().configured()) {
        return Ok(unconditional);
    }
    match own.find(|(_, rights)| is_admin(rights)) {
        Some((found, _)) if found.record.name == changed => Ok(unconditional),
        Some((Revised { record, revision }, _)) => {
            Ok(unconditional.check::<Binding>(&record.name, Some(*revision)))
        }
        None => Err(ApiError::conflict(format!(
            "{} would no longer be an administrator of all clusters: have another administrator do this",
            caller.id
        ))),
    }
}

/// Has a change take effect at this gateway before it is answered.
async fn take_effect(state: &AppState) -> Result<(), ApiError> {
    state
        .bindings
        .refresh()
        .await
        .map(drop)
        .map_err(|_| ApiError::unavailable("the change is saved, and takes effect within a minute"))
}

fn missing(name: &str) -> ApiError {
    ApiError::not_found(format!("there is no binding {name}"))
}
