//! Restoring a backup into the stores, while the services do not run.
//!
//! Everything is verified before the first record is written (`plan`). The records are then changed so that the restored
//! installation does nothing by itself (`afterwards`). While they are written, a mark in the store has the services
//! refuse to start; a restore that was interrupted is begun again (`write`).

mod afterwards;
mod plan;
mod secrets;
mod write;

use backup::Counts;
use bus::Error;
use model::{ClusterName, Stamp};

use crate::secrets::KeyError;
use crate::store::CommitError;

pub use plan::{Plan, plan};
pub use write::{begin, check_empty, check_places, write};

/// How a backup is restored.
#[derive(Debug, Clone)]
pub struct Options {
    /// The time now.
    pub now: Stamp,
    /// Whether records that are damaged are left out, in place of an error.
    pub skip_damaged: bool,
}

/// Why a backup was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Records of the backup cannot be used.
    #[error(
        "nothing was written: the backup holds damaged records: {}. Leave them out with --skip-damaged, or use another backup",
        model::abridged(.0, "; ")
    )]
    Damaged(Vec<String>),
    /// The credentials in the backup are sealed with a key that is not known.
    #[error(
        "nothing was written: the credentials in the backup are sealed with the key {0}, which is neither in the backup nor \
         here. Give the secret.key of the backed up installation with --secret-key-file, or use a backup that was taken \
         with --with-key"
    )]
    UnknownKey(String),
    /// A key file cannot be used.
    #[error("nothing was written: cannot use the sealing key")]
    Key(#[source] KeyError),
    /// A record cannot be sealed.
    #[error("nothing was written: cannot seal a record")]
    Seal(#[source] Error),
    /// A record has no place in the stores.
    #[error(
        "nothing was written: the record {key} does not fit the stores that are configured here"
    )]
    Place {
        /// Its key.
        key: String,
        /// Why.
        source: Error,
    },
    /// The stores hold other records.
    #[error(
        "nothing was written: the store holds records already ({0}). To replace all of them with those of the backup, add \
         --replace; take a backup of them before with `commissaire backup`"
    )]
    NotEmpty(String),
    /// A store does not answer.
    #[error("cannot read the records that are there; nothing was written")]
    Read(#[source] Error),
    /// A store failed in the middle.
    #[error(
        "the restore is not complete, and the services do not start: run it again with the same backup"
    )]
    Write(#[source] CommitError),
    /// The same at its end.
    #[error(
        "the restore is not complete, and the services do not start: run it again with the same backup"
    )]
    End(#[source] Error),
}

/// An operation that was in process at the time of the backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// Its id.
    pub operation: String,
    /// Its cluster.
    pub cluster: ClusterName,
}

/// What a restore does, for the operator.
#[derive(Debug, Default)]
pub struct Report {
    /// The records that are restored, by their types.
    pub restored: Counts,
    /// The keys of records that are not restored, and why.
    pub left_out: Vec<(String, &'static str)>,
    /// The operations that are paused.
    pub paused: Vec<Paused>,
    /// The API tokens that are void, as `OWNER/NAME`.
    pub tokens: Vec<String>,
    /// The ids of the enrollments that are void.
    pub enrollments: Vec<String>,
    /// The names of the bindings that wait for an administrator.
    pub bindings: Vec<String>,
    /// The ids of the events that no webhook is called for.
    pub webhooks: Vec<String>,
    /// The fingerprints of the server's own SSH keys, one of which may have been replaced after the backup.
    pub server_keys: Vec<String>,
    /// The hosts whose pinned SSH key may have been replaced after the backup.
    pub pinned_hosts: Vec<String>,
    /// The records whose credentials were sealed for another key, as `FROM -> TO`.
    pub moved_secrets: Vec<String>,
    /// The id of the installation.
    pub instance: String,
    /// The new generation.
    pub generation: u64,
    /// Its id.
    pub generation_id: String,
    /// When the backup was taken.
    pub taken_at: Stamp,
}
