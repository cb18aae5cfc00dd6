//! The state of a host's system: its boot, its uptime, how far its start has got, and whether it needs a restart.

use std::time::Duration;

use crate::error::AccessError;
use crate::session::{SshSession, is_boot_id};

/// Timeout for the state of a system.
const STATE_TIMEOUT: Duration = Duration::from_secs(20);

/// Timeout for the question whether a restart is needed: package managers may read their lists for it.
const NEED_TIMEOUT: Duration = Duration::from_mins(1);

/// The most failed units that are taken from a host, and the longest name, in characters.
const UNITS: usize = 100;
const NAME: usize = 100;

/// Prints the boot id, the uptime, the state of systemd (`none` where it does not run), and the failed units, a line
/// each.
const STATE: &str = "\
cat /proc/sys/kernel/random/boot_id || exit
read -r up rest </proc/uptime; echo \"$up\"
if [ -d /run/systemd/system ]; then
  systemctl is-system-running 2>/dev/null
  systemctl list-units --failed --plain --no-legend --no-pager 2>/dev/null | head -n 200
else
  echo none
fi
exit 0";

/// Exits with 102 when the host needs a restart. Each family of distributions reports it in its own way, and none of
/// the programs need be installed.
const NEEDS_REBOOT: &str = "
[ -e /run/reboot-required ] && exit 102
if [ -e /run/ostree-booted ]; then
  rpm-ostree status --pending-exit-77 >/dev/null 2>&1; [ \"$?\" = 77 ] && exit 102
fi
if command -v zypper >/dev/null 2>&1; then
  zypper needs-rebooting >/dev/null 2>&1; [ \"$?\" = 102 ] && exit 102
fi
if command -v needs-restarting >/dev/null 2>&1; then
  needs-restarting -r >/dev/null 2>&1; [ \"$?\" = 1 ] && exit 102
fi
exit 0";

/// States of systemd in which the system has not started, or shuts down.
const NOT_UP: [&str; 4] = ["initializing", "starting", "stopping", "offline"];

/// The state of a host's system; bounded, since it comes from the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemState {
    /// Which boot it is in.
    pub boot_id: String,
    /// How long it has been up.
    pub uptime: Duration,
    /// What `systemctl is-system-running` prints; `none` without systemd.
    pub state: String,
    /// Units of systemd that have failed.
    pub failed_units: Vec<String>,
}

impl SystemState {
    /// Whether the start of the system is complete; always without systemd.
    pub fn is_up(&self) -> bool {
        !NOT_UP.contains(&self.state.as_str())
    }
}

/// Reads the state of the system.
///
/// # Errors
/// When the host does not answer, or with something else.
pub(crate) async fn state(session: &SshSession) -> Result<SystemState, AccessError> {
    let output = session.run(STATE, STATE_TIMEOUT).await?;
    parse(&output.stdout).filter(|_| output.status == 0).ok_or_else(|| AccessError::Remote {
        address: session.address().to_owned(),
        detail: "it does not report its boot id and the state of its system".to_owned(),
    })
}

/// Whether the host reports that it needs a restart.
///
/// # Errors
/// When the host does not answer.
pub(crate) async fn needs_reboot(session: &SshSession) -> Result<bool, AccessError> {
    Ok(session.run_privileged(NEEDS_REBOOT, NEED_TIMEOUT).await?.status == 102)
}

/// Parses what [`STATE`] prints.
fn parse(text: &str) -> Option<SystemState> {
    let mut lines = text.lines();
    let boot_id = lines.next().map(str::trim).filter(|id| is_boot_id(id))?.to_owned();
    let uptime = Duration::try_from_secs_f64(lines.next()?.trim().parse().ok()?).ok()?;
    let state = lines.next()?.trim().chars().take(NAME).collect();
    let units = lines.filter_map(|line| line.split_whitespace().next());
    let units = units.map(|unit| unit.chars().filter(|c| !c.is_control()).take(NAME).collect());
    Some(SystemState { boot_id, uptime, state, failed_units: units.take(UNITS).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0b6ef0c1-7a3f-4c44-9a1e-0d2c8f6a1b11";

    #[test]
    fn state_has_boot_id_uptime_and_failed_units() {
        let text =
            format!("{ID}\n12.50\ndegraded\na.service loaded failed failed A\nb.mount loaded\n");
        let state = SystemState {
            boot_id: ID.to_owned(),
            uptime: Duration::from_millis(12_500),
            state: "degraded".to_owned(),
            failed_units: vec!["a.service".to_owned(), "b.mount".to_owned()],
        };
        assert_eq!(parse(&text), Some(state));
        let without = parse(&format!("{ID}\n1.00\nnone\n")).unwrap();
        assert!(without.failed_units.is_empty() && without.is_up());
        for wrong in [
            String::new(),
            "none\n".to_owned(),
            "short\n1.00\nrunning\n".to_owned(),
            ID.to_owned(),
            format!("{ID}\n-1\nrunning\n"),
            format!("{ID}\nNaN\nrunning\n"),
            format!("{ID}\nrunning\n"),
        ] {
            assert_eq!(parse(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn system_that_starts_or_stops_is_not_up() {
        for (state, is_up) in
            [("running", true), ("degraded", true), ("starting", false), ("stopping", false)]
        {
            assert_eq!(parse(&format!("{ID}\n1\n{state}\n")).unwrap().is_up(), is_up, "{state}");
        }
    }

    #[test]
    fn what_a_host_reports_is_bounded() {
        let unit = "\u{7}u".repeat(5000);
        let units = format!("{unit}\n").repeat(500);
        let state = parse(&format!("{ID}\n1.00\n{}\n{units}", "s".repeat(5000))).unwrap();
        assert_eq!((state.state.len(), state.failed_units.len()), (NAME, UNITS));
        assert_eq!(state.failed_units[0], "u".repeat(NAME));
    }
}
