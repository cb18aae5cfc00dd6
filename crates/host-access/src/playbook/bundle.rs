//! The playbooks that are compiled in.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

macro_rules! bundled {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../playbooks/", $name)))),+]
    };
}

const FILES: &[(&str, &str)] = bundled![
    "bootstrap.yaml",
    "restart.yaml",
    "upgrade.yaml",
    "deploy.yaml",
    "check_host_availability.yaml",
    "files/claim.sh",
    "files/go_ahead.sh",
    "files/packages.sh",
    "files/unit.sh",
    "tasks/ostree_status.yaml",
    "tasks/report_tree.yaml",
    "tasks/stage.yaml",
    "tasks/unit.yaml",
    "tasks/upgrade_ostree.yaml",
    "tasks/upgrade_packages.yaml",
    "templates/flanneld",
    "templates/docker",
    "callback_plugins/commissaire.py",
];

/// The directory, inside, of the callback plugin.
pub(super) const CALLBACK_PLUGINS: &str = "callback_plugins";

/// An empty Ansible configuration, so that no other is looked for.
pub(super) const CONFIG: &str = "ansible.cfg";

/// Writes all of them into `directory`.
pub(super) fn write(directory: &Path) -> io::Result<()> {
    for subdirectory in ["files", "tasks", "templates", CALLBACK_PLUGINS] {
        std::fs::DirBuilder::new().mode(0o700).create(directory.join(subdirectory))?;
    }
    std::fs::write(directory.join(CONFIG), "")?;
    FILES.iter().try_for_each(|(name, text)| std::fs::write(directory.join(name), text))
}
