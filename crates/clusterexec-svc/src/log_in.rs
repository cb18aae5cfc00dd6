//! Log-ins to a host.

use std::time::Duration;

use host_access::credentials::target;
use host_access::{AccessError, Session, Share, Target};
use model::HostCreds;
use runtime::retry::Schedule;
use tokio::time::Instant;

use crate::context::Context;
use crate::host_error::{HostError, HostFailure};
use crate::journal::Journal;

/// The timeout of a log-in to a host that boots or shuts down, which may stop answering at any moment.
const WHILE_BOOTING: Duration = Duration::from_secs(5);

/// The credentials and the pinned key of the host at `index`.
///
/// # Errors
/// The host has failed if its record is deleted or invalid; or the lease is lost.
pub(crate) async fn target_of(journal: &Journal<'_>, index: usize) -> Result<Target, HostError> {
    let (context, address) = (journal.context, &journal.operation.hosts[index]);
    let found = journal.retry(|| context.storage.find::<HostCreds>(address)).await?;
    let creds = found.ok_or_else(|| HostFailure::deleted(address))?.record;
    Ok(target(&creds, &context.deps.own_key)?)
}

/// Logs in to a host that is expected to be up. While the host only throttles connections, this is retried for as long
/// as a reboot may take.
pub(crate) async fn log_in(
    context: &Context,
    target: &Target,
) -> Result<Box<dyn Session>, AccessError> {
    let deadline = Instant::now() + context.config.verify_timeout();
    let mut pauses = Schedule::HOST_UP.pauses();
    let mut throttled = Schedule::THROTTLED_HOST.pauses();
    loop {
        let log_in = context.deps.hosts.connect(target, context.config.connect_timeout());
        let error = match context.deps.ledger.log_in(&target.address, Share::Work, log_in).await {
            Ok(session) => return Ok(session),
            Err(error) => error,
        };
        let pause = match &error {
            AccessError::Throttled { .. } => throttled.next().filter(|_| Instant::now() < deadline),
            error => pauses.next().filter(|_| error.heals()),
        };
        match pause {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Err(error),
        }
    }
}

/// Tries one log-in to a host that may be booting, and reads its boot id.
pub(crate) async fn log_in_once(
    context: &Context,
    target: &Target,
) -> Result<(Box<dyn Session>, String), AccessError> {
    let log_in = context.deps.hosts.connect(target, WHILE_BOOTING);
    let session = context.deps.ledger.log_in(&target.address, Share::Work, log_in).await?;
    let boot_id = session.boot_id().await?;
    Ok((session, boot_id))
}

/// Whether something listens on the host's SSH port: far cheaper than a log-in. Each call makes a new connection, so
/// that the back-off of TCP does not delay the moment when the host is found up.
pub(crate) async fn listens(context: &Context, target: &Target, timeout: Duration) -> bool {
    context.deps.hosts.is_port_open(&target.address, target.port, timeout).await
}
