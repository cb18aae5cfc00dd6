//! An issuer of tests: keys, tokens and documents.

use std::sync::LazyLock;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::oidc::*;

pub(super) const ISSUER: &str = "https://id.example.com/realms/fleet";
pub(super) const DISCOVERY: &str =
    "https://id.example.com/realms/fleet/.well-known/openid-configuration";
pub(super) const JWKS: &str = "https://id.example.com/realms/fleet/keys";

/// When the clock of a test begins: 2026-11-21T12:00:00Z.
pub(super) const NOW: i64 = 1_795_262_400;

/// Keys that tests share: an RSA key takes a while to be made.
pub(super) static RSA: LazyLock<Signer> = LazyLock::new(|| Signer::rsa("rsa-1"));
pub(super) static OTHER_RSA: LazyLock<Signer> = LazyLock::new(|| Signer::rsa("rsa-1"));
pub(super) static EC: LazyLock<Signer> = LazyLock::new(|| Signer::ec("ec-1"));
pub(super) static ED: LazyLock<Signer> = LazyLock::new(|| Signer::ed("ed-1"));

/// A private key.
pub(super) struct Signer {
    pub(super) id: String,
    pub(super) pair: Pair,
}

pub(super) enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    pub(super) fn rsa(id: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        Self { id: id.to_owned(), pair: Pair::Rsa(pair) }
    }

    pub(super) fn ec(id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { id: id.to_owned(), pair: Pair::Ec(pair) }
    }

    pub(super) fn ed(id: &str) -> Self {
        Self { id: id.to_owned(), pair: Pair::Ed(Ed25519KeyPair::generate().unwrap()) }
    }

    /// The same private key, for another owner.
    pub(super) fn copy(&self) -> Self {
        let Pair::Ed(pair) = &self.pair else { panic!("not an Ed25519 key") };
        let document = pair.to_pkcs8v1().unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        Self { id: self.id.clone(), pair: Pair::Ed(pair) }
    }

    pub(super) fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::Ec(_) => "ES256",
            Pair::Ed(_) => "EdDSA",
        }
    }

    /// The public key as the issuer publishes it.
    pub(super) fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let RsaPublicKeyComponents { n, e } =
                    RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "n": encode(n), "e": encode(e)})
            }
            Pair::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)})
            }
            Pair::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key())})
            }
        };
        jwk["kid"] = json!(self.id);
        jwk["alg"] = json!(self.algorithm());
        jwk["use"] = json!("sig");
        jwk
    }

    /// The public key in DER: as `SubjectPublicKeyInfo`.
    pub(super) fn public_der(&self) -> Vec<u8> {
        let Pair::Rsa(pair) = &self.pair else { panic!("not an RSA key") };
        pair.public_key().as_der().unwrap().as_ref().to_vec()
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(_) => self.sign_rsa(&RSA_PKCS1_SHA256, message),
            Pair::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    pub(super) fn sign_rsa(&self, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
        let Pair::Rsa(pair) = &self.pair else { panic!("not an RSA key") };
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }

    /// A token that is valid, unless `change` makes it invalid before it is signed.
    pub(super) fn token(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let (mut header, mut claims) = (self.header(), claims());
        change(&mut header, &mut claims);
        self.signed(&header.to_string(), claims.to_string())
    }

    pub(super) fn header(&self) -> Value {
        json!({"alg": self.algorithm(), "kid": self.id, "typ": "at+jwt"})
    }

    /// A token with this header and these claims.
    pub(super) fn signed(&self, header: &str, claims: impl AsRef<[u8]>) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = encode(self.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

/// Valid ones, of an access token.
pub(super) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "commissaire", "sub": "ann", "exp": NOW + 3600, "iat": NOW - 60,
        "jti": runtime::random::uuid().to_string(),
    })
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn decode(text: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// Valid options, with others added or in their place.
pub(super) fn options(others: &Value) -> Value {
    let mut options = json!({"issuer": ISSUER, "audience": "commissaire", "prefix": "corp"});
    for (name, value) in others.as_object().unwrap() {
        options[name] = value.clone();
    }
    options
}

/// A verifier, and the issuer that it asks.
pub(super) struct World {
    pub(super) oidc: Oidc,
    pub(super) documents: MemoryDocuments,
    pub(super) clock: Clock,
}

impl World {
    /// With the keys that tests share.
    pub(super) fn new(others: &Value) -> Self {
        let world = Self::without_documents(others);
        world.publish(&[RSA.jwk(), EC.jwk(), ED.jwk()]);
        world
    }

    pub(super) fn without_documents(others: &Value) -> Self {
        let options = serde_json::from_value(options(others)).unwrap();
        let documents = MemoryDocuments::default();
        let clock = Clock::simulated(jiff::Timestamp::from_second(NOW).unwrap());
        let lifecycle = Lifecycle::new();
        let oidc = Oidc::in_memory(options, documents.clone(), clock.clone(), &lifecycle).unwrap();
        Self { oidc, documents, clock }
    }

    pub(super) fn publish(&self, keys: &[Value]) {
        self.documents.publish(DISCOVERY, json!({"issuer": ISSUER, "jwks_uri": JWKS}).to_string());
        self.documents.publish(JWKS, json!({"keys": keys}).to_string());
    }

    pub(super) async fn identify(&self, token: &str) -> Result<Identity> {
        self.oidc.identify(&token.into()).await
    }

    /// The name of the owner.
    pub(super) async fn name(&self, token: &str) -> String {
        self.identify(token).await.unwrap().name
    }

    /// Why the token is rejected.
    pub(super) async fn rejection(&self, token: &str) -> String {
        match self.identify(token).await {
            Err(ProviderError::Rejected(why)) => why,
            other => panic!("not rejected: {other:?}"),
        }
    }

    /// How often keys were fetched.
    pub(super) fn fetches(&self) -> usize {
        self.documents.requests(JWKS)
    }
}
