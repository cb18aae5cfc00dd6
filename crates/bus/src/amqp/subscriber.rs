//! Notifications as they come, until some are lost.

use std::future::ready;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use lapin::message::{Delivery, DeliveryResult};
use lapin::options::BasicConsumeOptions;
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer, ConsumerDelegate};
use serde_json::Value;
use tokio::sync::mpsc;
use tracing::warn;

use super::link::{Link, not_connected};
use super::{message, queues};
use crate::error::{Result, chain};
use crate::{Notification, Reply};

/// A subscription at the broker: its channel, its queue and its consumer end when this is dropped.
#[derive(Debug)]
pub(crate) struct Subscribed {
    _link: Arc<Link>,
    _consumer: Consumer,
    _channel: Channel,
}

/// Hands notifications on, on lapin's thread; so it never waits.
struct Feed {
    readers: Mutex<Option<mpsc::Sender<Notification>>>,
    /// Weak, since the connection holds this.
    link: Weak<Link>,
}

/// Where the answer to a notification goes.
#[derive(Debug, Clone)]
pub(crate) struct ReplyTo {
    link: Weak<Link>,
    queue: ShortString,
    correlation_id: Option<ShortString>,
}

impl ReplyTo {
    pub(crate) async fn send(&self, answer: Value) -> Result<()> {
        let link = self.link.upgrade().ok_or_else(not_connected)?;
        let id = self.correlation_id.as_ref().map(|id| id.as_str().to_owned());
        let body = message::response(id, Ok(answer.into()))?;
        link.reply(&self.queue, self.correlation_id.as_ref(), &body).await
    }
}

pub(super) async fn subscribe(
    link: Arc<Link>,
    name: ShortString,
    pattern: ShortString,
    sender: mpsc::Sender<Notification>,
) -> lapin::Result<Subscribed> {
    let channel = link.connection.create_channel().await?;
    queues::declare_own(&channel, &link.exchange, &name, pattern).await?;
    // What is lost is noticed and read anew, so that nothing has to be confirmed.
    let options =
        BasicConsumeOptions { no_ack: true, exclusive: true, ..BasicConsumeOptions::default() };
    let consumer = channel.basic_consume(name, "".into(), options, FieldTable::default()).await?;
    let (readers, weak) = (Mutex::new(Some(sender)), Arc::downgrade(&link));
    consumer.set_delegate(Feed { readers, link: weak });
    Ok(Subscribed { _link: link, _consumer: consumer, _channel: channel })
}

impl Feed {
    fn reply(&self, delivery: &Delivery) -> Option<Reply> {
        let queue = delivery.properties.reply_to().clone()?;
        let correlation_id = delivery.properties.correlation_id().clone();
        Some(Reply::Amqp(ReplyTo { link: self.link.clone(), queue, correlation_id }))
    }

    fn feed(&self, delivery: &Delivery) {
        let key = delivery.routing_key.as_str();
        let notification = match message::notification(key, &delivery.data) {
            Ok(notification) => Notification { reply: self.reply(delivery), ..notification },
            Err(error) => {
                warn!(notification = key, error = chain(&error), "notification dropped");
                return;
            }
        };
        let mut sender = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        // Full: its reader is too slow, and has to be told.
        if sender.as_ref().is_some_and(|sender| sender.try_send(notification).is_err()) {
            *sender = None;
        }
    }
}

impl ConsumerDelegate for Feed {
    fn on_new_delivery(
        &self,
        delivery: DeliveryResult,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match delivery {
            Ok(Some(delivery)) => self.feed(&delivery),
            // Cancelled, or the connection is lost.
            Ok(None) | Err(_) => {
                *self.readers.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
        }
        Box::pin(ready(()))
    }
}
