//! Replaces the names in one record, by the table of its fields. What is not replaced stays as it is written.

mod objects;

use serde_json::value::RawValue;

use super::TransformError;
use super::change::FieldChange;
use super::mapper::Mapper;
use super::table::{Content, RecordType};
use objects::{Fields, parse};

/// The deepest nesting of a record.
const DEPTH_MAX: usize = 64;

/// A record that was rewritten.
#[derive(Debug)]
pub(super) struct Rewritten {
    /// The new text.
    pub(super) text: Box<RawValue>,
    /// The fields that differ.
    pub(super) changes: Vec<FieldChange>,
}

/// Why a record was not rewritten.
#[derive(Debug)]
pub(super) enum Problem {
    /// It is no JSON object, or nested too deep.
    Damaged,
    /// Its fields are not known, or names would be merged.
    Other(TransformError),
}

impl From<serde_json::Error> for Problem {
    fn from(_: serde_json::Error) -> Self {
        Self::Damaged
    }
}

/// Replaces the names in a record; `None` if there are none.
pub(super) fn rewrite(
    kind: &RecordType,
    key: &str,
    value: &RawValue,
    mapper: &mut Mapper<'_>,
) -> Result<Option<Rewritten>, Problem> {
    if !value.get().starts_with('{') {
        return Err(Problem::Damaged);
    }
    let is_user = is_user(value);
    let mut rewriter = Rewriter { kind, key, is_user, mapper, changes: Vec::new() };
    let Some(text) = rewriter.value(value, &Place::default(), 0)? else { return Ok(None) };
    let text = RawValue::from_string(text)?;
    Ok(Some(Rewritten { text, changes: rewriter.changes }))
}

/// The paths of texts in a record that the table does not have.
pub(super) fn unknown_fields(kind: &RecordType, value: &RawValue) -> Result<Vec<String>, Problem> {
    fn visit(
        kind: &RecordType,
        value: &RawValue,
        place: &Place,
        depth: usize,
        unknown: &mut Vec<String>,
    ) -> Result<(), Problem> {
        match parse(value, depth, DEPTH_MAX)? {
            Fields::Object(fields) => fields.iter().try_for_each(|(name, value)| {
                visit(kind, value, &place.field(name), depth + 1, unknown)
            }),
            Fields::List(items) => items.iter().enumerate().try_for_each(|(index, value)| {
                visit(kind, value, &place.item(index), depth + 1, unknown)
            }),
            Fields::Text(_) if kind.content(&place.path).is_none() => {
                unknown.push(place.path.clone());
                Ok(())
            }
            Fields::Text(_) | Fields::Other => Ok(()),
        }
    }
    let mut unknown = Vec::new();
    visit(kind, value, &Place::default(), 0, &mut unknown)?;
    Ok(unknown)
}

/// Whether the record has the field `kind` with the word `user`.
fn is_user(value: &RawValue) -> bool {
    #[derive(serde::Deserialize)]
    struct OfKind {
        kind: String,
    }
    serde_json::from_str::<OfKind>(value.get()).is_ok_and(|record| record.kind == "user")
}

/// A place in a record.
#[derive(Debug, Default)]
struct Place {
    /// As in the table.
    path: String,
    /// For people: with the index of each item.
    shown: String,
}

impl Place {
    fn field(&self, name: &str) -> Self {
        let below = |path: &str| {
            if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
        };
        Self { path: below(&self.path), shown: below(&self.shown) }
    }

    fn item(&self, index: usize) -> Self {
        Self { path: format!("{}[]", self.path), shown: format!("{}[{index}]", self.shown) }
    }
}

struct Rewriter<'a, 'm> {
    kind: &'a RecordType,
    key: &'a str,
    is_user: bool,
    mapper: &'a mut Mapper<'m>,
    changes: Vec<FieldChange>,
}

impl Rewriter<'_, '_> {
    /// The new text of a value; `None` if it stays.
    fn value(
        &mut self,
        value: &RawValue,
        place: &Place,
        depth: usize,
    ) -> Result<Option<String>, Problem> {
        match parse(value, depth, DEPTH_MAX)? {
            Fields::Object(fields) => self.object(&fields, place, depth),
            Fields::List(items) => self.list(&items, place, depth),
            Fields::Text(text) => self.text(&text, place),
            Fields::Other => Ok(None),
        }
    }

    fn object(
        &mut self,
        fields: &[(String, &RawValue)],
        place: &Place,
        depth: usize,
    ) -> Result<Option<String>, Problem> {
        let (mut text, mut is_changed) = (String::from("{"), false);
        for (name, value) in fields {
            let new = self.value(value, &place.field(name), depth + 1)?;
            is_changed |= new.is_some();
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&serde_json::to_string(name)?);
            text.push(':');
            text.push_str(new.as_deref().unwrap_or(value.get()));
        }
        text.push('}');
        Ok(is_changed.then_some(text))
    }

    fn list(
        &mut self,
        items: &[&RawValue],
        place: &Place,
        depth: usize,
    ) -> Result<Option<String>, Problem> {
        let (mut texts, mut is_changed) = (Vec::with_capacity(items.len()), false);
        for (index, value) in items.iter().enumerate() {
            let new = self.value(value, &place.item(index), depth + 1)?;
            is_changed |= new.is_some();
            texts.push(new.unwrap_or_else(|| value.get().to_owned()));
        }
        if !is_changed {
            return Ok(None);
        }
        let content = self.kind.content(&place.item(0).path);
        // Programs search such a list as a sorted one. Of other lists the order has a meaning.
        if content == Some(Content::SortedAddress) && items.is_sorted_by_key(|item| item.get()) {
            texts.sort();
        }
        Ok(Some(format!("[{}]", texts.join(","))))
    }

    fn text(&mut self, text: &str, place: &Place) -> Result<Option<String>, Problem> {
        if text.is_empty() {
            return Ok(None);
        }
        let content = match self.kind.content(&place.path) {
            Some(Content::Subject) if self.is_user => Content::User,
            Some(Content::Subject) => Content::Plain,
            Some(content) => content,
            None => {
                return Err(Problem::Other(TransformError::UnknownField {
                    key: self.key.to_owned(),
                    kind: self.kind.name,
                    field: place.shown.clone(),
                }));
            }
        };
        let new = self.mapper.map(content, text, self.key).map_err(Problem::Other)?;
        let Some(new) = new.filter(|new| new != text) else { return Ok(None) };
        let written = serde_json::to_string(&new)?;
        let (field, old) = (place.shown.clone(), text.to_owned());
        self.changes.push(FieldChange { field, old, new });
        Ok(Some(written))
    }
}
