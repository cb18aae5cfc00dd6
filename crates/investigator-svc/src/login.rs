//! Trying credentials on a host before they are kept: the method `hosts.try_login`.

use std::time::Duration;

use bus::{Call, Error, Kind, Result, topology};
use host_access::credentials::target;
use host_access::{AccessError, Deps, Share};
use model::messages::LogInTried;
use model::{HostCreds, Model as _};
use runtime::Lifecycle;
use serde_json::{Value, json};

/// Log-ins that are tried at a time.
const PREFETCH: usize = 16;

/// How long the log-in may take, and the whole trial: whoever asks waits 10 s for the answer.
const LOG_IN: Duration = Duration::from_secs(6);
/// See [`LOG_IN`].
const TRIAL: Duration = Duration::from_secs(8);

/// Serves `hosts.*` until the daemon is told to stop.
///
/// # Errors
/// When the bus cannot be reached.
pub(crate) async fn serve(deps: Deps, connect: Duration, lifecycle: &Lifecycle) -> Result<()> {
    let bus = deps.bus.clone();
    let handler = move |call: Call| {
        let deps = deps.clone();
        async move {
            match call.method.as_str() {
                "try_login" => try_login(&deps, connect, call).await,
                other => {
                    let message = format!("the investigator has no method {other:?}");
                    Err(Error::new(Kind::MethodNotFound, message))
                }
            }
        }
    };
    bus.serve(topology::HOSTS, PREFETCH, lifecycle, handler).await
}

/// Logs in as the credentials say, and becomes root; answers the keys that the host showed.
async fn try_login(deps: &Deps, connect: Duration, call: Call) -> Result<Value> {
    let order = ["address", "ssh_priv_key", "remote_user", "ssh_port", "ssh_host_key"];
    let creds: HostCreds = call.params.parse(&order)?;
    creds.validate().map_err(Error::invalid)?;
    let trial = tokio::time::timeout(TRIAL, log_in(deps, connect.min(LOG_IN), &creds));
    let late = |_| {
        let address = creds.address.to_string();
        Err(AccessError::Timeout { address, what: "the log-in", after: TRIAL })
    };
    match trial.await.unwrap_or_else(late) {
        Ok(host_keys) => {
            tracing::info!(host.address = creds.address.as_str(), "credentials tried, and let in");
            let tried = LogInTried { ssh_host_key: host_keys.join("\n") };
            serde_json::to_value(tried)
                .map_err(|e| Error::internal("cannot write the answer as JSON").with_source(e))
        }
        Err(error @ AccessError::Io { .. }) => {
            Err(Error::unavailable("the investigator cannot start a log-in").with_source(error))
        }
        Err(refusal) => {
            let reason = refusal.reason().word();
            tracing::info!(
                host.address = creds.address.as_str(),
                reason,
                "credentials tried, and refused"
            );
            Err(Error::conflict(refusal.to_string()).with_data(json!({"reason": reason})))
        }
    }
}

async fn log_in(
    deps: &Deps,
    connect: Duration,
    creds: &HostCreds,
) -> Result<Vec<String>, AccessError> {
    let target = target(creds, &deps.own_key)?;
    let log_in = deps.hosts.connect(&target, connect);
    let session = deps.ledger.log_in(&creds.address, Share::Trial, log_in).await?;
    let root = session.run_privileged("true", TRIAL).await;
    let host_keys = session.host_keys().to_vec();
    session.close().await;
    root.map(|_| host_keys)
}
