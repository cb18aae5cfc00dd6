//! Text from elsewhere, made safe to show.

use std::borrow::Cow;

/// Makes text from the server safe to show on a terminal: no control characters get through.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' => Cow::Borrowed(" "),
            c if c.is_control() => Cow::Owned(c.escape_debug().to_string()),
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
    }
}
