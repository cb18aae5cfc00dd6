//! Commands on a host, and its facts.

use std::time::Duration;

use host_access::{AccessError, gather};

use crate::sshd::{RUN, Sshd, run_dir};

#[tokio::test]
async fn status_and_both_streams_come_back() {
    let sshd = Sshd::start();
    let (_base, run_dir) = run_dir();
    let session = sshd.session(&run_dir).await;
    let output = session.run("echo \"it's $((1+1))\"; echo oops >&2; exit 7", RUN).await.unwrap();
    assert_eq!(
        (output.status, output.stdout.as_str(), output.stderr.as_str()),
        (7, "it's 2\n", "oops\n")
    );
    let output = session.run("no-such-command", RUN).await.unwrap();
    assert_eq!(output.status, 127);
    let output = session.run("printf '\\377ok'", RUN).await.unwrap();
    assert_eq!(output.stdout, "\u{fffd}ok");
    let output = session.run("exit 255", RUN).await.unwrap();
    assert_eq!(output.status, 255);
    // Nothing of ours is left for it to read.
    assert_eq!(session.run("cat", RUN).await.unwrap().stdout, "");
}

#[tokio::test]
async fn a_flood_is_cut_off() {
    let sshd = Sshd::start();
    let (_base, run_dir) = run_dir();
    let session = sshd.session(&run_dir).await;
    for flood in ["yes", "yes >&2"] {
        let error = session.run(flood, RUN).await.unwrap_err();
        assert!(matches!(error, AccessError::TooMuchOutput { .. }), "{error}");
    }
    assert_eq!(session.run("echo still here", RUN).await.unwrap().stdout, "still here\n");
}

#[tokio::test]
async fn a_deadline_ends_the_command_on_the_host_too() {
    let sshd = Sshd::start();
    let (base, run_dir) = run_dir();
    let session = sshd.session(&run_dir).await;
    let fifo = base.path().join("fifo");
    let script = format!("mkfifo {0}; exec 3<>{0}; sleep 600", fifo.display());
    let error = session.run(&script, Duration::from_secs(1)).await.unwrap_err();
    assert_eq!((error.reason().word(), error.heals()), ("timeout", true));
    // Opening a pipe for writing fails once nobody has it open for reading any more.
    let gone = format!("until ! timeout 0.1 sh -c 'echo >{0}'; do sleep 0.1; done", fifo.display());
    assert_eq!(session.run(&gone, RUN).await.unwrap().status, 0);
}

#[tokio::test]
async fn a_lost_connection_is_told_from_a_failed_command() {
    let mut sshd = Sshd::start();
    let (_base, run_dir) = run_dir();
    let session = sshd.session(&run_dir).await;
    // The parent of the command's login shell's session is the sshd that serves this connection.
    let lost = session.run("kill -9 $(ps -o ppid= -p $PPID) $PPID; sleep 600", RUN).await;
    sshd.stop();
    let error = match lost {
        Err(error) => error,
        Ok(_) => session.run("true", RUN).await.unwrap_err(),
    };
    assert!(
        matches!(error, AccessError::Disconnected { .. } | AccessError::Remote { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn several_commands_share_a_connection() {
    let sshd = Sshd::start();
    let (_base, run_dir) = run_dir();
    let session = sshd.session(&run_dir).await;
    let (one, two) = tokio::join!(session.run("echo 1", RUN), session.run("echo 2", RUN));
    assert_eq!((one.unwrap().stdout, two.unwrap().stdout), ("1\n".to_owned(), "2\n".to_owned()));
}

#[tokio::test]
async fn facts_of_this_machine() {
    let sshd = Sshd::start();
    let (_base, run_dir) = run_dir();
    let session = sshd.session(&run_dir).await;
    let facts = gather(&session, RUN).await.unwrap();
    assert!(facts.cpus > 0 && facts.memory_mib > 0 && facts.space > 0, "{facts:?}");
    assert!(facts.python.is_some_and(|(major, _)| major == 3), "{facts:?}");
    assert!(!facts.ostree && !facts.machine.is_empty(), "{facts:?}");
}
