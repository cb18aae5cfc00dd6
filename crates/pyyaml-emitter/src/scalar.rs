//! Strings: which style they allow, and writing them in it.

use super::{After, Before, Emitter, WIDTH, implicit};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Style {
    Plain,
    Single,
    Double,
}

/// What matters about a string when choosing its style.
pub(super) struct Analysis {
    pub(super) text: Vec<char>,
    multiline: bool,
    style: Style,
}

impl Analysis {
    pub(super) fn of(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let multiline = chars.iter().copied().any(is_break);
        let style = if needs_escapes(&chars) {
            Style::Double
        } else if chars.is_empty()
            || multiline
            || implicit::is_not_text(text)
            || has_indicator(&chars)
            || chars.first() == Some(&' ')
            || chars.last() == Some(&' ')
        {
            Style::Single
        } else {
            Style::Plain
        };
        Self { text: chars, multiline, style }
    }

    pub(super) fn style(&self) -> Style {
        self.style
    }

    /// Whether it may stand before a `:` on the same line.
    pub(super) fn is_simple_key(&self, longest: usize) -> bool {
        !self.text.is_empty() && !self.multiline && self.text.len() <= longest
    }
}

/// Characters, or spaces around line breaks, that only double quotes keep.
fn needs_escapes(text: &[char]) -> bool {
    text.iter().any(|&c| c != '\n' && !matches!(c, ' '..='~'))
        || text.windows(2).any(|pair| pair == ['\n', ' '] || pair == [' ', '\n'])
}

/// Indicators where a plain scalar must not have them.
fn has_indicator(text: &[char]) -> bool {
    if text.starts_with(&['-'; 3]) || text.starts_with(&['.'; 3]) {
        return true;
    }
    text.iter().enumerate().any(|(at, &c)| {
        let space_follows = text.get(at + 1).copied().is_none_or(is_space);
        match c {
            '#' => at == 0 || is_space(text[at - 1]),
            ':' => space_follows,
            '?' | '-' => at == 0 && space_follows,
            ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
            | '`' => at == 0,
            _ => false,
        }
    })
}

fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_space(c: char) -> bool {
    matches!(c, '\0' | ' ' | '\t' | '\r') || is_break(c)
}

/// Pieces of one kind: a run of spaces, a run of line breaks, or text without either.
fn runs(text: &[char]) -> impl Iterator<Item = &[char]> {
    text.chunk_by(|&a, &b| kind(a) == kind(b))
}

fn kind(c: char) -> u8 {
    match c {
        ' ' => 0,
        '\n' => 1,
        _ => 2,
    }
}

impl Emitter {
    /// A scalar without quotes: it has no line breaks and no white space at its ends.
    pub(super) fn plain(&mut self, text: &[char], fold: bool) {
        if !self.whitespace {
            self.put(" ");
        }
        self.whitespace = false;
        self.indention = false;
        for run in runs(text) {
            if run == [' '] && fold && self.column > WIDTH {
                self.break_line_to_indent();
                self.whitespace = false;
                self.indention = false;
            } else {
                self.put_chars(run);
            }
        }
    }

    pub(super) fn single_quoted(&mut self, text: &[char], fold: bool) {
        self.indicator("'", Before::Space, After::Text);
        let mut at = 0;
        for run in runs(text) {
            let inside = at != 0 && at + run.len() != text.len();
            match run[0] {
                ' ' if run.len() == 1 && fold && inside && self.column > WIDTH => {
                    self.break_line_to_indent();
                }
                '\n' => {
                    // A single line break reads as a space, hence one more.
                    for _ in 0..=run.len() {
                        self.break_line();
                    }
                    self.break_line_to_indent();
                }
                _ => {
                    for &c in run {
                        self.put_chars(if c == '\'' {
                            &['\'', '\'']
                        } else {
                            std::slice::from_ref(&c)
                        });
                    }
                }
            }
            at += run.len();
        }
        self.indicator("'", Before::Nothing, After::Text);
    }

    /// Follows `PyYAML`'s loop step by step, because its choice of where to fold shows.
    pub(super) fn double_quoted(&mut self, text: &[char], fold: bool) {
        self.indicator("\"", Before::Space, After::Text);
        let mut start = 0; // of what is not written yet
        for end in 0..=text.len() {
            let c = text.get(end).copied();
            let literal = matches!(c, Some(' '..='~')) && !matches!(c, Some('"' | '\\'));
            if !literal {
                self.put_chars(&text[start.min(end)..end]);
                start = start.max(end);
                if let Some(c) = c {
                    self.put(&escape(c));
                    start = end + 1;
                }
            }
            let inside = end > 0 && end + 1 < text.len();
            if inside
                && fold
                && (c == Some(' ') || start >= end)
                && self.column + end > WIDTH + start
            {
                self.put_chars(&text[start.min(end)..end]);
                start = start.max(end);
                self.put("\\");
                self.break_line_to_indent();
                self.whitespace = false;
                self.indention = false;
                if text[start] == ' ' {
                    self.put("\\");
                }
            }
        }
        self.indicator("\"", Before::Nothing, After::Text);
    }
}

fn escape(c: char) -> String {
    let letter = match c {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' | '\\' => c,
        '\u{85}' => 'N',
        '\u{a0}' => '_',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        c => {
            return match u32::from(c) {
                code @ ..=0xff => format!("\\x{code:02X}"),
                code @ ..=0xffff => format!("\\u{code:04X}"),
                code => format!("\\U{code:08X}"),
            };
        }
    };
    format!("\\{letter}")
}
