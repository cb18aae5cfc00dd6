//! A host of which the `sshd` is a real one, on this machine; files of the test take the place of its boot id, its uptime
//! and its systemd.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use testbed::sshd::Sshds;

use super::{Fixture, Setup, fixture_of};

/// Runs the commands of those who log in. Where there is a file `cut`, the connection is lost instead, once.
const SHELL: &str = r#"#!/bin/sh
here=$(dirname "$0")
rm "$here/cut" 2>/dev/null && kill -KILL "$PPID"
PATH=$here/bin:$PATH
exec sh -c "$(printf %s "$SSH_ORIGINAL_COMMAND" | sed "
    s|/proc/sys/kernel/random/boot_id|$here/boot_id|g
    s|/proc/uptime|$here/uptime|g
    s|/run/systemd/system|$here/systemd|g")"
"#;

const SYSTEMCTL: &str = r#"#!/bin/sh
case $1 in
    is-system-running) exec cat "$(dirname "$0")/../systemd/state" ;;
    list-units) exec cat "$(dirname "$0")/../systemd/failed" ;;
esac
echo "systemctl $*: not known here" >&2
exit 1
"#;

/// See the module.
pub(super) struct StandIn {
    sshds: Sshds,
    folder: tempfile::TempDir,
}

impl StandIn {
    /// One that runs in this boot, for an hour, with a systemd that has started.
    pub(super) fn start(boot_id: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shell = folder.path().join("shell");
        let sshds = Sshds::start(1, &format!("ForceCommand {}", shell.display()));
        let host = Self { sshds, folder };
        for name in ["bin", "systemd"] {
            fs::create_dir(host.folder.path().join(name)).unwrap();
        }
        for (name, text) in [("shell", SHELL), ("bin/systemctl", SYSTEMCTL)] {
            host.write(name, text);
            let executable = fs::Permissions::from_mode(0o755);
            fs::set_permissions(host.folder.path().join(name), executable).unwrap();
        }
        host.boots(boot_id);
        host.has_been_up(3600);
        host.systemd_is("running");
        host.has_failed_units(&[]);
        host
    }

    /// It is read at any time: whole, as it was or as it is now.
    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::write(path.with_extension("new"), text).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    }

    /// It is in another boot from now on; connections stay.
    pub(super) fn boots(&self, boot_id: &str) {
        self.write("boot_id", &format!("{boot_id}\n"));
    }

    /// It is in another boot from now on, and the connection is lost.
    pub(super) fn reboots(&self, boot_id: &str) {
        self.boots(boot_id);
        self.cut();
    }

    /// The connection is lost with the next command.
    pub(super) fn cut(&self) {
        self.write("cut", "");
    }

    /// Whether that has happened.
    pub(super) fn was_cut(&self) -> bool {
        !self.folder.path().join("cut").exists()
    }

    pub(super) fn has_been_up(&self, seconds: u64) {
        self.write("uptime", &format!("{seconds}.00 {seconds}.00\n"));
    }

    pub(super) fn systemd_is(&self, state: &str) {
        self.write("systemd/state", &format!("{state}\n"));
    }

    pub(super) fn has_no_systemd(&self) {
        fs::remove_dir_all(self.folder.path().join("systemd")).unwrap();
    }

    pub(super) fn has_failed_units(&self, names: &[&str]) {
        let lines = names.iter().map(|name| format!("{name} loaded failed failed A unit\n"));
        self.write("systemd/failed", &lines.collect::<String>());
    }

    /// A file of the host's that has no other use.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn address(&self) -> String {
        self.sshds.addresses()[0].to_owned()
    }

    /// A cluster of it alone, which trusts the server's key.
    pub(super) async fn fixture(&self, setup: Setup) -> Fixture {
        let key = fs::read_to_string(self.sshds.key()).unwrap();
        let hosts = vec![(self.address(), self.sshds.port())];
        fixture_of(hosts, Setup { own_key: key.into(), ..setup }).await
    }
}
