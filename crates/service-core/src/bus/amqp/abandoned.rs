//! Notices requests that no replica will take.
//!
//! A queue of requests outlives its consumers when they crash, so that the broker accepts requests that no replica
//! takes. One look per queue, on a channel of its own, serves all requests of this connection that wait for it.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use lapin::types::ShortString;

use super::link::Link;
use super::queues;

/// A request that is answered sooner costs no look.
const AGE: Duration = Duration::from_millis(300);

/// The pause between two looks. It takes two in a row: a consumer that is declaring its queue again after a fail-over
/// is back by the second one.
const PERIOD: Duration = Duration::from_millis(200);

/// Timeout of one look. A queue whose leader is being elected does not answer, and is not abandoned.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

/// Gives up requests to abandoned queues for as long as the connection is there.
pub(super) async fn watch(link: &Link) -> std::convert::Infallible {
    loop {
        link.pending.added().await;
        let mut suspects = HashSet::new();
        loop {
            tokio::time::sleep(PERIOD).await;
            let Some(queues) = link.pending.queues(AGE) else { break };
            let looked = join_all(queues.into_iter().map(async |queue| {
                let looked = tokio::time::timeout(LOOK_TIMEOUT, is_abandoned(link, &queue)).await;
                (queue, looked.unwrap_or(false))
            }));
            let abandoned = looked.await.into_iter().filter(|(_, is)| *is).map(|(queue, _)| queue);
            let abandoned: HashSet<ShortString> = abandoned.collect();
            for queue in abandoned.intersection(&suspects) {
                link.pending.abandon(queue, AGE);
            }
            suspects = abandoned;
        }
    }
}

/// Whether requests lie in a queue without consumers, or were lost with it.
///
/// Without messages in it those that wait were all taken, perhaps by a replica that has cancelled its consumer and
/// finishes what it has begun: it keeps its queue until then.
async fn is_abandoned(link: &Link, queue: &ShortString) -> bool {
    match queues::look(&link.connection, queue).await {
        Ok(Some(found)) => found.consumer_count() == 0 && found.message_count() > 0,
        // A service of another kind may name its queue as it likes.
        Ok(None) => queues::is_of_known_service(link.exchange.as_str(), queue.as_str()),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(queue = queue.as_str(), error, "cannot look at the queue");
            false
        }
    }
}
