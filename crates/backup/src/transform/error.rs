//! Why a backup is not transformed.

/// Why a backup is not transformed. Nothing is written then.
#[derive(Debug, thiserror::Error)]
pub enum TransformError {
    /// The type of a record is not known.
    #[error(
        "the record {key} has the type {kind}, which this version does not know: use the version that took the backup, \
         or leave such records out with --exclude {kind}"
    )]
    UnknownType {
        /// Its key.
        key: String,
        /// Its type.
        kind: String,
    },
    /// The key of a record is not one of its type.
    #[error("the record {key} has a key that no {kind} has: correct its line")]
    WrongKey {
        /// Its key.
        key: String,
        /// Its type.
        kind: &'static str,
    },
    /// A field is not known.
    #[error(
        "the record {key} has the field {field:?}, which this version does not know, and which may name a host, a cluster \
         or a user: use the version that took the backup, or leave such records out with --exclude {kind}"
    )]
    UnknownField {
        /// The key of the record.
        key: String,
        /// Its type.
        kind: &'static str,
        /// The field.
        field: String,
    },
    /// Two hosts would have one address.
    #[error(
        "the hosts {first} and {second} would both have the address {address}: map one of them elsewhere, or leave it out \
         with --exclude host:ADDRESS"
    )]
    HostsMerged {
        /// The first host, by its address in the backup.
        first: String,
        /// The second one.
        second: String,
        /// The address in the result.
        address: String,
    },
    /// Two clusters would have one name.
    #[error(
        "the clusters {first} and {second} would both have the name {name}, as records of one and bindings or history of \
         the other: map one of them elsewhere, or leave it out with --exclude cluster:NAME"
    )]
    ClustersMerged {
        /// The first cluster, by its name in the backup.
        first: String,
        /// The second one.
        second: String,
        /// The name in the result.
        name: String,
    },
    /// Two records would have one key.
    #[error("the records {first} and {second} would both have the key {key}")]
    KeysMerged {
        /// The first record, by its key in the backup.
        first: String,
        /// The second one.
        second: String,
        /// The key in the result.
        key: String,
    },
    /// A criterion of `--only` or `--exclude` chooses nothing.
    #[error("there is no {0} in the backup: check the spelling in --only and --exclude")]
    NothingChosen(String),
}
