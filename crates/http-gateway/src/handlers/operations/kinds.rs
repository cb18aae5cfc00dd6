//! The endpoints of each kind of operation: its newest record, and its start.

use axum::Json;
use axum::response::Response;
use model::messages::OperationPlan;
use model::{ClusterDeploy, ClusterRecord, ClusterRestart, ClusterUpgrade, Work, work};
use utoipa_axum::routes;

use super::start::{NewDeployment, NewOperation, start};
use crate::api::Api;
use crate::cluster_records::head;
use crate::endpoint::{Endpoint, Endpoints};
use crate::error::ApiError;
use crate::params::{Body, NameOfCluster, Params};
use crate::state::AppState;

/// Declares the endpoints of the kinds, a row each: the type, the record, the path and the body; the handler of the newest record, its
/// summary and its 404; the handler of the start and its summary.
macro_rules! kinds {
    ($(
        $kind:ident $record:ident $path:literal $body:ident:
        $newest:ident $shows:literal $missing:literal,
        $start:ident $starts:literal;
    )+) => {
        /// The endpoints of all kinds of operations.
        pub(super) fn endpoints() -> Endpoints<AppState> {
            Endpoints::new("operations")
                $(
                    .add(routes!($newest), Endpoint::READER)
                    .add(routes!($start), Endpoint::OPERATOR.idempotent())
                )+
        }

        $(
            #[doc = $shows]
            #[utoipa::path(
                get,
                path = $path,
                responses(
                    (status = 200, body = $record),
                    (status = 404, description = $missing),
                ),
            )]
            async fn $newest(api: Api, name: Params<NameOfCluster>) -> Newest<work::$kind> {
                newest(api, name).await
            }

            #[doc = $starts]
            #[utoipa::path(
                put,
                path = $path,
                request_body = $body,
                responses(
                    (status = 200, body = OperationPlan, description = "what would happen (`dry_run`)"),
                    (
                        status = 201,
                        body = $record,
                        headers(("Location" = String, description = "Where the operation is shown.")),
                    ),
                    (status = 404, description = "there is no such cluster"),
                    (status = 409, description = "an operation is in process, or a host cannot be used"),
                ),
            )]
            async fn $start(
                api: Api,
                Params(NameOfCluster(name)): Params<NameOfCluster>,
                Body(new): Body<$body>,
            ) -> Result<Response, ApiError> {
                start(&api, work::$kind::KIND, &name, new.into()).await
            }
        )+
    };
}

kinds! {
    Restart ClusterRestart "/api/v0/cluster/{name}/restart" NewOperation:
        restart_status "The newest restart of a cluster."
            "there is no such cluster, or it has never been restarted",
        restart "Restarts the hosts of a cluster.";
    Upgrade ClusterUpgrade "/api/v0/cluster/{name}/upgrade" NewOperation:
        upgrade_status "The newest upgrade of a cluster."
            "there is no such cluster, or it has never been upgraded",
        upgrade "Brings the hosts of a cluster up to date.";
    Deploy ClusterDeploy "/api/v0/cluster/{name}/deploy" NewDeployment:
        deploy_status "The newest deployment on a cluster."
            "there is no such cluster, or nothing was ever deployed on it",
        deploy "Has the hosts of a cluster boot a version of their tree.";
}

/// The newest record of a kind of operation.
type Newest<W> = Result<Json<ClusterRecord<W>>, ApiError>;

async fn newest<W: Work>(
    api: Api,
    Params(NameOfCluster(name)): Params<NameOfCluster>,
) -> Newest<W> {
    head(&api, &name).await?;
    let newest = api.storage.find::<ClusterRecord<W>>(&name).await?;
    let done = W::KIND.facts().done;
    let never = || ApiError::not_found(format!("the cluster {name} has never been {done}"));
    Ok(Json(newest.ok_or_else(never)?.record))
}
