//! A forged token, and how it is tried out.

use serde_json::{Value, json};

use crate::ProviderError;
use crate::oidc::tests::support::{EC, ED, RSA, World};

/// A forged token.
pub(super) struct Case {
    pub(super) name: String,
    /// A part of the reason for which it is rejected.
    reason: &'static str,
    /// The options that differ from the usual ones.
    options: Value,
    /// The keys of the issuer.
    keys: Vec<Value>,
    untouched: String,
    forged: String,
}

impl Case {
    pub(super) fn of(name: &str, reason: &'static str, untouched: String, forged: String) -> Self {
        let keys = vec![RSA.jwk(), EC.jwk(), ED.jwk()];
        Self { name: name.to_owned(), reason, options: json!({}), keys, untouched, forged }
    }

    /// A token that `forge` makes of a valid one, without the private key.
    pub(super) fn text(
        name: &str,
        reason: &'static str,
        forge: impl FnOnce(&str) -> String,
    ) -> Self {
        let untouched = RSA.token(|_, _| {});
        let forged = forge(&untouched);
        Self::of(name, reason, untouched, forged)
    }

    /// A token that is changed and then signed by the issuer: only what was changed is wrong with it.
    pub(super) fn signed(
        name: &str,
        reason: &'static str,
        forge: impl FnOnce(&mut Value, &mut Value),
    ) -> Self {
        Self::of(name, reason, RSA.token(|_, _| {}), RSA.token(forge))
    }

    /// The same with these options, where the untouched token needs `prepare`.
    pub(super) fn prepared(
        name: &str,
        reason: &'static str,
        options: Value,
        prepare: impl Fn(&mut Value, &mut Value),
        forge: impl FnOnce(&mut Value, &mut Value),
    ) -> Self {
        let forged = RSA.token(|header, claims| {
            prepare(header, claims);
            forge(header, claims);
        });
        Self { options, ..Self::of(name, reason, RSA.token(prepare), forged) }
    }

    /// The same with these keys of the issuer.
    pub(super) fn with_keys(self, keys: Vec<Value>) -> Self {
        Self { keys, ..self }
    }

    /// Twice, as verified tokens are remembered.
    pub(super) async fn check(&self) -> Result<(), String> {
        let Self { name, reason, .. } = self;
        let world = World::new(&self.options);
        world.publish(&self.keys);
        for round in 0..2 {
            match world.identify(&self.forged).await {
                Err(ProviderError::Rejected(why)) if why.contains(reason) => {}
                other => return Err(format!("{name}: round {round}: {reason:?}: {other:?}")),
            }
            world.identify(&self.untouched).await.map_err(|e| format!("{name}: untouched: {e}"))?;
        }
        Ok(())
    }
}
