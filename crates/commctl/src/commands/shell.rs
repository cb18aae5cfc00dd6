//! What shells and `man` need of commctl, made from the definition of its commands.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

use crate::error::Error;
use crate::files::WriteError;

#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell to complete commands in
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Where to write them: the directory is made
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

impl Completion {
    pub(crate) fn run(&self, commctl: &mut clap::Command) -> Result<(), Error> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, commctl, "commctl", &mut script);
        std::io::stdout().write_all(&script).map_err(Error::Write)
    }
}

impl Man {
    pub(crate) fn run(&self, commctl: clap::Command) -> Result<(), Error> {
        let write = || {
            std::fs::create_dir_all(&self.directory)?;
            clap_mangen::generate_to(commctl, &self.directory)
        };
        write().map_err(|source| WriteError { path: self.directory.clone(), source }.into())
    }
}
