//! Label selectors and field selectors: in queries as text, in objects as `matchLabels` and `matchExpressions`.

use serde_json::{Map, Value};

use crate::object::{fields, items, text};

/// The requirement for the value of a label.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

/// A conjunction of tests of labels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LabelSelector(Vec<(String, Test)>);

impl LabelSelector {
    /// Parses the text of a query parameter.
    pub(crate) fn parse(selector: &str) -> Result<Self, String> {
        let mut tokens = Tokens { rest: selector };
        let mut tests = Vec::new();
        loop {
            match tokens.next() {
                "" if tests.is_empty() => return Ok(Self::default()),
                "!" => tests.push((tokens.identifier()?, Test::Absent)),
                token if is_identifier(token) => {
                    tests.push((token.to_owned(), tokens.test()?));
                }
                token => {
                    let expected = "!, identifier, or 'end of string'";
                    return Err(format!("found '{token}', expected: {expected}"));
                }
            }
            match tokens.next() {
                "" => return Ok(Self(tests)),
                "," => {}
                token => {
                    return Err(format!("found '{token}', expected: ',' or 'end of string'"));
                }
            }
        }
    }

    /// The selector of an object such as a disruption budget; one without tests selects everything.
    pub(crate) fn of(selector: &Value) -> Self {
        let labels = fields(selector, "/matchLabels").into_iter().flatten();
        let labels = labels.map(|(key, value)| {
            (key.clone(), Test::In(vec![value.as_str().unwrap_or_default().to_owned()]))
        });
        let expressions = items(selector, "/matchExpressions").iter().map(|expression| {
            let values = items(expression, "/values").iter().filter_map(Value::as_str);
            let values = values.map(str::to_owned).collect();
            let test = match text(expression, "/operator") {
                "In" => Test::In(values),
                "NotIn" => Test::NotIn(values),
                "DoesNotExist" => Test::Absent,
                _ => Test::Exists,
            };
            (text(expression, "/key").to_owned(), test)
        });
        Self(labels.chain(expressions).collect())
    }

    /// Whether the labels of an object pass all tests.
    pub(crate) fn selects(&self, object: &Value) -> bool {
        let none = Map::new();
        let labels = fields(object, "/metadata/labels").unwrap_or(&none);
        self.0.iter().all(|(key, test)| {
            let value = labels.get(key).and_then(Value::as_str);
            match test {
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
                Test::In(values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
                Test::NotIn(values) => {
                    !value.is_some_and(|value| values.iter().any(|v| v == value))
                }
            }
        })
    }
}

/// The symbols and identifiers of a selector, one after another.
struct Tokens<'a> {
    rest: &'a str,
}

const SYMBOLS: &[&str] = &["==", "!=", "=", "!", ",", "(", ")", ">", "<"];

fn is_identifier(token: &str) -> bool {
    !token.is_empty() && !SYMBOLS.contains(&token)
}

impl<'a> Tokens<'a> {
    fn next(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        let symbol = SYMBOLS.iter().find(|symbol| self.rest.starts_with(**symbol));
        let is_end = |at: char| at.is_whitespace() || "=!,()<>".contains(at);
        let length = symbol.map_or_else(
            || self.rest.find(is_end).unwrap_or(self.rest.len()),
            |symbol| symbol.len(),
        );
        let (token, rest) = self.rest.split_at(length);
        self.rest = rest;
        token
    }

    fn peek(&self) -> &'a str {
        Tokens { rest: self.rest }.next()
    }

    fn identifier(&mut self) -> Result<String, String> {
        match self.next() {
            token if is_identifier(token) => Ok(token.to_owned()),
            token => Err(format!("found '{token}', expected: identifier")),
        }
    }

    /// Parses the operator and the values after a key.
    fn test(&mut self) -> Result<Test, String> {
        let operator = self.peek();
        if matches!(operator, "" | ",") {
            return Ok(Test::Exists);
        }
        self.next();
        match operator {
            "=" | "==" => Ok(Test::In(vec![self.value()])),
            "!=" => Ok(Test::NotIn(vec![self.value()])),
            "in" => Ok(Test::In(self.values()?)),
            "notin" => Ok(Test::NotIn(self.values()?)),
            other => Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
        }
    }

    /// Parses a value, which may be empty.
    fn value(&mut self) -> String {
        if is_identifier(self.peek()) { self.next().to_owned() } else { String::new() }
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        match self.next() {
            "(" => {}
            token => return Err(format!("found '{token}', expected: '('")),
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value());
            match self.next() {
                "," => {}
                ")" => return Ok(values),
                token => return Err(format!("found '{token}', expected: ',' or ')'")),
            }
        }
    }
}

/// The fields that a field selector may test, with their JSON pointers.
const FIELDS: &[(&str, &str, &str)] = &[
    ("", "metadata.name", "/metadata/name"),
    ("", "metadata.namespace", "/metadata/namespace"),
    ("Pod", "spec.nodeName", "/spec/nodeName"),
    ("Pod", "status.phase", "/status/phase"),
    ("Pod", "spec.restartPolicy", "/spec/restartPolicy"),
    ("Pod", "spec.schedulerName", "/spec/schedulerName"),
    ("Pod", "spec.serviceAccountName", "/spec/serviceAccountName"),
    ("Node", "spec.unschedulable", "/spec/unschedulable"),
    ("Namespace", "status.phase", "/status/phase"),
];

/// A conjunction of tests of fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct FieldSelector(Vec<(&'static str, bool, String)>);

impl FieldSelector {
    /// Parses the text of a query parameter.
    pub(crate) fn parse(kind: &str, selector: &str) -> Result<Self, String> {
        let terms = selector.split(',').filter(|term| !term.is_empty());
        let terms = terms.map(|term| {
            let (field, is_equal, value) = split(term).ok_or_else(|| {
                format!("invalid selector: '{selector}'; can't understand '{term}'")
            })?;
            let known = FIELDS
                .iter()
                .find(|(of, known, _)| (of.is_empty() || *of == kind) && *known == field);
            let (_, _, pointer) =
                known.ok_or_else(|| format!("field label not supported: {field}"))?;
            Ok((*pointer, is_equal, value.to_owned()))
        });
        terms.collect::<Result<_, String>>().map(Self)
    }

    /// Whether the fields of an object pass all tests.
    pub(crate) fn selects(&self, object: &Value) -> bool {
        self.0.iter().all(|(pointer, is_equal, value)| {
            let found = match object.pointer(pointer) {
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                // A boolean that is not there is false, a text that is not there is empty.
                None if *pointer == "/spec/unschedulable" => "false".to_owned(),
                None => String::new(),
            };
            (found == *value) == *is_equal
        })
    }

    /// The name that the selector asks for.
    pub(crate) fn name(&self) -> Option<&str> {
        let mut tests = self.0.iter();
        let name = tests.find(|(pointer, is_equal, _)| *pointer == "/metadata/name" && *is_equal);
        name.map(|(_, _, name)| name.as_str())
    }
}

fn split(term: &str) -> Option<(&str, bool, &str)> {
    if let Some((field, value)) = term.split_once("!=") {
        return Some((field, false, value));
    }
    let (field, value) = term.split_once("==").or_else(|| term.split_once('='))?;
    Some((field, true, value))
}
