//! Running a process of this program under callgrind.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use bench::instructions::{top_functions, total};
use clap::ValueEnum as _;

use crate::operations::Operation;

/// The function within which instructions are counted: the preparation before is not.
const COUNTED: &str = "*instructions*operations*counted*";

/// What callgrind has found about an operation.
pub(crate) struct Profile {
    /// Instructions of one operation.
    pub(crate) instructions: u64,
    file: PathBuf,
}

/// Carries out an operation under callgrind.
pub(crate) fn profile(operation: Operation, folder: &Path) -> anyhow::Result<Profile> {
    let own = std::env::current_exe().context("cannot find this program")?;
    let name = operation.to_possible_value().context("no name")?.get_name().to_owned();
    let file = folder.join(&name);
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--quiet", "--collect-atstart=no"]);
    command.arg(format!("--toggle-collect={COUNTED}"));
    command.arg(format!("--callgrind-out-file={}", file.display()));
    command.arg(own).args(["--carry-out", &name, "no baseline"]);
    let times = output(&mut command)?;
    let times: u64 = times.trim().parse().context("it does not say how often")?;
    let report = std::fs::read_to_string(&file).context("callgrind has written nothing")?;
    let instructions = total(&report)? / times;
    ensure!(instructions > 0, "nothing was counted: callgrind knows no function {COUNTED}");
    Ok(Profile { instructions, file })
}

impl Profile {
    /// The ten functions that take most instructions themselves.
    pub(crate) fn top(&self) -> anyhow::Result<String> {
        let annotated = output(Command::new("callgrind_annotate").arg(&self.file))?;
        Ok(top_functions(&annotated))
    }
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed, {}: {error}", output.status);
    String::from_utf8(output.stdout).context("not UTF-8")
}
