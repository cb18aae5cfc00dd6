//! The program itself.

use std::fs;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What every Linux with glibc has: the C library, its loader, and the compiler's.
const ALWAYS_THERE: [&str; 5] = ["linux-vdso", "libc.", "libm.", "libgcc_s.", "ld-linux"];

#[test]
fn it_needs_nothing_but_libc() {
    let output = Command::new("ldd").arg(env!("CARGO_BIN_EXE_commctl")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let libraries = text.lines().filter_map(|line| line.split_whitespace().next());
    let names: Vec<_> = libraries.map(|path| path.rsplit('/').next().unwrap_or(path)).collect();
    assert!(names.iter().any(|name| name.starts_with("libc.")), "{text}");
    let known = |name: &&str| ALWAYS_THERE.iter().any(|known| name.starts_with(known));
    assert!(names.iter().all(known), "{text}");
}

/// Processor time, which does not depend on other processes, and the least of 20 runs: a start that read a
/// configuration or connected somewhere would take more than ten times the usual 2.4 ms.
#[test]
fn help_is_there_at_once() {
    let times = (0..20).map(|_| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_commctl"));
        let mut child = command.arg("--help").stdout(Stdio::piped()).spawn().unwrap();
        let mut help = String::new();
        child.stdout.take().unwrap().read_to_string(&mut help).unwrap();
        // It has printed everything, and is there until it is waited for.
        let used = fs::read_to_string(format!("/proc/{}/schedstat", child.id())).unwrap();
        assert!(child.wait().unwrap().success());
        Duration::from_nanos(used.split(' ').next().unwrap().parse().unwrap())
    });
    let least = times.min().unwrap();
    assert!(least < Duration::from_millis(25), "{least:?}");
}
