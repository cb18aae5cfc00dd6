//! Whether a replica is able to serve its queue now, as the service itself finds out.

use tokio::sync::watch;

/// Read by the consumer of a queue; the service sets it with the sender that it was made with.
#[derive(Debug, Clone)]
pub struct Fitness(Option<watch::Receiver<bool>>);

impl Fitness {
    /// Of a service that can always work.
    pub fn always() -> Self {
        Self(None)
    }

    /// Follows the value of a channel: true for fit. When its sender is dropped the last value stays.
    pub fn following(receiver: watch::Receiver<bool>) -> Self {
        Self(Some(receiver))
    }

    /// Whether it is fit now.
    pub fn is_fit(&self) -> bool {
        self.0.as_ref().is_none_or(|receiver| *receiver.borrow())
    }

    /// Resolves when the replica is fit, or is not: at once when that is so already.
    pub async fn becomes(&mut self, fit: bool) {
        if let Some(receiver) = &mut self.0
            && receiver.wait_for(|now| *now == fit).await.is_ok()
        {
            return;
        }
        if self.is_fit() != fit {
            std::future::pending::<()>().await;
        }
    }
}
