//! Data missing from the recording (credentials, `Accept` headers, large bodies), and excluded exchanges.

use serde_json::Value;

/// Exchanges that the stand-in does not reproduce, with the reason.
pub(super) const EXCLUDED: &[(&str, &str)] = &[
    (
        "api-v1-resources-200",
        "the recording is cut after six resources, most of which the stand-in does not have",
    ),
    ("node-list-table-200", "the stand-in has no printer columns; only kubectl requests tables"),
    (
        "plain-http-400",
        "the TLS listener of the process answers it, before there is a request; see the test of the process",
    ),
    (
        "etcddown-get-1x-noanswer",
        "a race in the recording: the stand-in always answers 504, and closes connections as a fault",
    ),
    (
        "etcddown-get-2x-noanswer",
        "a race in the recording: the stand-in always answers 504, and closes connections as a fault",
    ),
];

/// The certificate of the client of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientCertificate {
    None,
    Admin,
    Limited,
    /// Of another authority.
    Foreign,
}

/// The header `Authorization` of an exchange, and the certificate.
pub(super) fn credentials(
    id: &str,
    authorization: &str,
) -> (Option<&'static str>, ClientCertificate) {
    use ClientCertificate::{Admin, Foreign, Limited, None as NoCertificate};
    let header = match id {
        "auth-empty-bearer-403" => Some("Bearer "),
        "auth-basic-403" => Some("Basic YWRtaW46YWRtaW4="),
        "auth-jwt-garbage-401" => Some("Bearer eyJh.eyJi.c2ln"),
        "auth-lowercase-bearer-200" => Some("bearer admin-token"),
        _ if id.starts_with("noright-") || id == "etcddown-noright-403" => {
            Some("Bearer noright-token")
        }
        _ if id.starts_with("readonly-") || id.starts_with("ssar-") || id == "whoami-201" => {
            Some("Bearer readonly-token")
        }
        _ => match authorization {
            "admin" => Some("Bearer admin-token"),
            "none" => None,
            _ => Some("Bearer unknown-token"),
        },
    };
    let certificate = match id {
        "cert-admin-200" | "cert-admin-whoami-201" | "cert-and-bad-token-200" => Admin,
        "cert-limited-403" => Limited,
        "cert-badca-401" => Foreign,
        _ => NoCertificate,
    };
    (header, certificate)
}

/// The header `Accept` of an exchange.
pub(super) fn accept(id: &str) -> Option<&'static str> {
    match id {
        "node-list-table-200" => Some(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
        ),
        "node-list-partial-200" => {
            Some("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")
        }
        "node-get-yaml-200" => Some("application/yaml"),
        "node-get-accept-406" => Some("text/html"),
        "node-get-accept-star-200" => Some("*/*"),
        "node-get-no-accept-200" => None,
        _ => Some("application/json"),
    }
}

/// The body of an exchange, where it is not the recorded one.
pub(super) fn body(id: &str, recorded: &Value) -> Option<String> {
    let with_annotation = |name: &str, size: usize| {
        let annotation = "a".repeat(size);
        format!(
            r#"{{"apiVersion":"v1","kind":"Node","metadata":{{"name":"{name}","annotations":{{"a":"{annotation}"}}}}}}"#
        )
    };
    match id {
        "node-create-big-annotations-422" => Some(with_annotation("ba", 300 * 1024)),
        "node-create-body-too-large-413" => Some(with_annotation("big", 4 * 1024 * 1024)),
        "node-create-duplicate-field-201" => {
            let text = recorded.to_string();
            Some(text.replace(
                r#""unschedulable":false"#,
                r#""unschedulable":true,"unschedulable":false"#,
            ))
        }
        _ => None,
    }
}
