//! YAML 1.1, byte for byte as `PyYAML`'s `safe_dump(data, default_flow_style=False)` writes it.
//!
//! Scripts of existing installations read this output, so the emitter follows `PyYAML`'s, quirks
//! included: lists in mappings are not indented, long lines are folded at 80 columns, everything
//! beyond ASCII is escaped, and a document that is a plain scalar ends with `...`.

mod implicit;
mod scalar;

use serde_json::{Map, Number, Value};

use self::scalar::{Analysis, Style};

/// Text is folded at the first chance beyond this column.
const WIDTH: usize = 80;
const INDENT: usize = 2;
/// `PyYAML` counts a key's tag (`!!str`) in when it judges whether the key is short enough.
const LONGEST_SIMPLE_KEY: usize = 127 - 5;

/// Writes a value as one document.
///
/// Keys are sorted by their code points, and the text ends with a line break.
///
/// ```
/// let value = serde_json::json!({"size": [1, 2.5], "answer": "yes"});
/// assert_eq!(pyyaml_emitter::to_string(&value), "answer: 'yes'\nsize:\n- 1\n- 2.5\n");
/// ```
pub fn to_string(value: &Value) -> String {
    let mut emitter = Emitter { whitespace: true, indention: true, ..Emitter::default() };
    emitter.node(value, Place::Root);
    emitter.break_line_to_indent();
    if emitter.open_ended {
        emitter.indicator("...", Before::Space, After::Text);
        emitter.break_line_to_indent();
    }
    emitter.out
}

/// Where a node stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Root,
    Item,
    Value,
}

#[derive(Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    Space,
}

/// What an indicator counts as for whatever follows it.
#[derive(Clone, Copy, PartialEq)]
enum After {
    Text,
    Space,
    Indent,
}

/// The output and `PyYAML`'s notion of where in it we are.
#[derive(Default)]
struct Emitter {
    out: String,
    column: usize,
    indent: Option<usize>,
    /// The last character was white space.
    whitespace: bool,
    /// Nothing but indentation and indicators so far on this line.
    indention: bool,
    /// The document needs an explicit end.
    open_ended: bool,
}

impl Emitter {
    fn node(&mut self, value: &Value, place: Place) {
        match value {
            Value::Null => self.plain_word("null", place),
            Value::Bool(true) => self.plain_word("true", place),
            Value::Bool(false) => self.plain_word("false", place),
            Value::Number(number) => self.plain_word(&number_text(number), place),
            Value::String(text) => self.text(text, place),
            Value::Array(items) if items.is_empty() => self.empty("[", "]"),
            Value::Object(members) if members.is_empty() => self.empty("{", "}"),
            Value::Array(items) => self.sequence(items, place),
            Value::Object(members) => self.mapping(members),
        }
    }

    fn empty(&mut self, open: &str, close: &str) {
        self.indicator(open, Before::Space, After::Space);
        self.indicator(close, Before::Nothing, After::Text);
    }

    fn sequence(&mut self, items: &[Value], place: Place) {
        let outer = self.indent;
        let indentless = place == Place::Value && !self.indention;
        self.indent =
            Some(outer.map_or(0, |indent| if indentless { indent } else { indent + INDENT }));
        for item in items {
            self.break_line_to_indent();
            self.indicator("-", Before::Space, After::Indent);
            self.node(item, Place::Item);
        }
        self.indent = outer;
    }

    fn mapping(&mut self, members: &Map<String, Value>) {
        let outer = self.indent;
        self.indent = Some(outer.map_or(0, |indent| indent + INDENT));
        let mut members: Vec<(&String, &Value)> = members.iter().collect();
        members.sort_by_key(|(key, _)| *key);
        for (key, value) in members {
            self.break_line_to_indent();
            self.key(key);
            self.node(value, Place::Value);
        }
        self.indent = outer;
    }

    fn key(&mut self, key: &str) {
        let analysis = Analysis::of(key);
        if analysis.is_simple_key(LONGEST_SIMPLE_KEY) {
            self.scalar(&analysis, false);
            self.indicator(":", Before::Nothing, After::Text);
        } else {
            self.indicator("?", Before::Space, After::Indent);
            self.scalar(&analysis, true);
            self.break_line_to_indent();
            self.indicator(":", Before::Space, After::Indent);
        }
    }

    fn plain_word(&mut self, word: &str, place: Place) {
        self.open_ended = place == Place::Root;
        self.plain(&word.chars().collect::<Vec<_>>(), false);
    }

    fn text(&mut self, text: &str, place: Place) {
        let analysis = Analysis::of(text);
        self.scalar(&analysis, true);
        self.open_ended = place == Place::Root && analysis.style() == Style::Plain;
    }

    /// Writes text in the plainest style it allows; `fold` is off in keys, which stay on one line.
    fn scalar(&mut self, analysis: &Analysis, fold: bool) {
        let outer = self.indent;
        self.indent = Some(outer.map_or(INDENT, |indent| indent + INDENT));
        match analysis.style() {
            Style::Plain => self.plain(&analysis.text, fold),
            Style::Single => self.single_quoted(&analysis.text, fold),
            Style::Double => self.double_quoted(&analysis.text, fold),
        }
        self.indent = outer;
    }

    fn indicator(&mut self, indicator: &str, before: Before, after: After) {
        if before == Before::Space && !self.whitespace {
            self.put(" ");
        }
        self.put(indicator);
        self.whitespace = after == After::Space;
        self.indention = self.indention && after == After::Indent;
        self.open_ended = false;
    }

    fn break_line_to_indent(&mut self) {
        let indent = self.indent.unwrap_or(0);
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.break_line();
        }
        if self.column < indent {
            self.whitespace = true;
            self.put(&" ".repeat(indent - self.column));
        }
    }

    fn break_line(&mut self) {
        self.whitespace = true;
        self.indention = true;
        self.out.push('\n');
        self.column = 0;
    }

    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn put_chars(&mut self, text: &[char]) {
        self.out.extend(text);
        self.column += text.len();
    }
}

/// Integers as they are, floats as Python's `repr` with `PyYAML`'s `.0` before an exponent.
fn number_text(number: &Number) -> String {
    if number.is_i64() || number.is_u64() {
        return number.to_string();
    }
    number.as_f64().map_or_else(|| number.to_string(), float_text)
}

fn float_text(float: f64) -> String {
    let scientific = shortest(float);
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..16).contains(&exponent) {
        let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
        let fraction = i32::try_from(digits).unwrap_or(i32::MAX) - 1 - exponent;
        return format!("{float:.*}", usize::try_from(fraction).unwrap_or(0).max(1));
    }
    let point = if mantissa.contains('.') { "" } else { ".0" };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}{point}e{sign}{:02}", exponent.abs())
}

/// The shortest digits that read back as the same float. Where two are equally near, Python takes
/// the even one and Rust the greater; exact formatting with as many digits decides as Python does.
fn shortest(float: f64) -> String {
    let shortest = format!("{float:e}");
    let mantissa = shortest.split_once('e').map_or("", |(mantissa, _)| mantissa);
    let decimals = mantissa.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let even = format!("{float:.decimals$e}");
    if even.parse() == Ok(float) { even } else { shortest }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn as_the_original_prints_data() {
        let cluster = json!({
            "name": "c2", "status": "ok", "network": "default", "container_manager": "",
            "hostset": ["127.0.0.11"], "hosts": {"total": 1, "available": 1, "unavailable": 0},
        });
        assert_eq!(
            to_string(&cluster),
            "container_manager: ''\nhosts:\n  available: 1\n  total: 1\n  unavailable: 0\n\
             hostset:\n- 127.0.0.11\nname: c2\nnetwork: default\nstatus: ok\n"
        );
    }

    /// Written by `PyYAML` 6.0: `tests/data/yaml-golden.py` says how.
    #[test]
    fn as_pyyaml_writes_it() {
        let golden = include_str!("../tests/data/yaml-golden.jsonl");
        let mut cases = 0;
        for line in golden.lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            assert_eq!(to_string(&case["value"]), case["yaml"], "{line}");
            cases += 1;
        }
        assert!(cases > 300, "only {cases} cases");
    }
}
