//! What the callback plugin writes: one JSON object a line.

use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::Child;

use super::{Playbook, PlaybookError};
use crate::generation::Refusal;

/// The most that is read of a run's events. The plugin bounds each message to 4 KiB.
const OUTPUT_LIMIT: u64 = 8 * 1024 * 1024;

/// The most that is kept of what Ansible says on its standard error.
const STDERR_LIMIT: usize = 16 * 1024;

/// How a task ended on a host, or that it has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskOutcome {
    /// There was nothing to do.
    Ok,
    /// It changed something.
    Changed,
    /// It failed.
    Failed,
    /// Its condition did not hold.
    Skipped,
    /// The host was lost.
    Unreachable,
    /// It goes on; the message says what it waits for.
    Waiting,
}

/// What became of one task.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TaskEvent {
    /// The task's name.
    pub task: String,
    /// How it ended.
    pub outcome: TaskOutcome,
    /// What it said, for people; often empty.
    #[serde(default)]
    pub message: String,
    /// Whether the playbook goes on although it failed.
    #[serde(default)]
    pub ignored: bool,
}

/// The end of a playbook that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// Tasks that ended well, those that changed something among them.
    pub ok: u32,
    /// Tasks that changed something.
    pub changed: u32,
    /// Tasks whose condition did not hold.
    pub skipped: u32,
    /// Tasks that failed.
    pub failures: u32,
    /// Whether the host was lost.
    pub unreachable: u32,
    /// What the playbook reports (`set_stats`): such as `commissaire_reboot_required`.
    pub data: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    Play {},
    Task(TaskEvent),
    Stats(Summary),
}

/// What one run left behind.
#[derive(Debug, Default)]
pub(super) struct Watched {
    status: Option<i32>,
    /// The first task that failed for good.
    failed: Option<TaskEvent>,
    summary: Option<Summary>,
    /// What was said that is not an event.
    stray: String,
}

/// Reads everything a run says until it ends.
pub(super) async fn watch(
    child: &mut Child,
    on_event: &mut (impl FnMut(TaskEvent) + Send),
) -> Result<Watched, PlaybookError> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (watched, stderr) =
        tokio::try_join!(read_events(stdout, on_event), async { Ok(read_stderr(stderr).await) })?;
    let status = child
        .wait()
        .await
        .map_err(|source| PlaybookError::Io { what: "wait for ansible-playbook", source })?;
    let stray = format!("{}\n{stderr}", watched.stray);
    Ok(Watched { status: status.code(), stray, ..watched })
}

async fn read_events(
    stdout: Option<impl AsyncRead + Unpin>,
    on_event: &mut (impl FnMut(TaskEvent) + Send),
) -> Result<Watched, PlaybookError> {
    let mut watched = Watched::default();
    let Some(stdout) = stdout else { return Ok(watched) };
    let mut lines = BufReader::new(stdout.take(OUTPUT_LIMIT));
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = lines.read_until(b'\n', &mut line).await;
        let read = read
            .map_err(|source| PlaybookError::Io { what: "read from ansible-playbook", source })?;
        if read == 0 {
            break;
        }
        if let Some(event) = watched.take(&line) {
            on_event(event);
        }
    }
    if lines.get_ref().limit() == 0 {
        return Err(PlaybookError::TooMuchOutput { limit: OUTPUT_LIMIT });
    }
    Ok(watched)
}

/// Keeps the beginning, and reads the rest so that the writer does not wait for ever.
async fn read_stderr(stderr: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stderr) = stderr else { return String::new() };
    let (mut kept, mut buffer) = (Vec::new(), vec![0; 4096]);
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        let room = STDERR_LIMIT.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..read.min(room)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

impl Watched {
    /// Takes one line in; the event in it, if it is a task's end.
    fn take(&mut self, line: &[u8]) -> Option<TaskEvent> {
        match serde_json::from_slice(line) {
            Ok(Line::Play {}) => None,
            Ok(Line::Task(event)) => {
                let fatal = matches!(event.outcome, TaskOutcome::Failed | TaskOutcome::Unreachable);
                if fatal && !event.ignored && self.failed.is_none() {
                    self.failed = Some(event.clone());
                }
                Some(event)
            }
            Ok(Line::Stats(summary)) => {
                self.summary = Some(summary);
                None
            }
            Err(_) => {
                if self.stray.len() < STDERR_LIMIT {
                    self.stray.push_str(&String::from_utf8_lossy(line));
                }
                None
            }
        }
    }

    /// The run's result. A failure rescued by the playbook leaves the exit status at 0.
    pub(super) fn conclude(self, playbook: Playbook) -> Result<Summary, PlaybookError> {
        match (self.status, self.failed, self.summary) {
            (Some(0), _, Some(summary)) => Ok(summary),
            (_, Some(event), _) => Err(failure(playbook, event)),
            _ => {
                let detail = crate::error::detail(&self.stray);
                Err(PlaybookError::Broken { playbook, detail })
            }
        }
    }
}

/// Messages of a full file system, of programs and of Ansible.
const DISK_FULL: [&str; 4] = [
    "No space left on device",
    "don't have enough free space",
    "Not enough free disk space",
    // of our own units
    "has no room",
];

/// Messages of Ansible when `sudo` asks for a password.
const NO_SUDO: [&str; 4] = [
    "Missing sudo password",
    "Incorrect sudo password",
    "sudo: a password is required",
    "waiting for privilege escalation prompt",
];

/// The error for a task that failed for good. Also for a host that Ansible calls unreachable: so it does when it cannot
/// create its directory on a full disk.
fn failure(playbook: Playbook, event: TaskEvent) -> PlaybookError {
    let TaskEvent { task, outcome, message, .. } = event;
    let says = |known: &[&str]| known.iter().any(|words| message.contains(words));
    if let Some(refusal) = Refusal::find(&message) {
        PlaybookError::Fenced { playbook, refusal }
    } else if says(&DISK_FULL) {
        PlaybookError::DiskFull { playbook, task, message }
    } else if says(&NO_SUDO) {
        PlaybookError::NoSudo { playbook, message }
    } else if outcome == TaskOutcome::Unreachable {
        PlaybookError::Unreachable { playbook, message }
    } else {
        PlaybookError::Failed { playbook, task, message }
    }
}

#[cfg(test)]
mod tests {
    use model::FailureReason;

    use super::*;

    fn watched(status: i32, lines: &[&str]) -> (Watched, usize) {
        let mut watched = Watched { status: Some(status), ..Watched::default() };
        let events = lines.iter().filter(|line| watched.take(line.as_bytes()).is_some()).count();
        (watched, events)
    }

    const FAILED: &str =
        r#"{"event":"task","task":"Install","host":"h","outcome":"failed","message":"no space"}"#;
    const STATS: &str =
        r#"{"event":"stats","ok":1,"changed":0,"data":{"commissaire_reboot_required":true}}"#;

    #[test]
    fn a_success_has_its_data() {
        let (watched, events) = watched(0, &[r#"{"event":"play","play":"x"}"#, FAILED, STATS]);
        let summary = watched.conclude(Playbook::Upgrade).unwrap();
        assert_eq!(events, 1);
        assert_eq!(summary.data["commissaire_reboot_required"], true);
    }

    #[test]
    fn a_failure_names_its_task() {
        let (watched, _) = watched(2, &[FAILED, STATS]);
        let error = watched.conclude(Playbook::Bootstrap).unwrap_err();
        assert_eq!(error.to_string(), "bootstrap.yaml failed at \"Install\": no space");
    }

    #[test]
    fn failure_with_a_known_cause_has_its_reason_and_its_remedy() {
        let failed = |outcome: &str, message: &str| {
            let event = serde_json::json!({
                "event": "task", "task": "Install", "host": "h", "outcome": outcome, "message": message,
            });
            let (watched, _) = watched(2, &[&event.to_string(), STATS]);
            watched.conclude(Playbook::Restart).unwrap_err()
        };
        for (outcome, message, reason, remedy) in [
            ("failed", "Missing sudo password", FailureReason::NoSudo, "NOPASSWD: ALL"),
            (
                "failed",
                "Timeout (12s) waiting for privilege escalation prompt:",
                FailureReason::NoSudo,
                "NOPASSWD: ALL",
            ),
            (
                "unreachable",
                "Failed to create temporary directory. mkdir: cannot create directory: No space left on device",
                FailureReason::DiskFull,
                "free space",
            ),
            (
                "failed",
                "E: You don't have enough free space in /var/cache/apt/archives/.",
                FailureReason::DiskFull,
                "free space",
            ),
        ] {
            let error = failed(outcome, message);
            assert_eq!(error.reason(), reason, "{error}");
            let sentence = error.to_string();
            assert!(sentence.contains(message) && sentence.contains(remedy), "{sentence}");
        }
        assert_eq!(failed("unreachable", "gone").reason(), FailureReason::Unreachable);
    }

    #[test]
    fn what_is_no_event_explains_a_run_without_result() {
        let (watched, _) = watched(4, &["ERROR! the playbook could not be found\n"]);
        let error = watched.conclude(Playbook::Deploy).unwrap_err();
        assert!(
            matches!(&error, PlaybookError::Broken { detail, .. } if detail.contains("could not be found"))
        );
    }
}
