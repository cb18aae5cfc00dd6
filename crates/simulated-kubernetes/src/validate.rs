//! Validation of names, labels, annotations, finalizers, taints and immutable fields.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::object::{fields, is_terminating, items, text};
use crate::resource::Resource;
use crate::status::FieldError;

/// Total size of the annotations of an object in bytes.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

fn is_subdomain(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.split('.').all(|label| {
        let bytes = label.as_bytes();
        bytes.iter().all(|byte| is_inner(*byte) || *byte == b'-')
            && bytes.first().is_some_and(|byte| is_inner(*byte))
            && bytes.last().is_some_and(|byte| is_inner(*byte))
    })
}

/// Letters, digits, `-`, `_` and `.`, with letters or digits at both ends.
fn is_qualified(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_end = |byte: &u8| byte.is_ascii_alphanumeric();
    bytes.iter().all(|byte| is_end(byte) || b"-_.".contains(byte))
        && bytes.first().is_some_and(is_end)
        && bytes.last().is_some_and(is_end)
}

/// The errors of a qualified name: the key of a label, an annotation or a taint.
fn key_errors(key: &str) -> Vec<&'static str> {
    let (prefix, part) = match key.split_once('/') {
        Some((prefix, part)) => (Some(prefix), part),
        None => (None, key),
    };
    let mut errors = Vec::new();
    match prefix {
        Some("") => errors.push("prefix part must be non-empty"),
        Some(prefix) if !is_subdomain(prefix) => errors.push(SUBDOMAIN),
        _ => {}
    }
    if part.is_empty() {
        errors.push("name part must be non-empty");
    } else if part.len() > 63 {
        errors.push("name part must be no more than 63 bytes");
    }
    if !is_qualified(part) {
        errors.push(NAME_PART);
    }
    errors
}

fn name_errors(metadata: &Value) -> Vec<FieldError> {
    let name = text(metadata, "/name");
    let field = "metadata.name";
    if name.is_empty() {
        return vec![FieldError::required(field, "name or generateName is required")];
    }
    let mut errors = Vec::new();
    if name.len() > 253 {
        errors.push(FieldError::invalid(field, name, "must be no more than 253 characters"));
    }
    if !is_subdomain(name) {
        errors.push(FieldError::invalid(field, name, SUBDOMAIN));
    }
    errors
}

/// The errors of all labels.
fn label_errors(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in fields(object, "/metadata/labels").into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let detail = if value.len() > 63 {
            Some("must be no more than 63 bytes")
        } else {
            (!value.is_empty() && !is_qualified(value)).then_some(LABEL_VALUE)
        };
        let keys = key_errors(key).into_iter().map(|detail| (key.as_str(), detail));
        let details = keys.chain(detail.map(|detail| (value, detail)));
        errors.extend(
            details.map(|(wrong, detail)| FieldError::invalid("metadata.labels", wrong, detail)),
        );
    }
    errors
}

fn annotation_errors(object: &Value) -> Vec<FieldError> {
    let field = "metadata.annotations";
    let (mut errors, mut size) = (Vec::new(), 0);
    for (key, value) in fields(object, "/metadata/annotations").into_iter().flatten() {
        size += key.len() + value.as_str().unwrap_or_default().len();
        let wrong = key_errors(&key.to_lowercase());
        errors.extend(wrong.into_iter().map(|detail| FieldError::invalid(field, key, detail)));
    }
    if size > ANNOTATIONS_LIMIT {
        let message = format!("Too long: may not be more than {ANNOTATIONS_LIMIT} bytes");
        errors.push(FieldError { field: field.to_owned(), reason: "FieldValueTooLong", message });
    }
    errors
}

fn finalizer_errors(object: &Value) -> Vec<FieldError> {
    let finalizers = items(object, "/metadata/finalizers").iter().enumerate();
    let wrong = finalizers.filter_map(|(index, finalizer)| {
        let finalizer = finalizer.as_str().unwrap_or_default();
        let is_standard = ["orphan", "foregroundDeletion", "kubernetes"].contains(&finalizer);
        let detail = "name is neither a standard finalizer name nor is it fully qualified";
        let field = format!("metadata.finalizers[{index}]");
        (!is_standard && !finalizer.contains('/'))
            .then(|| FieldError::invalid(&field, finalizer, detail))
    });
    wrong.collect()
}

fn taint_errors(node: &Value) -> Vec<FieldError> {
    let (mut errors, mut seen) = (Vec::new(), BTreeSet::new());
    for (index, taint) in items(node, "/spec/taints").iter().enumerate() {
        // The server names the field so, although taints are in the spec.
        let field = format!("metadata.taints[{index}]");
        let (key, effect) = (text(taint, "/key"), text(taint, "/effect"));
        let wrong = key_errors(key).into_iter();
        errors
            .extend(wrong.map(|detail| FieldError::invalid(&format!("{field}.key"), key, detail)));
        if !EFFECTS.contains(&effect) {
            let value = format!("{effect:?}");
            errors.push(FieldError::unsupported(&format!("{field}.effect"), &value, EFFECTS));
        }
        if !seen.insert((key, effect)) {
            let value = text(taint, "/value");
            let message = format!(
                "Duplicate value: {{\"Key\":{},\"Value\":{},\"Effect\":{},\"TimeAdded\":null}}: taints must be unique by key and effect pair",
                json!(key),
                json!(value),
                json!(effect)
            );
            errors.push(FieldError { field, reason: "FieldValueDuplicate", message });
        }
    }
    errors
}

/// The validation errors of a new object.
pub(crate) fn created(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = name_errors(&object["metadata"]);
    errors.extend(label_errors(object));
    errors.extend(annotation_errors(object));
    errors.extend(finalizer_errors(object));
    errors.extend(kind_errors(resource, object));
    errors
}

fn kind_errors(resource: &Resource, object: &Value) -> Vec<FieldError> {
    match resource.kind {
        "Node" => taint_errors(object),
        "Pod" if items(object, "/spec/containers").is_empty() => {
            vec![FieldError::required("spec.containers", "")]
        }
        _ => Vec::new(),
    }
}

/// The validation errors of an update. The server validates metadata several times and reports duplicates.
pub(crate) fn updated(resource: &Resource, old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if new["metadata"]["uid"] != old["metadata"]["uid"] {
        let uid = text(new, "/metadata/uid");
        let error = FieldError::invalid("metadata.uid", uid, "field is immutable");
        errors.extend([error.clone(), error]);
    }
    if is_terminating(old) {
        let known = items(old, "/metadata/finalizers");
        let added = items(new, "/metadata/finalizers").iter().filter(|new| !known.contains(new));
        let added: Vec<_> = added.map(ToString::to_string).collect();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            );
            let error = FieldError::forbidden("metadata.finalizers", &detail);
            errors.extend([error.clone(), error]);
        }
    }
    let labels = label_errors(new);
    for _ in 0..4 {
        errors.extend(labels.iter().cloned());
    }
    errors.extend(annotation_errors(new));
    errors.extend(finalizer_errors(new));
    errors.extend(kind_errors(resource, new));
    if resource.kind == "Node" {
        for (field, error, named) in [
            ("/spec/podCIDRs", "spec.podCIDRs", "podCIDR"),
            ("/spec/providerID", "spec.providerID", "providerID"),
        ] {
            if old.pointer(field).is_some() && new.pointer(field) != old.pointer(field) {
                let detail =
                    format!("node updates may not change {named} except from \"\" to valid");
                errors.push(FieldError::forbidden(error, &detail));
            }
        }
    }
    errors
}
