//! One value of a record, for people.

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde_json::Value;

use super::screen::Screen;
use super::view::{Column, Kind, field};
use crate::text::printable;

/// A value as it is shown: lines without control characters.
#[derive(Debug, Clone, Default)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) shape: Option<Shape>,
}

/// What a word means for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Good,
    Bad,
    /// Work is in process.
    Busy,
    /// It waits, or needs attention.
    Held,
    /// Nothing happens.
    Idle,
}

/// Words of the API with another word for people.
const WORDS: [(&str, &str); 2] = [("disassociated", "ready"), ("in_process", "in process")];

impl Cell {
    /// The value of a column.
    pub(super) fn of(column: &Column, record: &Value, screen: &Screen) -> Self {
        let value = field(record, column.field);
        let text = match column.kind {
            Kind::State(_) => {
                return value.as_str().map(|word| Self::state(word, screen)).unwrap_or_default();
            }
            Kind::Text => plain(value),
            Kind::Word(_) => value.as_str().map(shown).unwrap_or_default(),
            Kind::Time => value.as_str().map(|time| self::time(time, screen)).unwrap_or_default(),
            Kind::Mebibytes => size(value, 1 << 20),
            Kind::Bytes => size(value, 1),
            Kind::OutOf(total) => match (value, field(record, total)) {
                (Value::Null, _) => String::new(),
                (value, total) => format!("{}/{}", plain(value), plain(total)),
            },
            Kind::Each(fields) => {
                let one = |item: &Value| {
                    let texts = fields.iter().map(|name| plain(field(item, name)));
                    texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ")
                };
                let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
                items.iter().map(one).collect::<Vec<_>>().join("; ")
            }
            Kind::OrElse(others) => {
                let all = [column.field].into_iter().chain(others.iter().copied());
                let mut texts = all.map(|path| plain(field(record, path)));
                texts.find(|text| !text.is_empty()).unwrap_or_default()
            }
        };
        Self { text, shape: None }
    }

    fn state(word: &str, screen: &Screen) -> Self {
        if word.is_empty() {
            return Self::default();
        }
        let shape = Shape::of(word);
        Self { text: format!("{} {}", shape.sign(screen), shown(word)), shape: Some(shape) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// A part of the text with its color, if there are colors.
    pub(super) fn colored(&self, part: &str, screen: &Screen) -> String {
        let style = match self.shape {
            Some(shape) if screen.has_colors => shape.style(),
            _ => Style::new(),
        };
        format!("{style}{part}{style:#}")
    }
}

impl Shape {
    pub(super) fn of(word: &str) -> Self {
        match word {
            "active" | "disassociated" | "ok" | "done" | "finished" => Self::Good,
            "failed" | "aborted" | "abandoned" | "unknown" => Self::Bad,
            "degraded" | "waiting" | "paused" | "frozen" | "postponed" => Self::Held,
            "investigating" | "bootstrapping" | "running" | "in_process" | "pausing"
            | "aborting" | "started" | "resumed" | "probe" | "cordon" | "drain" | "apply"
            | "reboot" | "verify" | "settle" | "ready" | "uncordon" => Self::Busy,
            _ => Self::Idle,
        }
    }

    fn sign(self, screen: &Screen) -> char {
        match (self, screen.is_utf8) {
            (Self::Good, true) => '✓',
            (Self::Good, false) => '+',
            (Self::Bad, true) => '✗',
            (Self::Bad, false) => 'x',
            (Self::Busy, true) => '…',
            (Self::Busy, false) => '~',
            (Self::Held, _) => '!',
            (Self::Idle, _) => '-',
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
            Self::Busy => AnsiColor::Cyan.on_default(),
            Self::Held => AnsiColor::Yellow.on_default(),
            Self::Idle => Style::new(),
        }
    }
}

/// The word for people in place of one of the API.
pub(super) fn shown(word: &str) -> String {
    let other = WORDS.into_iter().find(|(api, _)| *api == word);
    other.map_or_else(|| printable(word), |(_, shown)| shown.to_owned())
}

/// A value without units; the values in a list or an object are separated by commas.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => printable(text),
        Value::Array(items) => {
            let texts = items.iter().map(plain).filter(|text| !text.is_empty());
            texts.collect::<Vec<_>>().join(", ")
        }
        Value::Object(fields) => {
            let texts = fields.iter().map(|(name, value)| (printable(name), plain(value)));
            let texts = texts.filter(|(_, text)| !text.is_empty());
            texts.map(|(name, text)| format!("{name}={text}")).collect::<Vec<_>>().join(", ")
        }
    }
}

/// How long ago, or how long until; with `--utc` the time itself.
fn time(text: &str, screen: &Screen) -> String {
    let Some(time) = parsed(text).filter(|_| !screen.is_utc) else { return utc(text) };
    let seconds = screen.now.duration_since(time).as_secs();
    let length = match seconds.unsigned_abs() {
        0 => return "now".to_owned(),
        seconds @ ..60 => format!("{seconds}s"),
        seconds @ ..3_600 => format!("{}m", seconds / 60),
        seconds @ ..86_400 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    };
    if seconds > 0 { format!("{length} ago") } else { format!("in {length}") }
}

/// A time in UTC.
pub(crate) fn utc(text: &str) -> String {
    let time = parsed(text).map(|time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string());
    time.unwrap_or_else(|| printable(text))
}

/// The API's times are in UTC, without a zone.
fn parsed(text: &str) -> Option<Timestamp> {
    let civil = || Offset::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok();
    text.parse().ok().or_else(civil)
}

/// A size; empty where it is not known, which the API says with 0.
fn size(value: &Value, unit: u64) -> String {
    let Some(mut amount) = value.as_u64().filter(|amount| *amount > 0) else {
        return String::new();
    };
    amount = amount.saturating_mul(unit);
    let mut units = ["KiB", "MiB", "GiB", "TiB", "PiB"].into_iter();
    let mut name = "B";
    // In tenths, so that small numbers keep a digit.
    let mut tenths = u128::from(amount) * 10;
    while tenths >= 10_240
        && let Some(next) = units.next()
    {
        (tenths, name) = (tenths / 1_024, next);
    }
    match tenths {
        tenths @ ..100 if tenths % 10 != 0 => format!("{}.{} {name}", tenths / 10, tenths % 10),
        tenths => format!("{} {name}", (tenths + 5) / 10),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::table::tests::screen;
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (amount, unit, shown) in [
            (0, 1, ""),
            (900, 1, "900 B"),
            (1536, 1, "1.5 KiB"),
            (24_576, 1 << 20, "24 GiB"),
            (23_987, 1 << 20, "23 GiB"),
            (499_963_174_912_u64, 1, "466 GiB"),
        ] {
            assert_eq!(size(&json!(amount), unit), shown);
        }
        assert_eq!(size(&json!("many"), 1), "");
        assert_eq!(size(&json!(u64::MAX), 1 << 20), "16384 PiB");
    }

    #[test]
    fn times_are_relative_or_in_utc() {
        let screen = screen(80);
        for (text, shown) in [
            ("2026-12-01T12:00:00.000000", "now"),
            ("2026-12-01T11:59:18.900000", "41s ago"),
            ("2026-12-01T11:58:00Z", "2m ago"),
            ("2026-12-01T06:30:00+02:00", "7h ago"),
            ("2026-11-01T12:00:00", "30d ago"),
            ("2026-12-01T15:30:00", "in 3h"),
            ("soon\u{1b}[2J", "soon\\u{1b}[2J"),
        ] {
            assert_eq!(time(text, &screen), shown);
        }
        let utc = Screen { is_utc: true, ..screen };
        assert_eq!(time("2026-11-21T23:40:21.397282", &utc), "2026-11-21 23:40:21Z");
    }
}
