//! Hosts over OpenSSH and Ansible.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::{Map, Value};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::error::AccessError;
use crate::facts::{self, Facts, FactsError};
use crate::generation::{Claim, Refusal, SeenMarks};
use crate::hosts::{GoAhead, Hosts, Session};
use crate::playbook::{Ansible, Playbook, PlaybookError, Summary, TaskEvent};
use crate::run_dir::RunDir;
use crate::session::{self, Output, Probe, SshGoAhead, SshSession};
use crate::signing;
use crate::system::{self, SystemState};
use crate::target::Target;

/// Hosts as `ssh` and `ansible-playbook` of this machine reach them.
#[derive(Debug, Clone)]
pub struct Ssh {
    run_dir: RunDir,
    ansible: Ansible,
}

impl Ssh {
    /// `run_dir` is for key files, control sockets and playbooks.
    pub fn new(run_dir: RunDir, ansible: Ansible) -> Self {
        Self { run_dir, ansible }
    }
}

#[async_trait]
impl Hosts for Ssh {
    async fn connect(
        &self,
        target: &Target,
        timeout: Duration,
    ) -> Result<Box<dyn Session>, AccessError> {
        let ssh = SshSession::connect(&self.run_dir, target, timeout).await?;
        Ok(Box::new(Connected { hosts: self.clone(), ssh }))
    }

    async fn probe(&self, target: &Target, timeout: Duration) -> Result<Probe, AccessError> {
        session::probe(&self.run_dir, target, timeout).await
    }

    async fn is_port_open(&self, address: &str, port: u16, timeout: Duration) -> bool {
        let connected = tokio::time::timeout(timeout, TcpStream::connect((address, port))).await;
        matches!(connected, Ok(Ok(_)))
    }

    async fn check_playbooks(&self, python: Option<(u32, u32)>) -> Result<(), PlaybookError> {
        self.ansible.check(python).await
    }

    async fn sign(&self, own_key: &SecretString, text: &str) -> Result<String, AccessError> {
        signing::sign(&self.run_dir, own_key, text).await
    }

    async fn signer(&self, text: &str, signature: &str) -> Result<Option<String>, AccessError> {
        signing::signer(&self.run_dir, text, signature).await
    }
}

/// A session, and what playbooks on its host need.
#[derive(Debug)]
struct Connected {
    hosts: Ssh,
    ssh: SshSession,
}

#[async_trait]
impl Session for Connected {
    fn address(&self) -> &str {
        self.ssh.address()
    }

    fn user(&self) -> &str {
        self.ssh.user()
    }

    fn host_keys(&self) -> &[String] {
        self.ssh.host_keys()
    }

    async fn is_alive(&self) -> bool {
        self.ssh.is_alive().await
    }

    async fn boot_id(&self) -> Result<String, AccessError> {
        session::boot_id(&self.ssh).await
    }

    async fn facts(&self, timeout: Duration) -> Result<Facts, FactsError> {
        facts::gather(&self.ssh, timeout).await
    }

    async fn system_state(&self) -> Result<SystemState, AccessError> {
        system::state(&self.ssh).await
    }

    async fn needs_reboot(&self) -> Result<bool, AccessError> {
        system::needs_reboot(&self.ssh).await
    }

    async fn run_privileged(&self, script: &str, timeout: Duration) -> Result<Output, AccessError> {
        self.ssh.run_privileged(script, timeout).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Option<Refusal>, AccessError> {
        session::claim(&self.ssh, claim).await
    }

    async fn marks(&self, instance: &str) -> Result<SeenMarks, AccessError> {
        session::marks(&self.ssh, instance).await
    }

    async fn play(
        &self,
        playbook: Playbook,
        vars: &Map<String, Value>,
        timeout: Duration,
        on_event: &mut (dyn FnMut(TaskEvent) + Send),
    ) -> Result<Summary, PlaybookError> {
        let Ssh { run_dir, ansible } = &self.hosts;
        ansible.run(run_dir, &self.ssh, playbook, vars, timeout, on_event).await
    }

    async fn go_ahead<'a>(&'a self, name: Uuid) -> Result<Box<dyn GoAhead + 'a>, AccessError> {
        Ok(SshGoAhead::open(&self.ssh, name).await?)
    }

    async fn close(self: Box<Self>) {
        self.ssh.close().await;
    }
}
