//! `Status` responses, with the messages of kube-apiserver 1.36.

use serde_json::{Value, json};

use crate::resource::Resource;

/// A rejected request: the HTTP status and the `Status` body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    /// The HTTP status.
    pub(crate) code: u16,
    /// The body.
    pub(crate) body: Value,
    /// Seconds for the header `Retry-After`.
    pub(crate) retry_after: Option<u64>,
}

/// A validation error of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldError {
    /// The path of the field.
    pub(crate) field: String,
    /// The reason, such as `FieldValueInvalid`.
    pub(crate) reason: &'static str,
    /// The description of the error.
    pub(crate) message: String,
}

impl FieldError {
    pub(crate) fn invalid(field: &str, value: &str, detail: &str) -> Self {
        let message = format!("Invalid value: {value:?}: {detail}");
        Self { field: field.to_owned(), reason: "FieldValueInvalid", message }
    }

    pub(crate) fn required(field: &str, detail: &str) -> Self {
        let message = format!("Required value: {detail}");
        Self { field: field.to_owned(), reason: "FieldValueRequired", message }
    }

    pub(crate) fn forbidden(field: &str, detail: &str) -> Self {
        let message = format!("Forbidden: {detail}");
        Self { field: field.to_owned(), reason: "FieldValueForbidden", message }
    }

    /// `value` as it is quoted.
    pub(crate) fn unsupported(field: &str, value: &str, supported: &[&str]) -> Self {
        let supported: Vec<_> = supported.iter().map(|value| format!("{value:?}")).collect();
        let message =
            format!("Unsupported value: {value}: supported values: {}", supported.join(", "));
        Self { field: field.to_owned(), reason: "FieldValueNotSupported", message }
    }
}

impl Failure {
    /// A failure with a reason; an empty one is left out.
    pub(crate) fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        let mut body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
            "status": "Failure", "message": message.into(), "code": code});
        if !reason.is_empty() {
            body["reason"] = reason.into();
        }
        Self { code, body, retry_after: None }
    }

    /// The same with `details`.
    #[must_use]
    pub(crate) fn with_details(mut self, details: Value) -> Self {
        self.body["details"] = details;
        self
    }

    /// The same with seconds to wait, in the header and in `details`.
    #[must_use]
    pub(crate) fn with_retry_after(mut self, seconds: u64) -> Self {
        self.body["details"]["retryAfterSeconds"] = seconds.into();
        self.retry_after = Some(seconds);
        self
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// An internal error, which has no reason.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} not found", resource.qualified());
        Self::new(404, "NotFound", message).with_details(details(resource, name))
    }

    /// No such resource, or no such subresource.
    pub(crate) fn no_such_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
            .with_details(json!({}))
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message).with_details(json!({}))
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str, is_terminating: bool) -> Self {
        let prefix = if is_terminating { "object is being deleted: " } else { "" };
        let message = format!("{prefix}{} {name:?} already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message).with_details(details(resource, name))
    }

    /// The object is not as the request expects it.
    pub(crate) fn conflict(resource: &Resource, name: &str, cause: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} {name:?}: {cause}", resource.qualified());
        Self::new(409, "Conflict", message).with_details(details(resource, name))
    }

    /// The object has another resource version.
    pub(crate) fn modified(resource: &Resource, name: &str) -> Self {
        let cause = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, cause)
    }

    /// A precondition of a deletion does not hold.
    pub(crate) fn precondition(resource: &Resource, name: &str, cause: &str) -> Self {
        let kind = resource.kind;
        let message = format!("Operation cannot be fulfilled on {kind} {name:?}: {cause}");
        Self::new(409, "Conflict", message).with_details(json!({"name": name, "kind": kind}))
    }

    /// The object is invalid.
    pub(crate) fn invalid(resource: &Resource, name: &str, errors: &[FieldError]) -> Self {
        Self::invalid_kind(resource.group, resource.kind, name, errors)
    }

    /// Something of this kind is invalid; the group is empty for the core group.
    pub(crate) fn invalid_kind(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let mut lines: Vec<String> = Vec::new();
        for error in errors {
            let line = format!("{}: {}", error.field, error.message);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        let text = match &lines[..] {
            [line] => line.clone(),
            lines => format!("[{}]", lines.join(", ")),
        };
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let causes = errors.iter().map(
            |error| json!({"reason": error.reason, "message": error.message, "field": error.field}),
        );
        let mut details = json!({"causes": causes.collect::<Vec<_>>()});
        for (field, value) in [("name", name), ("group", group), ("kind", kind)] {
            if !value.is_empty() {
                details[field] = value.into();
            }
        }
        Self::new(422, "Invalid", format!("{qualified} {name:?} is invalid: {text}"))
            .with_details(details)
    }

    /// The revision that a list needs has been compacted.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }
}

/// The `details` of a status about one object.
pub(crate) fn details(resource: &Resource, name: &str) -> Value {
    let mut details = json!({"name": name, "kind": resource.plural});
    if !resource.group.is_empty() {
        details["group"] = resource.group.into();
    }
    details
}

/// The answer to a request that was carried out and has no object to return.
pub(crate) fn success(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code})
}

/// The answer to the deletion of an object.
pub(crate) fn deleted(resource: &Resource, name: &str, uid: &Value) -> Value {
    let mut details = details(resource, name);
    details["uid"] = uid.clone();
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": details})
}
