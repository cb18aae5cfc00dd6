//! How a kind of records is shown: its columns in the order of their meaning.

use serde_json::Value;

/// How a kind of records is shown, in lists and one by one.
#[derive(Debug)]
pub(crate) struct View {
    /// The first one identifies a record.
    pub(super) columns: &'static [Column],
    /// Whether lists are sorted by the first column; otherwise they stay as the server sorts them.
    pub(super) is_sorted: bool,
    /// Lists in a record, which are tables below it.
    pub(super) parts: &'static [Part],
}

/// A list in a record.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) field: &'static str,
    pub(super) view: &'static View,
    /// The column by whose values the records of a long list are counted, but for those that have failed, wait or are
    /// being worked on.
    pub(super) group: Option<&'static Column>,
}

/// A column of a list, or a line of one record.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) heading: &'static str,
    /// The field; names of nested ones are separated by dots.
    pub(super) field: &'static str,
    pub(super) kind: Kind,
    /// Its importance: 0 for the most important columns; those with the highest rank are shortened and dropped first.
    pub(super) rank: u8,
    /// The width that it can be shortened to; `None` where it cannot be shortened.
    pub(super) shortest: Option<usize>,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A text, number or flag, or a list of these.
    Text,
    /// One of these words of the API.
    Word(&'static [&'static str]),
    /// One of these words of the API, with a sign and a color for what it means.
    State(&'static [&'static str]),
    Time,
    Mebibytes,
    Bytes,
    /// A number out of another field.
    OutOf(&'static str),
    /// A list of objects, of which these fields are shown.
    Each(&'static [&'static str]),
    /// The field, or the first of these others that is not empty.
    OrElse(&'static [&'static str]),
}

impl View {
    pub(super) const fn new(columns: &'static [Column]) -> Self {
        Self { columns, is_sorted: false, parts: &[] }
    }

    pub(super) const fn sorted(columns: &'static [Column]) -> Self {
        Self { columns, is_sorted: true, parts: &[] }
    }

    pub(super) const fn with(self, parts: &'static [Part]) -> Self {
        Self { parts, ..self }
    }
}

impl Column {
    pub(super) const fn new(heading: &'static str, field: &'static str, kind: Kind) -> Self {
        Self { heading, field, kind, rank: 0, shortest: None }
    }

    pub(super) const fn text(heading: &'static str, field: &'static str) -> Self {
        Self::new(heading, field, Kind::Text)
    }

    pub(super) const fn time(heading: &'static str, field: &'static str) -> Self {
        Self::new(heading, field, Kind::Time)
    }

    pub(super) const fn rank(self, rank: u8) -> Self {
        Self { rank, ..self }
    }

    pub(super) const fn shortest(self, width: usize) -> Self {
        Self { shortest: Some(width), ..self }
    }

    /// Its name in filters.
    pub(super) fn name(&self) -> String {
        self.heading.to_lowercase().replace(' ', "_")
    }

    /// Whether it shows a field.
    pub(super) fn shows(&self, field: &str) -> bool {
        let others = match self.kind {
            Kind::OutOf(total) => &[total],
            Kind::OrElse(others) => others,
            _ => &[][..],
        };
        let is_in = |own: &str| {
            field.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        is_in(self.field) || others.iter().any(|own| is_in(own))
    }
}

/// A field of a record; null if the record does not have it.
pub(super) fn field<'a>(record: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(record, |value, name| value.get(name).unwrap_or(&Value::Null))
}
