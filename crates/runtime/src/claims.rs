//! What this process works on: so that looking for work again does not begin the same work twice.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// A set of names; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Claims(Arc<Mutex<HashSet<String>>>);

/// A name in the set, until this is dropped.
#[derive(Debug)]
pub struct Claim {
    claims: Claims,
    name: String,
}

impl Claims {
    /// Adds a name; `None` when it is there already.
    pub fn claim(&self, name: &str) -> Option<Claim> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(name.to_owned()).then(|| Claim { claims: self.clone(), name: name.to_owned() })
    }

    /// Whether it is there.
    pub fn holds(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_claimed_once_until_it_is_dropped() {
        let claims = Claims::default();
        let claim = claims.claim("a").expect("it is free");
        assert!(claims.claim("a").is_none());
        assert!(claims.holds("a") && !claims.holds("b"));
        assert!(claims.claim("b").is_some());
        drop(claim);
        assert!(claims.claim("a").is_some());
    }
}
