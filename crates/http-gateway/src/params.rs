//! What comes from outside, checked before a handler sees it: path parameters and bodies.

pub(crate) mod spelling;

use std::borrow::Cow;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::IntoResponse as _;
use model::{Address, ClusterName, ident, json};
use serde::de::{DeserializeOwned, IntoDeserializer as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use utoipa::openapi::schema::{KnownFormat, OneOfBuilder, SchemaFormat, Type};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::error::ApiError;
use crate::state::AppState;

/// The largest body, in bytes.
pub const BODY_MAX: usize = 1024 * 1024;

/// Deeper bodies are refused: on the bus and in the store they are part of something larger, and JSON
/// readers, ours included, stop at 128.
const DEPTH_MAX: usize = 64;

/// A name in a path: `[A-Za-z0-9_-]+`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(pattern = "^[A-Za-z0-9_-]+$", max_length = 253)]
pub struct Name(pub String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        ident::name(&text).map(|()| Self(text))
    }
}

/// The name of a cluster in a path, as [`Name`] is checked.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct NameOfCluster(pub ClusterName);

impl TryFrom<String> for NameOfCluster {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Name::try_from(text).map(|Name(text)| Self(text.into()))
    }
}

/// An address in a path, in its canonical form.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct AddressParam(pub Address);

impl TryFrom<String> for AddressParam {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        ident::canonical_address(&text).map(Self).ok_or("not an address")
    }
}

impl PartialSchema for AddressParam {
    fn schema() -> RefOr<Schema> {
        let name = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[A-Za-z0-9][A-Za-z0-9._-]*$"))
            .max_length(Some(253));
        let v6 = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Ipv6)));
        OneOfBuilder::new().item(name).item(v6).into()
    }
}

impl ToSchema for AddressParam {
    fn name() -> Cow<'static, str> {
        "Address".into()
    }
}

/// The parameters of a path; what does not match is 404, as a path that nobody serves.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<AppState> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let Path(params) =
            Path::<T>::from_request_parts(parts, state).await.map_err(|_| ApiError::no_route())?;
        Ok(Self(params))
    }
}

/// A body: a JSON object whatever the `Content-Type`; none is an empty object. Unknown fields are ignored.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let object = object(&read(request, state).await?).map_err(ApiError::bad_request)?;
        parse(object).map(Self).map_err(ApiError::bad_request)
    }
}

/// As [`Body`], but an unknown field that misspells one of `T` is refused.
#[derive(Debug)]
pub struct SpelledBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for SpelledBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let object = object(&read(request, state).await?).map_err(ApiError::bad_request)?;
        spelling::check::<T>(&object, |name| state.document.has_field(name))
            .map_err(ApiError::bad_request)?;
        parse(object).map(Self).map_err(ApiError::bad_request)
    }
}

async fn read(request: Request, state: &AppState) -> Result<Bytes, ApiError> {
    Bytes::from_request(request, state).await.map_err(|e| unreadable(&e))
}

pub(crate) fn unreadable(rejection: &BytesRejection) -> ApiError {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let detail = format!("the body is larger than {BODY_MAX} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    } else {
        ApiError::bad_request("the body could not be read")
    }
}

/// The fields of a body.
fn object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    let value = if bytes.iter().all(u8::is_ascii_whitespace) {
        Value::Object(Map::new())
    } else {
        serde_json::from_slice(bytes).map_err(|e| format!("the body is not JSON: {e}"))?
    };
    if is_deeper(&value, DEPTH_MAX) {
        return Err(format!("the JSON of the body is nested more than {DEPTH_MAX} deep"));
    }
    match value {
        Value::Object(object) => Ok(object),
        _ => Err("the body is not a JSON object".to_owned()),
    }
}

fn parse<T: DeserializeOwned>(object: Map<String, Value>) -> Result<T, String> {
    serde_path_to_error::deserialize(Value::Object(object)).map_err(|e| {
        match e.path().to_string().as_str() {
            "." => json::message(e.inner()),
            path => format!("{path}: {}", json::message(e.inner())),
        }
    })
}

/// Whether a value is nested deeper than that.
fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Object(members) => {
            levels == 0 || members.values().any(|member| is_deeper(member, levels - 1))
        }
        Value::Array(items) => levels == 0 || items.iter().any(|item| is_deeper(item, levels - 1)),
        _ => false,
    }
}

/// For optional members: left out is `None`, but `null` is a wrong type like any other.
///
/// # Errors
/// When it is there and does not fit.
pub fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// For members that are one of a few words: serde takes `{"word": null}` for one, too.
///
/// # Errors
/// When it is no text, or none of the words.
pub fn word<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(String::deserialize(deserializer)?.into_deserializer())
}

/// The URL names the object: a body that names another is refused.
///
/// # Errors
/// 400 when they differ.
pub fn same(member: &str, in_body: Option<&str>, in_path: &str) -> Result<(), ApiError> {
    match in_body {
        Some(other) if other != in_path => Err(ApiError::bad_request(format!(
            "the path names {in_path:?}, but the body's `{member}` says {other:?}"
        ))),
        _ => Ok(()),
    }
}

/// The same for an address, whatever form it has in the body.
///
/// # Errors
/// As [`same`].
pub fn same_address(member: &str, in_body: Option<&str>, in_path: &str) -> Result<(), ApiError> {
    let is_same = |text: &str| ident::canonical_address(text).is_some_and(|text| text == in_path);
    same(member, in_body.filter(|text| !is_same(text)), in_path)
}

/// For the fallbacks of the router: a refusal as a response.
pub async fn no_route() -> axum::response::Response {
    ApiError::no_route().into_response()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Sample {
        #[serde(deserialize_with = "present")]
        network: Option<String>,
        hosts: Vec<String>,
    }

    fn sample(body: &[u8]) -> Result<Sample, String> {
        parse(object(body)?)
    }

    #[test]
    fn no_body_is_an_empty_object_and_unknown_members_are_ignored() {
        for body in ["", " \n", "{}", r#"{"type": 7}"#] {
            assert_eq!(sample(body.as_bytes()).unwrap(), Sample::default());
        }
    }

    #[test]
    fn what_does_not_fit_names_its_member() {
        for (body, says) in [
            (r#"{"network": null}"#, "network: invalid type: null, expected a string"),
            (r#"{"network": 7}"#, "network: invalid type: integer `7`, expected a string"),
            (r#"{"hosts": ["a", {}]}"#, "hosts[1]: invalid type: an object, expected a string"),
            ("[]", "the body is not a JSON object"),
            ("null", "the body is not a JSON object"),
        ] {
            assert_eq!(sample(body.as_bytes()).unwrap_err(), says);
        }
        assert!(sample(b"{\"network\": \"\xff\"}").unwrap_err().contains("not JSON"));
    }

    /// Bodies with the members of the sample and another one, each of any type.
    fn bodies() -> impl Strategy<Value = Value> {
        let plain = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
        ];
        let any = plain.prop_recursive(3, 16, 4, |inner| {
            let members = prop::collection::btree_map("network|hosts|type", inner.clone(), 0..3);
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(Value::from),
                members.prop_map(|members| members.into_iter().collect()),
            ]
        });
        let texts = prop::collection::vec("[a-z]{0,4}", 0..4).prop_map(Value::from);
        let network = prop_oneof!["[a-z]{0,4}".prop_map(Value::from), any.clone()];
        let hosts = prop_oneof![3 => texts, 1 => any.clone()];
        let body = (network, hosts, any.clone()).prop_map(
            |(network, hosts, other)| json!({"network": network, "hosts": hosts, "type": other}),
        );
        prop_oneof![body, any]
    }

    proptest! {
        #[test]
        fn body_is_taken_when_every_member_has_its_type(value in bodies(), cut: prop::sample::Index) {
            let are_texts = |value: &Value| {
                value.as_array().is_some_and(|items| items.iter().all(Value::is_string))
            };
            let fits = value.as_object().is_some_and(|members| {
                members.get("network").is_none_or(Value::is_string)
                    && members.get("hosts").is_none_or(are_texts)
            });
            let body = value.to_string();
            prop_assert_eq!(sample(body.as_bytes()).is_ok(), fits, "{}", body);
            let cut_off = &body.as_bytes()[..cut.index(body.len())];
            prop_assert!(cut_off.is_empty() || sample(cut_off).is_err());
        }

        #[test]
        fn names_in_paths_are_names(text in "[A-Za-z0-9_-]{0,300}|[A-Za-z0-9_.:-]{0,300}|\\PC{0,300}") {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            let is_name = (1..=253).contains(&text.len()) && text.bytes().all(fits);
            prop_assert_eq!(Name::try_from(text.clone()).is_ok(), is_name);
            let is_address = is_name && !text.starts_with(['-', '_']);
            prop_assert!(AddressParam::try_from(text).is_ok() || !is_address);
        }
    }
}
