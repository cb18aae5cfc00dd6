//! The age of the last backup.

use jiff::{SignedDuration, Timestamp};
use model::{Host, LastBackup};
use runtime::error_text::chain;
use storage_svc::Inspection;

use super::report::{Check, Report};

const CHECK: Check = Check::Backup;

/// With nightly backups, one has failed at this age.
const OLD: SignedDuration = SignedDuration::from_hours(48);

/// How one is taken.
const TAKE: &str = "systemctl enable --now commissaire-backup.timer, or commissaire backup --directory DIR (docs/backup.md)";

/// Checks the note about the last backup, where records can be read.
pub(super) async fn check(now: Timestamp, inspection: Option<&Inspection>, report: &mut Report) {
    let Some(inspection) = inspection else { return };
    match read(inspection).await {
        Ok((last, has_hosts)) => judge(now, last.as_ref(), has_hosts, report),
        Err(error) => {
            let finding = format!("cannot tell when the last backup was taken: {}", chain(&error));
            report.warning(CHECK, finding, TAKE);
        }
    }
}

/// The note, and whether there is anything to lose: without a host there is not.
async fn read(inspection: &Inspection) -> bus::Result<(Option<LastBackup>, bool)> {
    let last = inspection.find::<LastBackup>(LastBackup::ALL).await?;
    let has_hosts = last.is_some() || !inspection.list::<Host>().await?.is_empty();
    Ok((last, has_hosts))
}

fn judge(now: Timestamp, last: Option<&LastBackup>, has_hosts: bool, report: &mut Report) {
    let Some(last) = last else {
        return if has_hosts {
            report.warning(CHECK, "no backup has been taken", TAKE);
        } else {
            report.ok(CHECK, "no backup has been taken, and there are no hosts yet");
        };
    };
    let (taken_at, records) = (&last.taken_at, last.records);
    let Some(taken) = taken_at.timestamp() else {
        let finding = format!("the time of the last backup is invalid: {taken_at:?}");
        return report.warning(CHECK, finding, TAKE);
    };
    let age = now.duration_since(taken);
    let keys = if last.with_keys { "with" } else { "without" };
    let finding = format!(
        "the last backup was taken at {taken}, {} hours ago ({records} records, {keys} keys)",
        age.as_hours()
    );
    if age > OLD { report.warning(CHECK, finding, TAKE) } else { report.ok(CHECK, finding) }
}

#[cfg(test)]
mod tests {
    use model::Stamp;
    use storage_svc::Handler;
    use storage_svc::store::{Commit, Memory, Store};

    use super::*;

    #[tokio::test]
    async fn an_installation_with_hosts_needs_a_backup_of_the_last_two_days() {
        let memory = Memory::default();
        let put = async |key: &str, record: String| {
            let commit = Commit { puts: vec![(key.to_owned(), record)], ..Commit::default() };
            Store::Memory(memory.clone()).commit(commit).await.unwrap();
        };
        let inspection = Inspection::open(vec![Handler::memory(memory.clone())]).await.unwrap();
        let now: Timestamp = "2026-12-01T12:00:00Z".parse().unwrap();
        let problems = async || {
            let mut report = Report::default();
            check(now, Some(&inspection), &mut report).await;
            assert_eq!(report.0.len(), 1);
            report.problems()
        };
        assert_eq!(problems().await, [""; 0], "there is nothing to lose");
        let host = r#"{"address": "10.0.0.1"}"#.to_owned();
        put("/commissaire/hosts/10.0.0.1", host).await;
        let none = problems().await;
        assert!(none[0].starts_with("Warning: no backup has been taken; systemctl enable"));
        for (taken_at, is_old) in [("2026-11-29T12:00:00Z", false), ("2026-11-29T11:59:59Z", true)]
        {
            let last = LastBackup {
                name: LastBackup::ALL.to_owned(),
                taken_at: Stamp::of(taken_at.parse().unwrap()),
                ..LastBackup::default()
            };
            put("/commissaire/last_backup/all", serde_json::to_string(&last).unwrap()).await;
            assert_eq!(problems().await.len(), usize::from(is_old), "{taken_at}");
        }
        put("/commissaire/last_backup/all", "{".to_owned()).await;
        assert!(problems().await[0].contains("cannot tell when the last backup was taken"));
    }
}
