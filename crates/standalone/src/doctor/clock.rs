//! The clock of this machine: whether it is synchronized, and whether records are from its future.

use jiff::{SignedDuration, Timestamp};
use model::{CheckReport, Host, Operation, Stamp};
use storage_svc::Inspection;

use super::programs::output;
use super::report::{Check, Report};

const CHECK: Check = Check::Clock;

/// How far a record may be ahead of this clock: clocks that are synchronized differ by less.
const AHEAD: SignedDuration = SignedDuration::from_mins(1);

/// Sets a clock right.
const SYNCHRONIZE: &str =
    "synchronize the clocks of all machines (systemctl enable --now systemd-timesyncd, or chronyd)";

/// Checks the clock; against the records where these can be read (`inspection`).
pub(super) async fn check(now: Timestamp, inspection: Option<&Inspection>, report: &mut Report) {
    let arguments = ["show", "--property=NTPSynchronized", "--value"];
    let found = output("timedatectl", &arguments).await;
    synchronized(found.as_deref().map_err(String::as_str), report);
    let Some(inspection) = inspection else { return };
    match newest(inspection).await {
        Ok(Some((record, stamp))) => plausible(now, &record, stamp, report),
        Ok(None) => {}
        Err(error) => {
            let finding = format!("cannot compare the clock with the records: {error}");
            report.warning(CHECK, finding, "start the store");
        }
    }
}

fn synchronized(found: Result<&str, &str>, report: &mut Report) {
    match found {
        Ok("yes") => report.ok(CHECK, "the clock is synchronized"),
        Ok("no") => report.warning(CHECK, "the clock is not synchronized", SYNCHRONIZE),
        Ok(other) => {
            report.ok(
                CHECK,
                format!("this machine does not show whether its clock is synchronized: {other:?}"),
            );
        }
        Err(why) => {
            report.ok(
                CHECK,
                format!("this machine does not show whether its clock is synchronized: {why}"),
            );
        }
    }
}

/// The record with the latest time of an event, and that time. Times that lie in the future on purpose do not count.
async fn newest(inspection: &Inspection) -> bus::Result<Option<(String, Timestamp)>> {
    let mut stamps = Vec::new();
    let mut add = |record: String, stamp: &Stamp| {
        stamps.extend(stamp.timestamp().map(|stamp| (record, stamp)));
    };
    for report in inspection.list::<CheckReport>().await? {
        add(format!("the check report of the watcher {}", report.watcher), &report.at);
    }
    for host in inspection.list::<Host>().await? {
        add(format!("the last check of the host {}", host.address), &host.last_check);
    }
    for operation in inspection.list::<Operation>().await? {
        let stamp = operation.finished_at.as_ref().unwrap_or(&operation.started_at);
        add(format!("the operation {}", operation.id), stamp);
    }
    Ok(stamps.into_iter().max_by_key(|(_, stamp)| *stamp))
}

fn plausible(now: Timestamp, record: &str, stamp: Timestamp, report: &mut Report) {
    let ahead = stamp.duration_since(now);
    if ahead > AHEAD {
        let finding = format!(
            "{record} is from the future, {stamp}, by {} minutes: the clock of this machine is behind, or that of \
             another one is ahead",
            ahead.as_mins()
        );
        report.warning(CHECK, finding, SYNCHRONIZE);
    } else {
        report.ok(CHECK, format!("the newest record is not from the future ({record}, {stamp})"));
    }
}

#[cfg(test)]
mod tests {
    use storage_svc::Handler;
    use storage_svc::store::{Commit, Memory, Store};

    use super::*;

    fn problems(check: impl FnOnce(&mut Report)) -> Vec<String> {
        let mut report = Report::default();
        check(&mut report);
        report.problems()
    }

    #[test]
    fn only_a_clock_that_is_known_not_to_be_synchronized_is_a_problem() {
        let found = |text: &str| problems(|report| synchronized(Ok(text), report));
        assert_eq!((found("yes"), found("")), (vec![], vec![]));
        assert!(found("no")[0].starts_with("Warning: the clock is not synchronized; synchronize"));
        let missing = Err("timedatectl is not installed");
        assert_eq!(problems(|report| synchronized(missing, report)), [""; 0]);
    }

    #[tokio::test]
    async fn records_from_the_future_are_a_problem() {
        let memory = Memory::default();
        let put = async |key: &str, record: serde_json::Value| {
            let puts = vec![(key.to_owned(), record.to_string())];
            let commit = Commit { puts, ..Commit::default() };
            Store::Memory(memory.clone()).commit(commit).await.unwrap();
        };
        let inspection = Inspection::open(vec![Handler::memory(memory.clone())]).await.unwrap();
        assert_eq!(newest(&inspection).await.unwrap(), None);
        let report =
            |at: &str| serde_json::json!({"watcher": "w", "at": at, "roster": "w.1", "checks": ""});
        put("/commissaire/check_reports/w", report("2026-12-01T12:00:00.000000")).await;
        let (record, stamp) = newest(&inspection).await.unwrap().unwrap();
        assert_eq!(record, "the check report of the watcher w");
        let now = |text: &str| text.parse::<Timestamp>().unwrap();
        let found = |now| problems(|report| plausible(now, &record, stamp, report));
        assert_eq!(found(now("2026-12-01T11:59:00Z")), [""; 0]);
        let future = found(now("2026-12-01T09:00:00Z"));
        assert!(
            future[0].contains("by 180 minutes: the clock of this machine is behind"),
            "{future:?}"
        );
    }
}
