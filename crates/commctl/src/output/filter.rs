//! `--filter`: a part of a list, by what its table shows.

use std::str::FromStr;

use clap::Args;
use serde_json::Value;

use super::cell::{plain, shown};
use super::view::{Column, Kind, View, field};
use crate::error::Error;

/// Filters of a list.
#[derive(Debug, Args)]
pub(crate) struct Filters {
    /// Only those with this value; `!=` for those without it; all of several filters must hold.
    /// The fields are the headings of the table, such as `status`
    #[arg(long = "filter", value_name = "FIELD=VALUE")]
    filters: Vec<Filter>,
}

/// A value that a field has to have, or must not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    field: String,
    value: String,
    is_negated: bool,
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (field, value) = text
            .split_once('=')
            .ok_or("write FIELD=VALUE or FIELD!=VALUE, for example status=failed")?;
        let (field, is_negated) = match field.strip_suffix('!') {
            Some(field) => (field, true),
            None => (field, false),
        };
        Ok(Self { field: field.trim().to_owned(), value: value.trim().to_owned(), is_negated })
    }
}

impl Filters {
    pub(crate) fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Whether one of them is for this field.
    pub(crate) fn use_field(&self, field: &str) -> bool {
        self.filters.iter().any(|filter| filter.field == field)
    }

    /// Checks the fields, and the values of those that have certain words, before anything is requested.
    pub(crate) fn check(&self, view: &View) -> Result<(), Error> {
        for filter in &self.filters {
            let column = filter.column(view)?;
            if let Kind::State(words) | Kind::Word(words) = column.kind {
                filter.check(words.iter().copied())?;
            }
        }
        Ok(())
    }

    /// Checks the values for a field whose possible values the server knows.
    pub(crate) fn check_values(&self, field: &str, known: &[String]) -> Result<(), Error> {
        let mut of_field = self.filters.iter().filter(|filter| filter.field == field);
        of_field.try_for_each(|filter| filter.check(known.iter().map(String::as_str)))
    }

    /// Whether all of them hold for a record.
    pub(crate) fn accept(&self, record: &Value, view: &View) -> Result<bool, Error> {
        for filter in &self.filters {
            if filter.holds(field(record, filter.column(view)?.field)) == filter.is_negated {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Filter {
    fn column<'a>(&self, view: &'a View) -> Result<&'a Column, Error> {
        // Relative times and rounded sizes are not compared.
        let is_comparable = |column: &&Column| {
            matches!(column.kind, Kind::Text | Kind::Word(_) | Kind::State(_) | Kind::OrElse(_))
        };
        let mut known = view.columns.iter().filter(is_comparable);
        known.clone().find(|column| column.name() == self.field).ok_or_else(|| {
            let names: Vec<_> = known.by_ref().map(Column::name).collect();
            Error::Usage(format!(
                "--filter: unknown field {:?}; it is one of {}",
                self.field,
                names.join(", ")
            ))
        })
    }

    fn check<'a>(&self, known: impl Iterator<Item = &'a str> + Clone) -> Result<(), Error> {
        if self.value.is_empty() || known.clone().any(|word| is_same(word, &self.value)) {
            return Ok(());
        }
        let words: Vec<_> = known.map(shown).collect();
        Err(Error::Usage(format!(
            "--filter: unknown value {:?} of {}; it is one of {}",
            self.value,
            self.field,
            words.join(", ")
        )))
    }

    /// Whether a field has the value. Of a list, one of its values is enough.
    fn holds(&self, value: &Value) -> bool {
        match value {
            Value::Array(items) if !items.is_empty() => items.iter().any(|item| self.holds(item)),
            value => is_same(&plain(value), &self.value),
        }
    }
}

/// Whether a value of the API is the one that was given: its own word, or the one for people.
fn is_same(word: &str, given: &str) -> bool {
    word == given || shown(word) == given
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::views;
    use super::*;

    fn filters(texts: &[&str]) -> Filters {
        Filters { filters: texts.iter().map(|text| text.parse().unwrap()).collect() }
    }

    #[test]
    fn all_filters_must_hold() {
        let host =
            json!({"address": "10.0.0.1", "status": "disassociated", "os": "", "cluster": "web"});
        for (texts, holds) in [
            (&["status=ready"][..], true),
            (&["status=disassociated", "cluster=web"], true),
            (&["status=ready", "cluster!=web"], false),
            (&["status!=failed"], true),
            (&["status!=ready"], false),
            (&["os="], true),
            (&["os!="], false),
            (&[], true),
        ] {
            assert_eq!(filters(texts).accept(&host, &views::HOST).unwrap(), holds, "{texts:?}");
        }
        let binding = json!({"name": "b", "clusters": ["web", "db"]});
        assert!(filters(&["clusters=db"]).accept(&binding, &views::BINDING).unwrap());
    }

    #[test]
    fn unknown_fields_and_values_are_named_with_the_known_ones() {
        let message = |text: &str| filters(&[text]).check(&views::HOST).unwrap_err().report();
        assert_eq!(
            message("state=ready"),
            "--filter: unknown field \"state\"; it is one of address, status, cluster, reason, os, cpus, source"
        );
        assert_eq!(
            message("status=redy"),
            "--filter: unknown value \"redy\" of status; it is one of new, investigating, bootstrapping, ready, active, \
             failed"
        );
        let clusters = ["web".to_owned(), "db".to_owned()];
        let error = filters(&["cluster=wbe"]).check_values("cluster", &clusters).unwrap_err();
        assert_eq!(
            error.report(),
            "--filter: unknown value \"wbe\" of cluster; it is one of web, db"
        );
        assert!("status".parse::<Filter>().is_err());
    }
}
