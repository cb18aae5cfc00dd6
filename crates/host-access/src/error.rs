//! What can go wrong on the way to a host, as sentences for an operator.

use std::io;
use std::time::Duration;

use model::FailureReason;

use crate::target::TargetError;

mod classify;

pub(crate) use classify::{Subject, classify, detail};

/// Why a host could not be reached, or why a command on it gave no result.
///
/// `Display` is a sentence for an operator, with what to do next; it never contains the source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// Nothing answers there, or nothing that is an SSH server.
    #[error("{address} port {port} cannot be reached: {detail}")]
    Unreachable {
        /// The host's address.
        address: String,
        /// The port tried.
        port: u16,
        /// What `ssh` said, or what it was waiting for.
        detail: String,
    },
    /// The host shows another key than the one that is pinned.
    #[error(
        "the host key of {address} has changed: {} is pinned, {seen_fingerprint} was seen, and nothing \
         was sent to it; if the host was reinstalled, accept its new key with \
         `commctl host accept-key {address} {seen_fingerprint}`",
        pinned_fingerprints.join(" or ")
    )]
    KeyChanged {
        /// The host's address.
        address: String,
        /// Fingerprints of the keys that would have been accepted.
        pinned_fingerprints: Vec<String>,
        /// Fingerprint of the key the host showed, or words to that effect when it shows none.
        seen_fingerprint: String,
        /// That key, as `algorithm base64`.
        seen_key: Option<String>,
    },
    /// The host does not accept the key for that user.
    #[error(
        "{address} refuses the log-in of {user}: {detail}; add the public key to that user's \
         authorized_keys on the host, or give the right key or user"
    )]
    AuthRefused {
        /// The host's address.
        address: String,
        /// The user tried.
        user: String,
        /// What `ssh` said.
        detail: String,
    },
    /// No log-in was made: the host has refused too many lately.
    #[error(
        "no log-in to {address} was made: it refused {refused} log-ins within the last 10 minutes, and may \
         ban this server for another one; the next log-in is possible in {} s: until then add the public \
         key to the user's authorized_keys on the host, or give the right key or user",
        wait.as_secs() + 1
    )]
    HeldBack {
        /// The host's address.
        address: String,
        /// How many log-ins it has refused, by all services together.
        refused: usize,
        /// How long no log-in is possible.
        wait: Duration,
    },
    /// The host's `sshd` turns connections away for now (`MaxStartups`, a penalty, a full table).
    #[error(
        "{address} turns away connections for the moment: {detail}; it will be tried again later"
    )]
    Throttled {
        /// The host's address.
        address: String,
        /// What `ssh` said.
        detail: String,
    },
    /// The user is not root and may not become root without a password.
    #[error(
        "{user} on {address} cannot become root without a password ({detail}): install sudo there \
         and add a rule such as `{user} ALL=(ALL) NOPASSWD: ALL`"
    )]
    NoSudo {
        /// The host's address.
        address: String,
        /// The user that was logged in.
        user: String,
        /// What `sudo` or the shell said.
        detail: String,
    },
    /// The shell of the user runs no commands, as `/bin/false` and `nologin` do.
    #[error(
        "the shell of {user} on {address} runs no commands ({detail}): give the user a shell, as with \
         `usermod --shell /bin/sh {user}`, or register the host with another user"
    )]
    NoShell {
        /// The host's address.
        address: String,
        /// The user that was logged in.
        user: String,
        /// The message of the shell.
        detail: String,
    },
    /// A step on the host did not end within its deadline.
    #[error("{what} on {address} did not end within {after:?}")]
    Timeout {
        /// The host's address.
        address: String,
        /// The step.
        what: &'static str,
        /// Its deadline.
        after: Duration,
    },
    /// A command wrote more than it may.
    #[error("a command on {address} wrote more than {limit} bytes and was ended")]
    TooMuchOutput {
        /// The host's address.
        address: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The private key cannot be used.
    #[error(
        "the private key for {address} cannot be used: {detail}; give an unencrypted key in \
         OpenSSH or PEM format"
    )]
    BadKey {
        /// The host's address.
        address: String,
        /// What `ssh` said.
        detail: String,
    },
    /// The connection was lost while it was in use.
    #[error("the connection to {address} was lost")]
    Disconnected {
        /// The host's address.
        address: String,
    },
    /// The host answered, but not with what was asked for.
    #[error("{address} gave an unexpected answer: {detail}")]
    Remote {
        /// The host's address.
        address: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Another generation of this installation has the host, or claims it too, or this one may not take it over.
    #[error("{0}")]
    Fenced(String),
    /// The address, user or key given cannot be meant.
    #[error(transparent)]
    InvalidTarget(TargetError),
    /// Something failed on this machine, before the host was involved.
    #[error("cannot {what} on the controller")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl AccessError {
    /// The reason, for records and events.
    pub fn reason(&self) -> FailureReason {
        match self {
            Self::Unreachable { .. } => FailureReason::Unreachable,
            Self::KeyChanged { .. } => FailureReason::HostKeyChanged,
            // A log-in is held back because others were refused.
            Self::AuthRefused { .. } | Self::HeldBack { .. } => FailureReason::AuthRefused,
            Self::Throttled { .. } => FailureReason::Throttled,
            Self::NoSudo { .. } => FailureReason::NoSudo,
            Self::NoShell { .. } => FailureReason::NoShell,
            Self::Timeout { .. } => FailureReason::Timeout,
            Self::TooMuchOutput { .. } => FailureReason::TooMuchOutput,
            Self::BadKey { .. } => FailureReason::BadKey,
            Self::Disconnected { .. } => FailureReason::Disconnected,
            Self::Remote { .. } => FailureReason::UnexpectedAnswer,
            Self::Fenced(_) => FailureReason::Fenced,
            Self::InvalidTarget(_) => FailureReason::InvalidTarget,
            Self::Io { .. } => FailureReason::ControllerError,
        }
    }

    /// The key that a host showed instead of the pinned one: what an operator may accept.
    pub fn seen_key(&self) -> Option<&str> {
        match self {
            Self::KeyChanged { seen_key, .. } => seen_key.as_deref(),
            _ => None,
        }
    }

    /// Whether the same attempt may well succeed a little later, without anyone's help.
    pub fn heals(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Throttled { .. }
                | Self::Timeout { .. }
                | Self::Disconnected { .. }
        )
    }

    /// `map_err` helper: names what was tried on this machine.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
