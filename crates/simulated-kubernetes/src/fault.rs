//! Faults on demand.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Requests that go wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Only requests with this method.
    #[serde(default)]
    pub method: Option<String>,
    /// Only requests whose path with its query begins so.
    #[serde(default)]
    pub path: Option<String>,
    /// Only requests of this user.
    #[serde(default)]
    pub user: Option<String>,
    /// How many requests it is for; without a number, it lasts until it is cleared.
    #[serde(default)]
    pub requests: Option<u32>,
    /// What happens to the requests.
    pub action: FaultAction,
}

/// What happens to a request that meets a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultAction {
    /// It is not carried out, and answered so.
    Answer {
        /// The HTTP status.
        status: u16,
        /// Headers.
        #[serde(default)]
        headers: Vec<(String, String)>,
        /// The body.
        #[serde(default)]
        body: String,
    },
    /// It is not carried out; 429 with these seconds in `Retry-After` and without a cause.
    Throttle {
        /// Seconds.
        retry_after: u64,
    },
    /// It is not carried out, and the connection is closed.
    CloseBefore,
    /// It is carried out, and the connection is closed instead of an answer.
    CloseAfter,
    /// It is not carried out, and never answered.
    Hang,
    /// It is carried out after this time.
    Delay(Duration),
}

impl Fault {
    /// A fault of all requests, until it is cleared.
    pub fn new(action: FaultAction) -> Self {
        Self { method: None, path: None, user: None, requests: None, action }
    }

    /// Only for requests with this method.
    #[must_use]
    pub fn on_method(self, method: &str) -> Self {
        Self { method: Some(method.to_owned()), ..self }
    }

    /// Only for requests whose path with its query begins so.
    #[must_use]
    pub fn on_path(self, path: &str) -> Self {
        Self { path: Some(path.to_owned()), ..self }
    }

    /// Only for requests of this user.
    #[must_use]
    pub fn of_user(self, user: &str) -> Self {
        Self { user: Some(user.to_owned()), ..self }
    }

    /// Only for this many requests.
    #[must_use]
    pub fn times(self, requests: u32) -> Self {
        Self { requests: Some(requests), ..self }
    }

    fn applies_to(&self, method: &str, target: &str, user: &str) -> bool {
        self.method.as_deref().is_none_or(|wanted| wanted == method)
            && self.path.as_deref().is_none_or(|prefix| target.starts_with(prefix))
            && self.user.as_deref().is_none_or(|wanted| wanted == user)
            && self.requests != Some(0)
    }
}

/// The faults that are waiting for requests; the oldest that applies is first.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// What happens to this request, if anything.
    pub(crate) fn meet(&mut self, method: &str, target: &str, user: &str) -> Option<FaultAction> {
        let mut faults = self.0.iter_mut();
        let fault = faults.find(|fault| fault.applies_to(method, target, user))?;
        if let Some(left) = &mut fault.requests {
            *left -= 1;
        }
        Some(fault.action.clone())
    }
}
