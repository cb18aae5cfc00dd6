//! `playbooks/files/packages.sh`, run by this machine's shell with stand-ins for the package managers.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use host_access::Os;

const SCRIPT: &str = include_str!("../../../../playbooks/files/packages.sh");

/// Package managers whose repositories do not answer. Of apt both the versions that know the option
/// and those that ignore it, of the others what they do when a repository may be skipped.
const STAND_INS: [(&str, &str); 4] = [
    (
        "apt-get",
        r#"case " $* " in
*" update "*)
    echo 'Err:1 http://repo.example stable InRelease'
    echo 'W: Failed to fetch http://repo.example/InRelease  Connection refused' >&2
    case " $* " in *Error-Mode=any*) [ -e old ] || exit 100 ;; esac ;;
*) touch upgraded ;;
esac"#,
    ),
    ("dnf", SKIPS),
    ("yum", SKIPS),
    (
        "zypper",
        r#"case " $* " in
*" refresh "*) echo 'Some of the repositories have not been refreshed because of an error.' >&2; exit 4 ;;
*) touch upgraded ;;
esac"#,
    ),
];

const SKIPS: &str = r#"case " $* " in
*" makecache "*) case " $* " in *'*.skip_if_unavailable=False'*) echo 'Error: Failed to download metadata' >&2; exit 1 ;; esac ;;
*" clean "*) ;;
*) touch upgraded ;;
esac"#;

/// The script with a line that calls its functions, in a directory with the programs of [`STAND_INS`].
fn shell(directory: &Path, line: &str) -> Command {
    let programs = directory.join("bin");
    fs::create_dir_all(&programs).unwrap();
    for (name, body) in STAND_INS {
        let path = programs.join(name);
        if !path.exists() {
            fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{SCRIPT}\n{line}"), "sh"]).current_dir(directory);
    // As a unit does: the output goes to files that the script reads.
    let output = |name| fs::File::options().append(true).create(true).open(directory.join(name));
    command.stdout(output("stdout").unwrap()).stderr(output("stderr").unwrap());
    command.env("PATH", path).env("LC_ALL", "C").stdin(Stdio::null());
    command
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn read(directory: &Path, name: &str) -> String {
    fs::read_to_string(directory.join(name)).unwrap_or_default()
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..1200 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("not within a minute: {what}");
}

#[test]
fn nothing_is_upgraded_when_the_package_lists_cannot_be_fetched() {
    for (os, version, old, status) in [
        (Os::Debian, "12", false, 100),
        (Os::Debian, "10", true, 100),
        (Os::Fedora, "41", false, 1),
        (Os::Centos, "7", false, 1),
        (Os::Opensuse, "15", false, 4),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        if old {
            fs::write(directory.join("old"), "").unwrap();
        }
        let commands = os.commands(version, false);
        let (refresh, upgrade) = (commands.refresh.unwrap(), commands.upgrade);
        let line = format!("upgrade {} {}", quoted(refresh), quoted(upgrade));
        let ended = shell(directory, &line).status().unwrap();
        assert_eq!(ended.code(), Some(status), "{os} {version}: {}", read(directory, "stderr"));
        assert!(!directory.join("upgraded").exists(), "{os} {version}");
        assert!(!read(directory, "stderr").is_empty(), "{os} {version} says why");
        // With lists, the same command upgrades.
        let line = format!("upgrade true {}", quoted(upgrade));
        assert!(shell(directory, &line).status().unwrap().success(), "{os} {version}");
        assert!(directory.join("upgraded").exists(), "{os} {version}");
    }
}

#[test]
fn a_process_that_holds_a_package_lock_is_named_while_the_upgrade_waits() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let (lock, ready) = (directory.join("lock"), directory.join("ready"));
    fs::write(&lock, "").unwrap();
    let holds = "import fcntl, sys, time; file = open(sys.argv[1], 'w'); \
                 fcntl.lockf(file, fcntl.LOCK_EX); open(sys.argv[2], 'w'); time.sleep(600)";
    let mut holder = Command::new("python3");
    let mut holder = Killed(holder.args(["-c", holds]).arg(&lock).arg(&ready).spawn().unwrap());
    eventually("the lock is held", || ready.exists());

    let named = format!("{}, held by python3 (pid {})", lock.display(), holder.0.id());
    let line = format!(
        "LOCKS={}\nupgrade true 'until [ -e go ]; do sleep 0.1; done'",
        quoted(lock.to_str().unwrap())
    );
    let mut upgrade = Killed(shell(directory, &line).spawn().unwrap());
    eventually("the holder is named", || read(directory, "waiting").contains(&named));
    holder.0.kill().unwrap();
    holder.0.wait().unwrap();
    eventually("nothing is waited for any more", || !directory.join("waiting").exists());
    fs::write(directory.join("go"), "").unwrap();
    assert!(upgrade.0.wait().unwrap().success(), "{}", read(directory, "stderr"));
}

#[test]
fn a_lock_by_process_id_names_its_holder_and_neither_a_dead_one_nor_our_own() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let file = directory.join("zypp.pid");
    let own = std::process::id();
    for (content, main, expected) in [
        (own.to_string(), "$$".to_owned(), format!("(pid {own})")),
        (own.to_string(), own.to_string(), String::new()),
        ("4194999".to_owned(), "$$".to_owned(), String::new()),
        ("nonsense".to_owned(), "$$".to_owned(), String::new()),
    ] {
        fs::write(&file, &content).unwrap();
        let line = format!("lock_holder {main} {}", quoted(file.to_str().unwrap()));
        let output = shell(directory, &line).stdout(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.is_empty(), expected.is_empty(), "{content}: {said}");
        assert!(said.contains(&expected), "{content}: {said}");
    }
}

#[test]
fn a_locked_package_manager_that_gives_up_is_run_again_and_any_other_failure_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let once = "[ -e tried ] && exit 0; touch tried; \
                echo 'System management is locked by the application with pid 7 (zypper).' >&2; exit 7";
    let line = format!("upgrade true {}", quoted(once));
    assert!(shell(directory, &line).status().unwrap().success());
    let line = format!("upgrade true {}", quoted("echo x >>ran; echo 'no space left' >&2; exit 7"));
    assert_eq!(shell(directory, &line).status().unwrap().code(), Some(7));
    assert_eq!(
        (read(directory, "ran"), read(directory, "stderr")),
        ("x\n".into(), "no space left\n".into())
    );
}

#[test]
fn the_age_of_the_lists_is_that_of_the_newest_one() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let touch = "touch -d '3 days ago' a; touch -d '2 hours ago' b; touch -d '1 hour' future; \
                 lists_age a b; lists_age a b future; lists_age";
    let output = shell(directory, touch).stdout(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let ages: Vec<&str> = said.lines().collect();
    let age: u64 = ages[0].parse().unwrap();
    assert!((7200..7200 + 3600).contains(&age), "{said}");
    assert_eq!(ages[1..], ["0", "-"], "a clock that is behind, no list at all");
}

/// A process that ends with its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
