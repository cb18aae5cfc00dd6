//! Label selectors as text, as `kubectl` and the API server read them. Pure.

use std::collections::BTreeSet;

use kube::core::{Expression, Selector};

/// Length limit of a label's value and of the name in its key, in bytes.
const NAME_MAX: usize = 63;

/// Reads a label selector such as `app=web,tier in (front, back),!canary`.
///
/// # Errors
/// Why it is invalid.
pub(super) fn parse(text: &str) -> Result<Selector, String> {
    requirements(text)
        .into_iter()
        .map(|requirement| {
            expression(requirement.trim()).map_err(|why| {
                format!("{:?} in the label selector {text:?} is invalid: {why}", requirement.trim())
            })
        })
        .collect()
}

/// The parts between the commas that are in no parentheses.
fn requirements(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

fn expression(text: &str) -> Result<Expression, String> {
    if let Some(key) = text.strip_prefix('!') {
        return Ok(Expression::DoesNotExist(checked_key(key)?));
    }
    if let Some((left, right)) = text.split_once('(') {
        let values = right.strip_suffix(')').ok_or("`)` is missing")?;
        let values = values.split(',').map(checked_value).collect::<Result<BTreeSet<_>, _>>()?;
        let mut words = left.split_whitespace();
        let key = checked_key(words.next().unwrap_or_default())?;
        return match (words.next(), words.next()) {
            (Some("in"), None) => Ok(Expression::In(key, values)),
            (Some("notin"), None) => Ok(Expression::NotIn(key, values)),
            _ => Err("`in` or `notin` has to be before `(`".to_owned()),
        };
    }
    if text.contains(['<', '>']) {
        return Err("comparisons of numbers are not supported".to_owned());
    }
    if let Some((key, value)) = text.split_once("!=") {
        return Ok(Expression::NotEqual(checked_key(key)?, checked_value(value)?));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Expression::Equal(checked_key(key)?, checked_value(value)?));
    }
    Ok(Expression::Exists(checked_key(text)?))
}

fn checked_key(key: &str) -> Result<String, String> {
    let key = key.trim();
    let (prefix, name) = key.split_once('/').map_or((None, key), |(p, name)| (Some(p), name));
    let is_prefix = prefix.is_none_or(|prefix| super::node::check_name(prefix).is_ok());
    if is_prefix && !name.is_empty() && is_name(name) {
        return Ok(key.to_owned());
    }
    Err(format!("{key:?} is not the key of a label"))
}

fn checked_value(value: &str) -> Result<String, String> {
    let value = value.trim();
    if value.is_empty() || is_name(value) {
        return Ok(value.to_owned());
    }
    Err(format!("{value:?} is not the value of a label"))
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    text.len() <= NAME_MAX
        && is_end(bytes.first())
        && is_end(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

#[cfg(test)]
mod tests {
    use kube::core::SelectorExt as _;

    use super::*;

    #[test]
    fn selectors_select_as_those_of_kubectl() {
        let labels = [("app", "web"), ("tier", "front"), ("example.com/rack", "")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        for (text, expected) in [
            ("app=web", true),
            ("app==web", true),
            (" app = web , tier ", true),
            ("app!=web", false),
            ("other!=web", true),
            ("app in (db, web)", true),
            ("app in (db)", false),
            ("app notin (db, cache),tier=front", true),
            ("other notin (x)", true),
            ("tier", true),
            ("!tier", false),
            ("! other", true),
            ("example.com/rack=", true),
            ("example.com/rack in ()", true),
            ("app=web,tier=back", false),
        ] {
            let selector = parse(text).unwrap();
            assert_eq!(selector.matches(&labels), expected, "{text}");
        }
    }

    #[test]
    fn invalid_selectors_are_rejected_with_the_part_that_is_invalid() {
        for (text, part) in [
            ("", "\"\""),
            ("app=web,", "\"\""),
            ("===", "\"===\""),
            ("a b", "\"a b\""),
            ("tier,app in (a", "\"app in (a\""),
            ("app on (a)", "`in` or `notin`"),
            ("app=a b", "\"a b\" is not the value"),
            ("x>5", "comparisons"),
            ("UPPER.example/x/y=1", "key of a label"),
            ("-a=1", "key of a label"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
