//! What a real API server was recorded to answer.

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Exchange {
    pub(super) id: String,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) request_json: Value,
    /// None when the connection was closed without an answer.
    pub(super) status: Option<u16>,
    pub(super) headers: Value,
    pub(super) response: Value,
}

impl Exchange {
    /// The body; empty where it was no JSON.
    pub(super) fn body(&self) -> Vec<u8> {
        if self.response.is_null() { Vec::new() } else { self.response.to_string().into_bytes() }
    }
}

pub(super) fn all() -> Vec<Exchange> {
    let lines = include_str!("../../tests/data/kubernetes-api.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(super) fn one(id: &str) -> Exchange {
    all().into_iter().find(|exchange| exchange.id == id).unwrap()
}
