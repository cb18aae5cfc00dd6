//! Gives `--version` the commit that it was built from and the commit's date: `COMMISSAIRE_COMMIT` where that is set,
//! else those of the checkout. commctl is built with it, too.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=COMMISSAIRE_COMMIT");
    // It grows with each commit and each other branch.
    if let Some(log) = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    let commit =
        std::env::var_os("COMMISSAIRE_COMMIT").and_then(|commit| commit.into_string().ok());
    let commit = commit.or_else(|| git(&["log", "-1", "--format=%h, %cs", "--abbrev=10"]));
    let commit = commit.unwrap_or_else(|| "unknown commit".to_owned());
    println!("cargo::rustc-env=COMMISSAIRE_COMMIT={commit}");
}

/// The output of git; nothing outside of a checkout, or without git.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned()).filter(|text| !text.is_empty())
}
