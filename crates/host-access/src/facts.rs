//! What kind of host this is, in one round trip and without Python on it.

use std::collections::BTreeSet;
use std::time::Duration;

use model::FailureReason;

use crate::error::AccessError;
use crate::os::{Os, OsRelease, OsReleaseError};
use crate::session::{SshSession, is_boot_id};

/// What is run on the host.
const SCRIPT: &str = include_str!("facts/facts.sh");

/// What a host is and has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its distribution.
    pub os: Os,
    /// The distribution's version; empty for a rolling release.
    pub version: String,
    /// Processors that can be used.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Bytes on local file systems, each device counted once.
    pub space: u64,
    /// Which boot this is.
    pub boot_id: String,
    /// Its machine id; empty if it has none.
    pub machine_id: String,
    /// Whether it was booted from an OSTree deployment.
    pub ostree: bool,
    /// The container runtime that runs: `docker`, `containerd`, `cri-o` or `podman`.
    pub container_runtime: Option<String>,
    /// Whether a kubelet runs.
    pub kubelet: bool,
    /// Services that reboot the host by themselves, such as `unattended-upgrades`.
    pub rebooters: Vec<String>,
    /// The version of its Python.
    pub python: Option<(u32, u32)>,
    /// Its machine architecture, as `uname -m` names it.
    pub machine: String,
}

/// Why a host's facts are not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FactsError {
    /// The host could not be asked.
    #[error(transparent)]
    Access(AccessError),
    /// It answered, but its distribution is not one that can be managed.
    #[error("{address} cannot be managed: {problem}")]
    Os {
        /// The host's address.
        address: String,
        /// Why not.
        problem: OsReleaseError,
    },
    /// It answered, but not with this.
    #[error("{address} does not tell its {what}")]
    Missing {
        /// The host's address.
        address: String,
        /// What is missing.
        what: &'static str,
    },
}

impl FactsError {
    /// The reason, for records and events.
    pub fn reason(&self) -> FailureReason {
        match self {
            Self::Access(error) => error.reason(),
            Self::Os { .. } => FailureReason::UnknownOs,
            Self::Missing { .. } => FailureReason::NoFacts,
        }
    }

    /// Whether the same attempt may well succeed a little later, without anyone's help.
    pub fn heals(&self) -> bool {
        matches!(self, Self::Access(error) if error.heals())
    }
}

/// Asks a host what it is.
///
/// # Errors
/// When it cannot be asked, or its distribution is not known.
pub async fn gather(session: &SshSession, deadline: Duration) -> Result<Facts, FactsError> {
    let output = session.run(SCRIPT, deadline).await.map_err(FactsError::Access)?;
    if let Some(problem) = session.shell_problem(&output) {
        return Err(FactsError::Access(problem));
    }
    let address = || session.address().to_owned();
    parse(&output.stdout).map_err(|problem| match problem {
        Problem::Os(problem) => FactsError::Os { address: address(), problem },
        Problem::Missing(what) => FactsError::Missing { address: address(), what },
    })
}

/// The services that the script looks for.
const REBOOTERS: [&str; 3] = ["zincati", "dnf-automatic", "unattended-upgrades"];

#[derive(Debug, PartialEq, Eq)]
enum Problem {
    Os(OsReleaseError),
    Missing(&'static str),
}

/// Reads what the script wrote. A hostile host may write anything: nothing here trusts it.
fn parse(text: &str) -> Result<Facts, Problem> {
    let values = |key: &'static str| {
        text.lines().filter_map(move |line| line.strip_prefix(key)?.strip_prefix(": "))
    };
    let number = |key: &'static str| values(key).find_map(first_number);
    let release: Vec<&str> = values("os-release").collect();
    let OsRelease { os, version } = OsRelease::parse(&release.join("\n")).map_err(Problem::Os)?;
    let boot_id = values("boot-id").find(|id| is_boot_id(id)).ok_or(Problem::Missing("boot id"))?;
    let cpus = number("cpus").and_then(|count| u32::try_from(count).ok());
    let running: BTreeSet<&str> = values("running").collect();
    Ok(Facts {
        os,
        version,
        cpus: cpus.ok_or(Problem::Missing("number of processors"))?,
        memory_mib: number("memory-kib").ok_or(Problem::Missing("memory"))? / 1024,
        space: space(values("disk")),
        boot_id: boot_id.to_owned(),
        machine_id: values("machine-id")
            .find(|id| is_machine_id(id))
            .unwrap_or_default()
            .to_owned(),
        ostree: values("ostree").any(|value| value == "yes"),
        container_runtime: runtime(&running).map(str::to_owned),
        kubelet: running.contains("kubelet"),
        rebooters: values("rebooter")
            .filter(|name| REBOOTERS.contains(name))
            .map(str::to_owned)
            .collect(),
        python: values("python").find_map(two_numbers),
        machine: values("machine").next().map(word).unwrap_or_default(),
    })
}

/// Whether a text is a machine id: 32 hexadecimal digits.
fn is_machine_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn first_number(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

fn two_numbers(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A value that goes into records: no more than a word.
fn word(text: &str) -> String {
    text.chars()
        .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
        .take(32)
        .collect()
}

/// docker brings a containerd of its own, so the order matters.
fn runtime(running: &BTreeSet<&str>) -> Option<&'static str> {
    [
        ("docker", "docker"),
        ("dockerd", "docker"),
        ("crio", "cri-o"),
        ("cri-o", "cri-o"),
        ("containerd", "containerd"),
        ("podman", "podman"),
    ]
    .into_iter()
    .find_map(|(name, runtime)| running.contains(name).then_some(runtime))
}

/// The sum over `major:minor type source kib used available capacity% mount`, each device once.
///
/// A container's overlay root lies on some device; it counts only where no device does.
fn space<'a>(disks: impl Iterator<Item = &'a str>) -> u64 {
    let mut seen = BTreeSet::new();
    let (mut devices, mut overlay) = (0_u64, 0_u64);
    for (kind, source, kib) in disks.filter_map(disk) {
        // The data sets of a pool share its space.
        let source =
            if kind == "zfs" { source.split('/').next().unwrap_or(source) } else { source };
        let bytes = kib.saturating_mul(1024);
        if kind == "overlay" {
            overlay = overlay.max(bytes);
        } else if seen.insert(source) {
            devices = devices.saturating_add(bytes);
        }
    }
    if devices == 0 { overlay } else { devices }
}

fn disk(line: &str) -> Option<(&str, &str, u64)> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    // Counted from the percentage: neither the source nor the mount point is one word for sure.
    let capacity = words.iter().position(|word| word.ends_with('%'))?;
    let kib = words.get(capacity.checked_sub(3)?)?.parse().ok()?;
    Some((words.get(1)?, words.get(2)?, kib))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FEDORA: &str = "\
os-release: NAME=\"Fedora Linux\"
os-release: ID=fedora
os-release: VERSION_ID=41
os-release: boot-id: 00000000-0000-0000-0000-000000000000

ostree: yes
boot-id: 3b0c9e0e-4a3d-4c1f-9d0a-0b6f0f0a0b0c
machine-id: 4c4c4544004d3510804cb4c04f4d3333
machine: x86_64
cpus: 4
memory-kib: 8000000 kB
disk: 8:1 ext4 /dev/sda1 1000 500 500 50% /
disk: 0:31 btrfs /dev/sda1 1000 500 500 50% /var
disk: 8:2 vfat /dev/sda2 24 5 19 20% /boot/efi
disk: 0:40 overlay overlay 99999 5 19 20% /
running: containerd
running: docker
running: kubelet
rebooter: zincati
rebooter: something else
python: 3.12
";

    #[test]
    fn a_whole_answer() {
        let facts = parse(FEDORA).unwrap();
        assert_eq!((facts.os, facts.version.as_str()), (Os::Fedora, "41"));
        assert_eq!((facts.cpus, facts.memory_mib, facts.space), (4, 7812, 1024 * 1024));
        assert_eq!(facts.boot_id, "3b0c9e0e-4a3d-4c1f-9d0a-0b6f0f0a0b0c");
        assert_eq!(facts.machine_id, "4c4c4544004d3510804cb4c04f4d3333");
        assert!(facts.ostree && facts.kubelet);
        assert_eq!(facts.rebooters, ["zincati"]);
        assert_eq!(facts.container_runtime.as_deref(), Some("docker"));
        assert_eq!((facts.python, facts.machine.as_str()), (Some((3, 12)), "x86_64"));
    }

    #[test]
    fn a_container_has_the_space_of_its_root() {
        let lines = ["0:40 overlay overlay 100 5 19 20% /"];
        assert_eq!(space(lines.into_iter()), 102_400);
    }

    #[test]
    fn a_pool_counts_once() {
        let lines =
            ["0:1 zfs tank/a 8 1 7 1% /a", "0:2 zfs tank/b 8 1 7 1% /b", "8:1 ext4 /dev/a x"];
        assert_eq!(space(lines.into_iter()), 8192);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(parse(""), Err(Problem::Os(OsReleaseError::NoId)));
        let without = FEDORA.replace("cpus: 4\n", "cpus: many\n");
        assert_eq!(parse(&without), Err(Problem::Missing("number of processors")));
    }

    proptest! {
        #[test]
        fn no_answer_panics(
            noise in "\\PC*",
            lines in "((os-release|boot-id|cpus|memory-kib|disk|python|machine|running|ostree): [ -~]{0,60}\n){0,20}",
        ) {
            let _ = parse(&noise);
            let _ = parse(&format!("{FEDORA}{lines}"));
            let _ = parse(&format!("{lines}{FEDORA}"));
        }
    }
}
