//! The known distributions and their commands. Pure.

use std::fmt;
use std::str::FromStr;

pub mod packages;
mod release;

pub use release::{OsRelease, OsReleaseError};

/// A distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Os {
    /// Fedora, its OSTree editions included.
    Fedora,
    /// `CentOS`, Stream included.
    Centos,
    /// Red Hat Enterprise Linux, as `/etc/os-release` names it; its OSTree edition included.
    Rhel,
    /// Red Hat Enterprise Linux, as older records name it.
    Redhat,
    /// An Atomic Host, as older records name it.
    Atomic,
    /// Rocky Linux.
    Rocky,
    /// `AlmaLinux`.
    Almalinux,
    /// Debian.
    Debian,
    /// Ubuntu.
    Ubuntu,
    /// openSUSE Leap and Tumbleweed.
    Opensuse,
    /// SUSE Linux Enterprise Server.
    Sles,
}

/// Distributions that are managed alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `dnf`, or `yum` on version 7.
    RedHat,
    /// `apt-get`.
    Debian,
    /// `zypper`.
    Suse,
}

/// An `os` that is not known: nothing is run on such a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the operating system {unknown:?} is not known; known are {known}",
    unknown = .0, known = Os::ALL.map(Os::name).join(", ")
)]
pub struct UnknownOs(pub String);

/// What is run on a host of one distribution and version. Constant text: nothing from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commands {
    /// Lets Ansible handle `SELinux` contexts; nothing elsewhere.
    pub install_libselinux_python: Option<&'static str>,
    /// Makes the packages known before the first installation, where that is needed.
    pub prepare: Option<&'static str>,
    /// Installs flannel.
    pub install_flannel: &'static str,
    /// Installs docker.
    pub install_docker: &'static str,
    /// Fetches the package lists, and fails when an enabled repository does not answer, also where its
    /// configuration says that it may be skipped; nothing where the upgrade does so itself.
    pub refresh: Option<&'static str>,
    /// Brings all packages up to date.
    pub upgrade: &'static str,
    /// Makes it safe to upgrade again after a reboot in the middle of it; nothing where a person has to
    /// look first: `rpm` may have left two versions of a package behind.
    pub recover: Option<&'static str>,
    /// Restarts the host.
    pub restart: &'static str,
}

impl Os {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Fedora,
        Self::Centos,
        Self::Rhel,
        Self::Redhat,
        Self::Atomic,
        Self::Rocky,
        Self::Almalinux,
        Self::Debian,
        Self::Ubuntu,
        Self::Opensuse,
        Self::Sles,
    ];

    /// The name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fedora => "fedora",
            Self::Centos => "centos",
            Self::Rhel => "rhel",
            Self::Redhat => "redhat",
            Self::Atomic => "atomic",
            Self::Rocky => "rocky",
            Self::Almalinux => "almalinux",
            Self::Debian => "debian",
            Self::Ubuntu => "ubuntu",
            Self::Opensuse => "opensuse",
            Self::Sles => "sles",
        }
    }

    /// The family it belongs to.
    pub fn family(self) -> Family {
        match self {
            Self::Debian | Self::Ubuntu => Family::Debian,
            Self::Opensuse | Self::Sles => Family::Suse,
            _ => Family::RedHat,
        }
    }

    /// What is run on such a host. `version` is that of the distribution; on an `ostree` host
    /// everything needed is part of the tree, so the packages' commands are not used there.
    pub fn commands(self, version: &str, ostree: bool) -> Commands {
        if ostree || self == Self::Atomic {
            return OSTREE;
        }
        match self.family() {
            Family::Debian => DEBIAN,
            Family::Suse => SUSE,
            // Fedora 7 was long before anything this runs on.
            Family::RedHat if self == Self::Fedora => DNF,
            Family::RedHat if major(version) != Some(7) => DNF,
            // Its extras and optional repositories have to be named on RHEL only.
            Family::RedHat if matches!(self, Self::Rhel | Self::Redhat) => RHEL_7,
            Family::RedHat => YUM,
        }
    }
}

/// The 7 in `7.9`.
fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

const RESTART: &str = "systemctl reboot";

const DNF: Commands = Commands {
    install_libselinux_python: Some("dnf install -y python3-libselinux"),
    prepare: None,
    install_flannel: "dnf install -y flannel",
    install_docker: "dnf install -y docker",
    refresh: Some("dnf makecache -y --refresh '--setopt=*.skip_if_unavailable=False'"),
    upgrade: "dnf upgrade -y",
    recover: None,
    restart: RESTART,
};

const YUM: Commands = Commands {
    install_libselinux_python: Some("yum install -y libselinux-python"),
    install_flannel: "yum install -y flannel",
    install_docker: "yum install -y docker",
    // It has no `--refresh`: without the former, lists that are not too old are not fetched.
    refresh: Some(
        "yum clean -q expire-cache && yum makecache -y fast '--setopt=*.skip_if_unavailable=False'",
    ),
    upgrade: "yum update -y",
    ..DNF
};

const RHEL_7: Commands = Commands {
    prepare: Some(
        "subscription-manager repos --enable rhel-7-server-extras-rpms \
         --enable rhel-7-server-optional-rpms",
    ),
    ..YUM
};

/// Asks nothing, waits for another package manager to end, keeps configuration files that were
/// changed.
macro_rules! apt_get {
    ($arguments:literal) => {
        concat!(
            "DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=600 \
             -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold ",
            $arguments
        )
    };
}

const DEBIAN: Commands = Commands {
    install_libselinux_python: None,
    prepare: Some(apt_get!("update")),
    install_flannel: apt_get!("install flannel"),
    install_docker: apt_get!("install docker.io"),
    // apt before 2.1 does not know this option and ignores it: packages.sh reads what it prints.
    refresh: Some(apt_get!("update -o APT::Update::Error-Mode=any")),
    upgrade: apt_get!("upgrade --with-new-pkgs"),
    recover: Some(
        "DEBIAN_FRONTEND=noninteractive dpkg --force-confdef --force-confold --configure -a",
    ),
    restart: RESTART,
};

const SUSE: Commands = Commands {
    install_libselinux_python: None,
    prepare: None,
    install_flannel: "zypper --non-interactive install flannel",
    install_docker: "zypper --non-interactive install docker",
    // Exits with 4 when any repository failed; `update` would only skip it.
    refresh: Some("zypper --non-interactive refresh"),
    upgrade: "zypper --non-interactive update",
    recover: None,
    restart: RESTART,
};

const OSTREE: Commands = Commands {
    install_libselinux_python: None,
    prepare: None,
    install_flannel: "true",
    install_docker: "true",
    refresh: None,
    upgrade: "rpm-ostree upgrade",
    recover: None,
    restart: RESTART,
};

impl fmt::Display for Os {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Os {
    type Err = UnknownOs;

    fn from_str(text: &str) -> Result<Self, UnknownOs> {
        let known = Self::ALL.into_iter().find(|os| os.name() == text);
        known.ok_or_else(|| UnknownOs(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for os in Os::ALL {
            assert_eq!(os.to_string().parse(), Ok(os));
        }
        let error = "slackware".parse::<Os>().unwrap_err().to_string();
        for word in Os::ALL.map(Os::name).into_iter().chain(["slackware"]) {
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn every_one_has_the_commands_of_its_package_manager() {
        for (os, version, install, upgrade) in [
            (Os::Fedora, "41", "dnf install -y flannel", "dnf upgrade -y"),
            (Os::Centos, "9", "dnf install -y flannel", "dnf upgrade -y"),
            (Os::Rhel, "9.4", "dnf install -y flannel", "dnf upgrade -y"),
            (Os::Redhat, "8", "dnf install -y flannel", "dnf upgrade -y"),
            (Os::Atomic, "7", "true", "rpm-ostree upgrade"),
            (Os::Rocky, "", "dnf install -y flannel", "dnf upgrade -y"),
            (Os::Almalinux, "9", "dnf install -y flannel", "dnf upgrade -y"),
            (Os::Debian, "7", "apt-get", "upgrade --with-new-pkgs"),
            (Os::Ubuntu, "24.04", "apt-get", "upgrade --with-new-pkgs"),
            (Os::Opensuse, "15.6", "zypper --non-interactive install flannel", "zypper"),
            (Os::Sles, "15.6", "zypper --non-interactive install flannel", "zypper"),
        ] {
            let commands = os.commands(version, false);
            let Commands { install_flannel, upgrade: upgrades, restart, .. } = commands;
            assert!(install_flannel.contains(install), "{os}: {install_flannel}");
            assert!(upgrades.contains(upgrade), "{os}: {upgrades}");
            assert_eq!(restart, "systemctl reboot");
        }
    }

    #[test]
    fn every_package_manager_fetches_its_lists_before_an_upgrade() {
        for (os, version, refresh) in [
            (Os::Fedora, "41", Some("*.skip_if_unavailable=False")),
            (Os::Centos, "7", Some("*.skip_if_unavailable=False")),
            (Os::Rhel, "9", Some("makecache -y --refresh")),
            (Os::Debian, "12", Some("APT::Update::Error-Mode=any")),
            (Os::Ubuntu, "24.04", Some("apt-get")),
            (Os::Sles, "15", Some("zypper --non-interactive refresh")),
            (Os::Atomic, "7", None),
        ] {
            let found = os.commands(version, false).refresh;
            assert_eq!(found.is_some(), refresh.is_some(), "{os}: {found:?}");
            assert!(
                found.unwrap_or_default().contains(refresh.unwrap_or_default()),
                "{os}: {found:?}"
            );
        }
    }

    #[test]
    fn only_version_7_of_the_red_hat_family_uses_yum() {
        for (os, version, commands) in [
            (Os::Centos, "7", YUM),
            (Os::Rocky, "7.9", YUM),
            (Os::Rhel, "7.9", RHEL_7),
            (Os::Redhat, "7", RHEL_7),
            (Os::Fedora, "7", DNF),
            (Os::Rhel, "70", DNF),
        ] {
            assert_eq!(os.commands(version, false), commands, "{os} {version}");
        }
        let prepare = RHEL_7.prepare.unwrap_or_default();
        assert!(prepare.contains("extras") && prepare.contains("optional"), "{prepare}");
        assert_eq!((YUM.prepare, DNF.prepare), (None, None));
    }

    #[test]
    fn nothing_is_installed_on_an_ostree_host() {
        for os in [Os::Fedora, Os::Centos, Os::Rhel, Os::Redhat, Os::Atomic] {
            assert_eq!(os.commands("7", true), OSTREE, "{os}");
        }
        assert_eq!(Os::Atomic.commands("7", false), OSTREE);
    }
}
