//! What nobody can do without who restarts a host and runs a playbook on it: the reboot, and Ansible.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::bail;
use testbed::Testbed;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use crate::bare_playbook::BarePlaybook;

/// How long a host may be away.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long `ssh` may take: on a host that goes down it may hang at any moment.
const LOG_IN: Duration = Duration::from_secs(5);

/// How long a look at the SSH port may take, and the pause between two. Looking is cheap, so this is as
/// often as makes sense: `ssh` itself takes longer.
const LOOK: Duration = Duration::from_millis(200);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The one trivial task.
const PLAYBOOK: &str = "- hosts: all\n  gather_facts: false\n  tasks:\n    - raw: 'true'\n";

const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

/// `ssh` without anything of this machine's configuration, and without a connection that stays.
pub const SSH_OPTIONS: &[&str] = &[
    "-F/dev/null",
    "-oBatchMode=yes",
    "-oIdentitiesOnly=yes",
    "-oStrictHostKeyChecking=no",
    "-oUserKnownHostsFile=/dev/null",
    "-oLogLevel=ERROR",
    "-oControlMaster=no",
];

/// A host of the testbed, and how to log in to it.
#[derive(Debug)]
pub struct BareHost {
    address: String,
    port: u16,
    user: String,
    key: PathBuf,
    playbook: BarePlaybook,
}

/// How long the parts took.
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    /// From the command until `ssh` runs something on the next boot.
    pub reboot: Duration,
    /// One `ansible-playbook`.
    pub playbook: Duration,
}

impl BareHost {
    /// The host of that number; the playbook is written into `folder`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(testbed: &Testbed, number: usize, folder: &Path) -> anyhow::Result<Self> {
        let (address, port) = testbed.address(number);
        let (address, user, key) = (address.to_owned(), testbed.user(), testbed.key());
        let playbook = BarePlaybook::new(folder, PLAYBOOK, (port, user.clone(), key.clone()))?;
        Ok(Self { address, port, user, key, playbook })
    }

    /// Reboots it, waits until it is back, and runs the playbook; `before` is its boot id.
    ///
    /// # Errors
    /// When it does not come back, or the playbook fails.
    pub async fn restart(&self, before: &str) -> anyhow::Result<Parts> {
        let begun = Instant::now();
        let command = if self.user == "root" { "reboot" } else { "sudo -n reboot" };
        // It may or may not get an answer out.
        drop(self.ssh(command).await);
        loop {
            if self.listens().await
                && let Some(id) = self.ssh(BOOT_ID).await
                && id.len() == before.len()
                && id != before
            {
                break;
            }
            if begun.elapsed() > PATIENCE {
                bail!("{} does not come back from its reboot", self.address);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let reboot = begun.elapsed();
        let begun = Instant::now();
        self.playbook.play(&self.address).await?;
        Ok(Parts { reboot, playbook: begun.elapsed() })
    }

    async fn listens(&self) -> bool {
        let connect = TcpStream::connect((self.address.as_str(), self.port));
        matches!(timeout(LOOK, connect).await, Ok(Ok(_)))
    }

    /// What a command says, when it succeeds.
    async fn ssh(&self, script: &str) -> Option<String> {
        let mut command = Command::new("ssh");
        command.args(SSH_OPTIONS).arg("-i").arg(&self.key).arg("-p").arg(self.port.to_string());
        command.arg(format!("{}@{}", self.user, self.address)).arg(script);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(LOG_IN, command.output()).await.ok()?.ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    }
}
