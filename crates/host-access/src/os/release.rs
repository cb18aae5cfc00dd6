//! `/etc/os-release`, read on our side: on the host a shell would execute what is in it.

use super::{Os, UnknownOs};

/// What `/etc/os-release` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsRelease {
    /// The distribution.
    pub os: Os,
    /// `VERSION_ID`; empty for a rolling release.
    pub version: String,
}

/// Why a text is not an `os-release` of a known distribution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OsReleaseError {
    /// There is no `ID` in it.
    #[error("it has no /etc/os-release that names a distribution")]
    NoId,
    /// Its `ID` is not known.
    #[error(transparent)]
    Unknown(UnknownOs),
}

impl OsRelease {
    /// Reads the text of an `os-release` file.
    ///
    /// # Errors
    /// When it names no distribution, or one that is not known.
    pub fn parse(text: &str) -> Result<Self, OsReleaseError> {
        let id = value(text, "ID").filter(|id| !id.is_empty()).ok_or(OsReleaseError::NoId)?;
        let os = by_id(&id.to_ascii_lowercase()).map_err(OsReleaseError::Unknown)?;
        // It goes into records and is compared, so only what versions consist of is kept.
        let version = value(text, "VERSION_ID").unwrap_or_default();
        let plain = |letter: &char| letter.is_ascii_alphanumeric() || "._-".contains(*letter);
        Ok(Self { os, version: version.chars().filter(plain).take(40).collect() })
    }
}

/// The ids that differ from our names. A derivative is not taken for what it is like (`ID_LIKE`):
/// its packages need not have the same names.
fn by_id(id: &str) -> Result<Os, UnknownOs> {
    match id {
        "rhcos" => Ok(Os::Rhel),
        "scos" => Ok(Os::Centos),
        "opensuse-leap" | "opensuse-tumbleweed" => Ok(Os::Opensuse),
        "sles_sap" => Ok(Os::Sles),
        _ => id.parse(),
    }
}

/// The value of the last line `key=value`, without its quotes.
fn value(text: &str, key: &str) -> Option<String> {
    let line =
        text.lines().rev().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
    let inner = ['"', '\'']
        .into_iter()
        .find_map(|quote| line.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(line);
    Some(inner.replace('\\', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Os, String) {
        let release = OsRelease::parse(text).unwrap();
        (release.os, release.version)
    }

    #[test]
    fn known_distributions() {
        assert_eq!(
            parsed("NAME=\"Fedora Linux\"\nID=fedora\nVERSION_ID=41\n"),
            (Os::Fedora, "41".into())
        );
        assert_eq!(
            parsed("ID=\"rhel\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"9.4\""),
            (Os::Rhel, "9.4".into())
        );
        assert_eq!(parsed("ID='opensuse-leap'\nVERSION_ID='15.6'"), (Os::Opensuse, "15.6".into()));
        for (id, os) in [
            ("centos", Os::Centos),
            ("redhat", Os::Redhat),
            ("rhcos", Os::Rhel),
            ("scos", Os::Centos),
            ("atomic", Os::Atomic),
            ("rocky", Os::Rocky),
            ("almalinux", Os::Almalinux),
            ("ubuntu", Os::Ubuntu),
            ("opensuse", Os::Opensuse),
            ("opensuse-tumbleweed", Os::Opensuse),
            ("sles", Os::Sles),
            ("sles_sap", Os::Sles),
        ] {
            assert_eq!(parsed(&format!("NAME=x\nID={id}\n")).0, os, "{id}");
        }
        assert_eq!(parsed("ID=debian"), (Os::Debian, String::new()));
        assert_eq!(parsed("ID=rhcos\nVERSION_ID=$(reboot)4.1"), (Os::Rhel, "reboot4.1".into()));
    }

    #[test]
    fn unknown_ones_are_named() {
        assert_eq!(OsRelease::parse("NAME=x"), Err(OsReleaseError::NoId));
        let error = OsRelease::parse("ID=linuxmint\nID_LIKE=ubuntu").unwrap_err().to_string();
        assert!(error.contains("linuxmint") && error.contains("ubuntu"), "{error}");
    }
}
