//! One call of `ansible-playbook`: its files, its environment, its arguments.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Map, Value, json};
use tokio::process::Command;

use super::PlaybookError;
use super::bundle::{CALLBACK_PLUGINS, CONFIG};
use super::memory;
use super::python::Python;
use crate::local;
use crate::session::{SshSession, write_private};

/// The variable with a path inside the run's directory: by it a left-over playbook is known.
pub(crate) const HOME_VARIABLE: &str = "ANSIBLE_HOME";

/// What one run is made of.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) session: &'a SshSession,
    /// For this run's files, removed afterwards.
    pub(super) directory: &'a Path,
    /// Where the bundled playbooks are; the callback plugin always comes from there.
    pub(super) bundle: &'a Path,
    /// Which Python to use on the host; none when it is not needed.
    pub(super) python: Option<Python>,
    /// The memory that each process may use, in MiB: what a host sends is kept in memory whole.
    pub(super) memory: u64,
}

impl Run<'_> {
    /// Writes inventory and variables, and puts the command together.
    pub(super) fn command(
        &self,
        playbook: &Path,
        vars: &Map<String, Value>,
    ) -> Result<Command, PlaybookError> {
        check_vars(vars)?;
        let inventory = self.directory.join("inventory.yaml");
        let vars_file = self.directory.join("vars.json");
        write(&inventory, &self.inventory())?;
        write(&vars_file, &Value::Object(vars.clone()))?;
        let mut extra = OsString::from("@");
        extra.push(&vars_file);
        let mut command = local::command("prlimit");
        let hard_limit = (self.memory * memory::HARD_LIMIT_FACTOR) << 20;
        command.arg(format!("--data={hard_limit}")).args(["--", "ansible-playbook"]);
        command.arg("-i").arg(inventory).arg("-e").arg(extra).arg("--").arg(playbook);
        command.envs(self.environment()).current_dir(self.directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }

    /// JSON is YAML. The host is reached by its alias in the session's configuration.
    fn inventory(&self) -> Value {
        let mut host = json!({ "ansible_host": SshSession::HOST });
        if let Some(python) = &self.python {
            host["ansible_python_interpreter"] = json!(python.path);
        }
        json!({ "all": { "hosts": { self.session.address(): host } } })
    }

    /// Everything that matters is said, so that no configuration of this machine has a say.
    fn environment(&self) -> Vec<(&'static str, OsString)> {
        let directory = |name: &str| self.directory.join(name).into_os_string();
        let mut ssh = OsString::from("-F ");
        ssh.push(self.session.ssh_config());
        let mut environment = vec![
            ("ANSIBLE_CONFIG", self.bundle.join(CONFIG).into()),
            ("ANSIBLE_CALLBACK_PLUGINS", self.bundle.join(CALLBACK_PLUGINS).into()),
            // The session's configuration shares its open connection: no second log-in is paid.
            // Once that is gone, `ssh` connects by itself, with the same key pinned.
            ("ANSIBLE_SSH_ARGS", ssh),
            (HOME_VARIABLE, directory("home")),
            ("ANSIBLE_LOCAL_TEMP", directory("tmp")),
            // Nothing in there; the standard modules are all that is used.
            ("ANSIBLE_COLLECTIONS_PATH", directory("collections")),
        ];
        environment.extend(SETTINGS.iter().map(|&(name, value)| (name, value.into())));
        if self.session.user() != "root" {
            environment.push(("ANSIBLE_BECOME", "True".into()));
        }
        environment
    }
}

const SETTINGS: &[(&str, &str)] = &[
    ("ANSIBLE_STDOUT_CALLBACK", "commissaire"),
    ("ANSIBLE_NOCOLOR", "True"),
    ("ANSIBLE_HOST_KEY_CHECKING", "True"),
    ("ANSIBLE_PIPELINING", "True"),
    // `raw` would ask for a terminal, which not every sshd can give.
    ("ANSIBLE_SSH_USETTY", "False"),
    // Without it, `sftp` and `scp` are tried first, one connection each.
    ("ANSIBLE_SSH_TRANSFER_METHOD", "piped"),
    ("ANSIBLE_BECOME_METHOD", "sudo"),
    ("ANSIBLE_BECOME_FLAGS", "-H -S -n"),
    ("ANSIBLE_REMOTE_TMP", "~/.ansible/tmp"),
    ("ANSIBLE_FORKS", "1"),
    ("ANSIBLE_GATHERING", "explicit"),
    ("ANSIBLE_CACHE_PLUGIN", "memory"),
    ("ANSIBLE_RETRY_FILES_ENABLED", "False"),
    ("ANSIBLE_INVENTORY_ENABLED", "yaml"),
    ("ANSIBLE_COLLECTIONS_SCAN_SYS_PATH", "False"),
    ("ANSIBLE_LOCALHOST_WARNING", "False"),
    ("ANSIBLE_DEPRECATION_WARNINGS", "False"),
    ("ANSIBLE_SYSTEM_WARNINGS", "False"),
];

fn write(path: &Path, value: &Value) -> Result<(), PlaybookError> {
    write_private(path, &[&value.to_string()]).map_err(PlaybookError::Access)
}

/// Ansible would evaluate a template in a value on this machine, with all its rights.
fn check_vars(vars: &Map<String, Value>) -> Result<(), PlaybookError> {
    let bad = vars.iter().find(|(name, value)| !is_name(name) || has_template(value));
    bad.map_or(Ok(()), |(name, _)| Err(PlaybookError::BadVariable { name: name.clone() }))
}

fn is_name(name: &str) -> bool {
    name.strip_prefix("commissaire_").is_some_and(|rest| {
        rest.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
    })
}

fn has_template(value: &Value) -> bool {
    match value {
        Value::String(text) => ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark)),
        Value::Array(values) => values.iter().any(has_template),
        Value::Object(values) => {
            values.iter().any(|(name, value)| has_template(&json!(name)) || has_template(value))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_and_foreign_names_are_refused() {
        for (vars, good) in [
            (json!({ "commissaire_deploy_version": "7.2.6" }), true),
            (json!({ "commissaire_deploy_version": "{{ lookup('pipe', 'id') }}" }), false),
            (json!({ "commissaire_list": [{ "a": "{% raw %}" }] }), false),
            (json!({ "ansible_host": "other" }), false),
            (json!({ "commissaire_a b": 1 }), false),
        ] {
            assert_eq!(check_vars(vars.as_object().unwrap()).is_ok(), good, "{vars}");
        }
    }
}
