//! The task that owns the connection: it is always either connected or connecting.

use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::address::Address;
use super::connection::{self, Cause, Failure, UNREACHABLE};
use super::link::{Answers, Link};
use super::pending::Outcome;
use super::{ConnectError, Target, abandoned, confidential};
use runtime::retry::Schedule;
use runtime::{Outage, lifecycle};

type Connected = (Arc<Link>, Answers);

async fn connect(target: &Target, node: &Address) -> Result<Connected, Failure> {
    let set_up = async |connection, socket| {
        Link::open(connection, socket, &target.exchange, node.account.clone()).await
    };
    connection::connect(node, &target.name, set_up).await
}

/// The first connection: waits for a broker that is not there yet, but not for one that refuses it.
pub(super) async fn first_link(
    target: &Target,
    outage: &Outage,
) -> Result<Connected, ConnectError> {
    let (mut backoff, mut attempts, mut status) = (Schedule::BROKER.pauses(), 0.., String::new());
    loop {
        let node = target.node(attempts.next());
        match connect(target, node).await {
            Ok(connected) => {
                outage.succeeded();
                return Ok(connected);
            }
            Err(failure) if failure.is_refusal() => return Err(target.error(failure)),
            Err(failure) => {
                let why = target.why(node, &failure);
                outage.failed(failure.kind(), &why);
                if why != status {
                    lifecycle::starting(&format!("waiting for {}: {why}", outage.what()));
                    status = why;
                }
            }
        }
        backoff.sleep().await;
    }
}

/// Keeps the connection up until `close`.
#[expect(
    clippy::disallowed_methods,
    reason = "it outlives the tasks that a shutdown waits for, which need it to finish"
)]
pub(super) fn start(
    target: Target,
    outage: Outage,
    first: Connected,
    close: CancellationToken,
) -> watch::Receiver<Option<Arc<Link>>> {
    let (links, receiver) = watch::channel(Some(Arc::clone(&first.0)));
    let span = tracing::info_span!(parent: None, "task", name = "bus.connection");
    tokio::spawn(supervise(target, outage, first, links, close).instrument(span));
    receiver
}

async fn supervise(
    target: Target,
    outage: Outage,
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
        let cause =
            cause.map_or_else(|| "a channel was closed".to_owned(), |e| Cause::from(e).to_string());
        outage.failed(UNREACHABLE, &format!("the connection was lost: {cause}"));
        connected = tokio::select! {
            connected = next_link(&target, &outage) => connected,
            () = close.cancelled() => return,
        };
        outage.succeeded();
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

/// The next connection: also waits for a broker that refuses it, for whatever it refuses now it has accepted before.
async fn next_link(target: &Target, outage: &Outage) -> Connected {
    let (mut backoff, mut attempts) = (Schedule::BROKER.pauses(), 0..);
    loop {
        let node = target.node(attempts.next());
        backoff.sleep().await;
        match connect(target, node).await {
            Ok(connected) => return connected,
            Err(failure) => outage.failed(failure.kind(), &target.why(node, &failure)),
        }
    }
}
