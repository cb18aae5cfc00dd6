//! The documents that an issuer publishes: discovery (OpenID Connect Discovery 1.0, RFC 8414) and keys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::ACCEPT;
use serde_json::{Map, Value};
use tokio::time::sleep;
use url::Url;

use super::json::Object;
use crate::client::Client;
use crate::{ProviderError, Result};

/// Where documents are fetched.
#[derive(Debug)]
pub(super) enum Documents {
    /// Over the network.
    Network(Client),
    /// In memory.
    Memory(MemoryDocuments),
}

impl Documents {
    /// The document at this URL.
    ///
    /// # Errors
    /// [`ProviderError::Unavailable`] when it cannot be fetched.
    pub(super) async fn get(&self, url: Url) -> Result<Map<String, Value>> {
        let document = match self {
            Self::Network(client) => {
                let request = client.get(url.clone()).header(ACCEPT, "application/json");
                let response = client.send(request).await?;
                if response.status != StatusCode::OK {
                    return Err(self.unavailable(&format!("{url}: {}", response.status)));
                }
                response.json()
            }
            Self::Memory(documents) => {
                let text = documents.get(&url).await;
                let text = text.map_err(|why| self.unavailable(&format!("{url}: {why}")))?;
                serde_json::from_str(&text).ok()
            }
        };
        let invalid =
            || self.unavailable(&format!("{url} is not a JSON object without duplicate fields"));
        document.map(|Object(object)| object).ok_or_else(invalid)
    }

    /// The error that the issuer does not publish what it should.
    pub(super) fn unavailable(&self, why: &str) -> ProviderError {
        match self {
            Self::Network(client) => client.unavailable(why),
            Self::Memory(_) => ProviderError::Unavailable(why.to_owned()),
        }
    }
}

/// Documents in memory, by their URLs; clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryDocuments(Arc<Mutex<Published>>);

#[derive(Debug, Default)]
struct Published {
    documents: HashMap<String, String>,
    is_down: bool,
    delay: Duration,
    requests: Vec<String>,
}

impl MemoryDocuments {
    fn lock(&self) -> MutexGuard<'_, Published> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes a document, or replaces it.
    pub fn publish(&self, url: impl Into<String>, document: impl Into<String>) {
        self.lock().documents.insert(url.into(), document.into());
    }

    /// Has requests fail, or succeed again.
    pub fn set_down(&self, is_down: bool) {
        self.lock().is_down = is_down;
    }

    /// How long each request takes from now on; no time before.
    pub fn set_delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// How many requests there were for this URL, failed ones included.
    pub fn requests(&self, url: &str) -> usize {
        self.lock().requests.iter().filter(|requested| *requested == url).count()
    }

    async fn get(&self, url: &Url) -> Result<String, &'static str> {
        let delay = {
            let mut published = self.lock();
            published.requests.push(url.to_string());
            published.delay
        };
        sleep(delay).await;
        let published = self.lock();
        if published.is_down {
            return Err("connection refused");
        }
        published.documents.get(url.as_str()).cloned().ok_or("404 Not Found")
    }
}
