//! The `--help` text of every command, a snapshot for each command of the first level.
//!
//! After a change, and for new commands, which are found by themselves:
//!
//!     INSTA_UPDATE=always cargo nextest run -p commctl help

use std::collections::BTreeSet;
use std::path::Path;

use clap::CommandFactory as _;

use crate::support::Home;

/// This command and all below it.
fn lines(command: &clap::Command, above: &[&str]) -> Vec<Vec<String>> {
    let line: Vec<&str> = above.iter().copied().chain([command.get_name()]).collect();
    let below = command.get_subcommands().flat_map(|below| lines(below, &line));
    [line.iter().map(|&word| word.to_owned()).collect()].into_iter().chain(below).collect()
}

async fn help(home: &Home, line: &[String]) -> String {
    let mut arguments: Vec<&str> = line.iter().map(String::as_str).collect();
    arguments.push("--help");
    let run = home.run(&arguments).await;
    assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{line:?}");
    assert!(run.stdout.lines().all(|line| line.chars().count() <= 100), "{}", run.stdout);
    let blank = if line.is_empty() { "" } else { " " };
    format!("$ commctl {}{blank}--help\n{}\n", line.join(" "), run.stdout)
}

#[tokio::test]
async fn of_every_command() {
    let home = Home::empty();
    insta::assert_snapshot!("help", help(&home, &[]).await);
    let mut snapshots = BTreeSet::from(["it__help__help.snap".to_owned()]);
    for command in commctl::Cli::command().get_subcommands() {
        let mut text = String::new();
        for line in lines(command, &[]) {
            text += &help(&home, &line).await;
        }
        let name = format!("help_{}", command.get_name());
        snapshots.insert(format!("it__help__{name}.snap"));
        insta::assert_snapshot!(name, text);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
    let files: BTreeSet<_> = files.map(|name| name.into_string().unwrap()).collect();
    assert_eq!(files, snapshots, "a snapshot of a command that is no more");
}
