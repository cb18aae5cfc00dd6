//! Ansible without anything around it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::bare_restart::SSH_OPTIONS;

/// A playbook, and how to log in to the hosts that it is for.
#[derive(Debug)]
pub struct BarePlaybook {
    playbook: PathBuf,
    config: PathBuf,
    port: u16,
    user: String,
    key: PathBuf,
}

impl BarePlaybook {
    /// The playbook is `text`, which is written into `folder`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(
        folder: &Path,
        text: &str,
        (port, user, key): (u16, String, PathBuf),
    ) -> anyhow::Result<Self> {
        let playbook = folder.join("bare.yaml");
        std::fs::write(&playbook, text).context("cannot write the playbook")?;
        // Empty: no other configuration is looked for.
        let config = folder.join("ansible.cfg");
        std::fs::write(&config, "").context("cannot write Ansible's configuration")?;
        Ok(Self { playbook, config, port, user, key })
    }

    /// Runs it on a host.
    ///
    /// # Errors
    /// When it fails.
    pub async fn play(&self, address: &str) -> anyhow::Result<()> {
        let mut command = Command::new("ansible-playbook");
        command.arg("-i").arg(format!("{address},")).arg("-u").arg(&self.user);
        command.arg("--private-key").arg(&self.key).arg("-e");
        command.arg(format!("ansible_port={}", self.port)).arg(&self.playbook);
        command.env("ANSIBLE_CONFIG", &self.config).env("ANSIBLE_HOST_KEY_CHECKING", "False");
        command.env("ANSIBLE_SSH_ARGS", SSH_OPTIONS.join(" "));
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
        let output = output.context("cannot run ansible-playbook")?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            bail!("ansible-playbook failed: {}", String::from_utf8_lossy(&said));
        }
        Ok(())
    }
}
