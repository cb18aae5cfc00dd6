//! Running a bundled playbook, its outcome as events.

use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::OnceCell;

use crate::local::{self, Group};
use crate::run_dir::RunDir;
use crate::session::SshSession;

mod bundle;
mod core_version;
mod error;
mod events;
mod invocation;
mod memory;
mod python;

pub use core_version::CoreVersion;
pub use error::PlaybookError;
pub use events::{Summary, TaskEvent, TaskOutcome};
pub(crate) use invocation::HOME_VARIABLE;

/// The memory that each process of a playbook run may use unless configured otherwise, in MiB; they usually use 60.
pub const MEMORY: u64 = 512;

/// How long `ansible-playbook --version` may take: half a second, but the controller may be overloaded.
const VERSION_DEADLINE: Duration = Duration::from_mins(2);

/// A playbook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Playbook {
    /// Installs and configures flannel and docker.
    Bootstrap,
    /// Reboots. With `commissaire_boot_id` it only asks for the reboot, and only while that still
    /// is the host's boot id.
    Restart,
    /// Brings the host up to date.
    Upgrade,
    /// Deploys a version of the tree on an OSTree host.
    Deploy,
    /// Looks whether the host answers and has a working Python.
    CheckHostAvailability,
}

impl Playbook {
    /// Its file's name.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap.yaml",
            Self::Restart => "restart.yaml",
            Self::Upgrade => "upgrade.yaml",
            Self::Deploy => "deploy.yaml",
            Self::CheckHostAvailability => "check_host_availability.yaml",
        }
    }

    /// Whether it runs Python on the host. `restart.yaml` does not when it is given a boot id,
    /// which is how operations use it.
    fn needs_python(self, vars: &Map<String, Value>) -> bool {
        self != Self::Restart || !vars.contains_key("commissaire_boot_id")
    }
}

impl fmt::Display for Playbook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.file_name())
    }
}

/// The `ansible-playbook` of this machine, or what is wrong with it.
#[derive(Debug, Clone)]
pub struct Ansible {
    /// Where the playbooks are, unless they are the bundled ones.
    playbook_path: Option<PathBuf>,
    /// The memory that each process of a run may use, in MiB.
    memory: u64,
    /// Looked for at first use, since that takes half a second; kept once it is found.
    version: Arc<OnceCell<CoreVersion>>,
}

impl Ansible {
    /// `playbook_path` is where the playbooks are, unless they are the bundled ones. Whether Ansible
    /// is there is found out, and reported, by what needs it: everything else works without it.
    pub fn new(playbook_path: Option<PathBuf>) -> Self {
        Self { playbook_path, memory: MEMORY, version: Arc::default() }
    }

    /// The same with another limit, in MiB, to the memory that each process of a run may use.
    #[must_use]
    pub fn with_memory(self, memory: u64) -> Self {
        Self { memory, ..self }
    }

    /// The version of `ansible-core` on this machine.
    ///
    /// # Errors
    /// [`PlaybookError::AnsibleMissing`].
    pub async fn version(&self) -> Result<CoreVersion, PlaybookError> {
        let found = self.version.get_or_try_init(find_version).await;
        found.copied().map_err(|detail| PlaybookError::AnsibleMissing { detail })
    }

    /// Whether playbooks can be run on a host with this Python; [`Ansible::run`] looks itself.
    ///
    /// # Errors
    /// Says what is missing, and where.
    pub async fn check(&self, python: Option<(u32, u32)>) -> Result<(), PlaybookError> {
        let core = self.version().await?;
        core.check(python.ok_or(PlaybookError::NoPython)?)
    }

    /// Runs `playbook` on the session's host, over the session's connection.
    ///
    /// `vars` may hold only names that begin with `commissaire_`, and no Jinja templates. Each
    /// task's outcome goes to `on_event` as it becomes known. The playbook is ended at the
    /// deadline, and when the future is dropped.
    ///
    /// # Errors
    /// When Ansible is missing, the playbook fails, or does not end in time.
    pub async fn run(
        &self,
        run_dir: &RunDir,
        session: &SshSession,
        playbook: Playbook,
        vars: &Map<String, Value>,
        deadline: Duration,
        mut on_event: impl FnMut(TaskEvent) + Send,
    ) -> Result<Summary, PlaybookError> {
        let core = self.version().await?;
        let python =
            if playbook.needs_python(vars) { Some(python::find(session).await?) } else { None };
        python.iter().try_for_each(|python| core.check(python.version))?;
        let bundle = run_dir.playbooks(bundle::write).map_err(PlaybookError::Access)?;
        // Absolute: it runs in a directory of its own.
        let playbooks = std::path::absolute(self.playbook_path.as_ref().unwrap_or(&bundle))
            .map_err(|source| PlaybookError::Io { what: "find the playbooks", source })?;
        let directory = run_dir.subdirectory().map_err(PlaybookError::Access)?;
        let run = invocation::Run {
            session,
            directory: directory.path(),
            bundle: &bundle,
            python,
            memory: self.memory,
        };
        let mut command = run.command(&playbooks.join(playbook.file_name()), vars)?;
        let mut group = Group::spawn(&mut command)
            .map_err(|source| PlaybookError::Io { what: "start ansible-playbook", source })?;
        let leader = group.child().id();
        let watched = tokio::select! {
            watched = tokio::time::timeout(deadline, events::watch(group.child(), &mut on_event)) => watched,
            () = memory::exceeded(leader, self.memory) => {
                group.end().await;
                return Err(PlaybookError::OutOfMemory { playbook, limit: self.memory });
            }
        };
        let Ok(watched) = watched else {
            group.end().await;
            return Err(PlaybookError::Timeout { playbook, after: deadline });
        };
        watched?.conclude(playbook)
    }
}

async fn find_version() -> Result<CoreVersion, String> {
    let mut command = local::command("ansible-playbook");
    command.arg("--version").stdin(Stdio::null());
    let output = tokio::time::timeout(VERSION_DEADLINE, command.output()).await;
    let output = output
        .map_err(|_| "ansible-playbook --version does not end".to_owned())?
        .map_err(|error| format!("cannot start it: {error}"))?;
    if output.status.code() == Some(127) {
        return Err("ansible-playbook is not installed".to_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    CoreVersion::parse(&text).ok_or_else(|| {
        let words = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
        format!("ansible-playbook does not tell its version: {}", crate::error::detail(&words))
    })
}
