//! API tokens: credentials of users for programs.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use bus::error::chain;
use jiff::SignedDuration;
use model::{
    ApiToken, ApiTokenUse, ClusterPatterns, Model as _, Networks, Role, Stamp, TokenLogin,
};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage_client::{Revised, Transaction};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::enrollments::end;
use crate::access::Rights;
use crate::api::Api;
use crate::auth::api_token::Minted;
use crate::endpoint::{Endpoint, Endpoints};
use crate::error::ApiError;
use crate::params::{Name, Params, SpelledBody, present, word};
use crate::principal::{Authenticator, Principal};
use crate::state::AppState;
use crate::token_uses::removal;

/// The life of a token without `expires`.
const LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);

/// A token as it is asked for.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewToken {
    /// Unique among the tokens of its owner.
    #[schema(pattern = "^[A-Za-z0-9_-]+$", max_length = 253)]
    name: String,
    /// The highest role that it gives.
    #[serde(deserialize_with = "word")]
    role: Role,
    /// Names and patterns of clusters, such as `web-*`; `*` is all of them, and objects without a cluster.
    #[schema(value_type = Vec<String>, min_items = 1)]
    clusters: ClusterPatterns,
    /// Seconds, a duration like `90d`, or a time, within the next 366 days; 90 days when left out.
    #[serde(default, deserialize_with = "present")]
    expires: Option<Value>,
    /// Networks (`10.0.0.0/8`) that it is accepted from; none: from anywhere.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    from: Networks,
}

/// A token as it is shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenView {
    id: String,
    name: String,
    /// Once: when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// The user that it acts for.
    owner: String,
    /// The highest role that it gives.
    role: Role,
    #[schema(value_type = Vec<String>)]
    clusters: ClusterPatterns,
    #[schema(value_type = Vec<String>)]
    from: Networks,
    #[schema(value_type = String)]
    expires: Stamp,
    #[schema(value_type = String)]
    created_at: Stamp,
    /// When it was last used, exact to an hour; null for never.
    #[schema(value_type = Option<String>)]
    last_used: Option<Stamp>,
    /// When a restore from a backup voided it; missing for a token that is valid.
    #[serde(skip_serializing_if = "str::is_empty")]
    #[schema(value_type = Option<String>)]
    voided_at: Stamp,
}

impl TokenView {
    fn of(token: ApiToken, text: Option<String>, last_used: Option<Stamp>) -> Self {
        let ApiToken {
            id, name, owner, role, clusters, from, expires, created_at, voided_at, ..
        } = token;
        Self {
            id,
            name,
            token: text,
            owner,
            role,
            clusters,
            from,
            expires,
            created_at,
            last_used,
            voided_at,
        }
    }
}

/// The endpoints of tokens.
pub fn endpoints() -> Endpoints<AppState> {
    let endpoint = Endpoint::READER.without_fleet().unchanged_by_tokens();
    Endpoints::new("tokens").add(routes!(list, create), endpoint).add(routes!(revoke), endpoint)
}

/// The API tokens of the caller, without their secrets. For an administrator of all clusters, those of all users.
#[utoipa::path(get, path = "/api/v0/tokens", responses((status = 200, body = [TokenView])))]
async fn list(api: Api) -> Result<Json<Vec<TokenView>>, ApiError> {
    let caller = caller(&api)?;
    let mut tokens = api.storage.list::<ApiToken>().await?;
    tokens.retain(|token| may_see(caller, &token.record));
    tokens
        .sort_by(|a, b| (&a.record.owner, &a.record.name).cmp(&(&b.record.owner, &b.record.name)));
    let uses = api.storage.list::<ApiTokenUse>().await?;
    let mut uses: HashMap<_, _> =
        uses.into_iter().map(|found| (found.record.id, found.record.at)).collect();
    let view = |found: Revised<ApiToken>| {
        let last_used = uses.remove(&found.record.id);
        TokenView::of(found.record, None, last_used)
    };
    Ok(Json(tokens.into_iter().map(view).collect()))
}

/// Makes an API token of the caller: the answer is the only one that shows it. It gives a part of the caller's rights, and never
/// more than the caller has when it is used.
#[utoipa::path(
    post,
    path = "/api/v0/tokens",
    request_body = NewToken,
    responses(
        (status = 201, body = TokenView),
        (status = 409, description = "the caller has a token with this name, or there are too many"),
    ),
)]
async fn create(
    api: Api,
    State(state): State<AppState>,
    SpelledBody(new): SpelledBody<NewToken>,
) -> Result<(StatusCode, Json<TokenView>), ApiError> {
    let caller = caller(&api)?;
    let login = login_of(caller)?;
    let now = state.clock.wall();
    let expires = end(new.expires.as_ref(), LIFE, now)?;
    let Minted { id, token: text, hash } = Minted::random();
    let token = ApiToken {
        id,
        name: new.name,
        token_hash: hash,
        owner: caller.id.clone(),
        login,
        role: new.role,
        clusters: new.clusters,
        run_commands: false,
        from: new.from,
        expires: Stamp::of(expires),
        created_at: Stamp::of(now),
        voided_at: Stamp::default(),
    };
    token.validate().map_err(ApiError::bad_request)?;
    has_all(caller, token.role, &token.clusters)?;
    let plan = || async {
        let all = api.storage.list::<ApiToken>().await?;
        let own: Vec<_> = all.iter().filter(|other| other.record.owner == token.owner).collect();
        if own.iter().any(|other| other.record.name == token.name) {
            return Err(taken(&token));
        }
        if own.len() >= ApiToken::MAX_PER_OWNER {
            let most = ApiToken::MAX_PER_OWNER;
            let detail =
                format!("{} has {most} API tokens, the most allowed: revoke one first", caller.id);
            return Err(ApiError::conflict(detail));
        }
        if all.len() >= ApiToken::MAX {
            let most = ApiToken::MAX;
            return Err(ApiError::conflict(format!(
                "there are {most} API tokens, the most allowed"
            )));
        }
        Ok((Transaction::default().create(&token)?, ()))
    };
    api.commit(plan).await?;
    match state.tokens.refresh().await {
        // Another gateway has made one with the same name at the same time: at most one of the two stays, and possibly none.
        Ok(tokens) if tokens.has_namesake(&token) => {
            api.storage.delete::<ApiToken>(&token.id).await?;
            return Err(taken(&token));
        }
        Ok(_) => {}
        // It is accepted a little later, and shown this once.
        Err(error) => {
            tracing::debug!(error = chain(&error), "a new API token is not accepted here yet");
        }
    }
    let text = Some(text.expose_secret().to_owned());
    Ok((StatusCode::CREATED, Json(TokenView::of(token, text, None))))
}

/// Revokes an API token of the caller. An administrator of all clusters may revoke those of all users.
#[utoipa::path(
    delete,
    path = "/api/v0/token/{id}",
    responses(
        (status = 200),
        (status = 404, description = "there is no such token, or it is another user's"),
    ),
)]
async fn revoke(
    api: Api,
    State(state): State<AppState>,
    Params(Name(id)): Params<Name>,
) -> Result<Json<[(); 0]>, ApiError> {
    let caller = caller(&api)?;
    let plan = || async {
        let found = api.storage.find::<ApiToken>(&id).await?;
        let found = found.filter(|found| may_see(caller, &found.record));
        let found =
            found.ok_or_else(|| ApiError::not_found(format!("there is no API token {id}")))?;
        Ok((removal(&id, found.revision), ()))
    };
    api.commit(plan).await?;
    state.tokens.refresh().await.map_err(|_| {
        ApiError::unavailable("the API token is revoked, which takes effect within a minute")
    })?;
    Ok(Json([]))
}

/// The caller; without one, a path is configured to authenticate by itself, and tokens have no owner.
fn caller(api: &Api) -> Result<&Principal, ApiError> {
    let without = || ApiError::forbidden("no user is logged in: this path is one of `self-auths`");
    api.context.principal().ok_or_else(without)
}

/// Whether a token is of the caller, or may be seen and revoked by it all the same.
fn may_see(caller: &Principal, token: &ApiToken) -> bool {
    token.owner == caller.owner().id || caller.rights.on(None) >= Some(Role::Admin)
}

fn login_of(caller: &Principal) -> Result<TokenLogin, ApiError> {
    match &caller.authenticator {
        Authenticator::Password => Ok(TokenLogin::Password),
        Authenticator::Provider => Ok(TokenLogin::Provider { groups: caller.groups.to_vec() }),
        Authenticator::Certificate { issuer } => {
            Ok(TokenLogin::Certificate { issuer: issuer.clone(), name: caller.name.clone() })
        }
        Authenticator::Enrollment | Authenticator::ApiToken { .. } => {
            Err(ApiError::forbidden("a token makes no API tokens: log in as its owner"))
        }
    }
}

/// Refuses a role that the caller does not have itself on one of the clusters.
fn has_all(caller: &Principal, role: Role, clusters: &ClusterPatterns) -> Result<(), ApiError> {
    match clusters.iter().find(|pattern| !has(&caller.rights, role, pattern)) {
        None => Ok(()),
        Some(pattern) => Err(ApiError::forbidden(format!(
            "an API token has no more rights than its owner: {} does not have the role {role} on the clusters {pattern:?} by one \
             of its own names and patterns; see GET /api/v0/whoami",
            caller.id
        ))),
    }
}

/// Whether rights include a role on a cluster, or on all that a pattern stands for.
fn has(rights: &Rights, role: Role, pattern: &str) -> bool {
    let is_name = !pattern.contains('*');
    let is_granted = rights.grants().any(|grant| {
        let names_it = grant.clusters.iter().any(|granted| granted == pattern);
        grant.role.includes(role) && (names_it || grant.clusters.includes_all())
    });
    is_granted || (is_name && rights.on(Some(pattern)).is_some_and(|own| own.includes(role)))
}

fn taken(token: &ApiToken) -> ApiError {
    let ApiToken { name, owner, .. } = token;
    ApiError::conflict(format!(
        "{owner} has an API token {name}: revoke it first, or choose another name"
    ))
}
