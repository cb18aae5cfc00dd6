//! The check of passwords: against bcrypt hashes, or in memory.

use secrecy::{ExposeSecret as _, SecretString};

/// The bcrypt hash of random bytes, without its cost: the password of an unknown user is checked against it.
pub(super) const RANDOM_HASH: &str = "haIXtq/l8f9dr71quEC/0eggb9M4KTViTTrRQaa63qcxTRw/efz/O";

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
    /// A hash that no password has, and that takes as long to check as these, which are given by user.
    ///
    /// # Errors
    /// The user whose hash is malformed.
    pub(super) fn unmatchable<'a>(
        self,
        hashes: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<String, &'a str> {
        match self {
            Self::Bcrypt => {
                let mut cost = bcrypt::DEFAULT_COST;
                for (name, hash) in hashes {
                    let parts = hash.parse::<bcrypt::HashParts>().map_err(|_| name)?;
                    cost = parts.get_cost();
                }
                Ok(format!("$2b${cost:02}${RANDOM_HASH}"))
            }
            // No password contains it.
            Self::Plain => Ok("\0".to_owned()),
        }
    }

    pub(super) async fn matches(self, password: SecretString, hash: String) -> bool {
        match self {
            Self::Bcrypt => {
                let verify =
                    move || bcrypt::verify(password.expose_secret(), &hash).unwrap_or(false);
                tokio::task::spawn_blocking(verify).await.unwrap_or(false)
            }
            Self::Plain => password.expose_secret() == hash,
        }
    }
}
