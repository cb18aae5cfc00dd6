//! Lists in sentences: the length of a message does not grow with the number of hosts.

use std::fmt::Display;

/// The items that are named; the others are counted.
const NAMED: usize = 10;

/// The first ten items between separators, and how many others there are: `a, b, and 9990 others`.
pub fn abridged(items: impl IntoIterator<Item: Display>, separator: &str) -> String {
    let mut items = items.into_iter();
    let mut parts: Vec<_> = items.by_ref().take(NAMED).map(|item| item.to_string()).collect();
    match items.count() {
        0 => {}
        1 => parts.push("and 1 other".to_owned()),
        others => parts.push(format!("and {others} others")),
    }
    parts.join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_items_are_named_and_the_others_counted() {
        let hosts = |count: usize| abridged((0..count).map(|n| format!("h{n}")), ", ");
        let ten = "h0, h1, h2, h3, h4, h5, h6, h7, h8, h9";
        for (count, expected) in [
            (0, String::new()),
            (1, "h0".to_owned()),
            (2, "h0, h1".to_owned()),
            (10, ten.to_owned()),
            (11, format!("{ten}, and 1 other")),
            (12, format!("{ten}, and 2 others")),
            (10_000, format!("{ten}, and 9990 others")),
        ] {
            assert_eq!(hosts(count), expected);
        }
        assert_eq!(abridged(["a: x", "b: y"], "; "), "a: x; b: y");
    }
}
