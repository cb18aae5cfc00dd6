//! The `OpenAPI` document: made from the handlers and the very types that they read and answer with.
//!
//! What an annotation says is what is particular about its call. What all calls have in common, or what
//! follows from the path and the method, is added here.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse};
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::error::Problem;
use crate::handlers::{
    clusters, container_managers, enrollments, freeze, health, hosts, members, networks,
    operations, secrets,
};
use crate::metrics;
use crate::params::{Address, Name};

/// Where the document is.
pub const PATH: &str = "/api/v0/openapi.json";

/// Where people read it.
pub const DOCS_PATH: &str = "/docs";

#[derive(OpenApi)]
#[openapi(
    info(title = "Commissaire", description = "Manages fleets of Linux hosts without an agent."),
    paths(
        clusters::list,
        clusters::get,
        clusters::create,
        clusters::delete,
        members::list,
        members::replace,
        members::get,
        members::add,
        members::remove,
        operations::restart_status,
        operations::start::restart,
        operations::upgrade_status,
        operations::start::upgrade,
        operations::deploy_status,
        operations::start::deploy,
        operations::history::list,
        operations::history::get,
        operations::events::stream,
        operations::control::pause,
        operations::control::resume,
        operations::control::abort,
        operations::continuation::proceed,
        freeze::get,
        freeze::put,
        freeze::delete,
        container_managers::list,
        container_managers::get,
        container_managers::create,
        container_managers::delete,
        hosts::list,
        hosts::create::create_unnamed,
        hosts::get,
        hosts::create::create,
        hosts::delete,
        hosts::credentials,
        hosts::rotate::rotate,
        hosts::status,
        hosts::investigate,
        hosts::accept_key,
        hosts::public_key,
        enrollments::list,
        enrollments::create,
        enrollments::revoke,
        networks::list,
        networks::get,
        networks::create,
        networks::delete,
        secrets::list,
        secrets::get,
        secrets::put,
        secrets::post,
        secrets::delete,
        health::live,
        health::ready,
        metrics::render,
        document,
        page,
    ),
    components(schemas(Address, Name, Problem))
)]
struct Handlers;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut document = serde_json::to_value(Handlers::openapi()).unwrap_or_default();
    complete(&mut document);
    document
});

/// The fields of all bodies and answers.
static FIELDS: LazyLock<BTreeSet<&str>> = LazyLock::new(|| {
    let schemas = DOCUMENT["components"]["schemas"].as_object().into_iter().flatten();
    let properties = schemas.filter_map(|(_, schema)| schema.get("properties")?.as_object());
    properties.flat_map(Map::keys).map(String::as_str).collect()
});

/// Whether a body or an answer of the API has a field of this name.
pub(crate) fn has_field(name: &str) -> bool {
    FIELDS.contains(name)
}

/// The document as it is served and checked in, pretty and with a line's end.
pub fn text() -> String {
    format!("{:#}\n", *DOCUMENT)
}

/// This document.
#[utoipa::path(get, path = "/api/v0/openapi.json", responses((status = 200, body = Object)))]
pub async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], text())
}

/// The calls of the API, for people.
#[utoipa::path(
    get,
    path = "/docs",
    responses((status = 200, body = String, content_type = "text/html; charset=utf-8")),
)]
pub async fn page() -> impl IntoResponse {
    // Nothing in it runs, and nothing is fetched for it.
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(html(&DOCUMENT)))
}

/// The statuses that any call can answer with which needs to know who asks.
const ALL: [u16; 5] = [403, 429, 500, 503, 504];

/// Paths that need nobody; what a broken handler answers is all that goes wrong there.
fn is_open(path: &str) -> bool {
    crate::auth::OPEN.contains(&path)
}

/// Members that answers leave out when there is nothing to say.
const OPTIONAL: [(&str, &str); 25] = [
    ("EnrollmentView", "token"),
    ("ClusterRestart", "failures"),
    ("ClusterUpgrade", "failures"),
    ("ClusterDeploy", "failures"),
    ("Credentials", "ssh_port"),
    ("Credentials", "ssh_host_key"),
    ("HostSummary", "reason"),
    ("HostSummary", "detail"),
    ("OperationSummary", "version"),
    ("OperationView", "version"),
    ("OperationView", "control"),
    ("OperationView", "continues"),
    ("OperationView", "continued_by"),
    ("HostProgress", "reason"),
    ("HostProgress", "late"),
    ("HostProgress", "failed_units_before"),
    ("HostProgress", "waiting_for"),
    ("HostResult", "failed_units"),
    ("ClusterView", "alarm"),
    ("Plan", "alarm"),
    ("Ready", "alarms"),
    ("Ready", "services"),
    ("FreezeView", "by"),
    ("FreezeView", "at"),
    ("FreezeView", "reason"),
];

/// The options of operations: all of them may be left out, also of answers.
const OPTIONS: &str = "Options";

/// The bodies that have these options as members.
const WITH_OPTIONS: [&str; 2] = ["NewOperation", "NewDeployment"];

/// What starts something, and takes an `Idempotency-Key`.
const ONCE: [(&str, &str); 8] = [
    ("put", "/api/v0/cluster/{name}/restart"),
    ("put", "/api/v0/cluster/{name}/upgrade"),
    ("put", "/api/v0/cluster/{name}/deploy"),
    ("post", "/api/v0/operation/{id}/continue"),
    ("put", "/api/v0/host"),
    ("put", "/api/v0/host/{address}"),
    ("post", "/api/v0/host/{address}/investigate"),
    ("put", "/api/v0/host/{address}/hostkey"),
];

fn complete(document: &mut Value) {
    if let Some(info) = document["info"].as_object_mut() {
        info.retain(|name, _| !matches!(name.as_str(), "contact" | "license"));
    }
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, item) in paths {
            let Some(item) = item.as_object_mut() else { continue };
            for (method, operation) in item.iter_mut() {
                complete_operation(path, method, operation);
            }
            if let Some(get) = item.get("get") {
                let head = head_of(get);
                item.insert("head".to_owned(), head);
            }
        }
    }
    options(document);
    bodies_and_answers(document);
    let basic = json!({"type": "http", "scheme": "basic"});
    let bearer = json!({"type": "http", "scheme": "bearer"});
    document["components"]["securitySchemes"] =
        json!({"basic": basic, "bearer": bearer, "certificate": {"type": "mutualTLS"}});
    document["security"] = json!([{"basic": []}, {"bearer": []}, {"certificate": []}]);
}

fn complete_operation(path: &str, method: &str, operation: &mut Value) {
    // The handlers' names are unique only within their files, which the tags are named after.
    let named = [&operation["tags"][0], &operation["operationId"]]
        .map(|name| name.as_str().unwrap_or_default());
    operation["operationId"] = named.join("_").trim_start_matches('_').into();
    let mut parameters = vec![json!({
        "name": "X-Request-Id", "in": "header", "schema": {"type": "string"},
        "description": "Comes back, and stands in the logs, where it is at most 64 letters, digits and '-'.",
    })];
    let mut statuses = BTreeSet::from([500]);
    // Those of the path are known by the path.
    let own = operation.get("parameters").and_then(Value::as_array).into_iter().flatten();
    parameters.extend(own.filter(|parameter| parameter["in"] != "path").cloned().map(|mut own| {
        never_null(&mut own["schema"]);
        own
    }));
    if ONCE.contains(&(method, path)) {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\t -~]+$"},
            "description": "For 24 h the same key has the first answer again, and starts nothing.",
        }));
        statuses.extend([400, 422]);
    }
    for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        let schema = match name {
            "path" => json!({"type": "string", "pattern": "^[A-Za-z0-9_-]+$"}),
            "name" | "id" => json!({"$ref": "#/components/schemas/Name"}),
            _ => json!({"$ref": "#/components/schemas/Address"}),
        };
        parameters.push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
        statuses.insert(404);
    }
    if operation.get("requestBody").is_some() {
        statuses.extend([400, 413]);
    }
    if is_open(path) {
        operation["security"] = json!([]);
    } else {
        statuses.extend(ALL);
    }
    operation["parameters"] = parameters.into();
    if let Some(responses) = operation["responses"].as_object_mut() {
        for status in statuses {
            responses.entry(status.to_string()).or_insert_with(|| json!({"description": ""}));
        }
        for (status, response) in responses {
            complete_response(status, method, response);
        }
    }
    if starts_operation(operation) {
        operation["responses"]["201"]["headers"]["Location"] = json!({
            "schema": {"type": "string"}, "required": true,
            "description": "Where the operation is shown.",
        });
    }
}

/// Whether a call starts an operation.
fn starts_operation(operation: &Value) -> bool {
    let schema = operation.pointer("/requestBody/content/application~1json/schema/$ref");
    let body = schema.and_then(Value::as_str).and_then(|schema| schema.rsplit('/').next());
    body.is_some_and(|body| WITH_OPTIONS.contains(&body))
}

/// Every answer has the request's id; every refusal is a problem document.
fn complete_response(status: &str, method: &str, response: &mut Value) {
    let mut headers = json!({"X-Request-Id": {"schema": {"type": "string"}, "required": true}});
    let known = StatusCode::from_bytes(status.as_bytes()).unwrap_or_default();
    if known.is_client_error() || known.is_server_error() {
        let problem = json!({"schema": {"$ref": "#/components/schemas/Problem"}});
        response["content"] = json!({"application/problem+json": problem});
    } else if method == "delete" && response.get("content").is_none() {
        let nothing = json!({"schema": {"type": "array", "maxItems": 0}});
        response["content"] = json!({"application/json": nothing});
    }
    match status {
        "405" => headers["Allow"] = json!({"schema": {"type": "string"}, "required": true}),
        "429" | "503" => {
            let seconds = json!({"type": "integer", "minimum": 0});
            headers["Retry-After"] = json!({"schema": seconds, "required": true});
        }
        _ => {}
    }
    if response["description"].as_str().is_none_or(str::is_empty) {
        response["description"] = known.canonical_reason().unwrap_or_default().into();
    }
    response["headers"] = headers;
}

/// The options of operations are members of the bodies that start some.
fn options(document: &mut Value) {
    let schemas = &mut document["components"]["schemas"];
    let options = schemas[OPTIONS]["properties"].as_object().cloned().unwrap_or_default();
    for body in WITH_OPTIONS {
        if let Some(properties) = schemas[body]["properties"].as_object_mut() {
            properties.extend(options.clone());
        }
    }
}

/// The same call without a body in the answer.
fn head_of(get: &Value) -> Value {
    let mut head = get.clone();
    head["operationId"] =
        format!("{}_head", head["operationId"].as_str().unwrap_or_default()).into();
    for response in head["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        if let Some(response) = response.as_object_mut() {
            response.remove("content");
        }
    }
    head
}

/// A body may leave out what has a default, and holds no `null`; an answer has all its members and no
/// others.
fn bodies_and_answers(document: &mut Value) {
    let mut read = BTreeSet::new();
    for operation in operations_mut(document) {
        if let Some(body) = operation.get_mut("requestBody") {
            let schema = &body["content"]["application/json"]["schema"]["$ref"];
            let name = schema.as_str().and_then(|schema| schema.rsplit('/').next());
            read.extend(name.map(str::to_owned));
        }
    }
    let mut demanding = BTreeSet::new();
    for (name, schema) in document["components"]["schemas"].as_object_mut().into_iter().flatten() {
        let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
            continue;
        };
        if read.contains(name) {
            properties.values_mut().for_each(never_null);
            if schema.get("required").is_some() {
                demanding.insert(format!("#/components/schemas/{name}"));
            }
            continue;
        }
        let optional =
            |member: &str| name == OPTIONS || OPTIONAL.contains(&(name.as_str(), member));
        properties
            .iter_mut()
            .filter(|(member, _)| optional(member))
            .for_each(|(_, p)| never_null(p));
        schema["required"] =
            properties.keys().filter(|member| !optional(member)).cloned().collect();
        // A problem document may say more (RFC 9457).
        schema["additionalProperties"] = (name == "Problem").into();
    }
    for operation in operations_mut(document) {
        if let Some(body) = operation.get_mut("requestBody") {
            let schema = &body["content"]["application/json"]["schema"]["$ref"];
            body["required"] = schema.as_str().is_some_and(|name| demanding.contains(name)).into();
        }
    }
}

/// Left out, perhaps, but not `null`.
fn never_null(property: &mut Value) {
    let Some(property) = property.as_object_mut() else { return };
    property.retain(|name, value| !(name == "default" && value.is_null()));
    if let Some(kind) = property.get_mut("type")
        && let Some(first) = kind.get(0).cloned()
    {
        *kind = first;
    }
    // What may be null is, where it is no simple type, one of null and that type.
    if let Some(mut kinds) = property.remove("oneOf") {
        if let Some(kinds) = kinds.as_array_mut() {
            kinds.retain(|kind| kind["type"] != "null");
            if let [Value::Object(only)] = kinds.as_slice() {
                property.extend(only.clone());
                return;
            }
        }
        property.insert("oneOf".to_owned(), kinds);
    }
}

fn operations_mut(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    paths.flat_map(|item| item.as_object_mut().into_iter().flat_map(Map::values_mut))
}

/// The calls as a page; everything in it comes from the source of this program.
fn html(document: &Value) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Commissaire</title>\
         <style>body{{font:16px sans-serif;margin:2em auto;max-width:60em}}\
         code{{white-space:nowrap}}td{{padding:.3em .6em;vertical-align:top}}</style>\
         <h1>Commissaire</h1><p>Fields and answers are in the \
         <a href=\"{PATH}\">OpenAPI document</a>.</p><table>"
    );
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            if method == "head" {
                continue;
            }
            let method = method.to_uppercase();
            let summary = operation["summary"].as_str().unwrap_or_default();
            let statuses = operation["responses"].as_object().into_iter().flat_map(Map::keys);
            let statuses = statuses.map(String::as_str).collect::<Vec<_>>().join(" ");
            // Writing into a string does not fail.
            let _ = write!(page, "<tr><td><code>{method} {path}</code><td>{summary}<td>{statuses}");
        }
    }
    page.push_str("</table></html>\n");
    page
}
