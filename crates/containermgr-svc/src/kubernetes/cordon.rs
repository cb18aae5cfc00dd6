//! Cordons: a node is made unschedulable with an annotation that names the owner, and schedulable again for that owner.
//!
//! - `decision`: what a node needs, and the patch that does it (pure)

mod decision;

use bus::Result;
use k8s_openapi::api::core::v1::Node;
use model::messages::{CordonAnswer, CordonRequest, UncordonRequest};
use tokio::time::Instant;

use super::failure::{self, Retries, retried};
use super::machine::MachineName;
use super::patch::json_patch;
use super::{Kubernetes, node, node_state};
use decision::Decision;

/// The annotation with the owner of a cordon.
pub(super) const CORDONED_BY: &str = "commissaire.io/cordoned-by";

/// A change of a node that is asked for.
#[derive(Debug, Clone, Copy)]
enum Change<'a> {
    Cordon(&'a CordonRequest),
    Uncordon(&'a UncordonRequest),
}

impl Change<'_> {
    fn node(&self) -> &str {
        match self {
            Self::Cordon(request) => &request.node,
            Self::Uncordon(request) => &request.node,
        }
    }

    fn decide(&self, node: &Node) -> Decision {
        match self {
            Self::Cordon(request) => decision::cordon(node, request),
            Self::Uncordon(request) => decision::uncordon(node, request),
        }
    }

    /// The request, as the message of an error names it.
    fn action(&self) -> &'static str {
        match self {
            Self::Cordon(_) => "cordon the node",
            Self::Uncordon(_) => "uncordon the node",
        }
    }
}

impl Kubernetes {
    /// Cordons a node, unless others have.
    pub(crate) async fn cordon(&self, request: &CordonRequest) -> Result<CordonAnswer> {
        self.before_deadline(|deadline| self.change(Change::Cordon(request), deadline)).await
    }

    /// Uncordons a node, unless its cordon has another owner.
    pub(crate) async fn uncordon(&self, request: &UncordonRequest) -> Result<CordonAnswer> {
        self.before_deadline(|deadline| self.change(Change::Uncordon(request), deadline)).await
    }

    async fn change(&self, change: Change<'_>, deadline: Instant) -> Result<CordonAnswer> {
        let (name, action) = (change.node(), change.action());
        if node::check_name(name).is_err() {
            return Ok(CordonAnswer::Missing);
        }
        let mut retries = Retries::until(deadline);
        loop {
            let node = match retried(deadline, || self.nodes.get(name)).await {
                Ok(node) => node,
                Err(error) if failure::is_missing_node(&error) => return Ok(CordonAnswer::Missing),
                Err(error) => return Err(self.failed("show the node", &error)),
            };
            let patch = match change.decide(&node) {
                Decision::Missing => return Ok(CordonAnswer::Missing),
                Decision::Foreign => {
                    let state = Box::new(node_state::digest(&node));
                    return Ok(CordonAnswer::Foreign { state });
                }
                Decision::Done => None,
                Decision::Patch(operations) => {
                    let patch = json_patch(operations);
                    Some(patch.map_err(|error| self.failed(action, &error))?)
                }
            };
            let machine = MachineName::of(&node);
            let mut warnings = Vec::new();
            if let (Change::Uncordon(_), Some(machine), Some(_)) = (change, &machine, &patch) {
                // First: an uncordoned node is not looked at again.
                warnings.extend(self.resume_remediation(machine, deadline).await?);
            }
            if let Some((params, patch)) = &patch {
                let send = || self.nodes.patch(name, params, patch);
                let retry = match retried(deadline, send).await {
                    Ok(_) => Ok(()),
                    // The node has changed since it was read, or a lost request was carried out.
                    Err(error) if failure::is_stale(&error) => match retries.pause(error).await {
                        Ok(()) => continue,
                        Err(error) => Err(error),
                    },
                    Err(error) if failure::is_missing_node(&error) => {
                        return Ok(CordonAnswer::Missing);
                    }
                    Err(error) => Err(error),
                };
                retry.map_err(|error| self.failed(action, &error))?;
                let (manager, cordoned) = (&self.name, matches!(change, Change::Cordon(_)));
                tracing::info!(
                    container_manager.name = manager,
                    node.name = name,
                    "node {}",
                    if cordoned { "cordoned" } else { "uncordoned" }
                );
            }
            if let (Change::Cordon(_), Some(machine)) = (change, &machine) {
                warnings.extend(self.skip_remediation(machine, deadline).await);
            }
            return Ok(CordonAnswer::Done { warnings });
        }
    }
}
