//! Reaching hosts over SSH: sessions, facts, playbooks.
//!
//! Nothing is installed on a host: `sshd` and a POSIX shell are all this crate needs of it
//! (playbooks also need Python). Everything that comes from outside, whether from an operator or
//! from the host, is validated or quoted before it reaches a shell, an option list or a file.
//!
//! # Layout
//!
//! - [`hosts`]: the port to hosts, which is all that services use of them
//! - [`ssh`]: that port over OpenSSH and Ansible
//! - [`run_dir`]: the private directory for key files, control sockets and playbooks, swept of
//!   what a killed predecessor left behind
//! - [`session`]: one authenticated connection to one host, its key pinned; scripts with a
//!   deadline and a limit on their output
//! - [`target`]: where and as whom to log in, validated
//! - [`credentials`]: from stored credentials to a target (pure)
//! - [`ledger`]: the refused log-ins of each host, and how many are allowed
//! - [`deps`]: what a service that works on hosts is given
//! - [`generation`]: the generation mark of a host, and what a claim makes of it (pure)
//! - [`fencing`]: the claims of this installation, and why a host refuses one
//! - `signing`: signatures with SSH keys
//! - [`mod@own_key`]: the server's own SSH key
//! - [`server_keys`]: the store confirms that key
//! - [`error`]: what can go wrong on the way to a host, as sentences for an operator
//! - [`facts`]: what kind of host this is, in one round trip
//! - [`system`]: the state of a host's system, in one round trip
//! - [`os`]: the known distributions and their commands (pure)
//! - [`playbook`]: running a bundled playbook, its outcome as events
//! - [`bootstrap`]: the variables of the bootstrap playbook (pure)

pub mod bootstrap;
pub mod credentials;
pub mod deps;
pub mod error;
pub mod facts;
pub mod fencing;
pub mod generation;
pub mod hosts;
pub mod ledger;
pub mod os;
pub mod own_key;
pub mod playbook;
pub mod run_dir;
pub mod server_keys;
pub mod session;
pub mod ssh;
pub mod system;
pub mod target;

mod local;
mod signing;

pub use bootstrap::{
    BootstrapError, BootstrapOptions, FlannelEtcd, FlannelTls, NetworkSetup, RegistryMirror,
    bootstrap_vars,
};
pub use deps::Deps;
pub use error::AccessError;
pub use facts::{Facts, FactsError, gather};
pub use fencing::Fencing;
pub use generation::{Claim, ClaimMode, Fence, Mark, Refusal, SeenMarks};
pub use hosts::{GoAhead, Hosts, Session};
pub use ledger::{LogInLedger, Share};
pub use local::own_boot_id;
pub use os::Os;
pub use playbook::{
    Ansible, CoreVersion, Playbook, PlaybookError, Summary, TaskEvent, TaskOutcome,
};
pub use run_dir::RunDir;
pub use session::{Output, Probe, SshGoAhead, SshSession, Uptime, boot_id, probe};
pub use ssh::Ssh;
pub use system::SystemState;
pub use target::Target;
