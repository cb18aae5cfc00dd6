//! A command that may make a host unavailable waits for its go-ahead: `playbooks/files/go_ahead.sh`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use host_access::{
    AccessError, Ansible, Claim, ClaimMode, Fence, GoAhead as _, Mark, Playbook, PlaybookError,
    Refusal, RunDir, SshGoAhead, SshSession, Summary,
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

    /// Where units and generation marks are.
    fn units(&self) -> PathBuf {
        self.base.path().join("units")
    }

    /// Gives a go-ahead with this claim.
    async fn give(&self, name: Uuid, claim: &Claim) -> Result<(), AccessError> {
        let mut channel = SshGoAhead::open(&self.session, name).await?;
        let uptime = channel.uptime().await?;
        channel.give(uptime, tokio::time::Instant::now(), claim).await
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
            "commissaire_go_ahead": name.to_string(), "commissaire_unit_dir": self.units(),
        });
        self.play(Playbook::Restart, vars).await
    }

    async fn upgrade(&self, name: Uuid, mark: &Path) -> Summary {
        let vars = json!({
            "commissaire_unit": "commissaire-1-apply", "commissaire_unit_dir": self.units(),
            "commissaire_upgrade_command": format!("echo x >>{}", mark.display()),
            "commissaire_go_ahead": name.to_string(),
        });
        self.play(Playbook::Upgrade, vars).await
    }
}

/// The claim of an installation in this generation.
fn claim(generation: u64) -> Claim {
    let mark = Mark { generation, id: format!("g{generation}"), signature: "AA==".to_owned() };
    Claim { instance: "i".to_owned(), mark, mode: ClaimMode::Take }
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
        channel.give(uptime, tokio::time::Instant::now(), &claim(1)).await
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
        channel.give(uptime, decided, &claim(1)).await
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
    let claim = claim(1);
    let give = fixture.give(name, &claim);
    let (summary, given) = tokio::join!(fixture.upgrade(name, &mark), give);
    given.unwrap();
    assert_eq!(reason(&summary), None);
    assert_eq!(fs::read_to_string(&mark).unwrap(), "x\n");
    // Its result is taken without another go-ahead.
    let summary = fixture.upgrade(runtime::random::uuid(), &mark).await;
    assert_eq!(reason(&summary), None);
    assert_eq!(fs::read_to_string(&mark).unwrap(), "x\n");
}

#[tokio::test]
async fn nothing_is_done_on_a_host_that_a_newer_generation_has() {
    let fixture = Fixture::new().await;
    let (newer, older) = (claim(2), claim(1));
    let name = runtime::random::uuid();
    let restarted = fixture.base.path().join("restarted");
    let give = fixture.give(name, &newer);
    let (summary, given) = tokio::join!(fixture.restart(name, &restarted), give);
    given.unwrap();
    assert_eq!(reason(&summary), None);
    until_exists(&restarted).await;
    let path = fixture.units().join("generation-i");
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", newer.mark));

    let refusal = Refusal { fence: Fence::Newer, marks: vec![newer.mark.clone()] };
    let again = fixture.base.path().join("again");
    let name = runtime::random::uuid();
    let (summary, given) = tokio::join!(fixture.restart(name, &again), fixture.give(name, &older));
    given.unwrap();
    assert_eq!(Refusal::find(reason(&summary).unwrap()).as_ref(), Some(&refusal));
    assert_eq!(summary.changed, 0);
    let name = runtime::random::uuid();
    let (summary, given) = tokio::join!(fixture.upgrade(name, &again), fixture.give(name, &older));
    given.unwrap();
    assert_eq!(Refusal::find(reason(&summary).unwrap()).as_ref(), Some(&refusal));
    assert!(!again.exists());

    // The set-up, which needs no go-ahead.
    let mut vars = json!({
        "commissaire_claim": older.to_string(), "commissaire_unit_dir": fixture.units(),
        "commissaire_network_type": "flannel_server", "commissaire_flannel_service": "none-such",
        "commissaire_docker_service": "none-such",
        "commissaire_install_flannel": format!("touch {}", again.display()),
    });
    let ansible = Ansible::new(None);
    let set_up = async |vars: &Value| {
        let vars = vars.as_object().unwrap();
        let Fixture { run_dir, session, .. } = &fixture;
        ansible.run(run_dir, session, Playbook::Bootstrap, vars, DEADLINE, |_| {}).await
    };
    let error = set_up(&vars).await.unwrap_err();
    assert_eq!(error.reason().word(), "fenced");
    let PlaybookError::Fenced { refusal: found, .. } = error else { panic!("{error}") };
    assert_eq!(found, refusal);
    assert!(!again.exists());
    vars["commissaire_claim"] = json!(newer.to_string());
    set_up(&vars).await.unwrap_err();
    assert!(again.exists(), "the mark is its own, so it goes on until something else is missing");
}
