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
