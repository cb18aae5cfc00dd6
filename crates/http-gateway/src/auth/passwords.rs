//! The check of passwords: against bcrypt hashes, or in memory.

use std::collections::BTreeSet;
use std::io;
use std::thread;

use bus::error::chain;
use rustix::process::setpriority_process;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::oneshot;

use super::check_queue::Permit;

/// The bcrypt hash of random bytes, without its cost: the password of an unknown user is checked against it.
pub(super) const RANDOM_HASH: &str = "haIXtq/l8f9dr71quEC/0eggb9M4KTViTTrRQaa63qcxTRw/efz/O";

/// The nice value of threads that check passwords: a check takes 250 ms of processor time, and requests of users come first.
/// At a higher one, a check takes minutes while playbooks and log-ins to hosts use all processors.
const NICE: i32 = 5;

/// bcrypt sees no more of a password than this many bytes: a longer one is refused, not cut.
pub(super) const LENGTH_MAX: usize = 72;

/// Why a new password is refused.
#[derive(Debug, thiserror::Error)]
pub enum RefusedPassword {
    /// It has no character.
    #[error("the password is empty")]
    Empty,
    /// bcrypt would ignore the rest.
    #[error("the password is longer than {LENGTH_MAX} bytes, and bcrypt would ignore the rest")]
    Long,
    /// bcrypt would end it there.
    #[error("the password contains a NUL character, where bcrypt would end it")]
    Nul,
    /// It cannot be hashed.
    #[error("cannot hash the password")]
    Hash(#[from] bcrypt::BcryptError),
}

/// The hash of a new password, for a users file.
///
/// # Errors
/// [`RefusedPassword`].
pub fn hash(password: &SecretString) -> Result<String, RefusedPassword> {
    let password = password.expose_secret();
    match password.len() {
        0 => Err(RefusedPassword::Empty),
        length if length > LENGTH_MAX => Err(RefusedPassword::Long),
        _ if password.contains('\0') => Err(RefusedPassword::Nul),
        _ => Ok(bcrypt::hash(password, bcrypt::DEFAULT_COST)?),
    }
}

/// How passwords are checked.
#[derive(Debug, Clone, Copy, Default)]
pub enum Passwords {
    /// Against bcrypt hashes, on threads of their own.
    #[default]
    Bcrypt,
    /// The hash is the password itself: for tests and simulations, in which nothing may block.
    Plain,
}

impl Passwords {
    /// A hash that no password has, and that takes as long to check as the slowest of these, which are given by user.
    ///
    /// # Errors
    /// The user whose hash is malformed.
    pub(super) fn unmatchable<'a>(
        self,
        hashes: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<String, &'a str> {
        match self {
            Self::Bcrypt => {
                let cost = |(name, hash): (_, &str)| {
                    hash.parse::<bcrypt::HashParts>().map_err(|_| name).map(|hash| hash.get_cost())
                };
                let costs = hashes.map(cost).collect::<Result<BTreeSet<_>, _>>()?;
                let highest = costs.last().copied().unwrap_or(bcrypt::DEFAULT_COST);
                if let Some(lowest) = costs.first().filter(|lowest| **lowest != highest) {
                    tracing::warn!(
                        lowest,
                        highest,
                        "password hashes have different bcrypt costs, so the response time tells which users exist: \
                         make the hashes again with `commctl passhash`"
                    );
                }
                Ok(format!("$2b${highest:02}${RANDOM_HASH}"))
            }
            // No password contains it.
            Self::Plain => Ok("\0".to_owned()),
        }
    }

    /// Whether a password has that hash. The permit is released at the end of the check, also if this future is dropped
    /// before.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) async fn matches(
        self,
        password: SecretString,
        hash: String,
        permit: Permit,
    ) -> io::Result<bool> {
        match self {
            Self::Bcrypt => {
                let (answer, matches) = oneshot::channel();
                on_a_thread(move || {
                    let matches = bcrypt::verify(password.expose_secret(), &hash).unwrap_or(false);
                    drop(permit);
                    // Fails if the request was cancelled.
                    let _ = answer.send(matches);
                })?;
                matches.await.map_err(io::Error::other)
            }
            Self::Plain => Ok(password.expose_secret() == hash),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "bcrypt blocks, and the nice value of a pooled thread could not be reset"
)]
fn on_a_thread(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let run = || {
        // `None` is the calling thread.
        if let Err(error) = setpriority_process(None, NICE) {
            tracing::debug!(error = chain(&error), "cannot lower the priority of a password check");
        }
        work();
    };
    thread::Builder::new().name("password".to_owned()).spawn(run).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_user_costs_as_much_as_the_slowest_known_one() {
        let hash = |cost| format!("$2b${cost:02}${RANDOM_HASH}");
        let hashes = [12, 4, 10].map(hash);
        let of = |hashes: &[String]| {
            let named = hashes.iter().map(|hash| ("ann", hash.as_str()));
            Passwords::Bcrypt.unmatchable(named).map_err(str::to_owned)
        };
        assert_eq!(of(&hashes), Ok(hash(12)));
        assert_eq!(of(&hashes[1..]), Ok(hash(10)));
        assert_eq!(of(&[]), Ok(hash(bcrypt::DEFAULT_COST)));
        assert_eq!(of(&["plain".to_owned()]), Err("ann".to_owned()));
    }
}
