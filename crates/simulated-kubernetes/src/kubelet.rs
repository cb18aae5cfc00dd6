//! Kubelets.

/// A kubelet.
#[derive(Debug)]
pub(crate) struct Kubelet {}
