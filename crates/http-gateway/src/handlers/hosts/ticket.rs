//! What a host must show that registers itself with the token of an enrollment.

use model::{ClusterName, Enrolled, Enrollment, HostState, Stamp};
use storage_client::Revised;

use super::new_host::{NewHost, infer};
use crate::api::Api;
use crate::error::ApiError;
use crate::principal::Principal;
use crate::state::AppState;

/// A token that was accepted, and the cluster that its host asks for.
#[derive(Debug)]
pub(super) struct Ticket {
    id: String,
    cluster: Option<ClusterName>,
}

impl Ticket {
    /// The ticket of a request, if it has one. The cluster is then the ticket's to give: it is taken out
    /// of the request.
    pub(super) fn of(
        api: &Api,
        state: &AppState,
        address: &str,
        new: &mut NewHost,
    ) -> Result<Option<Self>, ApiError> {
        let principal = api.context.principal();
        let Some(id) = principal.and_then(Principal::enrollment) else {
            return Ok(None);
        };
        if infer(api, state).ok().as_deref() != Some(address) {
            return Err(ApiError::forbidden(
                "with an enrollment token a host registers itself: by the address it asks from",
            ));
        }
        if new.ssh_host_key.is_empty() {
            return Err(ApiError::bad_request(
                "with an enrollment token ssh_host_key is needed: the lines of /etc/ssh/ssh_host_*_key.pub",
            ));
        }
        Ok(Some(Self { id: id.to_owned(), cluster: new.cluster.take() }))
    }

    /// The enrollment as it is now.
    pub(super) async fn enrollment(&self, api: &Api) -> Result<Revised<Enrollment>, ApiError> {
        let found = api.storage.find::<Enrollment>(&self.id).await?;
        let found =
            found.ok_or_else(|| ApiError::forbidden("this enrollment token was revoked"))?;
        if self.cluster.as_ref().is_some_and(|cluster| *cluster != found.record.cluster) {
            return Err(ApiError::forbidden("this enrollment token is not for that cluster"));
        }
        Ok(found)
    }

    /// The enrollment with this host among those that registered, and what is written down at the host.
    pub(super) async fn redeem(
        &self,
        api: &Api,
        address: &str,
        now: Stamp,
    ) -> Result<(Revised<Enrollment>, Enrolled), ApiError> {
        let mut enrollment = self.enrollment(api).await?;
        if !enrollment.record.take(address) {
            return Err(ApiError::forbidden("this enrollment token is used up: ask for a new one"));
        }
        let cluster = enrollment.record.cluster.clone();
        let enrolled = Enrolled { id: self.id.clone(), cluster, since: now, proven: false };
        Ok((enrollment, enrolled))
    }

    /// Lets nothing be learned about a host that was registered in another way.
    pub(super) async fn must_be_of(&self, api: &Api, address: &str) -> Result<(), ApiError> {
        self.enrollment(api).await?;
        let state = api.storage.find::<HostState>(address).await?;
        let enrolled = state.and_then(|state| state.record.enrolled);
        if enrolled.is_some_and(|enrolled| enrolled.id == self.id) {
            return Ok(());
        }
        Err(ApiError::conflict("this address is registered, and not with this enrollment token"))
    }
}
