//! The `OpenAPI` document: made from the handlers and the types of their bodies and answers.
//!
//! An annotation says what is particular about its endpoint. What all endpoints have in common, and what follows from the
//! path, the method and the [`Endpoint`](crate::endpoint::Endpoint), is added here.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

use crate::endpoint::Declared;

/// Where the document is.
pub const PATH: &str = "/api/v0/openapi.json";

/// The document.
#[derive(Debug)]
pub struct Document {
    value: Value,
    /// The fields of all bodies and answers.
    fields: BTreeSet<String>,
}

impl Document {
    /// Completes what the handlers say.
    pub fn new(documentation: &OpenApi, declared: &Declared) -> Self {
        let mut value = serde_json::to_value(documentation).unwrap_or_default();
        complete(&mut value, declared);
        let schemas = value["components"]["schemas"].as_object().into_iter().flatten();
        let properties = schemas.filter_map(|(_, schema)| schema.get("properties")?.as_object());
        let fields = properties.flat_map(Map::keys).cloned().collect();
        Self { value, fields }
    }

    /// Whether a body or an answer of the API has a field of this name.
    pub fn has_field(&self, name: &str) -> bool {
        self.fields.contains(name)
    }

    /// The document as it is served and checked in: indented, and with a line feed at its end.
    pub fn text(&self) -> String {
        format!("{:#}\n", self.value)
    }

    /// A page about it; everything in it comes from the source of this program.
    pub fn page(&self) -> String {
        html(&self.value)
    }
}

/// The statuses that any endpoint can answer with that needs a log-in.
const ALL: [u16; 6] = [401, 403, 429, 500, 503, 504];

fn complete(document: &mut Value, declared: &Declared) {
    if let Some(info) = document["info"].as_object_mut() {
        info.retain(|name, _| !matches!(name.as_str(), "contact" | "license"));
    }
    if let Value::Object(paths) = document["paths"].take() {
        let mut completed = Map::new();
        for (path, mut item) in paths {
            for (method, operation) in item.as_object_mut().into_iter().flatten() {
                complete_operation(&path, method, operation, declared);
            }
            if let Some(get) = item.get("get") {
                item["head"] = head_of(get);
            }
            // The router marks a parameter that may hold slashes.
            completed.insert(path.replace("{*", "{"), item);
        }
        document["paths"] = completed.into();
    }
    inline_flattened(document);
    bodies_and_answers(document);
    let basic = json!({"type": "http", "scheme": "basic"});
    let bearer = json!({"type": "http", "scheme": "bearer"});
    document["components"]["securitySchemes"] =
        json!({"basic": basic, "bearer": bearer, "certificate": {"type": "mutualTLS"}});
    document["security"] = json!([{"basic": []}, {"bearer": []}, {"certificate": []}]);
}

fn complete_operation(path: &str, method: &str, operation: &mut Value, declared: &Declared) {
    let known = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap_or_default();
    let endpoint = declared.find(&known, Some(path));
    // The handlers' names are unique only within their resources, which are the tags.
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
    if endpoint.is_idempotent() {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\t -~]+$"},
            "description": "For 24 h the same key has the first answer again, and starts nothing.",
        }));
        statuses.extend([400, 422]);
    }
    for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        let schema = match name {
            "*path" => json!({"type": "string", "pattern": "^[A-Za-z0-9_-]+$"}),
            "name" | "id" => json!({"$ref": "#/components/schemas/Name"}),
            _ => json!({"$ref": "#/components/schemas/Address"}),
        };
        let name = name.trim_start_matches('*');
        parameters.push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
        statuses.insert(404);
    }
    if operation.get("requestBody").is_some() {
        statuses.extend([400, 413]);
    }
    if endpoint.role(None).is_none() {
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
    if let Some(own) = response.get("headers").and_then(Value::as_object) {
        for (name, header) in own {
            headers[name] = header.clone();
            headers[name]["required"] = true.into();
        }
    }
    match status {
        "401" => {
            headers["WWW-Authenticate"] = json!({"schema": {"type": "string"}, "required": true});
        }
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

/// Writes the members of a flattened field into the schema that has the field.
fn inline_flattened(document: &mut Value) {
    let schemas = document["components"]["schemas"].clone();
    for schema in
        document["components"]["schemas"].as_object_mut().into_iter().flat_map(Map::values_mut)
    {
        let Some(schema) = schema.as_object_mut() else { continue };
        let Some(Value::Array(parts)) = schema.remove("allOf") else { continue };
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for part in &parts {
            let named = part["$ref"].as_str().and_then(|path| path.rsplit('/').next());
            let part = named.map_or(part, |name| &schemas[name]);
            properties.extend(part["properties"].as_object().cloned().unwrap_or_default());
            required.extend(part["required"].as_array().cloned().unwrap_or_default());
        }
        schema.insert("type".to_owned(), "object".into());
        schema.insert("properties".to_owned(), properties.into());
        if !required.is_empty() {
            schema.insert("required".to_owned(), required.into());
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

/// A body may leave out what has a default, and holds no `null`. An answer has no other members than these, and what it
/// may leave out is not `null`.
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
        let required =
            schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            let optional =
                properties.iter_mut().filter(|(name, _)| !required.contains(&name.as_str().into()));
            optional.for_each(|(_, property)| never_null(property));
        }
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
