//! Whether a host that is back is healthy, by a command or a URL of the operator's.

use std::time::Duration;

use host_access::{Session, Target};
use service_core::error::chain;
use service_core::model::{ADDRESS, Outcome, Step};
use tokio::time::Instant;

use crate::executor::{Execution, GiveUp, Line};
use crate::host_run::{Trouble, reach};
use crate::web;

/// How long a host may take to become healthy, unless the operation says so.
const HEALTH_TIMEOUT: Duration = Duration::from_mins(5);

/// How long one run of the command, or one request, may take.
const ONE_LOOK: Duration = Duration::from_secs(30);

/// The pause between looks.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The most that a reason repeats of what a host said, in characters.
const SAID: usize = 400;

/// Waits until the host is healthy by what the operation asks for; without that it is. The session is given back, unless
/// it was lost.
///
/// # Errors
/// When it does not become so in time.
pub(crate) async fn healthy(
    execution: &Execution<'_>,
    index: usize,
    target: &Target,
    session: Box<dyn Session>,
) -> Result<Option<Box<dyn Session>>, Trouble> {
    let options = &execution.operation.options;
    let (command, url) = (options.health_command.as_deref(), options.health_url.as_deref());
    if command.is_none() && url.is_none() {
        return Ok(Some(session));
    }
    let allowed = options.health_timeout.map_or(HEALTH_TIMEOUT, Duration::from_secs);
    let deadline = Instant::now() + allowed;
    let (mut session, mut told) = (Some(session), false);
    loop {
        let sick = match command {
            Some(command) => ask_host(execution, target, &mut session, command).await,
            None => None,
        };
        let sick = match (sick, url) {
            (None, Some(url)) => ask_url(url, &target.address).await,
            (sick, _) => sick,
        };
        let Some(sick) = sick else { return Ok(session) };
        if Instant::now() >= deadline {
            let address = &target.address;
            let reason = format!(
                "{address} was not healthy {} s after it was back: {sick}; see to it, then have it \
                 looked at again with `commctl host investigate {address}`",
                allowed.as_secs()
            );
            return Err(GiveUp::new("unhealthy", reason).into());
        }
        if !told {
            let lines = [Line(Step::Verify, Outcome::Waiting, &sick)];
            execution.log(index, &lines).await.map_err(Trouble::Ours)?;
            told = true;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Why the host is not healthy by the command, if so.
async fn ask_host(
    execution: &Execution<'_>,
    target: &Target,
    session: &mut Option<Box<dyn Session>>,
    command: &str,
) -> Option<String> {
    let connected = match session.take() {
        Some(session) => session,
        None => match reach(execution, target).await {
            Ok(session) => session,
            Err(error) => return Some(chain(&error)),
        },
    };
    match connected.run_privileged(command, ONE_LOOK).await {
        Ok(output) => {
            *session = Some(connected);
            let said = format!("{} {}", output.stdout.trim(), output.stderr.trim());
            let said: String = said.trim().chars().take(SAID).collect();
            let status = output.status;
            (status != 0).then(|| format!("the health command exits with {status}: {said}"))
        }
        Err(error) => Some(format!("the health command did not end well: {}", chain(&error))),
    }
}

/// Why the host is not healthy by the URL, if so.
pub(crate) async fn ask_url(url: &str, address: &str) -> Option<String> {
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let url = url.replace(ADDRESS, &host);
    let answer = match web::client(ONE_LOOK) {
        Ok(client) => client.get(&url).send().await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(answer) if answer.status().is_success() => None,
        Ok(answer) => Some(format!("{url} answers {}", answer.status())),
        Err(error) => Some(chain(&error)),
    }
}
