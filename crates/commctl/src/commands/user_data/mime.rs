//! MIME, as much as cloud-init reads of it.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::random;

/// One of the texts that go along.
pub(super) struct Part<'a> {
    /// Its type, below `text/`.
    pub(super) kind: &'static str,
    /// A file's name, for people.
    pub(super) name: &'static str,
    pub(super) text: &'a str,
}

/// The longest line that may be sent as it is.
const LONGEST_LINE: usize = 998;

/// Characters of base64 in a line.
const WIDTH: usize = 76;

/// A `multipart/mixed` message of these parts, in this order.
pub(super) fn multipart(parts: &[Part<'_>]) -> String {
    // Random, so that no text holds it.
    separated(parts, &format!("==={}==", random::id().simple()))
}

fn separated(parts: &[Part<'_>], boundary: &str) -> String {
    let mut message =
        format!("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"{boundary}\"\n\n");
    for Part { kind, name, text } in parts {
        let (encoding, text) = encoded(text);
        // Writing to a string does not fail.
        let _ = write!(
            message,
            "--{boundary}\n\
             Content-Type: text/{kind}; charset=\"utf-8\"\n\
             Content-Transfer-Encoding: {encoding}\n\
             Content-Disposition: attachment; filename=\"{name}\"\n\
             \n\
             {text}\n"
        );
    }
    let _ = writeln!(message, "--{boundary}--");
    message
}

/// A text as it is where it may be, so that people can read it; else in base64.
fn encoded(text: &str) -> (&'static str, Cow<'_, str>) {
    let plain = |c: char| c.is_ascii() && (!c.is_ascii_control() || matches!(c, '\n' | '\t'));
    if text.chars().all(plain) && text.lines().all(|line| line.len() <= LONGEST_LINE) {
        return ("7bit", Cow::Borrowed(text));
    }
    let mut wrapped = BASE64.encode(text);
    for at in (1..wrapped.len().div_ceil(WIDTH)).rev() {
        wrapped.insert(at * WIDTH, '\n');
    }
    ("base64", Cow::Owned(wrapped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message() {
        let parts = [
            Part { kind: "cloud-config", name: "a.txt", text: "#cloud-config\n" },
            Part { kind: "plain", name: "b.txt", text: "é\r\n" },
        ];
        assert_eq!(
            separated(&parts, "=b="),
            "MIME-Version: 1.0\n\
             Content-Type: multipart/mixed; boundary=\"=b=\"\n\
             \n\
             --=b=\n\
             Content-Type: text/cloud-config; charset=\"utf-8\"\n\
             Content-Transfer-Encoding: 7bit\n\
             Content-Disposition: attachment; filename=\"a.txt\"\n\
             \n\
             #cloud-config\n\
             \n\
             --=b=\n\
             Content-Type: text/plain; charset=\"utf-8\"\n\
             Content-Transfer-Encoding: base64\n\
             Content-Disposition: attachment; filename=\"b.txt\"\n\
             \n\
             w6kNCg==\n\
             --=b=--\n"
        );
    }

    #[test]
    fn what_may_not_stand_as_it_is_goes_as_base64() {
        for text in ["é", "\r\n", "\0", &"x".repeat(999)] {
            let (encoding, encoded) = encoded(text);
            assert_eq!(encoding, "base64");
            assert!(encoded.lines().all(|line| line.len() <= WIDTH));
            assert_eq!(BASE64.decode(encoded.replace('\n', "")).unwrap(), text.as_bytes());
        }
        for text in ["", "a\n\tb\n", &format!("{0}\n{0}", "x".repeat(998))] {
            assert_eq!(encoded(text), ("7bit", Cow::Borrowed(text)));
        }
    }
}
