//! Programs on this machine: their environment, and their end.

use std::ffi::OsStr;
use std::io;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

/// How long a program may take to end when asked to, before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// The boot id of the machine that this runs on.
///
/// # Errors
/// When the kernel does not tell it.
pub fn own_boot_id() -> io::Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim().to_owned())
}

/// `program` as a child that dies with this process, in a process group of its own.
///
/// Its environment holds `PATH`, `HOME` and `LANG` and nothing else, so that neither an agent, nor
/// an askpass program, nor an `ANSIBLE_…` variable of whoever started the daemon has a say.
///
/// The death signal comes when the *thread* that started the child ends. A runtime's workers live
/// as long as it does; from `spawn_blocking` or a short-lived thread the child would not last.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).env_clear().env("LANG", "C.UTF-8");
    for name in ["PATH", "HOME"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.process_group(0).kill_on_drop(true);
    command
}

/// A child that leads a process group; the whole group ends with it, also on drop.
#[derive(Debug)]
pub(crate) struct Group {
    child: Child,
    leader: Option<Pid>,
}

impl Group {
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        let child = command.spawn()?;
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self { child, leader })
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Asks the group to end, then makes it, and waits for its leader.
    pub(crate) async fn end(mut self) {
        self.signal(Signal::TERM);
        if tokio::time::timeout(GRACE, self.child.wait()).await.is_err() {
            self.signal(Signal::KILL);
            // Nothing more can be done about a process that survives SIGKILL.
            let _ = tokio::time::timeout(GRACE, self.child.wait()).await;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            // It fails when the group is already gone, which is what is wanted.
            let _ = kill_process_group(leader, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Once the leader has been waited for, its number may belong to someone else.
        if self.child.id().is_some() {
            self.signal(Signal::KILL);
        }
    }
}
