//! ansible-core's version, and which Python versions on hosts it works with. Pure.

use std::fmt;

use super::PlaybookError;

/// A version of ansible-core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CoreVersion {
    /// The 2 in 2.14.
    pub major: u32,
    /// The 14 in 2.14.
    pub minor: u32,
}

/// First ansible-core that works with a host's Python from this version on.
const FIRST_FOR: &[((u32, u32), CoreVersion)] = &[((3, 12), CoreVersion { major: 2, minor: 16 })];

/// First ansible-core that no longer works with a host's Python before this version.
const OLD_ENDS: &[((u32, u32), CoreVersion)] = &[
    ((3, 6), CoreVersion { major: 2, minor: 17 }),
    ((3, 7), CoreVersion { major: 2, minor: 17 }),
    ((3, 8), CoreVersion { major: 2, minor: 18 }),
    ((3, 9), CoreVersion { major: 2, minor: 20 }),
];

impl CoreVersion {
    /// The oldest that our playbooks and our callback plugin are tried with.
    pub const OLDEST: Self = Self { major: 2, minor: 14 };

    /// The version in the first line of `ansible-playbook --version`: `… [core 2.14.18]`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (_, after) = text.lines().next()?.split_once("[core ")?;
        let mut numbers = after.split(|letter: char| !letter.is_ascii_digit());
        let mut next = || numbers.next()?.parse().ok();
        Some(Self { major: next()?, minor: next()? })
    }

    /// Whether it works with this Python on a host.
    pub(crate) fn check(self, python: (u32, u32)) -> Result<(), PlaybookError> {
        let needed = FIRST_FOR.iter().filter(|(from, _)| python >= *from).map(|(_, core)| *core);
        let needed = needed.max().unwrap_or(Self::OLDEST);
        if self < needed {
            return Err(PlaybookError::AnsibleTooOld { found: self, needed, python });
        }
        if OLD_ENDS.iter().any(|(before, end)| python < *before && self >= *end) {
            return Err(PlaybookError::PythonTooOld { found: self, python });
        }
        Ok(())
    }
}

impl fmt::Display for CoreVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn core(minor: u32) -> CoreVersion {
        CoreVersion { major: 2, minor }
    }

    #[test]
    fn the_version_is_in_the_first_line() {
        let text = "ansible-playbook [core 2.14.18]\n  config file = None\n";
        assert_eq!(CoreVersion::parse(text), Some(core(14)));
        assert_eq!(CoreVersion::parse("ansible-playbook [core 2.19.0b1]"), Some(core(19)));
        assert_eq!(CoreVersion::parse("ansible-playbook 2.9.6"), None);
        assert_eq!(CoreVersion::parse(""), None);
    }

    #[test]
    fn a_new_python_needs_a_new_ansible_and_an_old_one_an_old() {
        assert!(core(14).check((3, 11)).is_ok());
        assert!(matches!(
            core(14).check((3, 12)),
            Err(PlaybookError::AnsibleTooOld { needed, .. }) if needed == core(16)
        ));
        assert!(core(16).check((3, 13)).is_ok());
        assert!(core(16).check((2, 7)).is_ok());
        assert!(matches!(core(17).check((3, 6)), Err(PlaybookError::PythonTooOld { .. })));
        assert!(matches!(core(13).check((3, 9)), Err(PlaybookError::AnsibleTooOld { .. })));
    }
}
