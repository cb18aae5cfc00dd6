//! Certificates for the server process.

use std::sync::Arc;

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::go::hex;
use crate::users::{Certificate, Identity};

/// A certificate authority for server and client certificates.
pub struct Pki {
    authority: CertifiedIssuer<'static, KeyPair>,
    /// Digest of the private key, used as a random token.
    secret: String,
}

impl std::fmt::Debug for Pki {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pki").finish_non_exhaustive()
    }
}

impl Pki {
    /// A new authority.
    pub fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "simulated-kubernetes");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let secret = hex(&Sha256::digest(key.serialize_der()));
        Ok(Self { authority: CertifiedIssuer::self_signed(params, key)?, secret })
    }

    /// The certificate of the authority in PEM.
    pub fn authority_pem(&self) -> String {
        self.authority.pem()
    }

    /// A random token.
    pub fn token(&self) -> &str {
        &self.secret
    }

    /// The certificate of a client and its key in PEM.
    pub fn client(&self, name: &str, groups: &[&str]) -> anyhow::Result<(String, String)> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.authority)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    /// The TLS configuration for a server with this address, and the verifier for client certificates.
    pub(crate) fn server(
        &self,
        address: &str,
    ) -> anyhow::Result<(rustls::ServerConfig, Arc<dyn ClientCertVerifier>)> {
        let key = KeyPair::generate()?;
        let names = vec![address.to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names)?.signed_by(&key, &self.authority)?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.authority.der().to_vec()))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(AnyCertificate(Arc::clone(&verifier))))
            .with_single_cert(vec![certificate.der().clone()], key)
            .context("make the certificate of the server")?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok((config, verifier))
    }
}

/// The identity in a client certificate, if the chain is trusted.
pub(crate) fn identify(
    chain: Option<&[CertificateDer<'_>]>,
    verifier: &dyn ClientCertVerifier,
) -> Certificate {
    let Some([certificate, intermediates @ ..]) = chain else { return Certificate::None };
    let is_trusted =
        verifier.verify_client_cert(certificate, intermediates, UnixTime::now()).is_ok();
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return Certificate::Untrusted;
    };
    if !is_trusted {
        return Certificate::Untrusted;
    }
    let subject = parsed.subject();
    let names = subject.iter_common_name().filter_map(|name| name.as_str().ok());
    let groups = subject.iter_organization().filter_map(|name| name.as_str().ok());
    let groups: Vec<_> = groups.collect();
    let name = names.last().unwrap_or_default();
    let fingerprint = format!("X509SHA256={}", hex(&Sha256::digest(certificate)));
    Certificate::Trusted(Identity::new(name, "", &groups, &fingerprint))
}

/// Accepts any client certificate in the handshake; untrusted ones are rejected per request with 401, as by a
/// kube-apiserver.
#[derive(Debug)]
struct AnyCertificate(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AnyCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
