//! Decoding of request bodies into objects of the expected kind.

use serde_json::{Value, json};

use crate::go;
use crate::request::Request;
use crate::resource::{RESOURCES, Resource};
use crate::schema;
use crate::status::{Failure, FieldError};

/// Registered kinds that are not resources: API version and kind.
const OTHER_KINDS: &[(&str, &str)] = &[
    ("v1", "Binding"),
    ("policy/v1", "Eviction"),
    ("policy/v1beta1", "Eviction"),
    ("authentication.k8s.io/v1", "TokenRequest"),
];

const SCHEME: &str = "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30";
const HEADER: &str = "struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }";

/// A decoded object.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) object: Value,
    /// Warnings for the response.
    pub(crate) warnings: Vec<String>,
}

/// Handling of unknown and duplicate fields (`fieldValidation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl FieldValidation {
    pub(crate) fn of(request: &Request) -> Self {
        match request.parameter("fieldValidation") {
            "Strict" => Self::Strict,
            "Ignore" => Self::Ignore,
            _ => Self::Warn,
        }
    }
}

/// The body as JSON; a body of YAML is converted.
fn json_body(request: &Request, kind: &str) -> Result<Value, Failure> {
    let body = &request.body;
    let unrecognized = |error: &str| {
        let excerpt = go::excerpt(body);
        Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {error} ({excerpt})"
        ))
    };
    let value: Value = match request.content_type.as_str() {
        "" | "application/json" => serde_json::from_slice(body)
            .map_err(|error| unrecognized(&go::json_error(body, &error)))?,
        "application/yaml" => yaml(body).map_err(|error| unrecognized(&error))?,
        _ => {
            let message = "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf";
            return Err(Failure::new(415, "UnsupportedMediaType", message));
        }
    };
    match value {
        Value::Null => Ok(json!({})),
        Value::Object(_) => Ok(value),
        other => {
            let found = go::json_type(&other);
            let error = format!("json: cannot unmarshal {found} into Go value of type {HEADER}");
            Err(unrecognized(&error))
        }
    }
}

/// A YAML text as JSON.
pub(crate) fn yaml(body: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

/// Decodes an object of this kind in one of these versions; the first version is the default.
pub(crate) fn object(request: &Request, versions: &[&str], kind: &str) -> Result<Decoded, Failure> {
    let mut object = json_body(request, kind)?;
    let version = object["apiVersion"].as_str().unwrap_or(versions[0]).to_owned();
    let found = object["kind"].as_str().unwrap_or(kind).to_owned();
    let refused = |cause: String| {
        let short = version.rsplit('/').next().unwrap_or_default();
        let version = if kind == "Eviction" { short } else { version.as_str() };
        Failure::bad_request(format!(
            "{found} in version {version:?} cannot be handled as a {kind}: {cause}"
        ))
    };
    if !is_known(&version, &found) {
        return Err(refused(format!(
            "no kind {found:?} is registered for version {version:?} in scheme {SCHEME:?}"
        )));
    }
    if found != kind || !versions.contains(&version.as_str()) {
        let short = version.rsplit('/').next().unwrap_or_default();
        return Err(refused(format!(
            "converting ({short}.{found}) to (core.{kind}): unknown conversion"
        )));
    }
    object["apiVersion"] = version.clone().into();
    object["kind"] = kind.into();
    let validation = FieldValidation::of(request);
    let mut warnings = unknown_fields(kind, &mut object);
    let text = String::from_utf8_lossy(&request.body);
    if request.content_type != "application/yaml" {
        let duplicates = schema::duplicate_fields(&text).into_iter();
        warnings.extend(duplicates.map(|field| format!("duplicate field {field:?}")));
    }
    match validation {
        FieldValidation::Strict if !warnings.is_empty() => {
            return Err(refused(format!("strict decoding error: {}", warnings.join(", "))));
        }
        FieldValidation::Ignore => warnings.clear(),
        _ => {}
    }
    if let Some(error) = schema::type_error(kind, &object) {
        return Err(refused(error));
    }
    Ok(Decoded { object, warnings })
}

/// Removes unknown fields and returns a warning for each.
pub(crate) fn unknown_fields(kind: &str, object: &mut Value) -> Vec<String> {
    let unknown = schema::drop_unknown(kind, object).into_iter();
    unknown.map(|field| format!("unknown field {field:?}")).collect()
}

/// The object of a resource in the body.
pub(crate) fn resource(request: &Request, resource: &Resource) -> Result<Decoded, Failure> {
    object(request, &[&resource.api_version()], resource.kind)
}

fn is_known(version: &str, kind: &str) -> bool {
    let kind = kind.strip_suffix("List").unwrap_or(kind);
    OTHER_KINDS.contains(&(version, kind))
        || RESOURCES.iter().any(|known| known.api_version() == version && known.kind == kind)
}

/// Validates the query parameters of a write; `kind` is the kind of its options.
pub(crate) fn check_options(request: &Request, kind: &str) -> Result<(), Failure> {
    let mut errors = Vec::new();
    let dry_run = request.parameter("dryRun");
    if !["", "All"].contains(&dry_run) {
        errors.push(FieldError::unsupported("dryRun", &format!("[{dry_run:?}]"), &["All"]));
    }
    let policy = request.parameter("propagationPolicy");
    if !["", "Foreground", "Background", "Orphan"].contains(&policy) {
        let message = format!(
            "Unsupported value: {policy:?}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
        );
        let field = "propagationPolicy".to_owned();
        errors.push(FieldError { field, reason: "FieldValueNotSupported", message });
    }
    if kind == "PatchOptions"
        && request.content_type == "application/apply-patch+yaml"
        && request.parameter("fieldManager").is_empty()
    {
        errors.push(FieldError::required("fieldManager", "is required for apply patch"));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Failure::invalid_kind("meta.k8s.io", kind, "", &errors))
}
