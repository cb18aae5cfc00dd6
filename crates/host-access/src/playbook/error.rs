//! Why a playbook could not be run, or did not succeed.

use std::io;
use std::time::Duration;

use model::FailureReason;

use super::{CoreVersion, Playbook};
use crate::error::AccessError;
use crate::generation::Refusal;

/// Why a playbook could not be run, or did not succeed.
///
/// `Display` is a sentence for an operator, with what to do next; it never contains the source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaybookError {
    /// There is no usable Ansible on this machine.
    #[error(
        "playbooks cannot be run: {detail}; install ansible-core 2.14 or newer on the controller"
    )]
    AnsibleMissing {
        /// What was found instead.
        detail: String,
    },
    /// The host's Python is too new for this machine's Ansible.
    #[error(
        "ansible-core {found} on the controller is too old for the host's Python {}.{}: install \
         ansible-core {needed} or newer on the controller",
        python.0, python.1
    )]
    AnsibleTooOld {
        /// The version found.
        found: CoreVersion,
        /// The version needed.
        needed: CoreVersion,
        /// The host's Python.
        python: (u32, u32),
    },
    /// The host's Python is too old for this machine's Ansible.
    #[error(
        "the host's Python {}.{} is too old for ansible-core {found} on the controller: install a \
         newer Python on the host, or an older ansible-core on the controller",
        python.0, python.1
    )]
    PythonTooOld {
        /// The version found.
        found: CoreVersion,
        /// The host's Python.
        python: (u32, u32),
    },
    /// The host has no Python.
    #[error("the host has no Python, which playbooks need: install python3 on it")]
    NoPython,
    /// A variable that must not be passed on.
    #[error(
        "the variable {name} cannot be passed to a playbook: names begin with commissaire_, and \
         values hold no templates"
    )]
    BadVariable {
        /// Its name.
        name: String,
    },
    /// A task failed.
    #[error("{playbook} failed at {task:?}: {message}")]
    Failed {
        /// The playbook.
        playbook: Playbook,
        /// The task's name.
        task: String,
        /// What the task said.
        message: String,
    },
    /// The host has refused the claim of this installation; nothing was done by the task.
    #[error(
        "{playbook} was ended, because another installation has the host or claims it too ({})",
        refusal.fence.word()
    )]
    Fenced {
        /// The playbook.
        playbook: Playbook,
        /// What the host has answered.
        refusal: Refusal,
    },
    /// A task could not become root.
    #[error(
        "{playbook} cannot become root without a password ({message}): add a rule such as `USER ALL=(ALL) NOPASSWD: \
         ALL` for the registered user to the sudoers of the host"
    )]
    NoSudo {
        /// The playbook.
        playbook: Playbook,
        /// What the task said.
        message: String,
    },
    /// A file system of the host is full.
    #[error(
        "{playbook} failed at {task:?}: a file system of the host is full, so free space on it: {message}"
    )]
    DiskFull {
        /// The playbook.
        playbook: Playbook,
        /// The task's name.
        task: String,
        /// What the task said.
        message: String,
    },
    /// The host was lost while the playbook ran.
    #[error("{playbook} lost the host: {message}")]
    Unreachable {
        /// The playbook.
        playbook: Playbook,
        /// What Ansible said.
        message: String,
    },
    /// It did not end in time.
    #[error("{playbook} did not end within {after:?}")]
    Timeout {
        /// The playbook.
        playbook: Playbook,
        /// Its deadline.
        after: Duration,
    },
    /// `ansible-playbook` ended without a result.
    #[error("{playbook} could not be run: {detail}")]
    Broken {
        /// The playbook.
        playbook: Playbook,
        /// What it said.
        detail: String,
    },
    /// It wrote more than is read.
    #[error("ansible-playbook wrote more than {limit} bytes and was ended")]
    TooMuchOutput {
        /// The limit, in bytes.
        limit: u64,
    },
    /// It needed more memory than it may use.
    #[error(
        "{playbook} was ended: a process of ansible-playbook needed more than {limit} MiB on the controller, usually \
         because the host sent too much output; look at what the host answers, or raise `playbook-memory`"
    )]
    OutOfMemory {
        /// The playbook.
        playbook: Playbook,
        /// The limit, in MiB.
        limit: u64,
    },
    /// Something failed on this machine.
    #[error("cannot {what} on the controller")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The files for the run could not be written.
    #[error(transparent)]
    Access(AccessError),
}

impl PlaybookError {
    /// The reason, for records and events.
    pub fn reason(&self) -> FailureReason {
        match self {
            Self::AnsibleMissing { .. } => FailureReason::AnsibleMissing,
            Self::AnsibleTooOld { .. } => FailureReason::AnsibleTooOld,
            Self::PythonTooOld { .. } => FailureReason::PythonTooOld,
            Self::NoPython => FailureReason::NoPython,
            Self::BadVariable { .. } => FailureReason::BadVariable,
            Self::Failed { .. } => FailureReason::PlaybookFailed,
            Self::Fenced { .. } => FailureReason::Fenced,
            Self::NoSudo { .. } => FailureReason::NoSudo,
            Self::DiskFull { .. } => FailureReason::DiskFull,
            Self::Unreachable { .. } => FailureReason::Unreachable,
            Self::Timeout { .. } => FailureReason::Timeout,
            Self::Broken { .. } => FailureReason::PlaybookBroken,
            Self::TooMuchOutput { .. } => FailureReason::TooMuchOutput,
            Self::OutOfMemory { .. } => FailureReason::OutOfMemory,
            Self::Io { .. } => FailureReason::ControllerError,
            Self::Access(error) => error.reason(),
        }
    }

    /// Whether the same attempt may well succeed a little later, without anyone's help.
    pub fn heals(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } => true,
            Self::Access(error) => error.heals(),
            _ => false,
        }
    }
}
