//! Taking over the original's data, from a dump of etcd's v2 keys.
//!
//! Everything is checked before the first record is written, and nothing that is there is changed: what is
//! there and equal counts as taken over, so a run that was cut off is simply begun again.

mod dump;
mod plan;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::sync::Arc;

use bus::Error;

use crate::config::Config;
use crate::handlers::{Handlers, OpenError, Part};
use crate::keyring::{self, Keyring, UnlockError};
use crate::secrets::CustodiaError;
use crate::store::{Commit, CommitError, Entry};
use crate::vault::{Before, Vault};
pub use dump::DumpError;
use plan::{Plan, Planned};

/// Records that are written at a time: well below what etcd takes (`--max-txn-ops`).
const BATCH: usize = 50;

/// Why nothing, or not everything, was taken over.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The dump cannot be used.
    #[error("cannot use the dump")]
    Dump(#[source] DumpError),
    /// The stores cannot be opened.
    #[error("cannot open the stores")]
    Open(#[source] OpenError),
    /// The sealing key cannot be used, or the stores do not answer.
    #[error("credentials cannot be kept")]
    Key(#[source] UnlockError),
    /// Something else is there already.
    #[error("nothing was written, because other records are there already under {}: delete them, or take these keys out of the dump", .0.join(", "))]
    Present(Vec<String>),
    /// A store does not answer, or takes no such record; nothing was written.
    #[error("nothing was written: {key} cannot be compared with what is there")]
    Compare {
        /// The record's key.
        key: String,
        /// Why.
        source: Error,
    },
    /// A secret cannot be kept.
    #[error("cannot keep a secret: what was written before stays; begin again")]
    Keep(#[source] Error),
    /// Custodia cannot be used.
    #[error("credentials cannot be kept")]
    Custodia(#[source] CustodiaError),
    /// A store failed, or somebody else has written meanwhile.
    #[error("cannot write the records from {key} on: those before are written; begin again")]
    Write {
        /// The key of the first record that is not written.
        key: String,
        /// Why.
        source: CommitError,
    },
}

/// A record that was not taken over, or not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its key in the dump.
    pub key: String,
    /// Why.
    pub why: String,
}

/// What has become of the original's records; its `Display` is for the operator.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// How many records of each type were written.
    pub taken: BTreeMap<&'static str, usize>,
    /// How many of each type were there already, the same.
    pub present: BTreeMap<&'static str, usize>,
    /// The others.
    pub left_out: Vec<LeftOut>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = |counts: &BTreeMap<&str, usize>| {
            let counts: Vec<_> = counts.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
            if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") }
        };
        writeln!(f, "taken over: {}", counts(&self.taken))?;
        writeln!(f, "there already: {}", counts(&self.present))?;
        write!(f, "left out: {}", self.left_out.len())?;
        self.left_out.iter().try_for_each(|LeftOut { key, why }| write!(f, "\n  {key}: {why}"))
    }
}

/// Takes over what `dump` holds: the answer to `GET /v2/keys/commissaire?recursive=true`. The services
/// should not run meanwhile.
///
/// # Errors
/// [`MigrateError`].
pub async fn run(config: &Config, mut dump: impl Read) -> Result<Report, MigrateError> {
    let mut text = String::new();
    dump.read_to_string(&mut text).map_err(|e| MigrateError::Dump(DumpError::Read(e)))?;
    let keys = dump::keys(&text).map_err(MigrateError::Dump)?;
    let mut plan = Plan::of(&keys);
    let handlers = Handlers::open(config.handlers()).await.map_err(MigrateError::Open)?;
    let vault = open_vault(config, &handlers).await?;
    for (old_key, key) in std::mem::take(&mut plan.bare) {
        // The original may have kept them in the same Custodia.
        let found = vault.unnoted(&key).await;
        let found = found.map_err(|source| MigrateError::Compare { key, source })?;
        plan.add_creds(&old_key, found.as_ref().map(|text| text.as_str()));
    }
    let Plan { records, left_out, .. } = plan;

    let mut report = Report { left_out, ..Report::default() };
    let (mut missing, mut others) = (Vec::new(), Vec::new());
    for planned in records {
        let compare = |source| MigrateError::Compare { key: planned.key.clone(), source };
        let found = handlers.get(planned.kind, vec![planned.key.clone()]).await.map_err(compare)?;
        match found.into_iter().flatten().next() {
            None => {
                let Planned { kind, key, record } = &planned;
                let part = Part { kind, key, record: Some(record) };
                let store = handlers.store_for(&[part]).await.map_err(compare)?;
                missing.push((store, planned));
            }
            Some(entry) if is_equal(&vault, &planned, &entry).await.map_err(compare)? => {
                *report.present.entry(planned.type_name()).or_default() += 1;
            }
            Some(_) => others.push(planned.key),
        }
    }
    if !others.is_empty() {
        return Err(MigrateError::Present(others));
    }
    for (_, planned) in &missing {
        *report.taken.entry(planned.type_name()).or_default() += 1;
    }
    write(&handlers, &vault, missing).await?;
    handlers.close().await;
    Ok(report)
}

async fn open_vault(config: &Config, handlers: &Handlers) -> Result<Vault, MigrateError> {
    let keyring = Arc::new(Keyring::default());
    if config.custodia_socket_path.is_none() {
        let sealer = keyring::unlock(handlers, &config.key_file()).await;
        keyring.put(sealer.map_err(MigrateError::Key)?);
    }
    let vault = Vault::new(config.custodia_socket_path.as_ref(), keyring);
    vault.map_err(MigrateError::Custodia)
}

/// Whether the record that is there says the same; a damaged one does not.
async fn is_equal(vault: &Vault, planned: &Planned, entry: &Entry) -> bus::Result<bool> {
    let Planned { kind, key, record } = planned;
    let there = if kind.secret {
        match vault.open(key, &entry.value).await {
            Ok(opened) => kind.check(&opened).ok(),
            Err(error) if error.kind() == bus::Kind::Internal => None,
            Err(error) => return Err(error),
        }
    } else {
        kind.check(&entry.value).ok()
    };
    Ok(there.is_some_and(|(_, there)| there.get() == record.get()))
}

/// Writes in the given order, records of one store together.
async fn write(
    handlers: &Handlers,
    vault: &Vault,
    records: Vec<(usize, Planned)>,
) -> Result<(), MigrateError> {
    for batch in records.chunk_by(|a, b| a.0 == b.0).flat_map(|run| run.chunks(BATCH)) {
        let mut commit = Commit::default();
        // Begun again it is written again: nothing has to be put back.
        let mut before = Before::default();
        for (_, Planned { kind, key, record }) in batch {
            let mut stored = record.get().to_owned();
            if kind.secret {
                let kept = vault.keep(key, &stored, &mut before).await;
                stored = kept.map_err(MigrateError::Keep)?;
            }
            commit.checks.push((key.clone(), None));
            commit.puts.push((key.clone(), stored));
        }
        let Some((store, first)) = batch.first() else { continue };
        let failed = |source| MigrateError::Write { key: first.key.clone(), source };
        handlers.store(*store).commit(commit).await.map_err(failed)?;
    }
    Ok(())
}
