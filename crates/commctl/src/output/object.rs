//! One record, for people: a line for each field, and tables of its lists below.

use std::collections::BTreeMap;

use serde_json::Value;
use textwrap::core::display_width;
use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};

use super::cell::{Cell, Shape, plain};
use super::screen::Screen;
use super::table::{GAP, list, natural, rendered, shortened};
use super::view::{Column, Part, View, field};
use crate::text::printable;

/// The columns of records that are counted.
const COUNT: Column = Column::text("COUNT", "");
const WHICH: Column = Column::text("WHICH", "").rank(1).shortest(10);

/// The fields in the order of the view, then its tables. Without a limit there are also empty fields, and those that
/// the view does not know.
pub(super) fn of(record: &Value, view: &View, screen: &Screen) -> String {
    let is_limited = screen.width.is_some();
    let known = view.columns.iter();
    let known = known.map(|column| (column.heading.to_owned(), Cell::of(column, record, screen)));
    let mut lines: Vec<(String, Cell)> =
        known.filter(|(_, cell)| !is_limited || !cell.is_empty()).collect();
    if !is_limited {
        unknown("", record, view, &mut lines);
    }
    let widest = lines.iter().map(|(label, _)| display_width(label)).max().unwrap_or_default();
    let label_width = screen.width.map_or(widest, |width| widest.min(width / 2));
    let mut text = String::new();
    for (label, cell) in lines {
        let label = shortened(&label, label_width, screen);
        for (at, line) in folded(&cell, label_width, screen).iter().enumerate() {
            let label = if at == 0 { label.as_str() } else { "" };
            let padding = " ".repeat(label_width + GAP - display_width(label));
            text.extend([label, &padding, &cell.colored(line, screen), "\n"]);
        }
    }
    let parts = view.parts.iter().filter_map(|part| {
        let records = field(record, part.field).as_array().filter(|list| !list.is_empty())?;
        Some(format!("\n{}", table(records, part, screen)))
    });
    parts.fold(text, |text, part| text + &part)
}

/// The lines of a value, at most as many as the screen shows.
fn folded(cell: &Cell, label_width: usize, screen: &Screen) -> Vec<String> {
    let text = if cell.is_empty() { "-" } else { &cell.text };
    let Some(width) = screen.width else { return vec![text.to_owned()] };
    let width = width - label_width - GAP;
    let options = Options::new(width)
        // Others make lines that are a little too wide.
        .wrap_algorithm(WrapAlgorithm::FirstFit)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation);
    let mut lines: Vec<_> =
        textwrap::wrap(text, options).into_iter().map(|line| line.trim_end().to_owned()).collect();
    if lines.len() > screen.lines_max() {
        lines.truncate(screen.lines_max());
        if let Some(last) = lines.last_mut() {
            *last = shortened(&format!("{last} {}", screen.ellipsis()), width, screen);
        }
    }
    lines
}

/// The fields that the view does not know, which a newer server may have.
fn unknown(prefix: &str, value: &Value, view: &View, lines: &mut Vec<(String, Cell)>) {
    let is_known = |path: &str| {
        view.columns.iter().any(|column| column.shows(path))
            || view.parts.iter().any(|part| part.field == path)
    };
    for (name, value) in value.as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        if is_known(&path) {
            continue;
        }
        if value.is_object() {
            unknown(&format!("{path}."), value, view, lines);
        } else {
            let text = plain(value);
            lines.push((printable(&path).to_uppercase(), Cell { text, shape: None }));
        }
    }
}

/// A list below a record. Of a long one, what needs no attention is counted.
fn table(records: &[Value], part: &Part, screen: &Screen) -> String {
    let columns = part.view.columns;
    let (Some(group), true) = (part.group, records.len() > screen.rows_max()) else {
        return first_rows(records.iter().collect(), columns, screen);
    };
    let shape = |record: &Value| Shape::of(field(record, group.field).as_str().unwrap_or_default());
    let (counted, mut shown): (Vec<&Value>, Vec<&Value>) =
        records.iter().partition(|record| matches!(shape(record), Shape::Good | Shape::Idle));
    // Failures first: they are not to be cut off.
    shown.sort_by_key(|record| shape(record) != Shape::Bad);
    let mut groups: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for record in counted {
        groups
            .entry(field(record, group.field).as_str().unwrap_or_default())
            .or_default()
            .push(record);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|records| std::cmp::Reverse(records.len()));
    let row = |records: Vec<&Value>| {
        let mut names: Vec<_> =
            records.iter().map(|record| plain(field(record, columns[0].field))).collect();
        names.sort_by(|a, b| natural(a, b));
        let cell = |text| Cell { text, shape: None };
        vec![
            records.first().map(|first| Cell::of(group, first, screen)).unwrap_or_default(),
            cell(names.len().to_string()),
            cell(names.join(", ")),
        ]
    };
    let rows: Vec<_> = groups.into_iter().map(row).collect();
    let mut text = String::new();
    if !rows.is_empty() {
        text += &rendered(&[group, &COUNT, &WHICH], &rows, screen);
    }
    if !shown.is_empty() {
        let gap = if text.is_empty() { "" } else { "\n" };
        text.extend([gap, &first_rows(shown, columns, screen)]);
    }
    text
}

/// As many rows as the screen shows, and how many more there are.
fn first_rows(records: Vec<&Value>, columns: &[Column], screen: &Screen) -> String {
    let more = records.len().saturating_sub(screen.rows_max());
    let first: Vec<_> = records.into_iter().take(screen.rows_max()).cloned().collect();
    let text = list(&first, columns, screen);
    match more {
        0 => text,
        more => format!("{text}and {more} more\n"),
    }
}
