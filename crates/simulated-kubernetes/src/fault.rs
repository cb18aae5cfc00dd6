//! Faults on demand.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A fault: a filter for requests and an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Matches only requests with this method.
    #[serde(default)]
    pub method: Option<String>,
    /// Matches only requests whose path with its query starts with this text.
    #[serde(default)]
    pub path: Option<String>,
    /// Matches only requests whose path with its query contains this text, such as `/eviction`.
    #[serde(default)]
    pub path_contains: Option<String>,
    /// Matches only requests of this user.
    #[serde(default)]
    pub user: Option<String>,
    /// Number of requests that the fault applies to; without a limit, it applies until it is cleared.
    #[serde(default)]
    pub requests: Option<u32>,
    /// The action for matching requests.
    pub action: FaultAction,
}

/// The action of a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultAction {
    /// Do not execute the request; send this response.
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
    /// Do not execute the request; respond with 429, `Retry-After` and no cause.
    Throttle {
        /// Seconds.
        retry_after: u64,
    },
    /// Do not execute the request; close the connection.
    CloseBefore,
    /// Execute the request; close the connection without a response.
    CloseAfter,
    /// Do not execute the request; never respond.
    Hang,
    /// Execute the request after this delay.
    Delay(Duration),
}

impl Fault {
    /// A fault of all requests, until it is cleared.
    pub fn new(action: FaultAction) -> Self {
        Self { method: None, path: None, path_contains: None, user: None, requests: None, action }
    }

    /// Restricts the fault to requests with this method.
    #[must_use]
    pub fn on_method(self, method: &str) -> Self {
        Self { method: Some(method.to_owned()), ..self }
    }

    /// Restricts the fault to requests whose path with its query starts with this text.
    #[must_use]
    pub fn on_path(self, path: &str) -> Self {
        Self { path: Some(path.to_owned()), ..self }
    }

    /// Restricts the fault to requests whose path with its query contains this text, such as `/eviction`.
    #[must_use]
    pub fn on_path_containing(self, part: &str) -> Self {
        Self { path_contains: Some(part.to_owned()), ..self }
    }

    /// Restricts the fault to requests of this user.
    #[must_use]
    pub fn of_user(self, user: &str) -> Self {
        Self { user: Some(user.to_owned()), ..self }
    }

    /// Limits the number of affected requests.
    #[must_use]
    pub fn times(self, requests: u32) -> Self {
        Self { requests: Some(requests), ..self }
    }

    fn applies_to(&self, method: &str, target: &str, user: &str) -> bool {
        self.method.as_deref().is_none_or(|wanted| wanted == method)
            && self.path.as_deref().is_none_or(|prefix| target.starts_with(prefix))
            && self.path_contains.as_deref().is_none_or(|part| target.contains(part))
            && self.user.as_deref().is_none_or(|wanted| wanted == user)
            && self.requests != Some(0)
    }
}

/// Active faults; the oldest matching one applies.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The action for this request, if a fault matches.
    pub(crate) fn meet(&mut self, method: &str, target: &str, user: &str) -> Option<FaultAction> {
        let mut faults = self.0.iter_mut();
        let fault = faults.find(|fault| fault.applies_to(method, target, user))?;
        if let Some(left) = &mut fault.requests {
            *left -= 1;
        }
        Some(fault.action.clone())
    }
}
