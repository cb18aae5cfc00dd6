//! A bus that is made elsewhere: the port for simulations, which delay, lose and repeat messages.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::topology::Queue;
use super::{Call, Fitness, Handler, Notification};
use runtime::lifecycle::Lifecycle;

use crate::error::Result;
use crate::jsonrpc::Answer;

/// A boxed future of a transport.
pub type Pending<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

/// The connection of one process to a bus. The rules of [`Bus`](super::Bus) hold for it, too.
pub trait Transport: Debug + Send + Sync {
    /// Sends a request, and waits for its answer. The caller stops waiting at the deadline.
    fn request(&self, call: Call, deadline: Instant) -> Pending<Answer>;

    /// Sends a notification to all subscribers, and a job to one consumer.
    fn notify(&self, call: Call) -> Pending<()>;

    /// Sends a notification that asks for answers.
    fn gather(&self, call: Call, answers: mpsc::Sender<Value>) -> Pending<()>;

    /// Subscribes to the notifications that match a pattern. When the receiver is full or dropped, or the connection is
    /// lost, the subscription ends.
    fn subscribe(&self, pattern: &str, sender: mpsc::Sender<Notification>) -> Pending<()>;

    /// Consumes from a queue while the replica is fit, until `lifecycle` stops.
    fn serve(
        &self,
        queue: Queue,
        prefetch: usize,
        fitness: Fitness,
        lifecycle: &Lifecycle,
        handler: Handler,
    );
}
