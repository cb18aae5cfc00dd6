//! The table of resources.

/// Whether the objects of a resource are in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Objects are in the cluster as a whole.
    Cluster,
    /// Each object is in a namespace.
    Namespaced,
}

/// How the objects of a resource are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    /// Objects are stored.
    Stored,
    /// Objects are stored; `metadata.generation` counts changes of the spec.
    Generations,
    /// Objects are answered at once and not stored.
    Review,
}

/// One resource of the API.
#[derive(Debug)]
pub(crate) struct Resource {
    /// The API group; empty for the core group.
    pub(crate) group: &'static str,
    /// The version of the group.
    pub(crate) version: &'static str,
    /// The plural name, as in paths; unique over all groups here.
    pub(crate) plural: &'static str,
    /// The kind of its objects.
    pub(crate) kind: &'static str,
    /// Whether its objects are in namespaces.
    pub(crate) scope: Scope,
    /// How its objects are stored.
    pub(crate) storage: Storage,
    /// The subresources of its objects.
    pub(crate) subresources: &'static [&'static str],
}

impl Resource {
    /// The value of `apiVersion` of its objects.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The name in messages: `nodes`, `leases.coordination.k8s.io`.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Whether its objects are in namespaces.
    pub(crate) fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// Whether status is written through a subresource of its own.
    pub(crate) fn has_status(&self) -> bool {
        self.subresources.contains(&"status")
    }
}

use Scope::{Cluster, Namespaced};
use Storage::{Generations, Review, Stored};

const STATUS: &[&str] = &["status"];
const APPS: &str = "apps";
const RBAC: &str = "rbac.authorization.k8s.io";

const fn resource(
    (group, version): (&'static str, &'static str),
    (plural, kind): (&'static str, &'static str),
    scope: Scope,
    storage: Storage,
    subresources: &'static [&'static str],
) -> Resource {
    Resource { group, version, plural, kind, scope, storage, subresources }
}

/// All resources.
pub(crate) static RESOURCES: &[Resource] = &[
    resource(("", "v1"), ("namespaces", "Namespace"), Cluster, Stored, &["status", "finalize"]),
    resource(("", "v1"), ("nodes", "Node"), Cluster, Stored, STATUS),
    resource(
        ("", "v1"),
        ("pods", "Pod"),
        Namespaced,
        Generations,
        &["status", "binding", "eviction"],
    ),
    resource(("", "v1"), ("persistentvolumes", "PersistentVolume"), Cluster, Stored, STATUS),
    resource(
        ("", "v1"),
        ("persistentvolumeclaims", "PersistentVolumeClaim"),
        Namespaced,
        Stored,
        STATUS,
    ),
    // Without a controller: their pods have to be created with them.
    resource(
        ("", "v1"),
        ("replicationcontrollers", "ReplicationController"),
        Namespaced,
        Generations,
        STATUS,
    ),
    resource(("", "v1"), ("serviceaccounts", "ServiceAccount"), Namespaced, Stored, &["token"]),
    resource(
        ("policy", "v1"),
        ("poddisruptionbudgets", "PodDisruptionBudget"),
        Namespaced,
        Generations,
        STATUS,
    ),
    resource((APPS, "v1"), ("daemonsets", "DaemonSet"), Namespaced, Generations, STATUS),
    resource((APPS, "v1"), ("deployments", "Deployment"), Namespaced, Generations, STATUS),
    resource((APPS, "v1"), ("replicasets", "ReplicaSet"), Namespaced, Generations, STATUS),
    resource((APPS, "v1"), ("statefulsets", "StatefulSet"), Namespaced, Generations, STATUS),
    resource(("coordination.k8s.io", "v1"), ("leases", "Lease"), Namespaced, Stored, &[]),
    resource(
        ("storage.k8s.io", "v1"),
        ("volumeattachments", "VolumeAttachment"),
        Cluster,
        Stored,
        STATUS,
    ),
    resource(("storage.k8s.io", "v1"), ("csinodes", "CSINode"), Cluster, Stored, &[]),
    resource(
        ("cluster.x-k8s.io", "v1beta1"),
        ("machines", "Machine"),
        Namespaced,
        Generations,
        STATUS,
    ),
    resource((RBAC, "v1"), ("roles", "Role"), Namespaced, Stored, &[]),
    resource((RBAC, "v1"), ("rolebindings", "RoleBinding"), Namespaced, Stored, &[]),
    resource((RBAC, "v1"), ("clusterroles", "ClusterRole"), Cluster, Stored, &[]),
    resource((RBAC, "v1"), ("clusterrolebindings", "ClusterRoleBinding"), Cluster, Stored, &[]),
    resource(
        ("authorization.k8s.io", "v1"),
        ("selfsubjectaccessreviews", "SelfSubjectAccessReview"),
        Cluster,
        Review,
        &[],
    ),
    resource(
        ("authentication.k8s.io", "v1"),
        ("selfsubjectreviews", "SelfSubjectReview"),
        Cluster,
        Review,
        &[],
    ),
    resource(
        ("authentication.k8s.io", "v1"),
        ("tokenreviews", "TokenReview"),
        Cluster,
        Review,
        &[],
    ),
];

/// The resource with this group, version and plural name.
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    let mut all = RESOURCES.iter();
    all.find(|known| known.group == group && known.version == version && known.plural == plural)
}

/// The resource with this plural name or this kind.
pub(crate) fn named(plural_or_kind: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|known| [known.plural, known.kind].contains(&plural_or_kind))
}

/// Whether there is a resource in this group and version.
pub(crate) fn has_group(group: &str, version: &str) -> bool {
    RESOURCES.iter().any(|known| known.group == group && known.version == version)
}
