//! The API tokens, as they are in the store.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;

use model::ApiToken;

use super::record_cache::{RecordCache, RecordIndex};
use crate::principal::Principal;

/// The API tokens, kept in memory.
pub type Tokens = RecordCache<Index>;

/// The tokens by their ids.
#[derive(Debug, Default)]
pub struct Index(HashMap<String, Arc<ApiToken>>);

impl RecordIndex for Index {
    type Record = ApiToken;

    /// A token that is left out is refused.
    const NEEDS_ALL: bool = false;

    fn of_records(tokens: &[ApiToken]) -> Self {
        let by_id = |token: &ApiToken| (token.id.clone(), Arc::new(token.clone()));
        Self(tokens.iter().map(by_id).collect())
    }
}

impl Index {
    /// The token with this id.
    pub fn get(&self, id: &str) -> Option<&Arc<ApiToken>> {
        self.0.get(id)
    }

    /// Whether an owner has a further token with the name of this one.
    pub fn has_namesake(&self, token: &ApiToken) -> bool {
        let is_namesake = |other: &Arc<ApiToken>| {
            (&other.owner, &other.name) == (&token.owner, &token.name) && other.id != token.id
        };
        self.0.values().any(is_namesake)
    }
}

impl Tokens {
    /// Resolves when the API token of a principal is revoked; never without one.
    pub async fn revoked(self: Arc<Self>, principal: Option<Arc<Principal>>) {
        match principal.as_deref().and_then(Principal::api_token_id) {
            Some(id) => self.until_not(|tokens| tokens.get(id).is_some()).await,
            None => pending().await,
        }
    }
}
