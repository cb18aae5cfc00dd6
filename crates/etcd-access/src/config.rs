//! Configuration that is kept in etcd, one key a service.

use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd_client::GetOptions;
use serde_json::{Map, Value};

use runtime::config::{ConfigError, object, read};
use runtime::error_text::chain;

use crate::{Client, Error, Options};

/// How long a start waits for etcd before it goes on with the file.
const PATIENCE: Duration = Duration::from_secs(4);

/// Why a configuration cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read, or what was read is not a JSON object.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// etcd cannot be asked, or refuses.
    #[error("cannot read the configuration {} from etcd", path.display())]
    Etcd {
        /// The key.
        path: PathBuf,
        /// Why.
        source: Error,
    },
}

/// A configuration, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Where it is from, for errors: a file, or `etcd:` and a key.
    pub origin: PathBuf,
    /// Its members.
    pub members: Map<String, Value>,
}

/// Reads the configuration of a service (`commissaire` for the gateway, `storage`, `investigator`, …):
/// with `ETCD_MACHINES` set from the key `/commissaire/config/<service>`, otherwise, and when there is no
/// such key or no etcd to be reached, from the file. `named`: as `required` of [`read`].
///
/// # Errors
/// As [`read`], for the key too; [`LoadError::Etcd`] when the variables are wrong, or etcd refuses.
pub async fn load(service: &str, path: &Path, named: bool) -> Result<Loaded, LoadError> {
    load_from(Options::from_env().as_ref(), service, path, named).await
}

/// The same with an etcd that is not from the environment.
///
/// # Errors
/// As [`load`].
pub async fn load_from(
    etcd: Option<&Options>,
    service: &str,
    path: &Path,
    named: bool,
) -> Result<Loaded, LoadError> {
    if let Some(options) = etcd
        && let Some(loaded) = from_etcd(options, service).await?
    {
        return Ok(loaded);
    }
    Ok(Loaded { origin: path.to_owned(), members: read(path, named)? })
}

async fn from_etcd(options: &Options, service: &str) -> Result<Option<Loaded>, LoadError> {
    let key = format!("/commissaire/config/{service}");
    let origin = PathBuf::from(format!("etcd:{key}"));
    let failed = |source| LoadError::Etcd { path: PathBuf::from(&key), source };
    let client = Client::new(options).await.map_err(failed)?;
    let asked = tokio::time::timeout(PATIENCE, client.get(key.as_bytes(), GetOptions::new()));
    let unreachable = |why: String| {
        let endpoints = options.endpoints().join(",");
        tracing::warn!(
            etcd.endpoints = endpoints,
            error = why,
            "no configuration from etcd (ETCD_MACHINES of the environment), which does not answer: using the file"
        );
    };
    let answer = match asked.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error @ Error::Unavailable { .. })) => {
            unreachable(chain(&error));
            return Ok(None);
        }
        Ok(Err(error)) => return Err(failed(error)),
        Err(_) => {
            let cause = client.last_failure().map(|cause| cause.to_string());
            unreachable(cause.unwrap_or_else(|| "no answer in time".to_owned()));
            return Ok(None);
        }
    };
    let Some(value) = answer.kvs().first() else { return Ok(None) };
    let members = object(&origin, value.value())?;
    tracing::info!(etcd.key = key, "configured from etcd");
    Ok(Some(Loaded { origin, members }))
}
