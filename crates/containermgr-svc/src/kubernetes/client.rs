//! Clients of Kubernetes API servers, made from the options of a container manager.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bus::error::chain;
use http::{HeaderValue, Uri};
use kube::client::RustlsTlsError;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError};
use model::{Authority, ClientCertificate, KubeconfigFile, KubernetesOptions};
use runtime::Files;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::ExposeSecret as _;
use url::Url;

use super::token_file;
use crate::config::Config;

/// How clients of Kubernetes API servers are made.
#[derive(Clone, Default)]
pub enum ClientFactory {
    /// Over TCP, with TLS for `https`.
    #[default]
    Network,
    /// By a function, for tests and simulations whose API servers are services in the same process. An error says in a
    /// sentence why there is no client for these options.
    Function(Arc<ClientFunction>),
}

/// Makes a client from the options of a container manager.
pub type ClientFunction =
    dyn Fn(&KubernetesOptions) -> Result<kube::Client, String> + Send + Sync + 'static;

impl fmt::Debug for ClientFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "Network",
            Self::Function(_) => "Function",
        })
    }
}

impl ClientFactory {
    /// Makes a client; the files that the options name are read now.
    ///
    /// # Errors
    /// A sentence that says which option or file is unusable.
    pub(crate) async fn client(
        &self,
        options: &KubernetesOptions,
        config: &Config,
        files: &Files,
    ) -> Result<kube::Client, String> {
        match self {
            Self::Network => network_client(options, config, files).await,
            Self::Function(make) => make(options),
        }
    }
}

async fn network_client(
    options: &KubernetesOptions,
    config: &Config,
    files: &Files,
) -> Result<kube::Client, String> {
    let mut connection = match (&options.kubeconfig, &options.server_url) {
        (Some(kubeconfig), _) => of_kubeconfig(kubeconfig, config).await?,
        (None, Some(server_url)) => of_options(server_url, options, files).await?,
        (None, None) => return Err("the option `server_url` is missing".to_owned()),
    };
    connection.connect_timeout = Some(config.connect_timeout());
    // Retries need a deadline, and must not repeat a creation.
    connection.default_retry = false;
    let client = kube::Client::try_from(connection).map_err(|error| match (&error, &options.certificate) {
        (
            kube::Error::RustlsTls(
                RustlsTlsError::InvalidIdentityPem(_)
                | RustlsTlsError::MissingPrivateKey
                | RustlsTlsError::MissingCertificate
                | RustlsTlsError::UnknownPrivateKeyFormat,
            ),
            Some(given),
        ) => match given {
            ClientCertificate::Files { certificate, key } => format!(
                "{} and {} are no certificate and its private key in PEM",
                certificate.display(),
                key.display()
            ),
            ClientCertificate::Pem { .. } => {
                "`certificate_data` and `certificate_key_data` are no certificate and its private key in PEM"
                    .to_owned()
            }
        },
        _ => format!("its client cannot be made: {}", chain(&error)),
    })?;
    match &options.token_file {
        None => Ok(client),
        Some(path) => {
            let path = config.credentials("token_path", path)?;
            token_file::authorized(client, path, files).await
        }
    }
}

async fn of_options(
    server_url: &Url,
    options: &KubernetesOptions,
    files: &Files,
) -> Result<kube::Config, String> {
    let server_url = server_url.as_str();
    let uri: Uri = server_url.parse().map_err(|e| format!("`server_url` {server_url}: {e}"))?;
    let mut connection = kube::Config::new(uri);
    connection.accept_invalid_certs = options.insecure_skip_tls_verify;
    connection.root_cert = match &options.authority {
        Some(authority) => Some(root_certificates(authority, files).await?),
        // Without verification the system's authorities, which may be missing, are not loaded.
        None => options.insecure_skip_tls_verify.then(Vec::new),
    };
    connection.auth_info = auth_info(options, files).await?;
    Ok(connection)
}

async fn of_kubeconfig(file: &KubeconfigFile, config: &Config) -> Result<kube::Config, String> {
    let path = config.credentials("kubeconfig_path", &file.path)?;
    let unusable = |error: &KubeconfigError| format!("{}: {}", path.display(), chain(error));
    // Paths in it are relative to it.
    let read = path.clone();
    let read = tokio::task::spawn_blocking(move || Kubeconfig::read_from(read)).await;
    let kubeconfig = read.map_err(|error| error.to_string())?.map_err(|e| unusable(&e))?;
    let options =
        KubeConfigOptions { context: file.context.clone(), ..KubeConfigOptions::default() };
    kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|e| unusable(&e))
}

async fn auth_info(options: &KubernetesOptions, files: &Files) -> Result<AuthInfo, String> {
    let mut auth_info = AuthInfo::default();
    if let Some(token) = &options.token {
        // The library panics on a token that fits into no header.
        HeaderValue::from_str(token.expose_secret())
            .map_err(|_| "its token has characters that are not allowed in a token".to_owned())?;
        auth_info.token = Some(token.clone());
    }
    match &options.certificate {
        None => {}
        Some(ClientCertificate::Files { certificate, key }) => {
            auth_info.client_certificate_data =
                Some(BASE64.encode(read(files, certificate).await?));
            auth_info.client_key_data = Some(BASE64.encode(read(files, key).await?).into());
        }
        Some(ClientCertificate::Pem { certificate, key }) => {
            auth_info.client_certificate_data = Some(BASE64.encode(certificate));
            auth_info.client_key_data = Some(key.clone());
        }
    }
    Ok(auth_info)
}

/// The certificates of the authorities, in DER.
async fn root_certificates(authority: &Authority, files: &Files) -> Result<Vec<Vec<u8>>, String> {
    let (pem, place) = match authority {
        Authority::Path(path) => (read(files, path).await?, path.display().to_string()),
        Authority::Pem(pem) => (pem.clone().into_bytes(), "certificate_authority_data".to_owned()),
    };
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .map(|certificate| certificate.map(|der| der.to_vec()))
        .collect::<Result<Vec<_>, _>>()
        .unwrap_or_default();
    if certificates.is_empty() {
        return Err(format!("{place} holds no certificate in PEM"));
    }
    Ok(certificates)
}

async fn read(files: &Files, path: &Path) -> Result<Vec<u8>, String> {
    files.read(path).await.map_err(|e| format!("cannot read {}: {e}", path.display()))
}
