//! The store: the database file, or etcd with its quota and alarms; and the format of the records.

use std::path::Path;

use model::RECORD_FORMAT;
use runtime::error_text::chain;
use storage_svc::Inspection;
use storage_svc::handlers::OpenError;
use storage_svc::inspection::Member;
use storage_svc::store::StoreError;

use super::report::{Check, Report};
use super::subject::{Form, Subject};
use crate::data_dir;

const CHECK: Check = Check::Store;

/// Shares of etcd's quota, in percent: from the first on it is a problem, from the second on an imminent one.
const FULL: (u64, u64) = (75, 95);

/// Opens the stores for reads and checks them. `None` where there is none yet, or where its records cannot be read.
pub(super) async fn check(installation: &Subject, report: &mut Report) -> Option<Inspection> {
    let storage = installation.storage.as_ref()?;
    if installation.form == Form::OneProcess && is_empty(&installation.storage_dir, report) {
        return None;
    }
    let handlers = storage.handlers();
    let places: Vec<_> = handlers.iter().map(storage_svc::Handler::place).collect();
    let inspection = match Inspection::open(handlers).await {
        Ok(inspection) => inspection,
        Err(error) => {
            report.error(CHECK, chain(&error), remedy(&error));
            return None;
        }
    };
    for member in inspection.members().await {
        etcd(&member, report);
    }
    match inspection.format().await {
        Ok((format, is_restoring)) => {
            report.ok(CHECK, format!("{} can be read", places.join(", ")));
            if is_restoring {
                report.error(
                    CHECK,
                    "a backup was not restored to its end: a start is refused",
                    "stop the services and run `commissaire restore` again with the same backup",
                );
            }
            versions(format, report);
            Some(inspection)
        }
        Err(error) => {
            let remedy = "start the store, or correct where it is (`storage_handlers`); the other checks need it";
            report.error(CHECK, chain(&error), remedy);
            None
        }
    }
}

/// Whether the one process has no records, which is an error when it had some.
fn is_empty(folder: &Path, report: &mut Report) -> bool {
    let database = data_dir::database_in(folder);
    if std::fs::metadata(&database).is_ok_and(|found| found.len() > 0) {
        return false;
    }
    let database = database.display();
    let traces = [storage_svc::config::secret_key_in(folder), data_dir::first_start_in(folder)];
    match traces.iter().find(|path| path.exists()) {
        None => report.ok(CHECK, format!("{database} does not exist: the first start makes it")),
        Some(trace) => report.error(
            CHECK,
            format!(
                "{database} is missing or empty, but {} shows an earlier start: its records are lost, or are elsewhere",
                trace.display()
            ),
            "restore a backup or a copy of the database; to begin with an empty one: commissaire --new-store",
        ),
    }
    true
}

fn remedy(error: &OpenError) -> &'static str {
    match error {
        OpenError::Store { source: StoreError::Damaged { .. }, .. } => {
            "stop the server, move the file and its -wal and -shm away, and restore a backup or a copy"
        }
        OpenError::Store { source: StoreError::Newer { .. }, .. } => {
            "install the version that wrote it, or a later one"
        }
        OpenError::Store { .. } => "make it readable, or correct where it is (`storage_handlers`)",
        OpenError::Config(_) => {
            "correct `storage_handlers` in storage.conf (docs/configuration.md)"
        }
    }
}

fn etcd(member: &Member, report: &mut Report) {
    let endpoint = &member.endpoint;
    let status = match &member.status {
        Ok(status) => status,
        Err(why) => {
            let finding = format!("the member {endpoint} of etcd does not answer: {why}");
            return report.warning(CHECK, finding, "start it, or correct `server_url`");
        }
    };
    for alarm in &status.alarms {
        let (what, remedy) = if alarm.contains("NOSPACE") {
            (
                "its database is full: it refuses every write",
                format!(
                    "etcdctl compact REVISION; etcdctl defrag --endpoints={endpoint}, one member after the other; \
                      etcdctl alarm disarm"
                ),
            )
        } else if alarm.contains("CORRUPT") {
            (
                "its database differs from those of the other members",
                "replace that member: etcdctl member remove, delete its data, etcdctl member add"
                    .to_owned(),
            )
        } else {
            ("it reports an error", format!("etcdctl endpoint status --endpoints={endpoint}"))
        };
        let finding = format!("the member {endpoint} of etcd: {what} ({})", alarm.trim());
        report.error(CHECK, finding, remedy);
    }
    let percent = status.db_size.saturating_mul(100) / member.quota.max(1);
    let mib = |bytes: u64| bytes >> 20;
    let finding = format!(
        "the member {endpoint} of etcd has used {percent} % of its quota ({} of {} MiB, {} MiB of them in use)",
        mib(status.db_size),
        mib(member.quota),
        mib(status.db_size_in_use)
    );
    let remedy = format!(
        "etcdctl defrag --endpoints={endpoint}, after a compaction of the history; or raise --quota-backend-bytes"
    );
    match percent {
        full if full >= FULL.1 => report.error(CHECK, finding, remedy),
        high if high >= FULL.0 => report.warning(CHECK, finding, remedy),
        _ => report.ok(CHECK, finding),
    }
}

fn versions(found: Option<u32>, report: &mut Report) {
    let check = Check::Versions;
    match found {
        Some(found) if found > RECORD_FORMAT => report.error(
            check,
            format!("the records have format {found}, and this version knows {RECORD_FORMAT}"),
            "install the version that wrote them, or a later one, on all machines",
        ),
        Some(RECORD_FORMAT) => {
            report
                .ok(check, format!("the records have the format of this version, {RECORD_FORMAT}"));
        }
        Some(found) => report.ok(
            check,
            format!("the records have format {found}: the next start converts them to {RECORD_FORMAT}"),
        ),
        None => report.ok(
            check,
            format!("no format is recorded: the next start converts all records to format {RECORD_FORMAT}"),
        ),
    }
}

#[cfg(test)]
mod tests;
