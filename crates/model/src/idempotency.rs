//! Requests that can be repeated without starting anything twice.

use serde::{Deserialize, Serialize};

use super::{Model, Stamp, ident};

/// A request that came with an `Idempotency-Key`, and its first result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdempotentRequest {
    /// A hash of who asked and of the key.
    pub id: String,
    /// A hash of what was asked for: method, path and body.
    pub request: String,
    /// The operation that it starts has this id, so that no other one is started in its place.
    pub operation_id: String,
    /// When the key is free again.
    pub expires_at: Stamp,
    /// The first result, once there is one.
    pub answer: Option<KeptAnswer>,
}

/// An answer of the API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body, JSON as it was sent.
    pub body: String,
    /// Where what was made is shown, if the answer said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

impl Model for IdempotentRequest {
    const TYPE: &'static str = "IdempotentRequest";
    const LIST_TYPE: &'static str = "IdempotentRequests";
    const ID: &'static str = "id";
    const PREFIX: &'static str = "/commissaire/idempotency/";
    const HIDDEN: &'static [&'static str] = &["answer"];

    fn id(&self) -> &str {
        &self.id
    }

    fn validate(&self) -> Result<(), String> {
        if !self.expires_at.is_valid() {
            return Err(format!("expires_at is no time: {:?}", self.expires_at));
        }
        ident::token(&self.operation_id)?;
        ident::name(&self.request)?;
        ident::name(&self.id)
    }
}
