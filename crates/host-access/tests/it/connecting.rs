//! Logging in, and all the ways in which that fails.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use host_access::{AccessError, SshSession, Target, boot_id};
use model::host_keys::fingerprint;
use testbed::sshd::{Sshds, knows};
use tokio::time::Instant;

use crate::hostile;
use crate::sshd::{CONNECT, RUN, Sshd, key_files, refusal, run_dir};

#[tokio::test]
async fn first_use_pins_the_key_the_connection_was_made_with() {
    let sshd = Sshd::start();
    let (_base, run_dir) = run_dir();
    let session = SshSession::connect(&run_dir, &sshd.target(), CONNECT).await.unwrap();
    assert_eq!(session.host_keys(), [sshd.host_key()]);
    assert!(session.is_alive().await);
    session.close().await;
}

#[tokio::test]
async fn a_pinned_host_is_reached() {
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let sshd = Sshd::with_key(kind);
        let (_base, run_dir) = run_dir();
        let session = sshd.session(&run_dir).await;
        let expected = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        assert_eq!(boot_id(&session).await.unwrap(), expected.trim());
    }
}

#[tokio::test]
async fn a_changed_key_is_refused_with_both_fingerprints() {
    for kind in ["ed25519", "rsa"] {
        let mut sshd = Sshd::start();
        let target = sshd.pinned_target();
        sshd.change_host_key(kind);
        let error = refusal(&target).await;
        assert_eq!((error.reason().word(), error.heals()), ("host-key-changed", false));
        let text = error.to_string();
        for part in [
            fingerprint(&target.host_keys[0]).unwrap(),
            fingerprint(&sshd.host_key()).unwrap(),
            "commctl host accept-key 127.0.0.1".to_owned(),
        ] {
            assert!(text.contains(&part), "{part} is not in {text}");
        }
    }
}

#[tokio::test]
async fn one_of_several_pinned_keys_suffices() {
    let (sshd, other) = (Sshd::start(), Sshd::with_key("rsa"));
    let target = Target { host_keys: vec![other.host_key(), sshd.host_key()], ..sshd.target() };
    let (_base, run_dir) = run_dir();
    assert!(SshSession::connect(&run_dir, &target, CONNECT).await.is_ok());
}

#[tokio::test]
async fn a_refused_key_is_no_reason_to_hurry() {
    let (sshd, other) = (Sshd::start(), Sshd::start());
    let target = Target { private_key: other.target().private_key, ..sshd.target() };
    let error = refusal(&target).await;
    assert_eq!((error.reason().word(), error.heals()), ("auth-refused", false));
}

#[tokio::test]
async fn a_key_that_is_none_is_said_to_be_unusable() {
    let sshd = Sshd::start();
    for text in [
        "nonsense",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
    ] {
        let error = refusal(&Target { private_key: text.into(), ..sshd.target() }).await;
        assert_eq!(error.reason().word(), "bad-key", "{error}");
    }
}

#[tokio::test]
async fn nobody_listens() {
    let mut sshd = Sshd::start();
    let target = sshd.target();
    sshd.stop();
    let error = refusal(&target).await;
    assert_eq!((error.reason().word(), error.heals()), ("unreachable", true));
    assert!(error.to_string().contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn a_name_that_does_not_exist() {
    let sshd = Sshd::start();
    let error = refusal(&Target { address: "nowhere.invalid".into(), ..sshd.target() }).await;
    assert_eq!(error.reason().word(), "unreachable", "{error}");
}

#[tokio::test]
async fn a_listener_that_never_speaks_costs_the_timeout_and_no_more() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let target = Target { port: listener.local_addr().unwrap().port(), ..Sshd::start().target() };
    let (_base, run_dir) = run_dir();
    let start = Instant::now();
    let timeout = Duration::from_millis(1500);
    let error = SshSession::connect(&run_dir, &target, timeout).await.unwrap_err();
    assert_eq!(error.reason().word(), "unreachable", "{error}");
    assert!(start.elapsed() < timeout * 10);
    assert_eq!(key_files(run_dir.path()), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn a_listener_that_hangs_up_is_taken_for_a_busy_one() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let target = Target { port: listener.local_addr().unwrap().port(), ..Sshd::start().target() };
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let error = refusal(&target).await;
    assert_eq!((error.reason().word(), error.heals()), ("throttled", true), "{error}");
}

#[tokio::test]
async fn a_host_at_its_limit_of_log_ins_is_taken_for_a_busy_one() {
    let sshds = Sshds::start(1, "MaxStartups 3:100:3");
    let _full = sshds.occupy(3);
    let error = refusal(&hostile::target(&sshds)).await;
    assert_eq!((error.reason().word(), error.heals()), ("throttled", true), "{error}");
}

#[tokio::test]
async fn a_host_that_penalises_our_address_is_taken_for_a_busy_one() {
    let test = "host-access connecting::a_host_that_penalises_our_address_is_taken_for_a_busy_one";
    if !knows("PerSourcePenalties=yes") {
        return testbed::skip(test, "this OpenSSH has no PerSourcePenalties: it came with 9.8");
    }
    let sshds = Sshds::start(1, "PerSourcePenalties authfail:20s min:5s max:60s");
    let wrong = Target { user: "stranger".to_owned(), ..hostile::target(&sshds) };
    let mut error = refusal(&wrong).await;
    assert_eq!(error.reason().word(), "auth-refused", "{error}");
    // It counts a failure when the connection has ended, which may be after the next one has begun.
    for _ in 0..10 {
        error = refusal(&wrong).await;
        if error.reason().word() != "auth-refused" {
            break;
        }
    }
    assert_eq!((error.reason().word(), error.heals()), ("throttled", true), "{error}");
    assert!(sshds.log().contains("penalty"), "{}", sshds.log());
}

#[tokio::test]
async fn nothing_from_outside_is_taken_for_an_option() {
    let sshd = Sshd::start();
    let hostile = "-oProxyCommand=touch /tmp/x";
    for target in [
        Target { address: hostile.into(), ..sshd.target() },
        Target { address: "127.0.0.1\nProxyCommand id".into(), ..sshd.target() },
        Target { user: hostile.into(), ..sshd.target() },
        Target { host_keys: vec!["ssh-ed25519 AAAA\n* ssh-rsa".into()], ..sshd.target() },
    ] {
        assert!(matches!(refusal(&target).await, AccessError::InvalidTarget(_)));
    }
}

#[tokio::test]
async fn the_key_file_is_private_and_goes_with_the_session() {
    let sshd = Sshd::start();
    let (_base, run_dir) = run_dir();
    let closed = sshd.session(&run_dir).await;
    let dropped = sshd.session(&run_dir).await;
    let keys = key_files(run_dir.path());
    assert_eq!(keys.len(), 2);
    for key in &keys {
        assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    }
    closed.close().await;
    assert_eq!(key_files(run_dir.path()).len(), 1);
    assert_eq!(dropped.run("true", RUN).await.unwrap().status, 0);
    drop(dropped);
    assert_eq!(key_files(run_dir.path()).len(), 0);
}
