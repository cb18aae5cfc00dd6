//! `commissaire` with a command, beside a server or in its place.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::processes::Form;
use crate::server::Server;

/// `commissaire` on the installation of a server.
pub(crate) struct Commissaire<'a> {
    pub(crate) server: &'a Server,
    pub(crate) form: Form,
}

impl Commissaire<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.server.folder().join(name)
    }

    pub(crate) fn run(&self, command: &str, arguments: &[&str]) -> Output {
        let mut program = Command::new(env!("CARGO_BIN_EXE_commissaire"));
        program.arg("--data-dir").arg(self.server.data_dir());
        program.arg("--run-dir").arg(self.server.run_dir());
        program.arg("--users").arg(self.path("users.json"));
        match self.form {
            Form::OneProcess => program.arg("-c").arg(self.path("conf")).arg(command),
            Form::Distributed(_) => {
                program.arg(command).arg("--config-dir").arg(self.server.folder())
            }
        };
        program.args(arguments).output().unwrap()
    }

    /// It exits with 0; what it prints.
    pub(crate) fn succeeds(&self, command: &str, arguments: &[&str]) -> String {
        let output = self.run(command, arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// It exits with 1, and says these words.
    pub(crate) fn refused(&self, command: &str, arguments: &[&str], words: &str) {
        let output = self.run(command, arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(words), "{said}");
    }
}
