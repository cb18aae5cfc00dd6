//! `commctl host ssh`: a log-in with what the server knows about a host.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use secrecy::{ExposeSecret as _, SecretSlice};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::address;
use crate::args::name;
use crate::context::Context;
use crate::error::Error;
use crate::files::WriteError;
use crate::random;

pub(super) const EXAMPLES: &str = "\
Examples:
  commctl host ssh 10.0.0.1
  commctl host ssh 10.0.0.1 uptime
  commctl host ssh 10.0.0.1 -L 8080:localhost:80
  commctl host ssh 10.0.0.1 -v -p 9876

A host that is reached with the server's own key is logged in to with yours: that key never leaves the
server. The exit status is ssh's: that of the command, or 255 when there was no connection.";

/// Where memory is a file system, so that the key never gets to a disk.
const IN_MEMORY: &str = "/dev/shm";

#[derive(Debug, Args)]
pub(crate) struct Ssh {
    /// Its address, or a name that resolves to it
    #[arg(value_parser = name)]
    address: String,
    /// What else ssh is given: options, or a command
    #[arg(value_name = "SSH ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// What the server says about how to get there.
struct Login {
    address: String,
    user: String,
    port: u64,
    /// None: the server's own key, which it keeps.
    key: Option<SecretSlice<u8>>,
    /// None: nobody has seen the host's key yet.
    host_keys: Option<String>,
}

impl Ssh {
    pub(crate) async fn run(&self, context: &Context) -> Result<ExitCode, Error> {
        let client = context.client()?;
        let address = address::known(&client, &self.address).await?;
        let creds = client.get(&["host", &address, "creds"]).await?;
        let login = Login::read(&creds)
            .ok_or_else(|| Error::Failed("the server's answer holds no credentials".to_owned()))?;
        let failed = |source| Error::Start { program: "ssh", source };
        // From now on no signal ends us before the key's file is gone.
        let mut signals = Signals::catch().map_err(failed)?;
        let private = Private::create()?;
        let mut command = login.command(&private, &self.arguments)?;
        let mut child = command.args(&self.arguments).spawn().map_err(failed)?;
        signals.outlast(&mut child).await.map(exit_code).map_err(failed)
    }
}

impl Login {
    fn read(creds: &Value) -> Option<Self> {
        let text = |member: &str| creds.get(member).and_then(Value::as_str);
        // Neither is to be taken for an option, whatever the server says.
        let plain = |text: &&str| !text.is_empty() && !text.starts_with('-');
        let key = match text("ssh_priv_key")? {
            "" => None,
            key => Some(BASE64.decode(key.trim()).ok()?.into()),
        };
        Some(Self {
            address: text("address").filter(plain)?.to_owned(),
            user: text("remote_user").filter(plain)?.to_owned(),
            port: creds.get("ssh_port").map_or(Some(22), Value::as_u64)?,
            key,
            host_keys: text("ssh_host_key").filter(|keys| !keys.is_empty()).map(str::to_owned),
        })
    }

    /// `ssh` up to the host. What stands here wins over the operator's configuration and over the arguments that
    /// follow, since ssh takes the first of several: a user or port among those is not preceded by the record's.
    fn command(&self, private: &Private, arguments: &[String]) -> Result<Command, Error> {
        let mut command = Command::new("ssh");
        // A connection that is open already would be used whatever key its host has.
        let mut option = |text: &str| {
            command.arg("-o").arg(text);
        };
        option("ControlMaster=no");
        option("ControlPath=none");
        if let Some(key) = &self.key {
            let path = private.write("key", key.expose_secret())?;
            option("IdentitiesOnly=yes");
            option(&format!("IdentityFile=\"{}\"", path.display()));
        }
        if let Some(keys) = &self.host_keys {
            // A name of our own: there is none of the operator's, and no port, to be looked up.
            let lines = keys.lines().map(|key| format!("{PINNED} {key}\n"));
            let path = private.write("known_hosts", lines.collect::<String>().as_bytes())?;
            option("StrictHostKeyChecking=yes");
            option(&format!("HostKeyAlias={PINNED}"));
            option(&format!("UserKnownHostsFile=\"{}\"", path.display()));
            option("GlobalKnownHostsFile=/dev/null");
            option("KnownHostsCommand=none");
            option("VerifyHostKeyDNS=no");
            option("UpdateHostKeys=no");
        }
        if !gives(arguments, 'l', "user") {
            command.arg("-l").arg(&self.user);
        }
        if !gives(arguments, 'p', "port") {
            command.arg("-p").arg(self.port.to_string());
        }
        command.arg(&self.address);
        Ok(command)
    }
}

/// ssh's options that take a value.
const WITH_VALUE: &str = "BDEFIJLOPQRSWbceilmopw";

/// Whether the arguments, up to the remote command, have an option of ssh, by its letter or as `-o KEYWORD=VALUE`.
fn gives(arguments: &[String], letter: char, keyword: &str) -> bool {
    let mut arguments = arguments.iter();
    while let Some(letters) = arguments.next().and_then(|argument| argument.strip_prefix('-')) {
        let Some((at, option)) = letters.char_indices().find(|(_, c)| WITH_VALUE.contains(*c))
        else {
            if matches!(letters, "" | "-") {
                return false;
            }
            continue;
        };
        let value = match &letters[at + option.len_utf8()..] {
            "" => arguments.next().map_or("", String::as_str),
            value => value,
        };
        let word = value.trim_start().split(['=', ' ', '\t']).next().unwrap_or_default();
        if option == letter || (option == 'o' && word.eq_ignore_ascii_case(keyword)) {
            return true;
        }
    }
    false
}

/// What the host is called in the file of its keys.
const PINNED: &str = "pinned-by-commissaire";

/// A directory that is removed on drop, for files that only we can read.
struct Private(PathBuf);

impl Private {
    fn create() -> Result<Self, WriteError> {
        let memory = Path::new(IN_MEMORY);
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = base.join(format!("commctl-{}", random::id()));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self(path)),
            Err(source) => Err(WriteError { path, source }),
        }
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf, WriteError> {
        let path = self.0.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match file.and_then(|mut file| file.write_all(content)) {
            Ok(()) => Ok(path),
            Err(source) => Err(WriteError { path, source }),
        }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("warning: cannot remove {}: {error}", self.0.display());
        }
    }
}

/// The signals that would end us.
struct Signals([Signal; 4]);

impl Signals {
    fn catch() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::quit())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    /// Waits for `ssh`. Ctrl-C is its own affair: the terminal sends that to both.
    async fn outlast(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        let [interrupt, quit, terminate, hang_up] = &mut self.0;
        loop {
            tokio::select! {
                status = child.wait() => return status,
                _ = interrupt.recv() => {}
                _ = quit.recv() => {}
                _ = terminate.recv() => child.start_kill()?,
                _ = hang_up.recv() => child.start_kill()?,
            }
        }
    }
}

/// As a shell tells it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_that_the_server_says_is_an_option() {
        let good = json!({"address": "10.0.0.1", "remote_user": "root", "ssh_priv_key": ""});
        let login = Login::read(&good).unwrap();
        assert!(login.key.is_none() && login.port == 22);
        for (member, bad) in
            [("address", "-oProxyCommand=x"), ("remote_user", "-v"), ("ssh_priv_key", "?")]
        {
            let mut creds = good.clone();
            creds[member] = json!(bad);
            assert!(Login::read(&creds).is_none(), "{member}");
        }
    }

    #[test]
    fn port_or_user_is_found_among_the_operators_options_and_not_in_the_command() {
        for (line, port, user) in [
            ("-v -p 9876", true, false),
            ("-vp9876 uptime", true, false),
            ("-o Port=9876", true, false),
            ("-oport 9876", true, false),
            ("-l ops -i key", false, true),
            ("-o User=ops -p 1", true, true),
            ("-L 8080:localhost:80 -N", false, false),
            ("-i -p", false, false),
            ("-v uptime -p 9876", false, false),
            ("-- -p 9876", false, false),
            ("- -p 9876", false, false),
            ("mkdir -p x", false, false),
            ("", false, false),
        ] {
            let arguments: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(gives(&arguments, 'p', "port"), port, "{line}");
            assert_eq!(gives(&arguments, 'l', "user"), user, "{line}");
        }
    }

    #[test]
    fn what_is_private_goes_with_its_directory() {
        use std::os::unix::fs::PermissionsExt as _;
        let private = Private::create().unwrap();
        let path = private.write("key", b"secret").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(private);
        assert!(!path.exists());
    }
}
