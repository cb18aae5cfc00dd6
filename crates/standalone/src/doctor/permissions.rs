//! Who can read and change the files of the data directory and the run directory.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::report::{Check, Report, Severity};
use super::subject::Subject;

const CHECK: Check = Check::Permissions;

/// Bits that no file with a private key may have.
const GROUP_AND_OTHERS: u32 = 0o077;

/// Bits that other files may not have: a group is common for logs and for users files.
const OTHERS: u32 = 0o007;

/// The files of a data directory, the bits that each must not have, and how serious these are.
const FILES: [(&str, u32, Severity); 8] = [
    ("secret.key", GROUP_AND_OTHERS, Severity::Error),
    ("id_ed25519", GROUP_AND_OTHERS, Severity::Error),
    ("ca-key.pem", GROUP_AND_OTHERS, Severity::Error),
    ("server.pem", GROUP_AND_OTHERS, Severity::Error),
    ("admin-password", GROUP_AND_OTHERS, Severity::Error),
    ("users.json", OTHERS, Severity::Warning),
    ("audit.log", OTHERS, Severity::Warning),
    ("commissaire.db", OTHERS, Severity::Warning),
];

/// Checks the directories of the installation.
pub(super) fn check(installation: &Subject, report: &mut Report) {
    for folder in &installation.data_dirs {
        data_dir(folder, report);
    }
    let key = installation.storage.as_ref().map(|storage| &storage.secret_key_file);
    let key = key.map(|file| (file, GROUP_AND_OTHERS, Severity::Error));
    let others = installation.private_files.iter();
    let others = others.map(|file| (file, OTHERS, Severity::Warning));
    for (file, bits, severity) in key.into_iter().chain(others) {
        let is_checked =
            file.parent().is_some_and(|folder| installation.data_dirs.contains(folder))
                && FILES.iter().any(|(name, ..)| file.ends_with(name));
        if !is_checked && let Some(found) = found(file, report) {
            mode(file, &found, bits, severity, report);
        }
    }
    for folder in &installation.run_dirs {
        run_dir(folder, installation.user.uid(), report);
    }
}

fn data_dir(folder: &Path, report: &mut Report) {
    let shown = folder.display();
    let Some(directory) = found(folder, report) else {
        return report.ok(CHECK, format!("{shown} does not exist: the first start makes it"));
    };
    let before = report.0.len();
    if !directory.is_dir() {
        let remedy = "move it away, or name another directory (data-dir)";
        return report.error(CHECK, format!("{shown} is not a directory"), remedy);
    }
    mode(folder, &directory, GROUP_AND_OTHERS, Severity::Warning, report);
    for (name, bits, severity) in FILES {
        let path = folder.join(name);
        let Some(file) = found(&path, report) else { continue };
        mode(&path, &file, bits, severity, report);
        if file.uid() != directory.uid() {
            report.error(
                CHECK,
                format!(
                    "{} belongs to the user id {}, and the data directory to {}: the server cannot use the file",
                    path.display(),
                    file.uid(),
                    directory.uid()
                ),
                format!("chown --reference={shown} {}", path.display()),
            );
        }
    }
    if report.0.len() == before {
        report.ok(CHECK, format!("{shown} and its files are accessible to their owner only"));
    }
}

/// What the server checks at its start, too.
fn run_dir(folder: &Path, user: u32, report: &mut Report) {
    let shown = folder.display();
    let found = match std::fs::symlink_metadata(folder.components().as_path()) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return report.ok(CHECK, format!("{shown} does not exist: a start makes it"));
        }
        Err(error) => return unreadable(folder, &error, report),
    };
    if found.is_symlink() {
        let finding =
            format!("the run directory {shown} is a symbolic link, which a start rejects");
        report.error(CHECK, finding, "name the directory itself (run-dir)");
    } else if found.uid() != user {
        let finding = format!(
            "the run directory {shown} belongs to the user id {}, and the server runs as {user}",
            found.uid()
        );
        report.error(CHECK, finding, format!("chown {user} {shown}"));
    } else if found.mode() & 0o022 != 0 {
        let finding = format!("the run directory {shown} can be written by others");
        report.error(CHECK, finding, format!("chmod go-w {shown}"));
    } else {
        report.ok(CHECK, format!("{shown} is accessible to the server only"));
    }
}

fn mode(path: &Path, found: &Metadata, bits: u32, severity: Severity, report: &mut Report) {
    let mode = found.mode() & 0o7777;
    // systemd hands keys over as root's, with an access list.
    let is_handed_over = (found.uid(), found.gid(), mode) == (0, 0, 0o440);
    if mode & bits == 0 || is_handed_over {
        return;
    }
    let (shown, classes) = (path.display(), if bits == OTHERS { "o=" } else { "go=" });
    let finding = format!("{shown} is accessible to other users (mode {mode:04o})");
    report.problem(CHECK, severity, &finding, format!("chmod {classes} {shown}"));
}

/// `None` where it does not exist, or cannot be looked at, which is reported.
fn found(path: &Path, report: &mut Report) -> Option<Metadata> {
    match std::fs::metadata(path) {
        Ok(found) => Some(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            unreadable(path, &error, report);
            None
        }
    }
}

fn unreadable(path: &Path, error: &io::Error, report: &mut Report) {
    let finding = format!("cannot look at {}: {error}", path.display());
    report.error(CHECK, finding, "run `commissaire doctor` as root or as the user of the server");
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::subject::Form;
    use super::*;

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    fn problems(check: impl FnOnce(&mut Report)) -> Vec<String> {
        let mut report = Report::default();
        check(&mut report);
        assert!(!report.0.is_empty());
        report.problems()
    }

    #[test]
    fn each_file_that_others_can_read_is_named_with_the_command_that_ends_it() {
        let folder = tempfile::tempdir().unwrap();
        set(folder.path(), 0o700);
        for (name, ..) in FILES {
            let path = folder.path().join(name);
            std::fs::write(&path, "").unwrap();
            set(&path, 0o600);
        }
        assert_eq!(problems(|report| data_dir(folder.path(), report)), [""; 0]);
        for (name, bits, severity) in FILES {
            let path = folder.path().join(name);
            set(&path, 0o640);
            let found = problems(|report| data_dir(folder.path(), report));
            assert_eq!(found.len(), usize::from(bits == GROUP_AND_OTHERS), "{name}");
            set(&path, 0o604);
            let found = problems(|report| data_dir(folder.path(), report));
            let path = path.display();
            let classes = if bits == OTHERS { "o=" } else { "go=" };
            let expected = format!(
                "{severity:?}: {path} is accessible to other users (mode 0604); chmod {classes} {path}"
            );
            assert_eq!(found, [expected]);
            set(&folder.path().join(name), 0o600);
        }
        set(folder.path(), 0o755);
        let found = problems(|report| data_dir(folder.path(), report));
        assert!(
            found[0].starts_with("Warning: ") && found[0].contains("; chmod go= "),
            "{found:?}"
        );
    }

    #[test]
    fn a_run_directory_that_a_start_would_reject_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (run, link) = (folder.path().join("run"), folder.path().join("link"));
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(problems(|report| run_dir(&run, own, report)), [""; 0]);
        std::fs::create_dir(&run).unwrap();
        set(&run, 0o700);
        std::os::unix::fs::symlink(&run, &link).unwrap();
        assert_eq!(problems(|report| run_dir(&run, own, report)), [""; 0]);
        assert!(problems(|report| run_dir(&run, own + 1, report))[0].contains("; chown "));
        assert!(problems(|report| run_dir(&link, own, report))[0].contains("symbolic link"));
        set(&run, 0o770);
        assert!(problems(|report| run_dir(&run, own, report))[0].contains("; chmod go-w "));
    }

    #[test]
    fn files_elsewhere_that_the_configuration_names_are_checked_once() {
        let folder = tempfile::tempdir().unwrap();
        let (data, other) = (folder.path().join("data"), folder.path().join("other.key"));
        std::fs::create_dir(&data).unwrap();
        set(&data, 0o700);
        for key in [&data.join("secret.key"), &other] {
            std::fs::write(key, "").unwrap();
            set(key, 0o640);
            let mut installation = Subject::new(Form::OneProcess, &data);
            installation.data_dirs.insert(data.clone());
            installation.add_storage(storage_svc::Config::new(key.clone()));
            let found = problems(|report| check(&installation, report));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with(&format!("Error: {}", key.display())), "{found:?}");
            set(key, 0o600);
        }
    }

    #[test]
    fn what_does_not_exist_yet_is_no_problem() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(problems(|report| data_dir(&folder.path().join("new"), report)), [""; 0]);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(problems(|report| data_dir(&file, report))[0].contains("is not a directory"));
    }
}
