//! The names of clusters.

use crate::text::text_type;

text_type! {
    /// The name of a cluster, as [`ident::name`](crate::ident::name) has it; empty where there is no cluster.
    ClusterName
}
