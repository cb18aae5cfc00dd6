//! The programs that reach hosts: ansible-core with its Python, and the OpenSSH client.

use host_access::{Ansible, CoreVersion};

use super::programs::output;
use super::report::{Check, Report};
use super::subject::Subject;

const CHECK: Check = Check::Ansible;

/// The oldest OpenSSH client that knows every option of the sessions (`StrictHostKeyChecking accept-new`).
const OLDEST_SSH: (u32, u32) = (7, 6);

/// Checks the programs, where a daemon of this machine reaches hosts.
pub(super) async fn check(installation: &Subject, report: &mut Report) {
    if installation.key_dirs.is_empty() {
        return;
    }
    let version = Ansible::new(None).version().await;
    core(version.map_err(|error| error.to_string()), report);
    python(output("python3", &["--version"]).await, report);
    ssh(output("ssh", &["-V"]).await, report);
}

fn core(found: Result<CoreVersion, String>, report: &mut Report) {
    let oldest = CoreVersion::OLDEST;
    let remedy = format!("install ansible-core {oldest} or newer");
    match found {
        Ok(found) if found < oldest => {
            let finding =
                format!("ansible-core {found} is too old: {oldest} is the oldest that is tested");
            report.error(CHECK, finding, remedy);
        }
        Ok(found) => report.ok(CHECK, format!("ansible-core {found} is installed")),
        Err(why) => report.error(CHECK, why, remedy),
    }
}

fn python(found: Result<String, String>, report: &mut Report) {
    match found {
        Ok(version) => report.ok(CHECK, format!("{version} is installed")),
        // ansible-core may have a Python of its own.
        Err(why) => report.warning(CHECK, why, "install python3"),
    }
}

fn ssh(found: Result<String, String>, report: &mut Report) {
    let (major, minor) = OLDEST_SSH;
    let remedy = format!("install the OpenSSH client {major}.{minor} or newer");
    let text = match found {
        Ok(text) => text,
        Err(why) => return report.error(CHECK, why, remedy),
    };
    match ssh_version(&text) {
        Some(version) if version < OLDEST_SSH => {
            report.error(CHECK, format!("the SSH client is too old: {text}"), remedy);
        }
        Some(_) => report.ok(CHECK, format!("the SSH client is {text}")),
        None => {
            let finding = format!(
                "the SSH client is not that of OpenSSH, or does not show its version: {text}"
            );
            report.error(CHECK, finding, remedy);
        }
    }
}

/// The version in `OpenSSH_9.2p1 Debian-2+deb12u3, OpenSSL 3.0.15`.
fn ssh_version(text: &str) -> Option<(u32, u32)> {
    let (_, version) = text.split_once("OpenSSH_")?;
    let mut numbers = version.split(|letter: char| !letter.is_ascii_digit());
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(check: impl FnOnce(&mut Report)) -> Vec<String> {
        let mut report = Report::default();
        check(&mut report);
        assert_eq!(report.0.len(), 1);
        report.problems()
    }

    #[test]
    fn programs_that_are_missing_or_too_old_are_errors() {
        let core = |minor| problems(|report| core(Ok(CoreVersion { major: 2, minor }), report));
        assert_eq!(core(14), [""; 0]);
        assert!(core(13)[0].ends_with("; install ansible-core 2.14 or newer"), "{:?}", core(13));
        let missing = || Err("ssh is not installed".to_owned());
        assert!(
            problems(|report| super::core(Err("it is missing".to_owned()), report))[0]
                .starts_with("Error: it is missing; install ansible-core")
        );
        assert!(problems(|report| python(missing(), report))[0].starts_with("Warning: "));
        let ssh = |text: &str| problems(|report| ssh(Ok(text.to_owned()), report));
        assert_eq!(ssh("OpenSSH_9.2p1 Debian-2+deb12u3, OpenSSL 3.0.15 3 Sep 2024"), [""; 0]);
        assert_eq!(ssh("OpenSSH_10.0p2 Debian-7, OpenSSL 3.5.1"), [""; 0]);
        assert!(ssh("OpenSSH_7.4p1, OpenSSL 1.0.2k-fips")[0].contains("too old"));
        assert!(ssh("Dropbear v2022.83")[0].contains("not that of OpenSSH"));
        assert!(problems(|report| super::ssh(missing(), report))[0].starts_with("Error: ssh is"));
    }
}
