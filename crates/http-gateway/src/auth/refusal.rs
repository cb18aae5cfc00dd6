//! Why no plugin accepts, and the answer to it.

use crate::error::ApiError;
use crate::principal::Principal;

/// `Retry-After` of a log-in that found the queue of checks full, in seconds.
const OVERLOAD_RETRY_AFTER: u64 = 5;

/// Why no plugin accepts.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// A password was checked, and is wrong: it counts as a guess, also if another plugin has no answer.
    pub(super) is_wrong_password: bool,
    /// Too many passwords wait for their check.
    pub(super) overloaded: bool,
    /// An identity provider does not say whether the credentials are valid, or their role is unknown.
    pub(super) is_unavailable: bool,
    /// The credentials are valid, and give no role: what to say.
    pub(super) without_role: Option<String>,
}

/// The rejection of a request without valid credentials, or without a role.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The answer.
    pub(crate) error: ApiError,
    /// The principal of a token whose secret is right: such rejections are audited.
    pub(crate) claimed: Option<Principal>,
    /// Whether it counts as a failed log-in: the credentials may have been a guess.
    pub(super) counts: bool,
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self { error, claimed: None, counts: false }
    }
}

/// The rejection of one of too many log-ins.
pub(super) fn too_many(detail: &str, seconds: u64) -> Refusal {
    metrics::counter!("commissaire_auth_throttled_total").increment(1);
    ApiError::too_many(detail, seconds).into()
}

/// The answer; `wait` is how long no log-in is checked, in seconds.
pub(super) fn refusal(wait: Option<u64>, refused: Refused) -> Refusal {
    if let Some(seconds) = wait {
        return too_many("too many failed log-ins from this address: wait", seconds);
    }
    if refused.overloaded {
        let detail = "too many log-ins are waiting for their check: try again";
        return too_many(detail, OVERLOAD_RETRY_AFTER);
    }
    if refused.is_unavailable {
        let detail = "an identity provider does not answer, or the storage service, so it is not known who you are or what you \
                      may do: try again; the log of the gateway says why";
        let error = ApiError::unavailable(detail);
        return Refusal { error, claimed: None, counts: refused.is_wrong_password };
    }
    if let Some(detail) = refused.without_role {
        tracing::info!(why = detail, "refused: no role");
        let error = ApiError::forbidden(detail);
        return Refusal { error, claimed: None, counts: refused.is_wrong_password };
    }
    let detail = "give a user name and password, or a token, that this server knows";
    Refusal { error: ApiError::forbidden(detail), claimed: None, counts: true }
}
