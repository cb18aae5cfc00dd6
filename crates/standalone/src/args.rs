//! The command line.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use daemons::args::{AuthenticationArgs, SshArgs};
use runtime::telemetry::LogFormat;

use crate::backup::BackupArgs;
use crate::restore::RestoreArgs;
use crate::transform::TransformArgs;

/// Where the units and root keep everything.
const DATA_DIR: &str = "/var/lib/commissaire";

/// The run directory of the units and of root.
const RUN_DIR: &str = "/run/commissaire";

/// Manages fleets of Linux hosts without an agent: the REST API and all services in one process, which
/// needs no message broker and no etcd.
///
/// The first start makes everything it needs in the data directory: an administrator with a generated
/// password, an SSH key for reaching hosts, the key that credentials are encrypted with, and, to be reached
/// from elsewhere, an authority and a certificate for TLS.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "commissaire",
    version = daemons::VERSION,
    after_help = "Examples:\n  \
        commissaire                                    run as a service would\n  \
        commissaire --data-dir /tmp/try -p 8001        try it out, beside another one\n  \
        commctl host publickey >> authorized_keys      let it reach a host\n\n\
        Stop it with SIGTERM: work under way is finished or handed over to the next start."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Args {
    /// Where everything is kept [default: /var/lib/commissaire for root and its owner, else ~/.local/share/commissaire]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Begin with a new, empty database where `commissaire.db` is missing or empty although an earlier start made `secret.key`: without this the start is refused
    #[arg(long)]
    pub new_store: bool,

    /// Where keys in use and SSH sockets are kept: a short path, best in memory [default: /run/commissaire for root and its owner, else below `$XDG_RUNTIME_DIR`]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,

    /// The configuration file, - for standard input [default: /etc/commissaire/one-process.conf, if it exists]
    #[arg(short, long, value_name = "PATH")]
    pub config_file: Option<PathBuf>,

    /// Who may use the API: {"USER": {"hash": "..."}}, hashes by `commctl passhash` [default: users.json in the data directory, made at the first start]
    #[arg(long, value_name = "FILE")]
    pub users: Option<PathBuf>,

    /// Who may use the API, and what authenticates by itself
    #[command(flatten)]
    pub authentication: AuthenticationArgs,

    /// The address to listen on [default: 127.0.0.1]
    #[arg(short = 'i', long, value_name = "ADDRESS")]
    pub listen_interface: Option<IpAddr>,

    /// The port to listen on; 0 takes a free one, which is then found in the file `address` of the data directory [default: 8000]
    #[arg(short = 'p', long, value_name = "PORT")]
    pub listen_port: Option<u16>,

    /// Speak TLS, with the key and the chain of certificates in this file, read again on SIGHUP [default: beyond loopback, those of an authority that the first start makes: clients pin `ca.pem` of the data directory]
    #[arg(long, value_name = "FILE")]
    pub tls_pemfile: Option<PathBuf>,

    /// Talk only to clients that have a certificate of the authorities in this file
    #[arg(long, value_name = "FILE")]
    pub tls_clientverifyfile: Option<PathBuf>,

    /// Speak TLS on loopback, too
    #[arg(long)]
    pub tls: bool,

    /// Serve plain HTTP beyond loopback: for use behind a proxy that does TLS
    #[arg(long)]
    pub insecure_http: bool,

    /// The key that hosts are reached with
    #[command(flatten)]
    pub ssh: SshArgs,

    /// Log debug messages
    #[arg(long)]
    pub debug: bool,

    /// How a log line looks
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// What to do instead of serving
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What it can do instead of serving.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Change the key that credentials are encrypted with, and encrypt them anew
    Rekey,
    /// Copy the database, also while the server runs
    ///
    /// The copy is consistent, holds all records that are acknowledged when it begins, and is readable by its
    /// owner only. Credentials in it are encrypted: `secret.key` of the data directory is needed to use them.
    /// To restore: stop the server, put the copy in the place of `commissaire.db`, and remove
    /// `commissaire.db-wal` and `commissaire.db-shm`.
    CopyDatabase {
        /// The new file; an existing one is not overwritten
        file: PathBuf,
    },
    /// Back up all records, also while the server runs
    ///
    /// The backup is a text: a JSON object a line, a header first and a trailer with its SHA-256 last. It is
    /// consistent, and holds all records that are acknowledged when it begins. Credentials in it are encrypted as in
    /// the store; the keys that open them are in it with --with-key only, encrypted with a passphrase. docs/backup.md
    /// says how to restore it, also on another machine.
    Backup(BackupArgs),
    /// Restore a backup, while the server does not run
    ///
    /// Everything is verified before anything is written. The restored installation does nothing by itself: all
    /// operations are frozen, those in process paused, tokens void and bindings pending; what it prints says what to
    /// do about each. docs/backup.md is the guide, also for moving to another machine.
    Restore(RestoreArgs),
    /// Change the names in a backup, or choose some of its records
    ///
    /// A filter: it reads a backup and writes one, and needs neither the server nor its keys. Every place where a record
    /// names a host, a cluster or a user is changed, by what its fields hold; credentials stay encrypted. Lines that were
    /// edited with other programs, such as jq, get a new trailer with --reseal.
    Transform(TransformArgs),
    /// Check the installation, and print what is wrong and what to do about it
    ///
    /// It changes nothing, and works while the server runs and while it does not: the configuration and the files that
    /// it names, permissions, keys, the store, the message broker, versions of records, the clock, ansible-core and SSH,
    /// certificates, the last backup, free space. Run it as root or as the user of the server. Exit status: 0 nothing is an error, 1
    /// something is, 2 wrong usage.
    #[command(after_help = "\
Examples:
  sudo commissaire doctor                            the problems, each with its remedy
  sudo commissaire doctor --verbose                  everything that was checked
  sudo commissaire doctor --config-dir /etc/commissaire
                                                     the six daemons on RabbitMQ and etcd
  commissaire --data-dir /tmp/try doctor             another data directory
  commissaire doctor -o json | jq '.[] | select(.severity == \"error\")'
                                                     for scripts")]
    Doctor(crate::doctor::Args),
    /// Print the SHA-256 fingerprint of the server's own authority, for `commctl login`
    ///
    /// It is that of `ca.pem` in the data directory, which a start that speaks TLS makes, or of the authority
    /// in the file that `tls-pemfile` names.
    CaFingerprint,
    /// Install the six daemons of the distributed form: links to this program, under their names
    Links {
        /// Where to: a directory that is in $PATH
        dir: PathBuf,
    },
    /// Add, change, remove and list users who log in with a password
    User(daemons::users::Args),
    /// Look after jobs that no service could work on
    DeadLetters(daemons::dead_letters::Args),
    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  commissaire completion bash > /etc/bash_completion.d/commissaire
  commissaire completion zsh > ~/.zfunc/_commissaire
  commissaire completion fish > ~/.config/fish/completions/commissaire.fish")]
    Completion {
        /// The shell to complete commands in
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the man pages of this program and of the six daemons
    #[command(after_help = "Example:\n  commissaire man /usr/local/share/man/man8")]
    Man {
        /// Where to write them: the directory is made
        #[arg(value_name = "DIRECTORY")]
        directory: PathBuf,
    },
}

impl Args {
    /// Where everything is kept.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| {
            if is_root() || is_own(Path::new(DATA_DIR)) {
                return PathBuf::from(DATA_DIR);
            }
            let data_home = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
            let home = || std::env::home_dir().unwrap_or_default().join(".local/share");
            data_home.unwrap_or_else(home).join("commissaire")
        })
    }

    /// Whether neither another data directory nor another configuration file is named.
    pub fn is_of_default_installation(&self) -> bool {
        self.data_dir.is_none() && self.config_file.is_none()
    }

    /// Where keys in use and SSH sockets are kept.
    pub fn run_dir(&self) -> PathBuf {
        self.run_dir.clone().unwrap_or_else(|| {
            if is_root() || is_own(Path::new(RUN_DIR)) {
                return PathBuf::from(RUN_DIR);
            }
            let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
            runtime
                .map_or_else(|| self.data_dir().join("run"), |runtime| runtime.join("commissaire"))
        })
    }
}

/// Whether a directory belongs to the user of this process: that of the service, whose units name these directories.
fn is_own(directory: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    std::fs::metadata(directory).is_ok_and(|metadata| metadata.uid() == own)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }
}
