//! Text that YAML 1.1 would read as something else unless it is quoted.

/// Whether a plain scalar with this text would be read as a boolean, null, number, time, merge
/// key or default value.
pub(super) fn is_not_text(text: &str) -> bool {
    is_word(text) || is_int(text) || is_float(text) || is_timestamp(text)
}

fn is_word(text: &str) -> bool {
    matches!(
        text,
        "" | "~"
            | "null"
            | "Null"
            | "NULL"
            | "<<"
            | "="
            | "yes"
            | "Yes"
            | "YES"
            | "no"
            | "No"
            | "NO"
            | "true"
            | "True"
            | "TRUE"
            | "false"
            | "False"
            | "FALSE"
            | "on"
            | "On"
            | "ON"
            | "off"
            | "Off"
            | "OFF"
    )
}

fn is_int(text: &str) -> bool {
    let digits = unsigned(text);
    if let Some(binary) = digits.strip_prefix("0b") {
        return all(binary, |b| matches!(b, b'0' | b'1' | b'_'));
    }
    if let Some(hexadecimal) = digits.strip_prefix("0x") {
        return all(hexadecimal, |b| b.is_ascii_hexdigit() || b == b'_');
    }
    match digits.strip_prefix('0') {
        Some(octal) => octal.is_empty() || all(octal, |b| matches!(b, b'0'..=b'7' | b'_')),
        None => is_decimal(digits) || is_sexagesimal(digits),
    }
}

fn is_float(text: &str) -> bool {
    let digits = unsigned(text);
    if matches!(digits, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let Some((whole, rest)) = digits.split_once('.') else { return false };
    if whole.is_empty() {
        // `.5`, which has no sign, and `._` is text
        return digits == text && is_decimal(without_exponent(rest));
    }
    let fraction = without_exponent(rest);
    if is_decimal(whole) {
        return fraction.bytes().all(is_digit_or_underscore);
    }
    is_sexagesimal(whole) && rest.bytes().all(is_digit_or_underscore)
}

fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits_at = |at: usize, n: usize| {
        bytes.get(at..at + n).is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    if !digits_at(0, 4) || bytes.get(4) != Some(&b'-') {
        return false;
    }
    let rest = &text[5..];
    let Some((month, rest)) = rest.split_once('-') else { return false };
    if bytes.len() == 10 && digits_at(5, 2) && bytes[7] == b'-' && digits_at(8, 2) {
        return true;
    }
    let day_end = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (day, rest) = rest.split_at(day_end);
    if !one_or_two_digits(month) || !one_or_two_digits(day) {
        return false;
    }
    let spaced = rest.trim_start_matches([' ', '\t']);
    let time = rest.strip_prefix(['T', 't']).or((spaced.len() < rest.len()).then_some(spaced));
    time.is_some_and(is_time)
}

/// `H:MM:SS`, a fraction, a zone.
fn is_time(time: &str) -> bool {
    let mut parts = time.splitn(3, ':');
    let (Some(hour), Some(minute), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    if !one_or_two_digits(hour) || !two_digits(minute) || !rest.get(..2).is_some_and(two_digits) {
        return false;
    }
    let mut zone = &rest[2..];
    if let Some(fraction) = zone.strip_prefix('.') {
        zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    let trimmed = zone.trim_start_matches([' ', '\t']);
    match trimmed.strip_prefix(['-', '+']) {
        Some(offset) => match offset.split_once(':') {
            Some((hours, minutes)) => one_or_two_digits(hours) && two_digits(minutes),
            None => one_or_two_digits(offset),
        },
        None => zone.is_empty() || trimmed == "Z",
    }
}

/// Without one leading sign.
fn unsigned(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

/// `12_000`
fn is_decimal(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(is_digit_or_underscore)
}

/// `12:30:45`, where integers do not begin with 0 (that case never gets here).
fn is_sexagesimal(text: &str) -> bool {
    let Some((first, rest)) = text.split_once(':') else { return false };
    is_decimal(first)
        && rest.split(':').all(|part| match part.as_bytes() {
            [ones] => ones.is_ascii_digit(),
            [tens, ones] => matches!(tens, b'0'..=b'5') && ones.is_ascii_digit(),
            _ => false,
        })
}

/// What stands before an exponent, whose sign YAML 1.1 demands; all of it when there is none.
fn without_exponent(text: &str) -> &str {
    match text.split_once(['e', 'E']) {
        Some((before, exponent))
            if exponent
                .strip_prefix(['-', '+'])
                .is_some_and(|e| all(e, |b| b.is_ascii_digit())) =>
        {
            before
        }
        _ => text,
    }
}

fn all(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(allowed)
}

fn is_digit_or_underscore(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'_'
}

fn one_or_two_digits(text: &str) -> bool {
    text.len() <= 2 && all(text, |b| b.is_ascii_digit())
}

fn two_digits(text: &str) -> bool {
    text.len() == 2 && one_or_two_digits(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_yaml_would_misread() {
        for text in [
            "",
            "~",
            "yes",
            "Off",
            "=",
            "0",
            "-12_0",
            "0x1F",
            "0b10",
            "017",
            "1:30",
            "190:20:30",
            "1.5",
            "1.",
            ".5",
            "1e",
            "6.8523015e+5",
            "685.230_15e+03",
            "190:20:30.15",
            "-.inf",
            ".NaN",
            "2026-11-21",
            "2026-11-21T23:40:21.397282",
            "2026-1-2 3:04:05 +1:30",
            "2026-1-2t3:04:05Z",
        ] {
            assert_eq!(is_not_text(text), text != "1e", "{text:?}");
        }
    }

    #[test]
    fn what_is_text() {
        for text in [
            "7.2.3",
            "10.0.0.1",
            "yEs",
            "nulls",
            "08",
            "0b",
            "1:60",
            "1e5",
            "1.5e5",
            "-.5",
            "._",
            "2026-1-2",
            "2026-11-21T23:40",
            "20260-11-21",
            "2026-11-21T23:40:21 z",
            "+",
            "-",
            ".",
            "fe80::1",
            "0:30",
        ] {
            assert!(!is_not_text(text), "{text:?}");
        }
    }
}
