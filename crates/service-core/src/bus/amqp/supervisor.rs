//! The task that owns the connection: it is always either connected or connecting.

use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::address::Address;
use super::backoff::Backoff;
use super::connection::{self, Failure};
use super::link::{Answers, Link};
use super::pending::Outcome;
use super::{ConnectError, Target, abandoned, confidential};
use crate::error::chain;
use crate::lifecycle;

type Connected = (Arc<Link>, Answers);

async fn connect(target: &Target, node: &Address) -> Result<Connected, Failure> {
    let set_up = async |connection, socket| {
        Link::open(connection, socket, &target.exchange, node.account.clone()).await
    };
    connection::connect(node, &target.name, set_up).await
}

/// The first connection: waits for a broker that is not there yet, but not for one that says no.
pub(super) async fn first_link(target: &Target) -> Result<Connected, ConnectError> {
    let (mut backoff, mut waited, mut attempts) = (Backoff::default(), false, 0..);
    loop {
        let node = target.node(attempts.next());
        let broker = node.shown();
        match connect(target, node).await {
            Ok(connected) => {
                if waited {
                    tracing::info!(broker, "the message broker is there");
                }
                return Ok(connected);
            }
            Err(failure @ Failure::Refused(_)) => return Err(node.error(failure)),
            Err(failure) if !waited => {
                waited = true;
                tracing::warn!(broker, error = chain(&failure), "waiting for the message broker");
                lifecycle::starting(&format!("waiting for the message broker {broker}"));
            }
            Err(failure) => tracing::debug!(error = chain(&failure), "still no message broker"),
        }
        backoff.pause().await;
    }
}

/// Keeps the connection up until `close`.
#[expect(
    clippy::disallowed_methods,
    reason = "it outlives the tasks that a shutdown waits for, which need it to finish"
)]
pub(super) fn start(
    target: Target,
    first: Connected,
    close: CancellationToken,
) -> watch::Receiver<Option<Arc<Link>>> {
    let (links, receiver) = watch::channel(Some(Arc::clone(&first.0)));
    let span = tracing::info_span!(parent: None, "task", name = "bus.connection");
    tokio::spawn(supervise(target, first, links, close).instrument(span));
    receiver
}

async fn supervise(
    target: Target,
    mut connected: Connected,
    links: watch::Sender<Option<Arc<Link>>>,
    close: CancellationToken,
) {
    loop {
        let (link, answers) = &mut connected;
        let cause = tokio::select! {
            cause = deliver(answers, link) => cause,
            never = abandoned::watch(link) => match never {},
            () = close.cancelled() => {
                links.send_replace(None);
                return link.close().await;
            }
        };
        links.send_replace(None);
        link.fail();
        let error = cause.map_or_else(|| "a channel was closed".to_owned(), |cause| chain(&cause));
        tracing::warn!(error, "lost the connection to the message broker, connecting again");
        connected = tokio::select! {
            connected = next_link(&target) => connected,
            () = close.cancelled() => return,
        };
        tracing::info!("connected to the message broker again");
        links.send_replace(Some(Arc::clone(&connected.0)));
    }
}

/// Hands answers to the requests that wait for them until the connection is lost; says why it was.
async fn deliver(answers: &mut Answers, link: &Link) -> Option<lapin::Error> {
    let lost = link.lost();
    tokio::pin!(lost);
    loop {
        let delivery = tokio::select! {
            biased;
            answer = answers.next() => answer,
            () = &mut lost => return None,
        };
        match delivery? {
            Ok(delivery) if confidential::is_question(&delivery) => {
                link.give_params(&delivery).await;
            }
            Ok(delivery) => {
                let id = delivery.properties.correlation_id().as_ref();
                link.pending.settle(id, Outcome::Answer(delivery.data));
            }
            Err(error) => return Some(error),
        }
    }
}

/// The next connection: also waits for a broker that says no, for whatever it says now it did not before.
async fn next_link(target: &Target) -> Connected {
    let (mut backoff, mut refused, mut attempts) = (Backoff::default(), false, 0..);
    loop {
        let node = target.node(attempts.next());
        backoff.pause().await;
        match connect(target, node).await {
            Ok(connected) => return connected,
            Err(failure @ Failure::Refused(_)) if !refused => {
                refused = true;
                tracing::error!(
                    broker = node.shown(),
                    error = chain(&failure),
                    "cannot use the message broker"
                );
            }
            Err(failure) => tracing::debug!(error = chain(&failure), "still no message broker"),
        }
    }
}
