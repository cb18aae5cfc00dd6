//! The health check of a host that is back: a command or a URL of the operator's.

use std::time::Duration;

use bus::error::chain;
use host_access::Session;
use model::{ADDRESS, FailureReason, OperationHost, Outcome, Step, WaitReason};
use tokio::time::Instant;

use super::host::HostRun;
use crate::host_error::{HostError, HostFailure};
use crate::journal::LogLine;
use crate::log_in::log_in;
use crate::web::Web;

/// Default of the time in which a host has to become healthy.
const HEALTH_TIMEOUT: Duration = Duration::from_mins(5);

/// Timeout of one run of the command, or one request.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause between two checks.
const CHECK_AGAIN: Duration = Duration::from_secs(1);

/// Limit of the output of a host in a message, in characters.
const OUTPUT: usize = 400;

/// Waits until the host passes the health checks of the operation. Returns the session, unless it was lost.
///
/// # Errors
/// When the host does not become healthy in time; or the lease is lost.
pub(super) async fn healthy(
    run: &HostRun<'_>,
    session: Box<dyn Session>,
) -> Result<Option<Box<dyn Session>>, HostError> {
    let options = &run.journal.operation.options;
    let (command, url) = (options.health_command.as_deref(), options.health_url.as_deref());
    if command.is_none() && url.is_none() {
        return Ok(Some(session));
    }
    let allowed = options.health_timeout.map_or(HEALTH_TIMEOUT, Duration::from_secs);
    let deadline = Instant::now() + allowed;
    let (mut session, mut is_logged) = (Some(session), false);
    loop {
        let mut problem = None;
        if let Some(command) = command {
            problem = check_command(run, &mut session, command).await;
        }
        if let (None, Some(url)) = (&problem, url) {
            problem = check_url(&run.journal.context.web, url, run.address()).await;
        }
        let Some(problem) = problem else { return Ok(session) };
        if Instant::now() >= deadline {
            let address = run.address();
            let message = format!(
                "{address} was not healthy {} s after it was back: {problem}; see to it, then have it \
                 looked at again with `commctl host investigate {address}`",
                allowed.as_secs()
            );
            return Err(HostFailure::new(FailureReason::Unhealthy, message).into());
        }
        if !is_logged {
            let wait = run.wait(WaitReason::HealthCheck, &problem);
            let change = |host: &mut OperationHost| host.wait = Some(wait.clone());
            run.save(change, &[LogLine(Step::Verify, Outcome::Waiting, &problem)]).await?;
            is_logged = true;
        }
        tokio::time::sleep(CHECK_AGAIN).await;
    }
}

/// Why the command does not pass, if so.
async fn check_command(
    run: &HostRun<'_>,
    session: &mut Option<Box<dyn Session>>,
    command: &str,
) -> Option<String> {
    let connected = match session.take() {
        Some(session) => session,
        None => match log_in(run.context(), &run.target).await {
            Ok(session) => session,
            Err(error) => return Some(chain(&error)),
        },
    };
    match connected.run_privileged(command, CHECK_TIMEOUT).await {
        Ok(output) => {
            *session = Some(connected);
            let text = format!("{} {}", output.stdout.trim(), output.stderr.trim());
            let text: String = text.trim().chars().take(OUTPUT).collect();
            let text = if text.is_empty() { "it printed nothing" } else { &text };
            let status = output.status;
            (status != 0).then(|| format!("the health command exits with {status}: {text}"))
        }
        Err(error) => Some(format!("the health command did not end well: {}", chain(&error))),
    }
}

/// Why the URL does not pass, if so.
async fn check_url(web: &Web, url: &str, address: &str) -> Option<String> {
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let url = url.replace(ADDRESS, &host);
    match web.get(&url, CHECK_TIMEOUT).await {
        Ok(status) if status.is_success() => None,
        Ok(status) => Some(format!("{url} answers {status}")),
        Err(error) => Some(chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn url_passes_when_it_answers_with_success() {
        let web = Web::network().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{ADDRESS}:{}/up", listener.local_addr().unwrap().port());
        let answers = async {
            for status in ["204 No Content", "503 Service Unavailable"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                // The whole request is in the first segment.
                let read = stream.read(&mut [0; 4096]).await.unwrap();
                assert!(read > 0);
                let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let checks = async {
            assert_eq!(check_url(&web, &url, "127.0.0.1").await, None);
            let problem = check_url(&web, &url, "127.0.0.1").await.unwrap();
            assert!(problem.ends_with("/up answers 503 Service Unavailable"), "{problem}");
        };
        tokio::join!(answers, checks);
        drop(listener);
        assert!(check_url(&web, &url, "127.0.0.1").await.is_some(), "no server");
    }
}
