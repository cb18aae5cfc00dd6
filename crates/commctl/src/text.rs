//! Text from elsewhere, made safe to show.

use std::borrow::Cow;

/// Makes text from elsewhere safe to show on a terminal: control characters, and format characters that change the
/// direction of text, are escaped.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' => Cow::Borrowed(" "),
            c if c.is_control() => Cow::Owned(c.escape_debug().to_string()),
            '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => Cow::Owned(c.escape_unicode().to_string()),
            c => Cow::Owned(c.to_string()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_not_sent() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{7}é"), "a\\u{1b}[2Jb c\\u{7}é");
        assert_eq!(printable("\u{9b}31m\u{202e}x\u{2066}"), "\\u{9b}31m\\u{202e}x\\u{2066}");
    }
}
