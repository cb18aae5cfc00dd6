//! The program itself.

use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

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

/// The quickest of many, since others are at work on this machine, too.
#[test]
fn help_is_there_at_once() {
    let times = (0..50).map(|_| {
        let begin = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_commctl"));
        assert!(command.arg("--help").stdout(Stdio::null()).status().unwrap().success());
        begin.elapsed()
    });
    let quickest = times.min().unwrap();
    assert!(quickest < Duration::from_millis(10), "{quickest:?}");
}
