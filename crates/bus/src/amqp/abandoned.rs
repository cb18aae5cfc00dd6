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

/// What a look at a queue of requests shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Served,
    /// No consumers, and no messages: those that wait were all taken, perhaps by a replica that has cancelled its consumer
    /// and finishes what it has begun; it keeps its queue until then.
    Idle,
    /// So many messages, and no consumers.
    Unserved(usize),
    /// There is no such queue: the broker returns requests, and those that were in it are lost.
    Missing,
    /// The broker does not say.
    Unknown,
}

/// Gives up requests to abandoned queues for as long as the connection is there. Further ones fail at once until there
/// is a consumer again.
pub(super) async fn watch(link: &Link) -> std::convert::Infallible {
    loop {
        link.pending.added().await;
        let mut suspects = HashSet::new();
        loop {
            tokio::time::sleep(PERIOD).await;
            let waiting = link.pending.queues(AGE);
            let unserved = link.pending.unserved().clone();
            if waiting.is_none() && unserved.is_empty() {
                break;
            }
            let queues: HashSet<_> = waiting.into_iter().flatten().chain(unserved).collect();
            suspects = look_at(link, queues, &suspects).await;
        }
    }
}

/// Looks at queues, and gives up requests to those that are abandoned and were so before; returns the abandoned ones.
async fn look_at(
    link: &Link,
    queues: HashSet<ShortString>,
    suspects: &HashSet<ShortString>,
) -> HashSet<ShortString> {
    let looked = join_all(queues.into_iter().map(async |queue| {
        let looked = tokio::time::timeout(LOOK_TIMEOUT, look(link, &queue)).await;
        (queue, looked.unwrap_or(Seen::Unknown))
    }));
    let mut abandoned = HashSet::new();
    for (queue, seen) in looked.await {
        if matches!(seen, Seen::Served | Seen::Missing) {
            link.pending.unserved().remove(&queue);
        }
        // A service of another kind may name its queue as it likes.
        let is_known = || queues::is_of_known_service(link.exchange.as_str(), queue.as_str());
        let untaken = match seen {
            Seen::Unserved(untaken) => untaken,
            Seen::Missing if is_known() => usize::MAX,
            _ => continue,
        };
        if suspects.contains(&queue) {
            if seen != Seen::Missing {
                link.pending.unserved().insert(queue.clone());
            }
            link.pending.abandon(&queue, AGE, untaken);
        }
        abandoned.insert(queue);
    }
    abandoned
}

async fn look(link: &Link, queue: &ShortString) -> Seen {
    match queues::look(&link.connection, queue).await {
        Ok(None) => Seen::Missing,
        Ok(Some(found)) if found.consumer_count() > 0 => Seen::Served,
        Ok(Some(found)) if found.message_count() > 0 => {
            Seen::Unserved(usize::try_from(found.message_count()).unwrap_or(usize::MAX))
        }
        Ok(Some(_)) => Seen::Idle,
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(queue = queue.as_str(), error, "cannot look at the queue");
            Seen::Unknown
        }
    }
}
