//! The bus: how services ask each other, hand out jobs and tell of changes.
//!
//! One handle, [`Bus`], over a backend: [`memory`] inside one process, [`amqp`] between many, or the [`transport`] of a
//! simulation.
//! Whatever the backend, the rules are the same and are held by one conformance suite
//! (`tests/it/bus.rs`):
//!
//! - a request to a service that is not there fails at once with [`Kind::Unavailable`];
//! - a request is answered or fails within its deadline, and is never started after it;
//! - a handler that has started runs to its end, even when the caller is gone;
//! - a handler's panic is an answer ([`Kind::Internal`]), not the end of the service;
//! - a notification reaches every subscriber; a job reaches one consumer, and waits for it.
//!
//! The modules:
//!
//! - [`topology`][]: the exchange, the queues and the routing keys
//! - [`jsonrpc`][]: the messages on the bus
//! - [`error`][]: one error type, and the one table error ↔ JSON-RPC code ↔ HTTP status
//! - [`permissions`][]: what an account of the broker may do
//! - [`presence`][]: which services are running
//! - [`dead_letters`][]: jobs that could not be done
//! - [`memory`][], [`amqp`][], [`transport`][]: the backends
//!
//! Data flows one way: a service is a library with a `run` function that takes a [`Bus`], its
//! configuration and a [`Lifecycle`]; it knows the other services by their routing keys only.

mod allowed;
pub mod amqp;
pub mod dead_letters;
pub mod error;
mod fitness;
pub mod jsonrpc;
pub mod memory;
mod outages;
pub mod permissions;
pub mod presence;
pub mod topology;
pub mod transport;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use runtime::lifecycle::Lifecycle;
use runtime::random;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::Instrument as _;

use error::chain;
pub use error::{Error, Kind, Result};
pub use fitness::Fitness;
use jsonrpc::{Answer, Params};
use outages::Outages;
use topology::Queue;
use transport::Transport;

/// The format of messages, as docs/formats.md describes it: raised when programs of the version before would misunderstand
/// a message.
pub const MESSAGE_FORMAT: u32 = 1;

/// How long a request waits for its answer, unless the configuration says otherwise.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Notifications that a subscriber may be behind before it is cut off.
const SUBSCRIBER_BACKLOG: usize = 4096;

/// The most answers that [`Bus::gather`] returns.
pub const ANSWERS_MAX: usize = 256;

/// Who asks, and as part of what: travels in the headers of every message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// One id from the REST call to the store and the host.
    pub request_id: String,
    /// Who started it: a user of the gateway, or a service.
    pub principal: String,
    /// W3C trace context, passed on as it came.
    pub traceparent: Option<String>,
}

impl Context {
    /// The context of work that a service does by itself.
    pub fn service(name: &str) -> Self {
        Self {
            request_id: random::uuid().to_string(),
            principal: format!("service:{name}"),
            traceparent: None,
        }
    }
}

/// A message as a handler gets it.
#[derive(Debug, Clone)]
pub struct Call {
    /// The routing key it was sent to.
    pub key: String,
    /// The method: the last word of the routing key.
    pub method: String,
    /// Its parameters.
    pub params: Params,
    /// Who asks.
    pub context: Context,
    /// The broker's account of the sender, which the broker has checked; `None` inside a process, and where the sender
    /// does not say.
    pub account: Option<String>,
}

/// A notification as a subscriber gets it.
#[derive(Debug, Clone)]
pub struct Notification {
    /// The routing key it was sent to.
    pub key: String,
    /// What it says.
    pub params: Value,
    /// Where its answer goes, if it asks for one.
    reply: Option<Reply>,
}

#[derive(Debug, Clone)]
enum Reply {
    Memory(mpsc::Sender<Value>),
    Amqp(amqp::ReplyTo),
}

impl Notification {
    /// A notification of a [`Transport`]; its answer goes to `answers`, if it asks for one.
    pub fn new(key: String, params: Value, answers: Option<mpsc::Sender<Value>>) -> Self {
        Self { key, params, reply: answers.map(Reply::Memory) }
    }

    /// Answers it, if it asks for an answer.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when the connection to the broker is lost.
    pub async fn answer(&self, answer: Value) -> Result<()> {
        match &self.reply {
            None => {}
            // Full or closed: the sender has enough answers.
            Some(Reply::Memory(answers)) => drop(answers.try_send(answer)),
            Some(Reply::Amqp(reply_to)) => reply_to.send(answer).await?,
        }
        Ok(())
    }
}

/// Notifications that match a pattern, from the moment of subscribing.
#[derive(Debug)]
pub struct Subscription {
    receiver: mpsc::Receiver<Notification>,
    /// Held for its end: with it ends the subscription at the broker.
    _queue: Option<amqp::Subscribed>,
}

impl Subscription {
    /// The next notification. `None` means that some were lost (the reader was too slow, or the bus
    /// is gone): subscribe again, then list.
    pub async fn next(&mut self) -> Option<Notification> {
        self.receiver.recv().await
    }
}

/// Carries out the requests and jobs of a queue.
pub type Handler = Arc<dyn Fn(Call) -> BoxFuture<'static, Result<Answer>> + Send + Sync>;

/// A handle on the bus; clones are cheap and share it.
#[derive(Debug, Clone)]
pub struct Bus {
    backend: Backend,
    timeout: Duration,
    /// The accounts whose messages are worked on; `None`: those of all.
    allowed: Option<Arc<[String]>>,
    confidential: bool,
    outages: Arc<Outages>,
}

#[derive(Debug, Clone)]
enum Backend {
    Memory(memory::Memory),
    Amqp(amqp::Amqp),
    Transport(Arc<dyn Transport>),
}

impl Bus {
    /// A bus inside this process.
    pub fn memory() -> Self {
        Self::over(Backend::Memory(memory::Memory::default()))
    }

    /// A bus over an AMQP broker: waits for the broker, and keeps up the connection from then on.
    ///
    /// # Errors
    /// [`amqp::ConnectError`]: the URI or the broker says no, or the daemon was told to stop.
    pub async fn amqp(
        options: &amqp::Options,
        lifecycle: &Lifecycle,
    ) -> Result<Self, amqp::ConnectError> {
        Ok(Self::over(Backend::Amqp(amqp::Amqp::connect(options, lifecycle).await?)))
    }

    /// A bus over the connection of a simulated process.
    pub fn over_transport(transport: Arc<dyn Transport>) -> Self {
        Self::over(Backend::Transport(transport))
    }

    fn over(backend: Backend) -> Self {
        let outages = Arc::default();
        Self { backend, timeout: REQUEST_TIMEOUT, allowed: None, confidential: false, outages }
    }

    /// Whether there is a connection to the broker now; a bus inside the process is always there.
    pub fn is_connected(&self) -> bool {
        match &self.backend {
            Backend::Memory(_) | Backend::Transport(_) => true,
            Backend::Amqp(amqp) => amqp.is_connected(),
        }
    }

    /// Whether the bus is inside this process.
    pub fn is_memory(&self) -> bool {
        matches!(self.backend, Backend::Memory(_))
    }

    /// How long a request waits for its answer.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Takes leave of the broker, at the very end of the daemon: nothing can be sent any more.
    pub async fn close(&self) {
        match &self.backend {
            Backend::Memory(_) | Backend::Transport(_) => {}
            Backend::Amqp(amqp) => amqp.close().await,
        }
    }

    /// The same bus with another deadline for requests.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// The same bus, but what is served on it refuses messages of accounts that are not among these.
    #[must_use]
    pub fn with_allowed_accounts(&self, accounts: Vec<String>) -> Self {
        Self { allowed: Some(accounts.into()), ..self.clone() }
    }

    /// The same bus for requests whose parameters hold secrets: they go directly to the replica that takes the request,
    /// and never into a queue, which the broker writes to its disk.
    #[must_use]
    pub fn confidential(&self) -> Self {
        Self { confidential: true, ..self.clone() }
    }

    /// Asks the service that serves `key` and waits for its answer.
    ///
    /// # Errors
    /// The service's own error; [`Kind::Unavailable`] when nobody serves `key`; [`Kind::Timeout`].
    pub async fn request(
        &self,
        key: &str,
        params: &(impl Serialize + Sync),
        context: &Context,
    ) -> Result<Value> {
        let answer = self.ask(key, params, context).await?;
        answer
            .parse()
            .map_err(|e| Error::internal(format!("the answer to {key} is not JSON")).with_source(e))
    }

    /// As [`Self::request`]; the answer is as it came, for those who know better what it is.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub async fn ask(
        &self,
        key: &str,
        params: &(impl Serialize + Sync),
        context: &Context,
    ) -> Result<Answer> {
        let deadline = Instant::now() + self.timeout;
        let answer = async {
            match &self.backend {
                Backend::Memory(memory) => {
                    memory.request(call(key, params, context)?, deadline).await
                }
                Backend::Amqp(amqp) => {
                    // Boxed, here and below: it is large, and part of the future of each request.
                    let limits = (self.timeout, self.confidential);
                    Box::pin(amqp.request(key, params, context, limits)).await
                }
                Backend::Transport(transport) => {
                    transport.request(call(key, params, context)?, deadline).await
                }
            }
        };
        let begun = Instant::now();
        let answer = self.in_time(deadline, answer, || format!("no answer to {key}")).await;
        measured(key, begun, &answer);
        let answer = answer.map_err(|error| match error.kind() {
            Kind::Timeout if error.part().is_none() => error.of_part(topology::service_of(key)),
            _ => error,
        });
        self.outages.requested(key, begun, self.is_settled(), answer)
    }

    /// Whether services have had the time to connect to the broker.
    fn is_settled(&self) -> bool {
        match &self.backend {
            Backend::Memory(_) | Backend::Transport(_) => true,
            Backend::Amqp(amqp) => amqp.connected_for() >= outages::SETTLING,
        }
    }

    /// The outcome of `work`.
    ///
    /// # Errors
    /// Those of `work`; [`Kind::Timeout`] at `deadline`, with the sentence that `otherwise` begins.
    pub async fn in_time<T>(
        &self,
        deadline: Instant,
        work: impl Future<Output = Result<T>>,
        otherwise: impl FnOnce() -> String,
    ) -> Result<T> {
        tokio::time::timeout_at(deadline, work).await.unwrap_or_else(|_| {
            let (what, waited) = (otherwise(), self.timeout.as_secs_f32());
            Err(Error::new(Kind::Timeout, format!("{what} within {waited} s")))
        })
    }

    /// Sends a message that nobody answers: a notification to all subscribers, a job to one consumer.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when the message could not be handed to the bus; [`Kind::Timeout`] when the
    /// broker did not confirm a job in time.
    pub async fn notify(
        &self,
        key: &str,
        params: &(impl Serialize + Sync),
        context: &Context,
    ) -> Result<()> {
        let deadline = Instant::now() + self.timeout;
        let sent = async {
            match &self.backend {
                Backend::Memory(memory) => memory.notify(&call(key, params, context)?),
                Backend::Amqp(amqp) => Box::pin(amqp.notify(key, params, context)).await?,
                Backend::Transport(transport) => {
                    transport.notify(call(key, params, context)?).await?;
                }
            }
            Ok(())
        };
        let sent =
            self.in_time(deadline, sent, || format!("{key} was not taken by the message broker"));
        sent.await.map_err(outages::of_broker)
    }

    /// Sends a notification that every subscriber may answer. Returns the answers so far as soon as they
    /// are `enough`, and after `window` at the latest; never more than [`ANSWERS_MAX`].
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when it could not be handed to the bus.
    pub async fn gather(
        &self,
        key: &str,
        context: &Context,
        window: Duration,
        enough: impl Fn(&[Value]) -> bool,
    ) -> Result<Vec<Value>> {
        let deadline = Instant::now() + window;
        let (sender, mut receiver) = mpsc::channel(ANSWERS_MAX);
        let mut answers = Vec::new();
        let gathered = async {
            let _waiting = match &self.backend {
                Backend::Memory(memory) => {
                    memory.gather(&call(key, &Map::new(), context)?, sender);
                    None
                }
                Backend::Amqp(amqp) => Some(amqp.gather(key, context, sender).await?),
                Backend::Transport(transport) => {
                    transport.gather(call(key, &Map::new(), context)?, sender).await?;
                    None
                }
            };
            while answers.len() < ANSWERS_MAX && !enough(&answers) {
                match receiver.recv().await {
                    Some(answer) => answers.push(answer),
                    None => break,
                }
            }
            Ok(())
        };
        match tokio::time::timeout_at(deadline, gathered).await {
            Ok(Err(error)) => Err(outages::of_broker(error)),
            // After the window the answers are those that have come.
            Ok(Ok(())) | Err(_) => Ok(answers),
        }
    }

    /// Notifications whose routing key matches `pattern`, from now on.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when the bus cannot be reached now, [`Kind::Timeout`].
    pub async fn subscribe(&self, pattern: &str) -> Result<Subscription> {
        let deadline = Instant::now() + self.timeout;
        let (sender, receiver) = mpsc::channel(SUBSCRIBER_BACKLOG);
        let subscribed = async {
            match &self.backend {
                Backend::Memory(memory) => {
                    memory.subscribe(pattern, sender);
                    Ok(None)
                }
                Backend::Amqp(amqp) => amqp.subscribe(pattern, sender).await.map(Some),
                Backend::Transport(transport) => {
                    transport.subscribe(pattern, sender).await.map(|()| None)
                }
            }
        };
        let what = || format!("no subscription to {pattern}");
        let queue = self.in_time(deadline, subscribed, what).await.map_err(outages::of_broker)?;
        Ok(Subscription { receiver, _queue: queue })
    }

    /// Serves a queue, at most `prefetch` messages at a time, until the daemon is told to stop.
    /// Replicas that serve the same queue share the work.
    ///
    /// # Errors
    /// As [`Self::serve_while`].
    pub async fn serve<F, Fut, A>(
        &self,
        queue: Queue,
        prefetch: usize,
        lifecycle: &Lifecycle,
        handler: F,
    ) -> Result<()>
    where
        F: Fn(Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A>> + Send + 'static,
        A: Into<Answer> + 'static,
    {
        self.serve_while(queue, prefetch, Fitness::always(), lifecycle, handler).await
    }

    /// As [`Self::serve`], but only while the replica is fit for it: while it is not, it does not consume from the
    /// queue, and messages go to other replicas. What it has taken is finished. Where no replica is fit, a
    /// request fails at once.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when the broker refuses the queue, or the daemon is told to stop first.
    pub async fn serve_while<F, Fut, A>(
        &self,
        queue: Queue,
        prefetch: usize,
        fitness: Fitness,
        lifecycle: &Lifecycle,
        handler: F,
    ) -> Result<()>
    where
        F: Fn(Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A>> + Send + 'static,
        A: Into<Answer> + 'static,
    {
        let allowed = self.allowed.clone();
        let handler: Handler =
            Arc::new(move |call| match allowed::check(&call, allowed.as_deref()) {
                Ok(()) => guarded(call, &handler),
                Err(error) => std::future::ready(Err(error)).boxed(),
            });
        match &self.backend {
            Backend::Memory(memory) => {
                memory.serve(queue, prefetch, fitness, lifecycle, handler);
                Ok(())
            }
            Backend::Amqp(amqp) => amqp.serve(queue, prefetch, fitness, lifecycle, handler).await,
            Backend::Transport(transport) => {
                transport.serve(queue, prefetch, fitness, lifecycle, handler);
                Ok(())
            }
        }
    }
}

/// Counts a request: keys are the documented ones, so these labels have few values.
fn measured(key: &str, begun: Instant, answer: &Result<Answer>) {
    metrics::histogram!("commissaire_bus_request_duration_seconds", "key" => key.to_owned())
        .record(begun.elapsed());
    if let Err(error) = answer {
        let (key, kind) = (key.to_owned(), format!("{:?}", error.kind()));
        metrics::counter!("commissaire_bus_request_failures_total", "key" => key, "kind" => kind)
            .increment(1);
    }
}

fn call(key: &str, params: &impl Serialize, context: &Context) -> Result<Call> {
    let method = key.rsplit('.').next().unwrap_or(key).to_owned();
    let params = Params::of(params)?;
    Ok(Call { key: key.to_owned(), method, params, context: context.clone(), account: None })
}

/// The error of a request that no replica takes.
pub fn unserved(key: &str) -> Error {
    let service = topology::service_of(key);
    Error::unavailable(format!(
        "no replica of the {service} service takes {key}: none is running (start \
         commissaire-{service}-service), or none is able to work (its log says why)"
    ))
    .of_part(service)
}

/// Runs a handler in a span of its own (for debugging only: it costs as much as a small answer); a panic
/// becomes an answer, a defect is logged here, once.
fn guarded<F, Fut, A>(call: Call, handler: &F) -> BoxFuture<'static, Result<Answer>>
where
    F: Fn(Call) -> Fut,
    Fut: Future<Output = Result<A>> + Send + 'static,
    A: Into<Answer> + 'static,
{
    let (key, context) = (call.key.clone(), call.context.clone());
    let span = tracing::debug_span!("rpc", rpc.key = key);
    // Boxed first: what surrounds it would copy all of it, several kilobytes, once each.
    let work = AssertUnwindSafe(Box::pin(handler(call))).catch_unwind();
    async move {
        let result = work.await.unwrap_or_else(|_| {
            Err(Error::internal(format!("{key} failed unexpectedly; the service's log says where")))
        });
        if let Err(error) = &result {
            match error.kind() {
                Kind::Internal | Kind::Unavailable if !error.is_outage() => {
                    tracing::error!(
                        rpc.key = key,
                        request.id = context.request_id,
                        principal = context.principal,
                        error = chain(error),
                        "request failed"
                    );
                }
                _ => tracing::debug!(error = chain(error), "request refused"),
            }
        }
        result.map(Into::into)
    }
    .instrument(span)
    .boxed()
}
