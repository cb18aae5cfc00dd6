//! The life of a daemon: its tasks, its signals, its end.
//!
//! Stopping is soft: whoever awaits [`Lifecycle::stopping`] takes no new work and finishes or hands
//! over what is under way. After [`GRACE`], or at a second signal, tasks still running are dropped.
//! When a critical task ends by itself the daemon stops and its exit status says that it failed, so
//! that systemd starts it again.

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Instrument as _;

/// How long tasks may take to finish once the daemon is told to stop: 30 s minus a margin, so that
/// systemd never has to kill.
pub const GRACE: Duration = Duration::from_secs(28);

/// A cheap handle on the daemon's life; clones share it.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tracker: TaskTracker,
    failed: Arc<AtomicBool>,
    reload: watch::Sender<()>,
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
            reload: watch::Sender::new(()),
            elder: None,
        }
    }

    /// The life of a part that the others need until their end: it is told separately to stop, but sees
    /// the same reloads, and its failure is the daemon's.
    #[must_use]
    pub fn outliving(&self) -> Self {
        let (failed, reload) = (Arc::clone(&self.failed), self.reload.clone());
        Self { failed, reload, elder: Some(self.soft.clone()), ..Self::new() }
    }

    /// Tells every task to re-read its files, as SIGHUP does.
    pub fn reload(&self) {
        self.reload.send_replace(());
    }

    /// Runs a task that shutdown waits for; `name` stands in front of what it logs.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let hard = self.hard.clone();
        // Not part of whatever started it: a task may outlive that by far.
        let span = tracing::info_span!(parent: None, "task", name);
        let task = async move {
            tokio::select! {
                () = task => {}
                () = hard.cancelled() => tracing::warn!("given up: it did not finish in time"),
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

    /// Sees every request to re-read files (SIGHUP).
    pub fn reloads(&self) -> watch::Receiver<()> {
        self.reload.subscribe()
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
            () = signals.stop(self) => None,
        };
        if started.is_some() {
            notify_systemd(&[NotifyState::Ready, NotifyState::Status("serving")]);
            tokio::select! {
                () = signals.stop(self) => {}
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

    /// Resolves when the daemon is to stop, and passes on every reload until then.
    async fn stop(&mut self, life: &Lifecycle) {
        loop {
            tokio::select! {
                _ = self.term.recv() => return,
                _ = self.int.recv() => return,
                () = life.soft.cancelled() => return,
                _ = self.hup.recv() => {
                    tracing::info!("reloading");
                    life.reload();
                }
            }
        }
    }
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
    notify_systemd(&[NotifyState::Status(&format!("starting: {waits_for}"))]);
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
        reloads.changed().await.unwrap();
        assert!(!life.is_stopping());
        part.spawn_critical("loop", async {});
        life.stopping().await;
        assert_eq!(life.exit_code(), ExitCode::FAILURE);
        let life = Lifecycle::new();
        let part = life.outliving();
        life.shutdown(GRACE).await;
        assert!(!part.is_stopping());
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
