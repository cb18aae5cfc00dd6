//! The life of a daemon: its tasks, its signals, its end.
//!
//! Stopping is soft: whoever awaits [`Lifecycle::stopping`] takes no new work and finishes or hands
//! over what is under way. After [`GRACE`], or at a second signal, tasks still running are dropped.
//! When a critical task ends by itself the daemon stops and its exit status says that it failed, so
//! that systemd starts it again.

mod reload;

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Instrument as _;

use crate::error_text::one_line;
use reload::Subscribers;
pub use reload::{Reload, Reloading, Reloads};

/// How long tasks may take to finish once the daemon is told to stop: 30 s minus a margin, so that
/// systemd never has to kill.
pub const GRACE: Duration = Duration::from_secs(28);

/// How long a reload may take: longer than the store may take to answer.
const RELOAD_LIMIT: Duration = Duration::from_secs(30);

/// The status of a daemon that has started.
const SERVING: &str = "serving";

/// A cheap handle on the daemon's life; clones share it.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tracker: TaskTracker,
    failed: Arc<AtomicBool>,
    subscribers: Subscribers,
    /// The life that ends, too, when this one fails.
    elder: Option<CancellationToken>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl Lifecycle {
    /// A life with no tasks yet.
    pub fn new() -> Self {
        Self {
            soft: CancellationToken::new(),
            hard: CancellationToken::new(),
            tracker: TaskTracker::new(),
            failed: Arc::default(),
            subscribers: Subscribers::default(),
            elder: None,
        }
    }

    /// The life of a part that the others need until their end: it is told separately to stop, but sees
    /// the same reloads, and its failure is the daemon's.
    #[must_use]
    pub fn outliving(&self) -> Self {
        let (failed, subscribers) = (Arc::clone(&self.failed), self.subscribers.clone());
        Self { failed, subscribers, elder: Some(self.soft.clone()), ..Self::new() }
    }

    /// Has every task read its files again, as SIGHUP does.
    pub fn reload(&self) -> Reloading {
        self.subscribers.reload()
    }

    /// Runs a task that shutdown waits for; `name` stands in front of what it logs.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let hard = self.hard.clone();
        // Not part of whatever started it: a task may outlive that by far.
        let span = tracing::info_span!(parent: None, "task", name);
        let task = async move {
            tokio::select! {
                // First, so that a task that is ended does not get another turn.
                biased;
                () = hard.cancelled() => tracing::warn!("given up: it did not finish in time"),
                () = task => {}
            }
        };
        self.tracker.spawn(task.instrument(span));
    }

    /// Runs a task without which the daemon is of no use: if it ends, or panics, before the daemon
    /// is told to stop, the daemon stops and reports failure.
    pub fn spawn_critical(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let life = self.clone();
        self.spawn(name, async move {
            let guard = CriticalGuard { life, name };
            task.await;
            drop(guard);
        });
    }

    /// Shutdown also waits for whoever holds this.
    pub fn token(&self) -> TaskTrackerToken {
        self.tracker.token()
    }

    /// Resolves when the daemon is told to stop.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        self.soft.clone().cancelled_owned()
    }

    /// True once the daemon is told to stop.
    pub fn is_stopping(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Tells every task to stop.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// The requests to read files again (SIGHUP), from now on.
    pub fn reloads(&self) -> Reloads {
        self.subscribers.subscribe()
    }

    /// Tells every task to stop, and waits for them, for `grace` at most.
    pub async fn shutdown(&self, grace: Duration) {
        self.soft.cancel();
        self.tracker.close();
        if tokio::time::timeout(grace, self.tracker.wait()).await.is_err() {
            self.hard.cancel();
            self.tracker.wait().await;
        }
    }

    /// Ends every task at its next await, as the end of the process would: for simulations.
    pub fn kill(&self) {
        self.hard.cancel();
    }

    /// Starts the daemon by `start`, tells systemd that it is ready, and serves signals until all tasks
    /// have ended; then returns what `start` did, if it came to that.
    ///
    /// SIGTERM and SIGINT stop, during the start too, a second one stops at once; SIGHUP reloads. The
    /// caller then decides by [`Self::exit_code`] how the process ends.
    ///
    /// # Errors
    /// When a signal handler cannot be installed, and those of `start`.
    pub async fn run<T, E: From<std::io::Error>>(
        &self,
        start: impl Future<Output = Result<T, E>>,
    ) -> Result<Option<T>, E> {
        let mut signals = Signals::install()?;
        let started = tokio::select! {
            started = start => Some(started?),
            () = signals.stop(self, |_| {}) => None,
        };
        if started.is_some() {
            notify_systemd(&[NotifyState::Ready, NotifyState::Status(SERVING)]);
            tokio::select! {
                () = signals.stop(self, notify_systemd) => {}
                () = feed_watchdog() => {}
            }
        }
        let status = NotifyState::Status("stopping: what is under way is finished or handed over");
        notify_systemd(&[NotifyState::Stopping, status]);
        tracing::info!("stopping");
        tokio::select! {
            () = self.shutdown(GRACE) => {}
            () = signals.terminate() => self.shutdown(Duration::ZERO).await,
        }
        Ok(started)
    }

    /// Success, unless a critical task ended by itself.
    pub fn exit_code(&self) -> ExitCode {
        if self.failed.load(Ordering::SeqCst) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    async fn terminate(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }

    /// Resolves when the daemon is to stop, and reloads at each SIGHUP until then.
    async fn stop(&mut self, life: &Lifecycle, notify: fn(&[NotifyState<'_>])) {
        let Self { term, int, hup } = self;
        let reloads = async {
            while hup.recv().await.is_some() {
                reload(life, notify).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
            () = life.soft.cancelled() => {}
            () = reloads => {}
        }
    }
}

/// Reloads, and says in `systemctl status` while it does and what failed. systemd waits with `systemctl reload` until
/// then. Signals that arrive in the meantime are one further reload.
async fn reload(life: &Lifecycle, notify: impl Fn(&[NotifyState<'_>])) {
    tracing::info!("reloading");
    let mut begin = vec![NotifyState::Reloading, NotifyState::Status("reloading")];
    // systemd takes a reload without it for one of an earlier version; it fails on no Linux.
    begin.extend(NotifyState::monotonic_usec_now());
    notify(&begin);
    let ended = tokio::time::timeout(RELOAD_LIMIT, life.reload().ended()).await;
    let failures = ended.unwrap_or_else(|_| {
        let failure = format!("it has not ended within {} s", RELOAD_LIMIT.as_secs());
        tracing::error!("reload failed: {failure}");
        vec![failure]
    });
    if failures.is_empty() {
        tracing::info!("reloaded");
        return notify(&[NotifyState::Ready, NotifyState::Status(SERVING)]);
    }
    let status = format!("{SERVING}; reload failed: {}", one_line(&failures.join("; ")));
    notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Notices the end of a critical task, by panic too.
struct CriticalGuard {
    life: Lifecycle,
    name: &'static str,
}

impl Drop for CriticalGuard {
    fn drop(&mut self) {
        if !self.life.is_stopping() {
            tracing::error!(task = self.name, "a critical task ended, stopping the daemon");
            self.life.failed.store(true, Ordering::SeqCst);
            self.life.stop();
            if let Some(elder) = &self.life.elder {
                elder.cancel();
            }
        }
    }
}

/// Says in `systemctl status` what the daemon waits for while it starts.
pub fn starting(waits_for: &str) {
    notify_systemd(&[NotifyState::Status(&format!("starting: {}", one_line(waits_for)))]);
}

/// Tells systemd again and again that the runtime is alive, where the unit has a `WatchdogSec`.
async fn feed_watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    loop {
        notify_systemd(&[NotifyState::Watchdog]);
        tokio::time::sleep(limit / 2).await;
    }
}

fn notify_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(error = &error as &dyn std::error::Error, "systemd was not notified");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shutdown_waits_for_tasks() {
        let life = Lifecycle::new();
        let (done, result) = tokio::sync::oneshot::channel();
        let stopping = life.stopping();
        life.spawn("worker", async move {
            stopping.await;
            done.send("handed over").unwrap();
        });
        life.shutdown(GRACE).await;
        assert_eq!(result.await.unwrap(), "handed over");
        assert_eq!(life.exit_code(), ExitCode::SUCCESS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_hangs_is_dropped() {
        let life = Lifecycle::new();
        life.spawn("hangs", std::future::pending());
        life.shutdown(GRACE).await;
    }

    #[tokio::test]
    async fn a_part_that_outlives_the_others_fails_them_and_is_reloaded_with_them() {
        let life = Lifecycle::new();
        let part = life.outliving();
        let mut reloads = part.reloads();
        life.reload();
        drop(reloads.next().await);
        assert!(!life.is_stopping());
        part.spawn_critical("loop", async {});
        life.stopping().await;
        assert_eq!(life.exit_code(), ExitCode::FAILURE);
        let life = Lifecycle::new();
        let part = life.outliving();
        life.shutdown(GRACE).await;
        assert!(!part.is_stopping());
    }

    /// What systemd is sent during a reload, without the time.
    async fn reloaded(life: &Lifecycle) -> Vec<String> {
        let sent = std::sync::Mutex::new(Vec::new());
        let notify = |states: &[NotifyState<'_>]| {
            let texts = states.iter().map(|state| match state {
                NotifyState::MonotonicUsec(time) => format!("a time: {}", *time > 0),
                other => other.to_string(),
            });
            sent.lock().unwrap().extend(texts);
        };
        reload(life, notify).await;
        sent.into_inner().unwrap()
    }

    const RELOADING: [&str; 3] = ["RELOADING=1", "STATUS=reloading", "a time: true"];

    #[tokio::test(start_paused = true)]
    async fn systemd_is_told_of_a_reload_and_its_end_when_all_tasks_have_read_their_files() {
        let life = Lifecycle::new();
        assert_eq!(
            reloaded(&life).await,
            [&RELOADING[..], &["READY=1", "STATUS=serving"]].concat()
        );
        let (mut quick, mut slow) = (life.reloads(), life.reloads());
        life.spawn("quick", async move { drop(quick.next().await) });
        let (open, opened) = tokio::sync::oneshot::channel();
        life.spawn("slow", async move {
            let reload = slow.next().await;
            opened.await.unwrap();
            reload.failed("certificates stay as they were", &std::io::Error::other("no\nkey"));
        });
        let mut reloading = std::pin::pin!(reloaded(&life));
        // Longer than any file takes to be read.
        let early = tokio::time::timeout(RELOAD_LIMIT / 2, &mut reloading).await;
        assert!(early.is_err(), "a task is still at it");
        open.send(()).unwrap();
        let status = "STATUS=serving; reload failed: certificates stay as they were: no\\nkey";
        assert_eq!(reloading.await, [&RELOADING[..], &["READY=1", status]].concat());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_read_its_files_holds_up_no_reload_for_ever() {
        let life = Lifecycle::new();
        let idle = life.reloads();
        let sent = reloaded(&life).await;
        assert_eq!(
            sent[3..],
            ["READY=1", "STATUS=serving; reload failed: it has not ended within 30 s"]
        );
        // One whose task has ended is not waited for.
        drop(idle);
        assert_eq!(reloaded(&life).await[3..], ["READY=1", "STATUS=serving"]);
    }

    #[tokio::test]
    async fn the_end_of_a_critical_task_is_a_failure() {
        for task in [false, true] {
            let life = Lifecycle::new();
            life.spawn_critical("loop", async move { assert!(!task, "boom") });
            life.stopping().await;
            assert_eq!(life.exit_code(), ExitCode::FAILURE);
        }
    }
}
