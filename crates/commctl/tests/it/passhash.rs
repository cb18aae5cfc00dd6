//! `commctl passhash`, which needs neither server nor configuration.

use crate::support::{Home, Run};

#[track_caller]
fn is_hash_of(run: &Run, password: &str, rounds: &str) {
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    let hash = run.stdout.strip_suffix('\n').unwrap();
    assert!(hash.starts_with(&format!("$2b${rounds}$")), "{hash}");
    assert!(bcrypt::verify(password, hash).unwrap(), "{hash}");
}

#[tokio::test]
async fn from_flag_file_and_standard_input() {
    let home = Home::empty();
    is_hash_of(&home.run(&["passhash", "-p", "a b"]).await, "a b", "12");
    home.write("password.txt", "secret \n");
    is_hash_of(&home.run(&["passhash", "-r", "4", "-f", "password.txt"]).await, "secret ", "04");
    let run = home.run_with_input(&["passhash", "--rounds", "5", "--file", "-"], "secret").await;
    is_hash_of(&run, "secret", "05");
}

#[tokio::test]
async fn what_cannot_be_hashed() {
    let home = Home::empty();
    let long = "x".repeat(73);
    home.run(&["passhash", "-p", &long]).await.failed(
        2,
        "error: the password is longer than 72 bytes, and bcrypt would ignore the rest\n",
    );
    home.run(&["passhash"]).await.failed(
        2,
        "error: there is no terminal to ask on; give the password with --file FILE or --file -\n",
    );
    for wrong in [&["-r", "3"][..], &["-r", "32"], &["-p", "a", "-f", "b"]] {
        let run = home.run(&[&["passhash"], wrong].concat()).await;
        assert_eq!(run.status, 2, "{run:?}");
    }
}

#[tokio::test]
async fn the_password_is_not_in_the_list_of_processes() {
    use tokio::io::AsyncWriteExt as _;
    let home = Home::empty();
    home.write("password.txt", "hunter2\n");
    // Long enough to be looked at while it computes.
    for file in ["password.txt", "-"] {
        let mut command = home.command(&["passhash", "-r", "12", "-f", file]);
        let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        if file == "-" {
            input.write_all(b"hunter2").await.unwrap();
        }
        drop(input);
        let of = format!("/proc/{}", child.id().unwrap());
        // One that has just ended tells nothing any more.
        let told = |name: &str| std::fs::read(format!("{of}/{name}")).unwrap_or_default();
        let mut looks = 0;
        while child.try_wait().unwrap().is_none() {
            for name in ["cmdline", "environ"] {
                assert!(!String::from_utf8_lossy(&told(name)).contains("hunter2"), "{name}");
            }
            looks += usize::from(!told("cmdline").is_empty());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert!(looks > 1, "it was over at once");
        is_hash_of(&crate::support::finish(child).await, "hunter2", "12");
    }
}
