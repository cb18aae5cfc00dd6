//! Credential plugins: programs of the operator's that say who they are, as `kubectl` runs them.

mod answer;
mod cache;

use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal as _};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use serde_json::{Value, json};

use self::answer::AnswerError;
pub(crate) use self::answer::Credential;
use self::cache::Cache;
use crate::clock::now;
use crate::text::printable;

/// What is spoken with them.
pub(crate) const API_VERSIONS: [&str; 2] =
    ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];

/// Tells the plugin what is wanted of it.
const EXEC_INFO: &str = "KUBERNETES_EXEC_INFO";

/// Variables that change without anybody's doing, and that no log-in depends on.
const VOLATILE: [&str; 6] = ["_", "PWD", "OLDPWD", "SHLVL", "COLUMNS", "LINES"];

/// One of them, as the kubeconfig wants it run.
#[derive(Debug)]
pub(crate) struct Plugin {
    pub(crate) api_version: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    /// What somebody is told who does not have it.
    pub(crate) install_hint: Option<String>,
    pub(crate) input: Input,
    /// What it is told of the Kubernetes that the kubeconfig is about.
    pub(crate) cluster: Option<Value>,
    /// Where its answers are kept until they expire.
    pub(crate) cache: PathBuf,
}

/// Whether it may ask the operator something on standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    Never,
    IfAvailable,
    Always,
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PluginError {
    #[error("cannot run the credential plugin {program}: {problem}{}", hint(.install_hint.as_deref()))]
    Start { program: String, problem: std::io::Error, install_hint: Option<String> },
    #[error(
        "the credential plugin {program} asks for something, and there is no terminal to answer on"
    )]
    NoTerminal { program: String },
    #[error("the credential plugin {program} failed: {status}")]
    Failed { program: String, status: ExitStatus },
    #[error("the credential plugin {program} answers with {problem}")]
    Answer { program: String, problem: AnswerError },
}

fn hint(hint: Option<&str>) -> String {
    let lines = hint.into_iter().flat_map(str::lines);
    lines.flat_map(|line| ["\n".to_owned(), printable(line)]).collect()
}

impl Plugin {
    /// Its last answer while that is good, else a new one.
    pub(crate) fn credential(&self) -> Result<Credential, PluginError> {
        match self.cached().load() {
            Some(text) => match Credential::read(&text, self.api_version) {
                Ok(credential) if !credential.has_expired() => {
                    Ok(Credential { is_old: true, ..credential })
                }
                _ => self.renew(),
            },
            None => self.renew(),
        }
    }

    /// A new answer, which is kept if it says until when.
    pub(crate) fn renew(&self) -> Result<Credential, PluginError> {
        let text = self.run()?;
        let credential = Credential::read(&text, self.api_version)
            .map_err(|problem| PluginError::Answer { program: self.name(), problem })?;
        if credential.expires.is_some_and(|expires| expires > now()) {
            self.cached().store(&text);
        }
        Ok(credential)
    }

    fn run(&self) -> Result<Vec<u8>, PluginError> {
        let terminal = self.input != Input::Never && std::io::stdin().is_terminal();
        if self.input == Input::Always && !terminal {
            return Err(PluginError::NoTerminal { program: self.name() });
        }
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env(EXEC_INFO, self.info(terminal).to_string())
            .stdin(if terminal { Stdio::inherit() } else { Stdio::null() })
            .stderr(Stdio::inherit());
        let output = command.output().map_err(|problem| PluginError::Start {
            program: self.name(),
            install_hint: match problem.kind() {
                ErrorKind::NotFound => self.install_hint.clone(),
                _ => None,
            },
            problem,
        })?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(PluginError::Failed { program: self.name(), status: output.status })
        }
    }

    fn info(&self, interactive: bool) -> Value {
        let mut info = json!({
            "kind": answer::KIND,
            "apiVersion": self.api_version,
            "spec": {"interactive": interactive},
        });
        if let Some(cluster) = &self.cluster {
            info["spec"]["cluster"] = cluster.clone();
        }
        info
    }

    /// Whatever its answer may depend on, so that none is taken for somebody else's.
    fn cached(&self) -> Cache<'_> {
        let kept = |(name, _): &(OsString, OsString)| {
            name.to_str().is_none_or(|name| !VOLATILE.contains(&name))
        };
        let mut environment: Vec<_> = std::env::vars_os().filter(kept).collect();
        environment.sort();
        let of = format!(
            "{:?}",
            (&self.program, &self.arguments, &self.environment, self.info(false), environment)
        );
        Cache::new(&self.cache, &of)
    }

    fn name(&self) -> String {
        printable(&self.program.display().to_string())
    }
}
