//! Which accounts of the broker a service obeys.

use super::Call;
use crate::error::{Error, Result};

/// Whether a service works on a message of that sender.
pub(super) fn check(call: &Call, allowed: Option<&[String]>) -> Result<()> {
    let Some(allowed) = allowed else { return Ok(()) };
    if call.account.as_ref().is_some_and(|account| allowed.contains(account)) {
        return Ok(());
    }
    let who = match &call.account {
        Some(account) => format!("the account {account:?} of the message broker"),
        None => "a sender without an account (`user-id`)".to_owned(),
    };
    let error = Error::denied(format!(
        "{} was refused: {who} is not among the `allowed-accounts` of this service",
        call.key
    ));
    tracing::warn!(
        rpc.key = call.key,
        account = call.account,
        principal = call.context.principal,
        "message refused: its account is not among the allowed-accounts"
    );
    Err(error)
}
