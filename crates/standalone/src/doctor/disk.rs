//! Free space where the data directory is.

use std::path::Path;

use super::report::{Check, Report};
use super::subject::Subject;

const CHECK: Check = Check::Disk;

/// Below one of these there is too little: percent of the file system, and bytes.
const LEAST: (u64, u64) = (5, 500 << 20);

/// Checks the file systems of the data directories.
pub(super) fn check(installation: &Subject, report: &mut Report) {
    for folder in &installation.data_dirs {
        match rustix::fs::statvfs(existing(folder)) {
            Ok(found) => {
                let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
                judge(folder, bytes(found.f_bavail), bytes(found.f_blocks), report);
            }
            Err(error) => report.warning(
                CHECK,
                format!("cannot tell the free space of {}: {error}", folder.display()),
                "run `commissaire doctor` as root or as the user of the server",
            ),
        }
    }
}

/// The directory, or the first one above it that exists.
fn existing(folder: &Path) -> &Path {
    folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"))
}

fn judge(folder: &Path, free: u64, total: u64, report: &mut Report) {
    let percent = free.saturating_mul(100) / total.max(1);
    let finding = format!(
        "the file system of {} has {} MiB ({percent} %) free",
        folder.display(),
        free >> 20
    );
    if percent < LEAST.0 || free < LEAST.1 {
        let remedy = "free some space, or enlarge the file system: a full one stops all writes";
        report.warning(CHECK, finding, remedy);
    } else {
        report.ok(CHECK, finding);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_five_percent_or_500_mib_are_too_little() {
        const GIB: u64 = 1 << 30;
        for (free, total, is_problem) in [
            (50 * GIB, 100 * GIB, false),
            (4 * GIB, 100 * GIB, true),
            (GIB, 2 * GIB, false),
            (400 << 20, 2 * GIB, true),
            (0, 0, true),
        ] {
            let mut report = Report::default();
            judge(Path::new("/d"), free, total, &mut report);
            assert_eq!(report.problems().len(), usize::from(is_problem), "{free} {total}");
        }
    }

    #[test]
    fn the_file_system_of_a_directory_that_does_not_exist_yet_is_found() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(existing(&folder.path().join("a/b")), folder.path());
        assert_eq!(existing(folder.path()), folder.path());
    }
}
