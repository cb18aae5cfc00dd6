//! Tables, for people.

use std::cmp::Ordering;
use std::net::IpAddr;

use serde_json::{Value, json};
use textwrap::core::display_width;

use super::cell::{Cell, plain};
use super::object;
use super::screen::Screen;
use super::view::{Column, View, field};

/// Between two columns.
pub(super) const GAP: usize = 2;

/// A table of a list, or the lines of one record.
pub(super) fn of(value: &Value, view: &View, screen: &Screen) -> String {
    match value {
        Value::Array(items) => {
            let only_names = items.iter().all(Value::is_string);
            let columns =
                if only_names && !items.is_empty() { &view.columns[..1] } else { view.columns };
            list(&sorted(items, view), columns, screen)
        }
        Value::Object(_) => object::of(value, view, screen),
        scalar => plain(scalar) + "\n",
    }
}

/// What identifies each record, one a line.
pub(super) fn names(value: &Value, view: &View) -> String {
    let records = match value {
        Value::Array(items) => sorted(items, view),
        record => vec![record.clone()],
    };
    let names = records.iter().map(|record| plain(field(record, view.columns[0].field)));
    names.map(|name| name + "\n").collect()
}

/// The records; of a mere name there is the first field.
fn sorted(items: &[Value], view: &View) -> Vec<Value> {
    let first = view.columns[0].field;
    let record = |item: &Value| if item.is_string() { json!({first: item}) } else { item.clone() };
    let mut records: Vec<_> = items.iter().map(record).collect();
    if view.is_sorted {
        let key = |record: &Value| plain(field(record, first));
        records.sort_by(|a, b| natural(&key(a), &key(b)));
    }
    records
}

/// Addresses by their numbers, then names, with the numbers in them by their values.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    match (a.parse::<IpAddr>(), b.parse::<IpAddr>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => alphanumeric_sort::compare_str(a, b),
    }
}

/// A heading and a row for each record. Columns without any value are left out where the width is limited.
pub(super) fn list(records: &[Value], columns: &[Column], screen: &Screen) -> String {
    let is_shown = |column: &&Column| {
        let has_value = |record| !Cell::of(column, record, screen).is_empty();
        column.rank == 0 || screen.width.is_none() || records.iter().any(has_value)
    };
    let columns: Vec<&Column> = columns.iter().filter(is_shown).collect();
    let rows: Vec<Vec<Cell>> = records
        .iter()
        .map(|record| columns.iter().map(|column| Cell::of(column, record, screen)).collect())
        .collect();
    rendered(&columns, &rows, screen)
}

/// The rows below their headings, as wide as the screen at most.
pub(super) fn rendered(columns: &[&Column], rows: &[Vec<Cell>], screen: &Screen) -> String {
    let widths = fitted(columns, rows, screen);
    let headings =
        columns.iter().map(|column| Cell { text: column.heading.to_owned(), shape: None });
    let mut text = line(&headings.collect::<Vec<_>>(), &widths, screen);
    for row in rows {
        text += &line(row, &widths, screen);
    }
    text
}

/// The width of each column; `None` for one that is left out. As many columns as possible are kept.
fn fitted(columns: &[&Column], rows: &[Vec<Cell>], screen: &Screen) -> Vec<Option<usize>> {
    let natural = |at: usize| {
        let cells = rows.iter().map(|row| display_width(&row[at].text).max(1));
        cells.chain([display_width(columns[at].heading)]).max().unwrap_or_default()
    };
    let mut widths: Vec<_> = (0..columns.len()).map(|at| Some(natural(at))).collect();
    let Some(limit) = screen.width else { return widths };
    let shortest = |at: usize, width: usize| match columns[at].shortest {
        Some(shortest) => width.min(shortest.max(display_width(columns[at].heading))),
        None => width,
    };
    // The least important ones first; of equal ones the last.
    let mut order: Vec<usize> = (0..columns.len()).rev().collect();
    order.sort_by_key(|at| std::cmp::Reverse(columns[*at].rank));
    let total = |widths: &[Option<usize>], shorten: bool| -> usize {
        let kept = widths.iter().enumerate().filter_map(|(at, width)| Some((at, (*width)?)));
        let all = kept.map(|(at, width)| GAP + if shorten { shortest(at, width) } else { width });
        all.sum::<usize>().saturating_sub(GAP)
    };
    for at in order.iter().copied().take(columns.len().saturating_sub(1)) {
        if total(&widths, true) <= limit {
            break;
        }
        widths[at] = None;
    }
    for at in order {
        let excess = total(&widths, false).saturating_sub(limit);
        if let Some(width) = widths[at] {
            let is_alone = widths.iter().flatten().count() == 1;
            let least = if is_alone { limit } else { shortest(at, width) };
            widths[at] = Some(width.saturating_sub(excess).max(least.min(width)));
        }
    }
    widths
}

/// One line; columns without a value have a dash.
fn line(cells: &[Cell], widths: &[Option<usize>], screen: &Screen) -> String {
    let kept = cells.iter().zip(widths).filter_map(|(cell, width)| Some((cell, (*width)?)));
    let (mut line, mut padding) = (String::new(), 0);
    for (cell, width) in kept {
        let text = if cell.is_empty() { "-" } else { &cell.text };
        let text = shortened(text, width, screen);
        line += &" ".repeat(padding);
        padding = GAP + width.saturating_sub(display_width(&text));
        line += &cell.colored(&text, screen);
    }
    line.trim_end().to_owned() + "\n"
}

/// The beginning of a text that is too wide, with an ellipsis.
pub(super) fn shortened(text: &str, width: usize, screen: &Screen) -> String {
    if display_width(text) <= width {
        return text.to_owned();
    }
    let mut beginning = String::new();
    for c in text.chars() {
        beginning.push(c);
        if display_width(&beginning) + 1 > width {
            beginning.pop();
            break;
        }
    }
    beginning.push(screen.ellipsis());
    beginning
}

#[cfg(test)]
pub(in crate::output) mod tests;
