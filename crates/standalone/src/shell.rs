//! Completion scripts and man pages, made from the definitions of the command lines.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;
use daemons::{Daemon, args};

use crate::Args;

/// The section of programs for administrators.
const SECTION: &str = "8";

/// Prints the completion script of `commissaire`.
pub(crate) fn complete(shell: Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "commissaire", &mut script);
    std::io::stdout().write_all(&script).context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// A page for each program and each of its commands: `commissaire-user-add.8`.
pub(crate) fn write_man_pages(directory: &Path) -> anyhow::Result<ExitCode> {
    let made = std::fs::create_dir_all(directory);
    made.with_context(|| format!("cannot make {}", directory.display()))?;
    let daemons = Daemon::ALL.into_iter().map(args::command);
    for mut program in std::iter::once(Args::command()).chain(daemons) {
        program.build();
        write_page(&program, directory)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write_page(command: &clap::Command, directory: &Path) -> anyhow::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let path = directory.join(format!("{name}.{SECTION}"));
    let page = clap_mangen::Man::new(command.clone()).section(SECTION);
    let written = File::create(&path).and_then(|mut file| page.render(&mut file));
    written.with_context(|| format!("cannot write {}", path.display()))?;
    let commands = command.get_subcommands();
    commands
        .filter(|command| !command.is_hide_set() && command.get_name() != "help")
        .try_for_each(|command| write_page(command, directory))
}
