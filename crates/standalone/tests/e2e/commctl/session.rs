//! A session at a terminal, written down.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::json;

use super::program;
use crate::processes::Form;
use crate::server::Server;

/// What is another one in each run, and what stands in its place.
const FILTERS: [(&str, &str); 16] = [
    (r"commctl [0-9.]+ \([^)]+\)", "commctl VERSION (COMMIT, DATE)"),
    // It may have passed before the next look.
    (r"! HOST bootstrapping\n", ""),
    (r"boot id [0-9a-f-]{36}", "boot id ID"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "TIME"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?", "TIME"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "ID"),
    (r"\b[0-9a-f]{12}\.[0-9A-Za-z_-]{43}", "TOKEN"),
    (r"cmsr_[0-9a-f]{12}_[0-9A-Za-z_-]{49}", "cmsr_TOKEN"),
    // YAML quotes one that could be a number.
    (r"'?\b[0-9a-f]{12}\b'?", "ID"),
    (r"\$2b\$(\d\d)\$[./0-9A-Za-z]{53}", "$$2b$$$1$$HASH"),
    (r"SHA256:[+/0-9A-Za-z]{43}", "SHA256:FINGERPRINT"),
    (r"(ssh-ed25519) AAAA[+/=0-9A-Za-z]+", "$1 KEY"),
    (r"(cpus|memory|space): \d+", "$1: NUMBER"),
    (r"\bos: \w+", "os: OS"),
    // That of the pods that were still terminating at a look, if there were any.
    (r"grace_period: \d+", "grace_period: SECONDS"),
    // Those of leases come and go.
    (r"\d+ records, complete", "COUNT records, complete"),
];

/// A server, a home, and what was said.
pub(super) struct Session {
    pub(super) server: Server,
    home: tempfile::TempDir,
    said: String,
    names: Vec<(String, String)>,
}

impl Session {
    /// With a server of its own, and a configuration for it.
    pub(super) async fn start() -> Self {
        let session = Self::with(Server::start(Form::OneProcess, json!({})).await);
        let config = json!({"endpoint": session.url(), "username": "admin", "password": "se:cret"});
        session.file("~/.commissaire.json", Some(&config.to_string()));
        session
    }

    /// Without a configuration.
    pub(super) fn with(server: Server) -> Self {
        let home = tempfile::Builder::new().prefix("h").tempdir().unwrap();
        let mut session = Self { server, home, said: String::new(), names: Vec::new() };
        let (url, home) = (session.url(), session.home.path().display().to_string());
        session.named(&url, "http://SERVER");
        session.named(&url.replace("http:", "https:"), "https://SERVER");
        session.named(&home, "~");
        session
    }

    pub(super) fn url(&self) -> String {
        self.server.processes.urls().remove(0)
    }

    /// From now on this is written down as that.
    pub(super) fn named(&mut self, text: &str, name: &str) {
        self.names.push((text.to_owned(), name.to_owned()));
    }

    /// Writes a file that only its owner can read, or takes it away.
    pub(super) fn file(&self, name: &str, text: Option<&str>) {
        let path = self.path(name);
        match text {
            None => std::fs::remove_file(&path).unwrap_or_default(),
            Some(text) => {
                std::fs::write(&path, text).unwrap();
                let mode = if text.starts_with("#!") { 0o700 } else { 0o600 };
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name.trim_start_matches("~/"))
    }

    /// Not yet started, and not written down.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        let path = std::env::var_os("PATH").unwrap();
        command.args(arguments).env_clear().env("HOME", self.home.path()).env("PATH", path);
        command.current_dir(self.home.path());
        command
    }

    /// A command line; `'…'` is one word.
    pub(super) fn run(&mut self, line: &str) {
        self.line(line, None, false);
    }

    /// With something on standard input.
    pub(super) fn run_with(&mut self, line: &str, input: &str) {
        self.line(line, Some(input), false);
    }

    /// What it prints is another crate's affair.
    pub(super) fn run_silently(&mut self, line: &str) {
        self.line(line, None, true);
    }

    fn line(&mut self, line: &str, input: Option<&str>, silently: bool) {
        let words = words(line);
        let words = words.iter().map(|word| match word.strip_prefix("~/") {
            Some(_) => self.path(word).display().to_string(),
            None => word.clone(),
        });
        let words: Vec<String> = words.collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (status, stdout, stderr) = finish(&mut self.command(&words), input);
        let input = input.map(|input| format!(" <<< {input:?}")).unwrap_or_default();
        self.said += format!("$ commctl {line}{input}").trim_end();
        self.said.push('\n');
        self.said += if silently { "…\n" } else { &stdout };
        for line in stderr.lines() {
            self.said += format!("! {line}").trim_end();
            self.said.push('\n');
        }
        if status != 0 {
            self.said.extend(["[exit status ", &status.to_string(), "]\n"]);
        }
        self.said.push('\n');
    }

    /// Compares it with the last time.
    pub(super) fn end(self, name: &str) {
        let mut said = self.said;
        for (text, name) in &self.names {
            said = said.replace(text, name);
        }
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.set_snapshot_path("../snapshots");
        for (pattern, replacement) in FILTERS {
            settings.add_filter(pattern, replacement);
        }
        settings.bind(|| insta::assert_snapshot!(format!("e2e__commctl__{name}"), said));
    }
}

/// A command that needs no home: exit status, standard output and standard error.
pub(super) fn plain(arguments: &[&str], input: &str) -> (i32, String, String) {
    finish(program().args(arguments), Some(input))
}

fn finish(command: &mut Command, input: Option<&str>) -> (i32, String, String) {
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child =
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // One that wants none is gone by now.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match (c, words.last_mut()) {
            ('\'', _) => quoted = !quoted,
            (' ', _) if !quoted => words.push(String::new()),
            (c, Some(word)) => word.push(c),
            (_, None) => unreachable!("there is always a last one"),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
