//! The port to hosts: what services need of them, and nothing about how it is done.
//!
//! [`Ssh`](crate::ssh::Ssh) implements it with OpenSSH and Ansible; the crate `simulated-hosts` with hosts that exist
//! only in the memory of a test.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::{Map, Value};
use tokio::time::Instant;
use uuid::Uuid;

use crate::error::AccessError;
use crate::facts::{Facts, FactsError};
use crate::generation::{Claim, Refusal, SeenMarks};
use crate::playbook::{Playbook, PlaybookError, Summary, TaskEvent};
use crate::session::{Output, Probe, Uptime};
use crate::system::SystemState;
use crate::target::Target;

/// All hosts that a service may work on.
#[async_trait]
pub trait Hosts: fmt::Debug + Send + Sync {
    /// Logs in to `target` within `timeout`. Only one of its pinned keys is accepted; without any, the key that the host
    /// shows is in [`Session::host_keys`].
    ///
    /// # Errors
    /// Says why the host rejects it, or cannot be reached.
    async fn connect(
        &self,
        target: &Target,
        timeout: Duration,
    ) -> Result<Box<dyn Session>, AccessError>;

    /// Logs in to `target` and reads its boot id, without a connection that stays.
    ///
    /// # Errors
    /// As [`Hosts::connect`].
    async fn probe(&self, target: &Target, timeout: Duration) -> Result<Probe, AccessError>;

    /// Whether a connection to the SSH port is accepted within `timeout`. Each time a new one is made.
    async fn is_port_open(&self, address: &str, port: u16, timeout: Duration) -> bool;

    /// Whether playbooks can be played on a host with this Python.
    ///
    /// # Errors
    /// Says what is missing, and where.
    async fn check_playbooks(&self, python: Option<(u32, u32)>) -> Result<(), PlaybookError>;

    /// Signs the text of a generation mark with the server's own SSH key; the signature is one word of base64.
    ///
    /// # Errors
    /// When the key cannot be used.
    async fn sign(&self, own_key: &SecretString, text: &str) -> Result<String, AccessError>;

    /// The fingerprint of the key that has signed the text of a generation mark; `None` if the signature is not valid.
    ///
    /// # Errors
    /// When it cannot be verified.
    async fn signer(&self, text: &str, signature: &str) -> Result<Option<String>, AccessError>;
}

/// One authenticated connection to one host. Dropping it ends the connection.
#[async_trait]
pub trait Session: fmt::Debug + Send + Sync {
    /// The host's address.
    fn address(&self) -> &str;

    /// The user that is logged in.
    fn user(&self) -> &str;

    /// The pinned keys: the target's, or on first use the one that the host showed.
    fn host_keys(&self) -> &[String];

    /// Whether the connection still exists; the host is not asked.
    async fn is_alive(&self) -> bool;

    /// The boot id of the host: it changes with every boot and with nothing else.
    ///
    /// # Errors
    /// When the host does not answer, or with something else.
    async fn boot_id(&self) -> Result<String, AccessError>;

    /// What the host is and has.
    ///
    /// # Errors
    /// When the host does not answer within `timeout`, or is of an unknown distribution.
    async fn facts(&self, timeout: Duration) -> Result<Facts, FactsError>;

    /// Which boot the host is in, for how long, and how far its start has got.
    ///
    /// # Errors
    /// When the host does not answer, or with something else.
    async fn system_state(&self) -> Result<SystemState, AccessError>;

    /// Whether the host reports that it needs a restart.
    ///
    /// # Errors
    /// When the host does not answer.
    async fn needs_reboot(&self) -> Result<bool, AccessError>;

    /// Runs a shell script on the host as root.
    ///
    /// # Errors
    /// When the user cannot become root, the timeout passes, too much is written, or the connection is lost. An exit
    /// status other than 0 is not an error.
    async fn run_privileged(&self, script: &str, timeout: Duration) -> Result<Output, AccessError>;

    /// Marks the host with the generation of this installation, or confirms the mark, and does nothing else; the answer of a
    /// host that refuses.
    ///
    /// # Errors
    /// When the host does not answer, or cannot be marked.
    async fn claim(&self, claim: &Claim) -> Result<Option<Refusal>, AccessError>;

    /// The generation mark of an installation on the host, which stays as it is.
    ///
    /// # Errors
    /// When the host does not answer.
    async fn marks(&self, instance: &str) -> Result<SeenMarks, AccessError>;

    /// Plays `playbook` on the host.
    ///
    /// Names of `vars` begin with `commissaire_`, and their values hold no Jinja templates. Each task's outcome is given
    /// to `on_event` as it becomes known. The playbook is ended at the timeout, and when the future is dropped.
    ///
    /// # Errors
    /// When it cannot be played, fails, or does not end in time.
    async fn play(
        &self,
        playbook: Playbook,
        vars: &Map<String, Value>,
        timeout: Duration,
        on_event: &mut (dyn FnMut(TaskEvent) + Send),
    ) -> Result<Summary, PlaybookError>;

    /// Waits until the task of a playbook on this host is ready for the go-ahead `name`
    /// (its variable `commissaire_go_ahead`).
    ///
    /// # Errors
    /// When the connection is lost, or the task is not ready within two minutes.
    async fn go_ahead<'a>(&'a self, name: Uuid) -> Result<Box<dyn GoAhead + 'a>, AccessError>;

    /// Ends the connection, and waits for its end.
    async fn close(self: Box<Self>);
}

/// The channel to a task that waits for its go-ahead on a host.
#[async_trait]
pub trait GoAhead: Send {
    /// The host's uptime.
    ///
    /// # Errors
    /// When the host does not answer within five seconds.
    async fn uptime(&mut self) -> Result<Uptime, AccessError>;

    /// Gives the go-ahead that was decided at `decided`. The host rejects it when it arrives too late, or refuses `claim`.
    ///
    /// # Errors
    /// When the host does not confirm it, which says nothing about whether it arrived.
    async fn give(
        self: Box<Self>,
        uptime: Uptime,
        decided: Instant,
        claim: &Claim,
    ) -> Result<(), AccessError>;

    /// Ends the task without its effect.
    ///
    /// # Errors
    /// When the host does not confirm it: the task ends by itself a minute later.
    async fn refuse(self: Box<Self>) -> Result<(), AccessError>;
}
