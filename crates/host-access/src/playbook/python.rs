//! The Python of a host: which one, in a tenth of the time that Ansible takes to find out.

use std::time::Duration;

use super::PlaybookError;
use crate::session::SshSession;

const DEADLINE: Duration = Duration::from_secs(20);

/// A Python that runs on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Python {
    pub(super) path: String,
    pub(super) version: (u32, u32),
}

/// `platform-python` first: on Red Hat 8 the distribution's own modules (dnf, selinux) are there
/// and nowhere else.
const SCRIPT: &str = r#"
for python in /usr/libexec/platform-python /usr/bin/python3 python3 /usr/bin/python python; do
  path=$(command -v "$python") || continue
  version=$("$path" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
  echo "$version $path"
  exit 0
done
"#;

/// Finds the Python that Ansible is to use there.
pub(super) async fn find(session: &SshSession) -> Result<Python, PlaybookError> {
    let output = session.run(SCRIPT, DEADLINE).await.map_err(PlaybookError::Access)?;
    parse(&output.stdout).ok_or(PlaybookError::NoPython)
}

/// The path ends up in Ansible's inventory, so it must be one.
fn parse(text: &str) -> Option<Python> {
    let (version, path) = text.lines().next()?.split_once(' ')?;
    let (major, minor) = version.split_once('.')?;
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
    let is_path = path.starts_with('/') && path.chars().all(plain);
    let version = (major.parse().ok()?, minor.parse().ok()?);
    is_path.then(|| Python { path: path.to_owned(), version })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_is_taken() {
        let python = Python { path: "/usr/bin/python3".into(), version: (3, 11) };
        assert_eq!(parse("3.11 /usr/bin/python3\n"), Some(python));
        for bad in
            ["", "3.11", "3 /usr/bin/python3", "3.11 python3", "3.11 /x {{ lookup('pipe', 'id') }}"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
