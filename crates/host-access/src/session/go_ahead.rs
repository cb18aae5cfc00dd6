//! The go-ahead for a command that may make a host unavailable: `playbooks/files/go_ahead.sh` waits for it on the host.
//!
//! The channel is one command that runs on the host before the decision is made, so that the go-ahead itself
//! needs no new SSH channel and no `sudo`: it takes half a round trip.

use std::time::Duration;

use async_trait::async_trait;
use openssh::{Child, ChildStdin, ChildStdout, Stdio};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Take};
use tokio::time::{Instant, timeout};

use super::SshSession;
use crate::error::AccessError;
use crate::generation::Claim;
use crate::hosts::GoAhead;

/// How long the channel stays open: the playbook connects, and a look is taken.
const LIFETIME: Duration = Duration::from_mins(3);

/// How long the host may take to answer a line.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// The most that is read from the host, in bytes.
const ANSWERS_LIMIT: u64 = 4096;

/// How long a go-ahead is valid after the decision on a link that is fast.
const VALIDITY: Duration = Duration::from_millis(200);

/// The longest validity: twice the round trip of a slow link, but not more.
const VALIDITY_MAX: Duration = Duration::from_secs(2);

/// Waits for the FIFO of the task, then takes lines: `uptime` is answered, any other line goes to the task.
/// Where it is: see `playbooks/files/go_ahead.sh`.
const SCRIPT: &str = r#"
run=/run; [ -w /run ] || run=$HOME
fifo=$run/commissaire/NAME looks=0
until [ -p "$fifo" ]; do
  looks=$((looks + 1)); [ "$looks" -le 1200 ] || exit 75
  sleep 0.1
done
exec 8<>"$fifo"
echo ready
while read -r line; do
  case $line in
    uptime) read -r up rest </proc/uptime; echo "$up" ;;
    *) echo "$line" >&8; echo given; exit 0 ;;
  esac
done"#;

/// The uptime of a host, and when it was read.
#[derive(Debug, Clone, Copy)]
pub struct Uptime {
    /// Hundredths of a second.
    centiseconds: u64,
    /// When the answer arrived: the host read it earlier.
    arrived: Instant,
    /// How long the question and its answer took.
    round_trip: Duration,
}

impl Uptime {
    /// `centiseconds` of uptime, which the host reported at `arrived`, `round_trip` after it was asked.
    pub fn new(centiseconds: u64, arrived: Instant, round_trip: Duration) -> Self {
        Self { centiseconds, arrived, round_trip }
    }

    /// The uptime of the host until which a go-ahead is valid that was decided at `decided`. An uptime that
    /// arrived late makes it shorter, never longer.
    pub fn deadline(self, decided: Instant) -> u64 {
        let validity = VALIDITY.max(self.round_trip * 2).min(VALIDITY_MAX);
        let passed = decided.saturating_duration_since(self.arrived) + validity;
        self.centiseconds.saturating_add(u64::try_from(passed.as_millis() / 10).unwrap_or(u64::MAX))
    }

    /// The uptime of the host, in hundredths of a second, at `moment`: at most one round trip too low.
    pub fn at(self, moment: Instant) -> u64 {
        let passed = moment.saturating_duration_since(self.arrived).as_millis() / 10;
        self.centiseconds.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }
}

/// A channel to a task that waits for its go-ahead on a host.
#[derive(Debug)]
pub struct SshGoAhead<'a> {
    session: &'a SshSession,
    stdin: ChildStdin,
    answers: BufReader<Take<ChildStdout>>,
    /// The command on the host.
    _child: Child<&'a openssh::Session>,
}

impl<'a> SshGoAhead<'a> {
    /// Waits until the task called `name`, a UUID, is ready for its go-ahead on the session's host.
    ///
    /// # Errors
    /// When the connection is lost, or the task is not ready within two minutes.
    pub async fn open(session: &'a SshSession, name: uuid::Uuid) -> Result<Box<Self>, AccessError> {
        let prefix: &[&str] = if session.user == "root" { &[] } else { &["sudo", "-n", "--"] };
        let script = SCRIPT.replace("NAME", &name.to_string());
        let mut child = session
            .command(prefix, &script, LIFETIME)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .await
            .map_err(|error| session.lost(&error))?;
        let (Some(stdin), Some(stdout)) = (child.stdin().take(), child.stdout().take()) else {
            return Err(AccessError::Disconnected { address: session.address.clone() });
        };
        let answers = BufReader::new(stdout.take(ANSWERS_LIMIT));
        let mut channel = Box::new(Self { session, stdin, answers, _child: child });
        channel.answer(LIFETIME).await?;
        Ok(channel)
    }

    async fn send(&mut self, line: &str) -> Result<(), AccessError> {
        let sent = self.stdin.write_all(format!("{line}\n").as_bytes()).await;
        sent.map_err(AccessError::io("write to a command on a host"))
    }

    async fn answer(&mut self, within: Duration) -> Result<String, AccessError> {
        let mut line = String::new();
        match timeout(within, self.answers.read_line(&mut line)).await {
            Ok(Ok(1..)) => Ok(line),
            Ok(Err(error)) => Err(AccessError::io("read from a command on a host")(error)),
            _ => Err(AccessError::Disconnected { address: self.session.address.clone() }),
        }
    }
}

#[async_trait]
impl GoAhead for SshGoAhead<'_> {
    async fn uptime(&mut self) -> Result<Uptime, AccessError> {
        let asked = Instant::now();
        self.send("uptime").await?;
        let answer = self.answer(ANSWER_DEADLINE).await?;
        let arrived = Instant::now();
        let centiseconds = centiseconds(&answer).ok_or_else(|| AccessError::Remote {
            address: self.session.address.clone(),
            detail: format!("its uptime is {:?}, not a number of seconds", answer.trim()),
        })?;
        Ok(Uptime::new(centiseconds, arrived, arrived - asked))
    }

    async fn give(
        mut self: Box<Self>,
        uptime: Uptime,
        decided: Instant,
        claim: &Claim,
    ) -> Result<(), AccessError> {
        // Another word than before there were claims, which scripts of then would ignore.
        self.send(&format!("proceed {} {claim}", uptime.deadline(decided))).await?;
        self.answer(ANSWER_DEADLINE).await.map(drop)
    }

    async fn refuse(mut self: Box<Self>) -> Result<(), AccessError> {
        self.send("refused").await?;
        self.answer(ANSWER_DEADLINE).await.map(drop)
    }
}

/// `12345.67` as it stands in `/proc/uptime`.
fn centiseconds(text: &str) -> Option<u64> {
    let (seconds, part) = text.trim().split_once('.')?;
    let part = if part.len() == 2 { part.parse::<u64>().ok()? } else { return None };
    seconds.parse::<u64>().ok()?.checked_mul(100)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uptime_has_hundredths_of_a_second() {
        assert_eq!(centiseconds("12345.67\n"), Some(1_234_567));
        for wrong in ["", "1", "1.5", "-1.00", "a.bc", "99999999999999999999.00"] {
            assert_eq!(centiseconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_go_ahead_is_valid_for_a_moment_after_the_decision() {
        let arrived = Instant::now();
        let uptime = |millis| Uptime {
            centiseconds: 1000,
            arrived,
            round_trip: Duration::from_millis(millis),
        };
        let decided = arrived + Duration::from_secs(1);
        assert_eq!(uptime(1).deadline(decided), 1120);
        assert_eq!(uptime(400).deadline(decided), 1180, "a slow link");
        assert_eq!(uptime(60_000).deadline(decided), 1300, "bounded");
        assert_eq!(uptime(1).at(decided), 1100);
    }
}
