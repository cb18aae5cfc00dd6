//! Pending deliveries to the webhook.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Alarm, Model, ident};

/// The prefix of the id of a record about an alarm; the scope of the alarm follows.
const ALARM: &str = "alarm.";

/// A pending delivery to the webhook. It is written in the transaction of the change that it reports, and deleted once it
/// is delivered or dropped. There is one record at most for each event of an operation and for each scope of alarms: while
/// the receiver is down, a later one replaces it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PendingWebhook {
    /// `OPERATION.EVENT` or `alarm.SCOPE`.
    pub id: String,
    /// The event.
    pub event: WebhookEvent,
    /// Whether the reported state is over; absent for the end of an operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<bool>,
    /// The operation or the alarm that it concerns.
    #[serde(flatten)]
    pub about: WebhookSubject,
}

/// The event of a webhook call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WebhookEvent {
    /// All hosts of an operation are done or skipped.
    Finished,
    /// An operation ended because of failed hosts, or was aborted.
    Failed,
    /// An operation starts no further host until it is resumed.
    Paused,
    /// An operation has waited for long.
    Waiting,
    /// The drain of a node is blocked.
    DrainBlocked,
    /// Another executor continues an operation.
    TakenOver,
    /// An alarm was raised.
    Alarm,
}

impl WebhookEvent {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Paused => "paused",
            Self::Waiting => "waiting",
            Self::DrainBlocked => "drain-blocked",
            Self::TakenOver => "taken-over",
            Self::Alarm => "alarm",
        }
    }

    /// Whether it is the end of an operation.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Finished | Self::Failed)
    }
}

/// The subject of a webhook call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookSubject {
    /// An operation. Its record is read at the delivery.
    Operation {
        /// The id of the operation.
        id: String,
        /// Its explanation at the time of the event, as `GET /explain` shows it.
        explanation: Value,
    },
    /// An alarm.
    Alarm(Alarm),
}

impl PendingWebhook {
    /// One about an operation, with its explanation.
    pub fn operation(id: &str, event: WebhookEvent, is_resolved: bool, explanation: Value) -> Self {
        Self {
            id: format!("{id}.{}", event.word()),
            event,
            resolved: (!event.is_end()).then_some(is_resolved),
            about: WebhookSubject::Operation { id: id.to_owned(), explanation },
        }
    }

    /// One about an alarm that is raised, or with `is_resolved` ended.
    pub fn alarm(alarm: Alarm, is_resolved: bool) -> Self {
        Self {
            id: format!("{ALARM}{}", alarm.scope),
            event: WebhookEvent::Alarm,
            resolved: Some(is_resolved),
            about: WebhookSubject::Alarm(alarm),
        }
    }
}

impl Model for PendingWebhook {
    const TYPE: &'static str = "PendingWebhook";
    const LIST_TYPE: &'static str = "PendingWebhooks";
    const ID: &'static str = "id";
    const PREFIX: &'static str = "/commissaire/pending_webhooks/";

    fn id(&self) -> &str {
        &self.id
    }

    fn validate(&self) -> Result<(), String> {
        Self::validate_id(&self.id)?;
        match &self.about {
            WebhookSubject::Operation { id, .. } => ident::name(id),
            WebhookSubject::Alarm(alarm) => alarm.validate(),
        }
    }

    fn validate_id(id: &str) -> Result<(), String> {
        ident::token(id)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn record_names_its_event_and_its_subject() {
        let alarm = Alarm { scope: "cluster.web".to_owned(), ..Alarm::default() };
        for (record, expected) in [
            (
                PendingWebhook::operation("o1", WebhookEvent::TakenOver, false, json!({"a": 1})),
                json!({"id": "o1.taken-over", "event": "taken-over", "resolved": false,
                       "operation": {"id": "o1", "explanation": {"a": 1}}}),
            ),
            (
                PendingWebhook::operation("o1", WebhookEvent::Finished, false, json!({})),
                json!({"id": "o1.finished", "event": "finished",
                       "operation": {"id": "o1", "explanation": {}}}),
            ),
            (
                PendingWebhook::alarm(alarm.clone(), true),
                json!({"id": "alarm.cluster.web", "event": "alarm", "resolved": true,
                       "alarm": alarm}),
            ),
        ] {
            assert_eq!(record.validate(), Ok(()));
            let written = serde_json::to_value(&record).unwrap();
            assert_eq!(written, expected);
            assert_eq!(written["event"], record.event.word());
            assert_eq!(serde_json::from_value::<PendingWebhook>(written).unwrap(), record);
        }
    }
}
