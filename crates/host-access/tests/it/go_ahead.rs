//! A command that may make a host unavailable waits for its go-ahead: `playbooks/files/go_ahead.sh`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use host_access::{
    AccessError, Ansible, GoAhead as _, Playbook, RunDir, SshGoAhead, SshSession, Summary,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::sshd::{Sshd, run_dir};

const DEADLINE: Duration = Duration::from_mins(2);

struct Fixture {
    session: SshSession,
    run_dir: RunDir,
    base: tempfile::TempDir,
    _sshd: Sshd,
}

impl Fixture {
    async fn new() -> Self {
        let sshd = Sshd::start();
        let (base, run_dir) = run_dir();
        let session = sshd.session(&run_dir).await;
        Self { session, run_dir, base, _sshd: sshd }
    }

    async fn play(&self, playbook: Playbook, vars: Value) -> Summary {
        let Value::Object(vars) = vars else { panic!("an object") };
        let vars: Map<_, _> = vars;
        let ansible = Ansible::new(None);
        let run = ansible.run(&self.run_dir, &self.session, playbook, &vars, DEADLINE, |_| {});
        run.await.unwrap()
    }

    async fn restart(&self, name: Uuid, mark: &Path) -> Summary {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let command = format!("touch {}", mark.display());
        let vars = json!({
            "commissaire_boot_id": boot_id.trim(), "commissaire_restart_command": command,
            "commissaire_go_ahead": name.to_string(),
        });
        self.play(Playbook::Restart, vars).await
    }

    async fn upgrade(&self, name: Uuid, mark: &Path) -> Summary {
        let vars = json!({
            "commissaire_unit": "commissaire-1-apply", "commissaire_unit_dir": self.base.path(),
            "commissaire_upgrade_command": format!("echo x >>{}", mark.display()),
            "commissaire_go_ahead": name.to_string(),
        });
        self.play(Playbook::Upgrade, vars).await
    }
}

fn reason(summary: &Summary) -> Option<&str> {
    summary.data.get("commissaire_go_ahead").and_then(Value::as_str)
}

/// Waits for an uptime in hundredths of a second: the host is this machine.
async fn until_uptime(centiseconds: u64) {
    let read = || fs::read_to_string("/proc/uptime").unwrap();
    let reached = |text: &str| {
        let seconds: f64 = text.split(' ').next().unwrap().parse().unwrap();
        Duration::from_secs_f64(seconds) > Duration::from_millis(centiseconds * 10)
    };
    while !reached(&read()) {
        tokio::task::yield_now().await;
    }
}

async fn until_exists(path: &Path) {
    let wait = async {
        while !path.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap();
}

#[tokio::test]
async fn a_restart_happens_only_with_a_go_ahead() {
    let fixture = Fixture::new().await;
    let mark = fixture.base.path().join("restarted");
    let name = runtime::random::uuid();
    let refuse = async { SshGoAhead::open(&fixture.session, name).await?.refuse().await };
    let (summary, refused) = tokio::join!(fixture.restart(name, &mark), refuse);
    refused.unwrap();
    assert_eq!((reason(&summary), summary.changed), (Some("refused"), 0));

    let name = runtime::random::uuid();
    let give = async {
        let mut channel = SshGoAhead::open(&fixture.session, name).await?;
        assert!(!mark.exists(), "neither then nor now");
        let uptime = channel.uptime().await?;
        channel.give(uptime, tokio::time::Instant::now()).await
    };
    let (summary, given) = tokio::join!(fixture.restart(name, &mark), give);
    given.unwrap();
    assert_eq!((reason(&summary), summary.changed), (None, 1));
    until_exists(&mark).await;
}

#[tokio::test]
async fn a_go_ahead_that_arrives_late_is_rejected_by_the_host() {
    let fixture = Fixture::new().await;
    let mark = fixture.base.path().join("restarted");
    let name = runtime::random::uuid();
    let give = async {
        let mut channel = SshGoAhead::open(&fixture.session, name).await?;
        let uptime = channel.uptime().await?;
        let decided = tokio::time::Instant::now();
        // As after a network that stalled, or an executor that was stopped.
        until_uptime(uptime.at(decided) + 100).await;
        channel.give(uptime, decided).await
    };
    let (summary, given) = tokio::join!(fixture.restart(name, &mark), give);
    given.unwrap();
    assert_eq!((reason(&summary), summary.changed), (Some("late"), 0));
    assert!(!mark.exists());
}

#[tokio::test]
async fn a_unit_starts_only_with_a_go_ahead_and_needs_none_once_it_has() {
    let fixture = Fixture::new().await;
    let mark = fixture.base.path().join("upgraded");
    let name = runtime::random::uuid();
    let refuse = async { SshGoAhead::open(&fixture.session, name).await?.refuse().await };
    let (summary, refused) = tokio::join!(fixture.upgrade(name, &mark), refuse);
    refused.unwrap();
    assert_eq!(reason(&summary), Some("refused"));
    assert!(!mark.exists());

    let name = runtime::random::uuid();
    let give = async {
        let mut channel = SshGoAhead::open(&fixture.session, name).await?;
        let uptime = channel.uptime().await?;
        channel.give(uptime, tokio::time::Instant::now()).await?;
        Ok::<_, AccessError>(())
    };
    let (summary, given) = tokio::join!(fixture.upgrade(name, &mark), give);
    given.unwrap();
    assert_eq!(reason(&summary), None);
    assert_eq!(fs::read_to_string(&mark).unwrap(), "x\n");
    // Its result is taken without another go-ahead.
    let summary = fixture.upgrade(runtime::random::uuid(), &mark).await;
    assert_eq!(reason(&summary), None);
    assert_eq!(fs::read_to_string(&mark).unwrap(), "x\n");
}
