//! What a restore writes: all records of a backup, verified, and changed for a restored installation.

use backup::Backup;
use model::{Binding, Model as _};

use super::afterwards::Afterwards;
use super::secrets::Secrets;
use super::{Options, Report, RestoreError};
use crate::kinds::Kind;
use crate::secrets::Sealer;

/// A record as it is written.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub(super) kind: &'static Kind,
    pub(super) key: String,
    /// The record; of a sealed one its envelope, sealed with the key of this installation.
    pub(super) text: String,
    /// The name of the store handler that a host belongs to; `None` for other records.
    pub(super) source: Option<String>,
}

/// See the module.
#[derive(Debug)]
pub struct Plan {
    pub(super) records: Vec<Planned>,
    /// The checksum of the backup, which identifies the restore.
    pub(super) id: String,
    /// What is done.
    pub report: Report,
}

/// Verifies a backup, and plans its restore. `own` seals here; `others` may open what the backup holds.
///
/// # Errors
/// When a record is damaged, or a credential does not open.
pub fn plan(
    backup: Backup,
    own: &Sealer,
    others: &[Sealer],
    options: &Options,
) -> Result<Plan, RestoreError> {
    let secrets = Secrets::new(own, others);
    if let Some(mark) = &backup.header.sealing_mark {
        secrets.check_mark(&mark.to_string())?;
    }
    let mut afterwards = Afterwards::new(&backup.header, options);
    let (mut records, mut damaged) = (Vec::new(), Vec::new());
    for record in backup.records {
        let key = record.key.clone();
        match verified(&record, &secrets, &mut afterwards) {
            Ok(Some(planned)) => records.push(planned),
            Ok(None) => {}
            // Without its binding, a subject could have more rights by its configuration.
            Err(Problem::Damaged(why))
                if options.skip_damaged && !key.starts_with(Binding::PREFIX) =>
            {
                tracing::debug!(key, why, "a damaged record is left out");
                afterwards.report.left_out.push((key, "it is damaged"));
            }
            Err(Problem::Damaged(why)) => damaged.push(format!("{key}: {why}")),
            Err(Problem::Other(error)) => return Err(error),
        }
    }
    if !damaged.is_empty() {
        return Err(RestoreError::Damaged(damaged));
    }
    let (more, report) = afterwards.finish().map_err(RestoreError::Seal)?;
    records.retain(|planned| more.iter().all(|other| other.key != planned.key));
    records.extend(more);
    records.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(Plan { records, id: backup.sha256, report })
}

/// Why a record is not planned.
enum Problem {
    Damaged(String),
    Other(RestoreError),
}

fn verified(
    record: &backup::Record,
    secrets: &Secrets<'_>,
    afterwards: &mut Afterwards,
) -> Result<Option<Planned>, Problem> {
    let backup::Record { key, sealed_for, value, .. } = record;
    let kinds: Vec<_> = Kind::of_key(key).collect();
    let Some(kind) = kinds.first() else {
        return Err(Problem::Damaged("its key belongs to no known type".to_owned()));
    };
    if kind.secret {
        let sealed_for = sealed_for.as_deref().unwrap_or(key);
        if sealed_for != key {
            afterwards.report.moved_secrets.push(format!("{sealed_for} -> {key}"));
        }
        let sealed = secrets.seal_again(kind, key, sealed_for, value.get());
        let text = sealed.map_err(|problem| match problem {
            super::secrets::Problem::Damaged(why) => Problem::Damaged(why),
            super::secrets::Problem::Other(error) => Problem::Other(error),
        })?;
        if let Some(id) = kind.id_in(key) {
            afterwards.secret(kind, id, text.is_host_key_pinned);
        }
        return Ok(Some(Planned { kind, key: key.clone(), text: text.envelope, source: None }));
    }
    // A part is under the same key as the documented record.
    let mut why = String::new();
    for kind in kinds {
        match kind.check(value.get()) {
            // As it is: with the defaults of the documented record a part would be one.
            Ok((own_key, _)) if own_key == *key => {
                return afterwards.record(kind, key, value.get()).map_err(Problem::Damaged);
            }
            Ok((own_key, _)) => why = format!("it belongs at {own_key}"),
            Err(problem) => why = problem,
        }
    }
    Err(Problem::Damaged(why))
}
