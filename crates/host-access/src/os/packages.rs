//! Upgrades of hosts that run pods: without the packages of Kubernetes, and downloaded before the pods are evicted. Pure.

use super::{Commands, Family, Os};

/// The packages of Kubernetes and of container runtimes, as patterns: a kubelet is upgraded in step with its control plane,
/// and not with its host.
const KUBERNETES: [&str; 18] = [
    "kubelet",
    "kubeadm",
    "kubectl",
    "kubernetes-cni",
    "cri-tools",
    "cri-o",
    "cri-o-*",
    "containerd",
    "containerd.io",
    "docker-ce",
    "docker-ce-*",
    "docker.io",
    "moby-engine",
    "runc",
    "k3s",
    "k3s-*",
    "rke2",
    "rke2-*",
];

/// The output of [`stage`] if there is nothing to upgrade.
pub const NOTHING: &str = "nothing to upgrade";

/// How packages are left out of an upgrade.
struct Without {
    /// Shell before the commands.
    before: String,
    /// Options of the package manager.
    options: String,
    /// Shell after the commands, which keeps their exit status.
    after: &'static str,
}

impl Without {
    fn of(family: Family, excludes: bool) -> Self {
        let none = Self { before: String::new(), options: String::new(), after: "" };
        match family {
            _ if !excludes => none,
            // A hold would remain if this were interrupted; a pin in a directory of its own does not.
            Family::Debian => Self {
                before: format!(
                    "pins=$(mktemp -d) || exit\n\
                     cp /etc/apt/preferences.d/* \"$pins\" 2>/dev/null\n\
                     printf 'Package: %s\\nPin: release *\\nPin-Priority: -1\\n' '{}' >\"$pins/zz-commissaire.pref\"\n",
                    KUBERNETES.join(" ")
                ),
                options: " -o Dir::Etc::preferencesparts=\"$pins\"".to_owned(),
                after: "\nstatus=$?\nrm -rf \"$pins\"\nexit \"$status\"",
            },
            Family::RedHat => {
                let options = KUBERNETES.map(|name| format!(" --exclude='{name}'")).concat();
                Self { options, ..none }
            }
            Family::Suse => none,
        }
    }
}

/// The shell lines that upgrade a host with packages; with `excludes` without those of Kubernetes.
pub fn upgrade(os: Os, commands: &Commands, excludes: bool) -> String {
    let family = os.family();
    if family == Family::Suse && excludes {
        return format!("{}{} $packages", suse_packages(excludes), commands.upgrade);
    }
    let Without { before, options, after } = Without::of(family, excludes);
    if before.is_empty() && options.is_empty() {
        return commands.upgrade.to_owned();
    }
    format!("{before}{}{options}{after}", commands.upgrade)
}

/// A script that downloads what [`upgrade`] would install, or prints [`NOTHING`].
pub fn stage(os: Os, commands: &Commands, ostree: bool, excludes: bool) -> String {
    let nothing = format!("echo '{NOTHING}'");
    if ostree {
        // 77: there is no newer tree.
        return format!(
            "rpm-ostree upgrade --check >/dev/null\ncase $? in 77) {nothing}; exit 0 ;; 0) ;; *) exit 1 ;; esac\n\
             rpm-ostree upgrade --download-only >/dev/null\n"
        );
    }
    let family = os.family();
    let refresh = commands.refresh.unwrap_or("true");
    let refresh = format!("{refresh} >/dev/null || exit\n");
    if family == Family::Suse {
        let (packages, upgrade) =
            (suse_packages(excludes).replace("exit 0", &nothing_and_exit()), commands.upgrade);
        return format!("{refresh}{packages}{upgrade} --download-only $packages >/dev/null\n");
    }
    let Without { before, options, after } = Without::of(family, excludes);
    let upgrade = format!("{}{options}", commands.upgrade);
    let steps = if family == Family::Debian {
        format!(
            "if [ \"$({upgrade} --simulate | grep -c '^Inst ')\" = 0 ]; then {nothing}; else\n\
             {upgrade} --download-only >/dev/null; fi"
        )
    } else {
        // 100: there are updates.
        let manager = commands.upgrade.split(' ').next().unwrap_or_default();
        format!(
            "{manager} -q{options} check-update >/dev/null\n\
             case $? in 0) {nothing} ;; 100) {upgrade} --downloadonly >/dev/null ;; *) exit 1 ;; esac"
        )
    };
    format!("{refresh}{before}{steps}{after}\n")
}

/// The command that shows the deployments of an OSTree host as JSON, the one of the next boot first.
pub const OSTREE_STATUS: &str = "rpm-ostree status --json";

/// A script that downloads a version of the tree of an OSTree host. There is no quote in a version that was checked.
pub fn stage_version(version: &str) -> String {
    format!("rpm-ostree deploy --download-only '{version}' >/dev/null\n")
}

fn nothing_and_exit() -> String {
    format!("{{ echo '{NOTHING}'; exit 0; }}")
}

/// Shell that lists the packages with updates in `packages`, and ends if there are none: zypper excludes none by itself.
fn suse_packages(excludes: bool) -> String {
    let filter = if excludes {
        let patterns = KUBERNETES.map(|name| name.replace('.', "\\.").replace('*', ".*"));
        format!(" | grep -vxE '{}'", patterns.join("|"))
    } else {
        String::new()
    };
    format!(
        "packages=$(zypper --non-interactive --quiet list-updates | \
         awk -F'|' '/^v /{{ gsub(/ /, \"\", $3); print $3 }}'{filter})\n\
         [ -n \"$packages\" ] || exit 0\n"
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    /// Whether a shell reads a script to its end.
    fn is_shell(script: &str) -> bool {
        let mut shell =
            Command::new("sh").args(["-n", "-s"]).stdin(Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        shell.wait().unwrap().success()
    }

    #[test]
    fn every_script_is_valid_shell_and_names_the_packages_that_it_leaves_out() {
        for os in Os::ALL {
            for (version, ostree) in [("7.9", false), ("12", false), ("41", true)] {
                let commands = os.commands(version, ostree);
                for excludes in [true, false] {
                    let scripts = [
                        upgrade(os, &commands, excludes),
                        stage(os, &commands, ostree || os == Os::Atomic, excludes),
                    ];
                    for script in scripts {
                        assert!(is_shell(&script), "{script}");
                        let has_packages = !ostree && os != Os::Atomic;
                        let named = script.contains("kubelet");
                        assert!(!named || excludes, "{script}");
                        assert!(!has_packages || !excludes || named, "{os:?} {script}");
                    }
                }
            }
        }
    }

    #[test]
    fn upgrade_of_other_hosts_is_the_plain_command() {
        let commands = Os::Debian.commands("12", false);
        assert_eq!(upgrade(Os::Debian, &commands, false), commands.upgrade);
    }
}
