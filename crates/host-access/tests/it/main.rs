//! Against a real `sshd` of the tests' own, on a loopback port.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails should end its test, as an assertion does"
)]
#![expect(clippy::disallowed_methods, reason = "servers of tests are threads")]

mod booted;
mod claims;
mod connecting;
mod go_ahead;
mod hostile;
mod packages;
mod playbooks;
mod rendering;
mod running;
mod sshd;
mod sweeping;
mod units;
