//! A memory limit for `ansible-playbook`, which keeps all output of a host in memory.
//!
//! A process at the kernel's limit does not fail: Python cannot start the thread that would report it, and waits. So the
//! run is ended before, and the kernel's limit is the second line, for when this process has no time to look.

use std::fs;
use std::time::Duration;

/// The time between two looks. A process was seen to grow by 40 MB a second.
const INTERVAL: Duration = Duration::from_millis(250);

/// How many times the memory that a process may use the kernel allows it. Of its data, not of its address space: threads
/// only reserve most of that.
pub(super) const HARD_LIMIT_FACTOR: u64 = 2;

/// Ends when `leader` or a child of it, which do the work, uses more than `limit` MiB.
pub(super) async fn exceeded(leader: Option<u32>, limit: u64) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Some(leader) = leader else { continue };
        let path = format!("/proc/{leader}/task/{leader}/children");
        let children = fs::read_to_string(path).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|child| child.parse().ok());
        if children.chain([leader]).any(|process| resident(process) > limit << 10) {
            return;
        }
    }
}

/// The memory that a process uses, in KiB; none once it has ended.
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    value.and_then(|value| value.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or_default()
}
