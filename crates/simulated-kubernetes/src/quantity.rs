//! Quantities such as `3800m` and `16Gi`.

/// The suffixes.
const SUFFIXES: &[(&str, f64)] = &[
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("m", 0.001),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("", 1.0),
];

/// Parses a quantity; `None` if it is invalid.
pub(crate) fn parse(text: &str) -> Option<f64> {
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.');
    let (digits, suffix) = text.split_at(end.unwrap_or(text.len()));
    let (_, factor) = SUFFIXES.iter().find(|(known, _)| *known == suffix)?;
    digits.parse::<f64>().ok().map(|amount| amount * factor)
}
