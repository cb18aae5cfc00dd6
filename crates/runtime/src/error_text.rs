//! Errors as text, for logs.

/// An error and its causes on one line, for logs: `what failed: why: why that`.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// The same text without line breaks and other control characters, which are escaped: nothing that comes from outside
/// may begin a line of its own.
pub(crate) fn one_line(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigError;

    #[test]
    fn the_chain_names_every_cause_once() {
        let source = std::io::Error::other("disk I/O error");
        let error = ConfigError::Read { path: "x.conf".into(), source };
        assert_eq!(error.to_string(), "cannot read the configuration x.conf");
        assert_eq!(chain(&error), "cannot read the configuration x.conf: disk I/O error");
    }
}
