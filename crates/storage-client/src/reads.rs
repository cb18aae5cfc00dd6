//! Reads of single records, put together: what is asked for while another read is under way goes, with
//! all that is asked for meanwhile, as one request over the bus.
//!
//! Whoever asks alone is served as before. Under load a request carries what dozens ask for, which takes
//! far less of the broker's, the storage service's and the store's time. A read never joins one that began
//! before it: whatever was acknowledged before the asking is in the answer.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bus::error::Result;
use bus::jsonrpc::Answer;
use bus::{Bus, Context, topology as keys};
use model::Model;
use runtime::lifecycle::Lifecycle;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};

/// How long reads are gathered at most: an answer that does not come must not hold up the others.
const PATIENCE: Duration = Duration::from_millis(5);

/// Records that are asked for at a time.
const MOST: usize = 256;

/// See the module; clones are cheap and share it.
#[derive(Debug, Clone)]
pub struct Reads {
    bus: Bus,
    /// Held while a read is under way.
    under_way: Arc<Semaphore>,
    wanted: mpsc::Sender<Wanted>,
}

/// A record that somebody waits for.
#[derive(Debug)]
struct Wanted {
    type_name: &'static str,
    id: String,
    answer: oneshot::Sender<Result<Option<Box<RawValue>>>>,
}

impl Reads {
    /// Puts reads over `bus` together until the daemon is told to stop. None where the bus is inside this
    /// process: there is nothing to save.
    pub fn start(bus: &Bus, context: Context, lifecycle: &Lifecycle) -> Option<Self> {
        if bus.is_memory() {
            return None;
        }
        let under_way = Arc::new(Semaphore::new(1));
        let (wanted, receiver) = mpsc::channel(MOST);
        let gatherer = Gatherer {
            bus: bus.clone(),
            context,
            under_way: Arc::clone(&under_way),
            lifecycle: lifecycle.clone(),
        };
        lifecycle.spawn("reads", gatherer.gather(receiver));
        Some(Self { bus: bus.clone(), under_way, wanted })
    }

    /// The record `id`: asked for `alone`, or together with others.
    ///
    /// # Errors
    /// Those of `alone`.
    pub(super) async fn get<T: Model, Alone>(
        &self,
        id: &str,
        alone: impl Fn() -> Alone,
    ) -> Result<Answer>
    where
        Alone: Future<Output = Result<Answer>>,
    {
        if let Ok(_under_way) = self.under_way.try_acquire() {
            return alone().await;
        }
        let (answer, receiver) = oneshot::channel();
        let wanted = Wanted { type_name: T::TYPE, id: id.to_owned(), answer };
        let together = async {
            // None when the daemon is told to stop.
            self.wanted.send(wanted).await.ok()?;
            receiver.await.ok()
        };
        let deadline = Instant::now() + self.bus.timeout();
        let together = self.bus.in_time(deadline, async { Ok(together.await) }, || {
            format!("no answer to {}", keys::STORAGE_GET)
        });
        match together.await? {
            Some(found) => match found? {
                Some(record) => Ok(Answer::Text(record)),
                // It is missing, or damaged: who asks for it alone is told which.
                None => alone().await,
            },
            None => alone().await,
        }
    }
}

struct Gatherer {
    bus: Bus,
    context: Context,
    under_way: Arc<Semaphore>,
    lifecycle: Lifecycle,
}

/// Who waits for which records of a type.
type Waiting = BTreeMap<String, Vec<oneshot::Sender<Result<Option<Box<RawValue>>>>>>;

impl Gatherer {
    async fn gather(self, mut receiver: mpsc::Receiver<Wanted>) {
        let mut batch = Vec::with_capacity(MOST);
        loop {
            tokio::select! {
                () = self.lifecycle.stopping() => return,
                taken = receiver.recv_many(&mut batch, MOST) => if taken == 0 { return },
            }
            let turn = timeout(PATIENCE, Arc::clone(&self.under_way).acquire_owned()).await;
            while batch.len() < MOST
                && let Ok(wanted) = receiver.try_recv()
            {
                batch.push(wanted);
            }
            let turn = turn.ok().and_then(Result::ok).map(Arc::new);
            self.ask_for(batch.drain(..), turn.as_ref());
        }
    }

    /// A request for each type of record.
    fn ask_for(
        &self,
        batch: impl Iterator<Item = Wanted>,
        turn: Option<&Arc<OwnedSemaphorePermit>>,
    ) {
        let mut types: BTreeMap<&str, Waiting> = BTreeMap::new();
        // Who has gone away needs no answer.
        for Wanted { type_name, id, answer } in batch.filter(|wanted| !wanted.answer.is_closed()) {
            types.entry(type_name).or_default().entry(id).or_default().push(answer);
        }
        for (type_name, waiting) in types {
            let (bus, context, turn) = (self.bus.clone(), self.context.clone(), turn.cloned());
            self.lifecycle.spawn("read", async move {
                ask(&bus, &context, type_name, waiting).await;
                drop(turn);
            });
        }
    }
}

async fn ask(bus: &Bus, context: &Context, type_name: &str, waiting: Waiting) {
    let (ids, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
    let params = json!({"model_type_name": type_name, "ids": ids, "revisions": true,
                        "missing": "null"});
    let found = match bus.ask(keys::STORAGE_GET, &params, context).await {
        Ok(answer) => super::read::<Vec<Option<Box<RawValue>>>>(answer),
        Err(error) => Err(error),
    };
    match found {
        Ok(found) => {
            for (found, waiting) in found.into_iter().zip(waiting) {
                for waiting in waiting {
                    // Who has gone away needs no answer.
                    drop(waiting.send(Ok(found.clone())));
                }
            }
        }
        Err(error) => {
            for waiting in waiting.into_iter().flatten() {
                drop(waiting.send(Err(error.clone())));
            }
        }
    }
}
