//! The table, and the same as JSON.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::args::What;

/// Something that was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Figure {
    /// How long it takes.
    Time(Duration),
    /// How often in a second.
    Rate(f64),
    /// How many.
    Count(u32),
    /// How many bytes.
    Memory(u64),
}

/// What a figure has to keep to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// At most this many times the bare one.
    Ratio(f64),
    /// At least this many times the bare one.
    LeastRatio(f64),
    /// At most this, of the same kind.
    Most(Figure),
}

/// A line of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// With commissaire.
    pub ours: Figure,
    /// With the raw parts.
    pub bare: Option<Figure>,
    /// What it has to keep to; none for what is only told.
    pub bound: Option<Bound>,
}

/// All that was measured.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
    notes: Vec<String>,
    failures: Vec<Failure>,
}

/// A measurement that failed.
#[derive(Debug)]
struct Failure {
    what: What,
    error: String,
}

impl Figure {
    fn value(self) -> f64 {
        match self {
            Self::Time(time) => time.as_secs_f64() * 1000.0,
            Self::Rate(rate) => rate,
            Self::Count(count) => f64::from(count),
            #[expect(clippy::cast_precision_loss, reason = "megabytes, to one digit")]
            Self::Memory(bytes) => bytes as f64 / 1e6,
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Time(_) => "ms",
            Self::Rate(_) => "1/s",
            Self::Count(_) => "count",
            Self::Memory(_) => "MB",
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value();
        let text = match self {
            Self::Rate(_) => format!("{value:.0}/s"),
            Self::Count(count) => count.to_string(),
            Self::Memory(_) => format!("{value:.1} MB"),
            Self::Time(_) if value < 1.0 => format!("{:.0} µs", value * 1000.0),
            Self::Time(_) if value < 100.0 => format!("{value:.1} ms"),
            Self::Time(_) if value < 1000.0 => format!("{value:.0} ms"),
            Self::Time(_) => format!("{:.2} s", value / 1000.0),
        };
        f.pad(&text)
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ratio(ratio) => f.pad(&format!("≤ {ratio:?} ×")),
            Self::LeastRatio(ratio) => f.pad(&format!("≥ {ratio:.1} ×")),
            Self::Most(most) => f.pad(&format!("≤ {most}")),
        }
    }
}

impl Row {
    /// Ours over the bare one.
    pub fn ratio(&self) -> Option<f64> {
        self.bare.map(|bare| self.ours.value() / bare.value())
    }

    /// Whether the bound is kept, where there is one.
    pub fn ok(&self) -> Option<bool> {
        self.bound.map(|bound| match bound {
            Bound::Ratio(most) => self.ratio().is_some_and(|ratio| ratio <= most),
            Bound::LeastRatio(least) => self.ratio().is_some_and(|ratio| ratio >= least),
            Bound::Most(most) => self.ours.value() <= most.value(),
        })
    }

    fn cells(&self) -> [String; 6] {
        let dash = || "-".to_owned();
        [
            self.what.clone(),
            self.ours.to_string(),
            self.bare.map_or_else(dash, |bare| bare.to_string()),
            self.ratio().map_or_else(dash, |ratio| format!("{ratio:.2}")),
            self.bound.map_or_else(dash, |bound| bound.to_string()),
            self.ok().map_or_else(dash, |ok| if ok { "yes" } else { "MISSED" }.to_owned()),
        ]
    }
}

impl Report {
    /// Adds a line.
    pub fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Adds a sentence, to be printed below the table.
    pub fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// Adds a measurement that failed, to be printed last.
    pub fn failure(&mut self, what: What, error: &anyhow::Error) {
        self.failures.push(Failure { what, error: format!("{error:#}") });
    }

    /// The exit status: 2 when a measurement failed; 1 when a bound is missed and that is checked.
    pub fn status(&self, is_checked: bool) -> u8 {
        let is_missed = self.rows.iter().any(|row| row.ok() == Some(false));
        if self.failures.is_empty() { u8::from(is_checked && is_missed) } else { 2 }
    }

    /// The figures for machines.
    pub fn to_json(&self) -> Value {
        let figures = self.rows.iter().map(|row| {
            let bound = row.bound.map(|bound| match bound {
                Bound::Ratio(ratio) => json!({"ratio": ratio}),
                Bound::LeastRatio(ratio) => json!({"least_ratio": ratio}),
                Bound::Most(most) => json!({most.unit(): most.value()}),
            });
            json!({
                "what": row.what,
                "unit": row.ours.unit(),
                "ours": row.ours.value(),
                "bare": row.bare.map(Figure::value),
                "ratio": row.ratio(),
                "bound": bound,
                "ok": row.ok(),
            })
        });
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let failures = self.failures.iter();
        let failures = failures.map(|f| json!({"what": f.what.to_string(), "error": f.error}));
        json!({
            "cores": cores,
            "figures": figures.collect::<Vec<_>>(),
            "notes": self.notes,
            "failures": failures.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["what", "ours", "bare", "ratio", "bound", "ok?"].map(str::to_owned);
        let lines: Vec<_> = std::iter::once(head).chain(self.rows.iter().map(Row::cells)).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
        let widths: [usize; 6] = std::array::from_fn(|column| width(column).unwrap_or(0));
        for [what, middle @ .., ok] in &lines {
            write!(f, "{what:<width$}", width = widths[0])?;
            for (cell, width) in middle.iter().zip(&widths[1..]) {
                write!(f, "  {cell:>width$}")?;
            }
            writeln!(f, "  {ok}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "- {note}"))?;
        let mut failures = self.failures.iter();
        failures.try_for_each(|Failure { what, error }| writeln!(f, "FAILED: {what}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: u64, bare: Option<u64>, bound: Option<Bound>) -> Row {
        let time = |milliseconds| Figure::Time(Duration::from_millis(milliseconds));
        Row { what: "it".to_owned(), ours: time(ours), bare: bare.map(time), bound }
    }

    #[test]
    fn a_bound_is_a_ratio_or_a_figure() {
        let most = Some(Bound::Ratio(1.3));
        assert_eq!(row(13, Some(10), most).ok(), Some(true));
        assert_eq!(row(14, Some(10), most).ok(), Some(false));
        assert_eq!(row(14, None, most).ok(), Some(false));
        let least = Some(Bound::LeastRatio(0.6));
        assert_eq!(row(6, Some(10), least).ok(), Some(true));
        assert_eq!(row(5, Some(10), least).ok(), Some(false));
        let most = Some(Bound::Most(Figure::Time(Duration::from_millis(200))));
        assert_eq!(row(200, None, most).ok(), Some(true));
        assert_eq!(row(201, Some(500), most).ok(), Some(false));
        assert_eq!(row(201, Some(1), None).ok(), None);
    }

    #[test]
    fn only_a_missed_bound_is_not_ok() {
        let mut report = Report::default();
        report.row(row(5, Some(1), None));
        assert_eq!(report.status(true), 0);
        report.row(row(5, Some(1), Some(Bound::Ratio(2.0))));
        assert_eq!((report.status(true), report.status(false)), (1, 0));
    }

    #[test]
    fn the_table_and_the_document_say_the_same() {
        let mut report = Report::default();
        report.row(row(12, Some(8), Some(Bound::Ratio(2.0))));
        report.row(Row {
            what: "how often".to_owned(),
            ours: Figure::Rate(1234.4),
            bare: None,
            bound: None,
        });
        report.note("a note".to_owned());
        let expected = "\
what          ours    bare  ratio    bound  ok?
it         12.0 ms  8.0 ms   1.50  ≤ 2.0 ×  yes
how often   1234/s       -      -        -  -
- a note
";
        assert_eq!(report.to_string(), expected);
        let document = report.to_json();
        assert_eq!(document["figures"][0]["ratio"], 1.5);
        assert_eq!(document["figures"][0]["bound"], json!({"ratio": 2.0}));
        assert_eq!(document["figures"][1]["unit"], "1/s");
        assert_eq!(document["figures"][1]["ok"], Value::Null);
    }

    #[test]
    fn figures_are_readable_at_any_size() {
        assert_eq!(Figure::Count(3).to_string(), "3");
        assert_eq!(Figure::Memory(99_960_000).to_string(), "100.0 MB");
        for (microseconds, text) in
            [(85, "85 µs"), (1_250, "1.2 ms"), (187_400, "187 ms"), (12_345_678, "12.35 s")]
        {
            assert_eq!(Figure::Time(Duration::from_micros(microseconds)).to_string(), text);
        }
    }
}
