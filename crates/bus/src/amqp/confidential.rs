//! Requests whose parameters hold secrets.
//!
//! The broker writes messages in queues to its disk. So the message of a confidential request has no parameters: the
//! replica that takes it asks the sender for them, and both messages go by direct reply-to, which has no queue.

use std::sync::Arc;
use std::time::Duration;

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;

use super::link::{Confirm, DIRECT_REPLY, Link, connection_lost, lost, now_ms};
use super::message;
use runtime::random;

use crate::error::{Error, Kind, Result, chain};
use crate::jsonrpc::Params;

/// How long the sender of a confidential request may take to give its parameters.
const PARAMS_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a message that came as an answer asks for the parameters of a request.
pub(super) fn is_question(delivery: &Delivery) -> bool {
    delivery.properties.reply_to().is_some()
        && message::id_of_params_request(&delivery.data).is_some()
}

impl Link {
    /// Sends the parameters of a confidential request to the service that asks for them, at the first time.
    pub(super) async fn give_params(&self, question: &Delivery) {
        let request = question.properties.correlation_id().as_ref();
        let asked = message::id_of_params_request(&question.data);
        let (Some(service), Some(asked)) = (question.properties.reply_to(), asked) else { return };
        let Some(params) = self.pending.take_params(request) else { return };
        let correlation_id = ShortString::try_new(asked.as_str()).ok();
        let sent = match message::params_response(asked, &params) {
            Ok(body) => self.reply(service, correlation_id.as_ref(), &body).await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            tracing::debug!(error = chain(&error), "cannot send the parameters of a request");
        }
    }

    /// Asks the sender of a confidential request for its parameters, which it gives once.
    pub(super) async fn params(
        self: &Arc<Self>,
        request: &BasicProperties,
        deadline: Option<i64>,
    ) -> Result<Params> {
        let (Some(sender), Some(_)) = (request.reply_to(), request.correlation_id()) else {
            let error = "a confidential request needs reply_to and correlation_id";
            return Err(Error::new(Kind::InvalidRequest, error));
        };
        let id = random::uuid();
        let (_waiting, answer) = self.pending.params(id)?;
        let body = message::params_request(&id.to_string())?;
        let request_id = request.correlation_id().as_ref();
        let properties = message::answer_properties(request_id, self.account.as_ref())
            .with_reply_to(DIRECT_REPLY.into());
        let options = BasicPublishOptions::default();
        let fetched = async {
            let published =
                self.requests.basic_publish("".into(), sender.clone(), options, &body, properties);
            Confirm::new(self, published.await.map_err(lost)?).wait().await?;
            answer.await.map_err(|_| connection_lost())
        };
        let left = |deadline: i64| u64::try_from(deadline.saturating_sub(now_ms())).unwrap_or(0);
        let left = deadline.map_or(PARAMS_TIMEOUT, |at| Duration::from_millis(left(at)));
        let Ok(fetched) = tokio::time::timeout(PARAMS_TIMEOUT.min(left), fetched).await else {
            let error =
                "the sender of the request did not send its parameters: nothing was changed";
            return Err(Error::new(Kind::Timeout, error));
        };
        let no_params = |e| Error::invalid("the parameters are not JSON").with_source(e);
        message::answer(&fetched?)?.parse().map_err(no_params)
    }
}
