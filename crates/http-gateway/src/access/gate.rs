//! Whether a principal may make a call: by the role that its endpoint needs, and by the cluster that the call is about.
//! What a principal may not see is answered as if it did not exist.

use axum::extract::{FromRequestParts as _, MatchedPath, RawPathParams};
use axum::http::request::Parts;
use model::{Address, ClusterMember, ClusterName, Operation, Role, ident};
use storage_client::{StorageClient, Transaction};

use crate::endpoint::{Endpoint, Scope};
use crate::error::ApiError;
use crate::principal::Principal;

/// A right that depends on the cluster that a host is a member of.
#[derive(Debug, Clone)]
pub struct HostRight {
    address: Address,
    role: Role,
}

/// The records that a path names, decoded and in their canonical forms.
#[derive(Debug, Default)]
struct Named {
    cluster: Option<ClusterName>,
    host: Option<Address>,
    operation: Option<String>,
}

/// Whether a principal may make a call. Returns the right that it depends on, if that may change with a host.
///
/// # Errors
/// 403 without the role, 404 for what may not be seen.
pub async fn check(
    storage: &StorageClient,
    principal: &Principal,
    endpoint: Endpoint,
    parts: &mut Parts,
) -> Result<Option<HostRight>, ApiError> {
    if endpoint.refuses_tokens(&parts.method) && principal.api_token_id().is_some() {
        return Err(ApiError::forbidden(
            "an API token makes and revokes no API tokens, and changes no bindings: log in as its owner",
        ));
    }
    if endpoint.takes_backups() {
        return if principal.rights.permit_backups() {
            Ok(None)
        } else {
            Err(ApiError::forbidden(format!(
                "this needs the role backup or admin on all clusters (\"*\"), and {} has neither",
                principal.id
            )))
        };
    }
    let query = parts.uri.query();
    let everywhere = principal.rights.on(None);
    if everywhere.is_some_and(|role| endpoint.admits(role, query)) {
        return Ok(None);
    }
    // Boxed: it is large, and seldom needed.
    Box::pin(check_limited(storage, principal, endpoint, parts)).await
}

/// The same for a principal whose role on all clusters does not suffice.
async fn check_limited(
    storage: &StorageClient,
    principal: &Principal,
    endpoint: Endpoint,
    parts: &mut Parts,
) -> Result<Option<HostRight>, ApiError> {
    let query = parts.uri.query();
    let Some(highest) = principal.rights.highest() else { return Err(without_rights(principal)) };
    if !endpoint.admits(highest, query) {
        return Err(match endpoint.role(query) {
            Some(needed) if highest != Role::Enroll => ApiError::forbidden(format!(
                "this needs the role {needed}, and {} has the role {highest}",
                principal.id
            )),
            _ => ApiError::forbidden("the role enroll may register hosts, and nothing else"),
        });
    }
    let Some(needed) = endpoint.role(query) else { return Ok(None) };
    let Named { cluster, host, operation } = match endpoint.scope() {
        Scope::Handler | Scope::Nothing => return Ok(None),
        Scope::Path => Named::by(parts).await?,
        Scope::Fleet => Named::default(),
    };
    if let Some(cluster) = cluster {
        // Neither tells whether the cluster exists.
        let missing = || {
            if endpoint.creates_cluster() {
                lacks(principal, needed, &cluster)
            } else {
                ApiError::no_cluster(&cluster)
            }
        };
        return require(principal, needed, Some(&cluster), missing).map(|()| None);
    }
    if let Some(address) = host {
        let right = HostRight { address, role: needed };
        right.check(storage, principal).await?;
        return Ok(Some(right));
    }
    if let Some(id) = operation {
        let found = storage.find::<Operation>(&id).await?;
        let cluster = found.map(|found| found.record.cluster);
        let missing = || ApiError::no_operation(&id);
        return require(principal, needed, cluster.as_ref(), missing).map(|()| None);
    }
    Err(lacks_all(principal, needed))
}

/// Whether a principal has a role on a cluster, or on objects without a cluster.
///
/// # Errors
/// 403 without the role; `missing` if the principal may not see it.
pub fn require(
    principal: &Principal,
    needed: Role,
    cluster: Option<&ClusterName>,
    missing: impl FnOnce() -> ApiError,
) -> Result<(), ApiError> {
    let role = principal.rights.on(cluster.map(ClusterName::as_str));
    match (role, cluster) {
        (role, _) if role >= Some(needed) => Ok(()),
        (Some(_), Some(cluster)) => Err(lacks(principal, needed, cluster)),
        (Some(_), None) => Err(lacks_all(principal, needed)),
        (None, _) => Err(missing()),
    }
}

/// Whether a principal has a role on the cluster of a host.
///
/// # Errors
/// 403 without the role; 404 if the principal may not see the host.
pub async fn require_host(
    storage: &StorageClient,
    principal: &Principal,
    needed: Role,
    address: &Address,
) -> Result<(), ApiError> {
    let right = HostRight { address: address.clone(), role: needed };
    right.check(storage, principal).await.map(drop)
}

/// 403: a role is missing on a cluster.
pub fn lacks(principal: &Principal, needed: Role, cluster: &ClusterName) -> ApiError {
    let has = match principal.rights.on(Some(cluster)) {
        Some(role) => format!("has the role {role} there"),
        None => "has no role there".to_owned(),
    };
    ApiError::forbidden(format!(
        "this needs the role {needed} on the cluster {cluster}, and {} {has}",
        principal.id
    ))
}

/// 403: a role is missing on all clusters together.
pub fn lacks_all(principal: &Principal, needed: Role) -> ApiError {
    ApiError::forbidden(format!(
        "this needs the role {needed} on all clusters (a binding with \"*\"), and {} has roles on some clusters only: \
         see GET /api/v0/whoami",
        principal.id
    ))
}

fn without_rights(principal: &Principal) -> ApiError {
    if principal.replaced.is_some() {
        return ApiError::forbidden(
            "your bindings were restored from a backup, and give no rights before an administrator accepts them \
             (`commctl access accept`)",
        );
    }
    ApiError::forbidden("you have no role here")
}

impl HostRight {
    async fn check(
        &self,
        storage: &StorageClient,
        principal: &Principal,
    ) -> Result<Option<u64>, ApiError> {
        let member = storage.find::<ClusterMember>(&self.address).await?;
        let revision = member.as_ref().map(|member| member.revision);
        let cluster = member.map(|member| member.record.cluster);
        let missing = || ApiError::no_host(&self.address);
        require(principal, self.role, cluster.as_ref(), missing)?;
        Ok(revision)
    }

    /// A transaction that goes through only while the host is in a cluster where the principal has the right.
    ///
    /// # Errors
    /// As [`check`].
    pub async fn transaction(
        &self,
        storage: &StorageClient,
        principal: &Principal,
    ) -> Result<Transaction, ApiError> {
        let revision = self.check(storage, principal).await?;
        Ok(Transaction::default().check::<ClusterMember>(&self.address, revision))
    }
}

impl Named {
    /// # Errors
    /// 404 for what no handler accepts.
    async fn by(parts: &mut Parts) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, &()).await;
        let params = params.map_err(|_| ApiError::no_route())?;
        let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let mut named = Self::default();
        for (param, value) in &params {
            let name = || ident::name(value).map_err(|_| ApiError::no_route());
            match param {
                "name" if route.contains("/cluster/{name}") => {
                    name()?;
                    named.cluster = Some(value.into());
                }
                "id" if route.contains("/operation/{id}") => {
                    name()?;
                    named.operation = Some(value.to_owned());
                }
                "address" | "host" => {
                    let address = ident::canonical_address(value).ok_or_else(ApiError::no_route)?;
                    named.host = Some(address);
                }
                _ => {}
            }
        }
        Ok(named)
    }
}

#[cfg(test)]
mod tests {
    use bus::{Bus, Context};
    use runtime::Lifecycle;
    use storage_svc::Handler;
    use storage_svc::store::Memory;

    use super::*;
    use crate::access::{Grant, Rights};

    #[tokio::test]
    async fn change_does_not_go_through_once_the_host_has_left_for_another_cluster() {
        let (bus, life, folder) = (Bus::memory(), Lifecycle::new(), tempfile::tempdir().unwrap());
        let config = storage_svc::Config::new(folder.path().join("secret.key"));
        let config = config.or_handler(Handler::memory(Memory::default()));
        storage_svc::run(&bus, &config, &life).await.unwrap();
        let storage = StorageClient::new(bus, Context::default());
        let join = async |cluster: &str| {
            let member = ClusterMember { address: "10.0.0.1".into(), cluster: cluster.into() };
            storage.save(&member).await.unwrap();
        };
        join("web").await;
        let clusters = vec!["web".to_owned()].try_into().unwrap();
        let grant = Grant { role: Role::Operator, clusters, run_commands: false };
        let operator = Principal::user("ann", Rights::of([grant.into()]));
        let right = HostRight { address: "10.0.0.1".into(), role: Role::Operator };
        let change = async || {
            let transaction = right.transaction(&storage, &operator).await.unwrap();
            transaction.delete::<model::HostState>("10.0.0.1")
        };
        let (in_time, late) = (change().await, change().await);
        storage.transact(&in_time).await.unwrap();
        join("db").await;
        assert!(storage.transact(&late).await.unwrap_err().is_conflict());
        let refused = right.transaction(&storage, &operator).await.unwrap_err();
        assert_eq!(refused.detail(), "there is no host 10.0.0.1");
    }
}
