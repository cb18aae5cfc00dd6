//! `commctl`, as operators run it: a process that asks the gateways over loopback. While it runs, simulated time goes by, faster
//! than real time does.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::json;
use tokio::task::spawn_blocking;
use tokio::time::advance;

use crate::fleet::{Form, PASSWORD};
use crate::world::FORM;

/// The pause between two looks at the process, in real time, and how much simulated time goes by.
const PAUSE: Duration = Duration::from_millis(1);
const STEP: Duration = Duration::from_millis(200);

/// What became of a command.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A program that was built with this one.
pub(crate) fn program(name: &str) -> PathBuf {
    let program = std::env::current_exe().unwrap().with_file_name(name);
    assert!(program.exists(), "`cargo build --workspace --bins` first");
    program
}

/// Writes the configuration of a user.
pub(crate) fn configure(home: &Path, endpoints: &[String], user: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(home).unwrap();
    let path = home.join(".commissaire.json");
    let config = json!({"endpoint": endpoints, "username": user, "password": PASSWORD});
    std::fs::write(&path, config.to_string()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Runs a command line, whose words are as in a shell.
#[expect(clippy::disallowed_methods, reason = "the process goes by real time")]
pub(crate) async fn run(home: &Path, line: &str, input: Option<String>) -> Run {
    let mut command = Command::new(program("commctl"));
    command.args(words(line)).env_clear().env("HOME", home).current_dir(home);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut output = spawn_blocking(move || {
        use std::io::Write as _;
        let mut child = command.spawn().unwrap();
        // A command that reads nothing has closed it.
        drop(child.stdin.take().unwrap().write_all(input.unwrap_or_default().as_bytes()));
        child.wait_with_output().unwrap()
    });
    if FORM.get() == Some(&Form::Real) {
        return Run::from(output.await.unwrap());
    }
    // Simulated time stands still while a blocking task runs, unless it is advanced.
    loop {
        let pause = spawn_blocking(|| std::thread::sleep(PAUSE));
        tokio::select! {
            output = &mut output => return Run::from(output.unwrap()),
            pause = pause => pause.unwrap(),
        }
        advance(STEP).await;
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The words of a command line; those with blanks are in single quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('\'') {
            Some(quoted) => quoted.split_once('\'').expect("a quote is closed"),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}
