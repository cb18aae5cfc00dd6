//! JSON-RPC 2.0 as it goes over the bus: serde types and nothing else.

use model::json;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::error::{Error, Kind, Result};

/// The `"jsonrpc": "2.0"` member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Version {
    /// The only version there is.
    #[default]
    #[serde(rename = "2.0")]
    V2,
}

/// A request, or a notification when it has no `id`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// Always 2.0.
    pub jsonrpc: Version,
    /// Also the AMQP correlation id; a UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The last word of the routing key.
    pub method: String,
    /// An object, or an array in the documented order.
    #[serde(default)]
    pub params: Params,
}

/// The parameters of a request: JSON text, which only who takes them looks into.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Params(Box<RawValue>);

impl Default for Params {
    fn default() -> Self {
        Self(RawValue::NULL.to_owned())
    }
}

impl Params {
    /// Parameters from anything that serialises to an object or an array.
    ///
    /// # Errors
    /// [`Kind::Internal`] when it cannot be written as JSON.
    pub fn of(params: &impl Serialize) -> Result<Self> {
        to_raw_value(params)
            .map(Self)
            .map_err(|e| Error::internal("cannot write the parameters as JSON").with_source(e))
    }

    /// Their text.
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// Their value.
    pub fn value(&self) -> Value {
        serde_json::from_str(self.text()).unwrap_or_default()
    }

    /// Reads them as `T`; `order` names the members that a positional array stands for.
    ///
    /// # Errors
    /// [`Kind::InvalidParams`] when they do not fit.
    pub fn parse<T: DeserializeOwned>(self, order: &[&str]) -> Result<T> {
        let text = self.text();
        let read = match text.as_bytes().first() {
            Some(b'n') => serde_json::from_str("{}"),
            Some(b'[') => {
                let values: Vec<Value> =
                    serde_json::from_str(text).map_err(|error| unfit(&error))?;
                if values.len() > order.len() {
                    return Err(Error::invalid(format!(
                        "{} parameters given, at most {} taken",
                        values.len(),
                        order.len()
                    )));
                }
                let named = order.iter().map(ToString::to_string).zip(values);
                serde_json::from_value(Value::Object(named.collect()))
            }
            _ => serde_json::from_str(text),
        };
        read.map_err(|error| unfit(&error))
    }
}

fn unfit(error: &serde_json::Error) -> Error {
    let message = json::message(&json::without_place(error));
    Error::invalid(format!("bad parameters: {message}"))
}

/// What a request comes to: a value, or the text of one that nobody on the way has to look into.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// A value.
    Value(Value),
    /// JSON text.
    Text(Box<RawValue>),
}

impl Answer {
    /// Anything as JSON text.
    ///
    /// # Errors
    /// [`Kind::Internal`] when it cannot be written as JSON.
    pub fn text_of(answer: &impl Serialize) -> Result<Self> {
        to_raw_value(answer).map(Self::Text).map_err(unwritable)
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is something else than `T`.
    pub fn parse<T: DeserializeOwned>(self) -> serde_json::Result<T> {
        match self {
            Self::Value(value) => serde_json::from_value(value),
            Self::Text(text) => serde_json::from_str(text.get()),
        }
    }

    /// Its JSON text.
    ///
    /// # Errors
    /// [`Kind::Internal`] when it cannot be written as JSON.
    pub fn into_text(self) -> Result<String> {
        match self {
            Self::Value(value) => serde_json::to_string(&value).map_err(unwritable),
            Self::Text(text) => Ok(Box::<str>::from(text).into()),
        }
    }
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::internal("cannot write the answer as JSON").with_source(error)
}

/// The answer to a request: exactly one of `result` and `error`.
#[derive(Debug, Clone, Serialize)]
pub struct Response {
    /// Always 2.0.
    pub jsonrpc: Version,
    /// The `id` of the request.
    pub id: Option<String>,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was carried out.
    Result(Answer),
    /// It was not.
    Error(ErrorObject),
}

/// The error of a [`Response`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorObject {
    /// See [`Kind::code`].
    pub code: i64,
    /// A sentence for a person.
    pub message: String,
    /// Details for a machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl Response {
    /// The response to the request `id`.
    pub fn new(id: Option<String>, result: Result<Answer>) -> Self {
        let outcome = match result {
            Ok(answer) => Outcome::Result(answer),
            Err(error) => Outcome::Error(ErrorObject {
                code: error.kind().code(),
                message: error.to_string(),
                data: error.data().cloned(),
            }),
        };
        Self { jsonrpc: Version::V2, id, outcome }
    }
}

impl From<ErrorObject> for Error {
    fn from(ErrorObject { code, message, data }: ErrorObject) -> Self {
        let error = Self::new(Kind::from_code(code), message);
        data.into_iter().fold(error, Self::with_data)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Two {
        a: u8,
        #[serde(default)]
        b: Option<u8>,
    }

    fn params(value: &Value) -> Params {
        Params::of(value).unwrap()
    }

    #[test]
    fn params_come_by_name_or_by_position() {
        let order = &["a", "b"];
        let both = Two { a: 1, b: Some(2) };
        assert_eq!(params(&json!({"b": 2, "a": 1})).parse::<Two>(order).unwrap(), both);
        assert_eq!(params(&json!([1, 2])).parse::<Two>(order).unwrap(), both);
        assert_eq!(params(&json!([1])).parse::<Two>(order).unwrap(), Two { a: 1, b: None });
    }

    #[test]
    fn params_that_do_not_fit_are_refused() {
        for bad in [json!(null), json!([]), json!([1, 2, 3]), json!({"a": "x"}), json!(7)] {
            let error = params(&bad).parse::<Two>(&["a", "b"]).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidParams);
        }
    }

    #[test]
    fn a_response_has_either_result_or_error() {
        let text = |result| serde_json::to_value(Response::new(Some("1".into()), result)).unwrap();
        assert_eq!(
            text(Ok(json!(null).into())),
            json!({"jsonrpc": "2.0", "id": "1", "result": null})
        );
        assert_eq!(
            text(Err(Error::not_found("no such host").with_data(json!({"x": 1})))),
            json!({"jsonrpc": "2.0", "id": "1",
                   "error": {"code": -20000, "message": "no such host", "data": {"x": 1}}})
        );
    }
}
