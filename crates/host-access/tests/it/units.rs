//! What takes long runs on the host apart from the connection, and once: `playbooks/files/unit.sh`.

use std::time::Duration;

use host_access::{
    Ansible, Output, Playbook, PlaybookError, RunDir, SshSession, Summary, Target, TaskEvent,
    TaskOutcome,
};
use serde_json::{Map, Value, json};
use testbed::Testbed;

use crate::sshd::{CONNECT, RUN, run_dir};

const DEADLINE: Duration = Duration::from_mins(2);

/// A host, and a connection to it.
struct Reached {
    testbed: Testbed,
    session: SshSession,
    run_dir: RunDir,
    /// Where the units are: a light host has the machine's own file system.
    units: tempfile::TempDir,
    _base: tempfile::TempDir,
}

impl Reached {
    async fn new(testbed: Testbed) -> Self {
        let (base, run_dir) = run_dir();
        let session = connect(&testbed, &run_dir).await;
        Self { testbed, session, run_dir, units: tempfile::tempdir().unwrap(), _base: base }
    }

    /// A light host: without a systemd.
    async fn light() -> Self {
        Self::new(Testbed::up_light(1)).await
    }

    /// The playbook with a unit of this name.
    async fn play(
        &self,
        playbook: Playbook,
        unit: &str,
        own: Value,
    ) -> Result<Summary, PlaybookError> {
        let mut vars: Map<String, Value> = Map::from_iter([
            ("commissaire_unit".to_owned(), json!(unit)),
            ("commissaire_reboot".to_owned(), json!("never")),
        ]);
        if self.testbed.is_light() {
            vars.insert("commissaire_unit_dir".to_owned(), json!(self.units.path()));
        }
        let Value::Object(own) = own else { panic!("an object") };
        vars.extend(own);
        let ansible = Ansible::new(None);
        ansible.run(&self.run_dir, &self.session, playbook, &vars, DEADLINE, |_| {}).await
    }

    async fn upgrade(&self, unit: &str, command: &str) -> Result<Summary, PlaybookError> {
        self.play(Playbook::Upgrade, unit, json!({ "commissaire_upgrade_command": command })).await
    }

    /// `unit.sh` without a playbook around it.
    async fn unit(&self, name: &str, command: &str, recover: &str) -> Output {
        let units = self.units.path().display();
        let script = include_str!("../../../../playbooks/files/unit.sh");
        let run = format!(
            "sh -s -- {units} {name} '{command}' '{recover}' '' '' <<'SCRIPT'\n{script}\nSCRIPT"
        );
        self.session.run(&run, DEADLINE).await.unwrap()
    }

    async fn run(&self, script: &str) -> String {
        let output = self.session.run(script, DEADLINE).await.unwrap();
        assert_eq!(output.status, 0, "{script}: {}", output.stderr);
        output.stdout.trim().to_owned()
    }

    /// Waits until the script succeeds on the host.
    async fn until(&self, script: &str) {
        self.run(&format!("until {script}; do sleep 0.05; done")).await;
    }
}

async fn connect(testbed: &Testbed, run_dir: &RunDir) -> SshSession {
    let (address, port) = testbed.address(0);
    let target = Target {
        address: address.to_owned(),
        port,
        user: testbed.user(),
        private_key: std::fs::read_to_string(testbed.key()).unwrap().into(),
        host_keys: Vec::new(),
    };
    SshSession::connect(run_dir, &target, CONNECT).await.unwrap()
}

fn changes(summary: &Summary) -> &str {
    summary.data["commissaire_changes"].as_str().unwrap()
}

fn message(result: Result<Summary, PlaybookError>) -> String {
    let Err(PlaybookError::Failed { message, .. }) = result else { panic!("{result:?}") };
    message
}

/// The message of a failure that was recognized as one of a full disk.
fn message_of_full_disk(result: Result<Summary, PlaybookError>) -> String {
    let Err(PlaybookError::DiskFull { message, .. }) = result else { panic!("{result:?}") };
    message
}

/// Cuts a playbook off once its command runs, and asks twice again, both at once.
async fn is_attached_to(host: &Reached) {
    let folder = host.run("mktemp -d").await;
    let command =
        format!("cd {folder}; echo x >>ran; until [ -e go ]; do sleep 0.1; done; echo bye");
    let runs = format!("[ -s {folder}/ran ]");
    tokio::select! {
        ended = host.upgrade("commissaire-1-apply", &command) => panic!("{ended:?}"),
        () = host.until(&runs) => {}
    }
    let go = async {
        host.run(&format!("sleep 2; touch {folder}/go")).await;
    };
    let again = || host.upgrade("commissaire-1-apply", &command);
    let (one, other, ()) = tokio::join!(again(), again(), go);
    assert_eq!((one.unwrap().changed, other.unwrap().changed), (0, 0));
    // Nor is it run again when it has ended.
    again().await.unwrap();
    assert_eq!(host.run(&format!("cat {folder}/ran")).await, "x");
}

#[tokio::test]
async fn whoever_comes_next_waits_for_the_same_unit() {
    let test = "whoever_comes_next_waits_for_the_same_unit";
    let Some(testbed) = Testbed::up_booted(test, &["fedora"]) else { return };
    let host = Reached::new(testbed).await;
    is_attached_to(&host).await;
    let journal = "journalctl --unit commissaire-1-apply --output cat | grep -c '^Started'";
    assert_eq!(host.run(journal).await, "1");
    // Whoever stops it means it: it gets to its end, and is not begun again.
    let command = "echo y >>/root/ran; sleep 2; echo z >>/root/ran";
    let stop = async {
        host.until("[ -s /root/ran ]").await;
        host.run("systemctl stop commissaire-2-apply").await;
    };
    let (upgraded, ()) = tokio::join!(host.upgrade("commissaire-2-apply", command), stop);
    upgraded.unwrap();
    assert_eq!(host.run("cat /root/ran").await, "y\nz");
    let kill = async {
        host.until("[ -s /var/lib/commissaire/units/commissaire-3-apply/runs ]").await;
        host.run("systemctl kill --signal KILL commissaire-3-apply").await;
    };
    let (upgraded, ()) = tokio::join!(host.upgrade("commissaire-3-apply", "exec sleep 600"), kill);
    let said = message(upgraded);
    assert!(said.contains("ended before it was done"), "{said}");
}

#[tokio::test]
async fn without_a_systemd_it_is_a_process_of_its_own() {
    let host = Reached::light().await;
    is_attached_to(&host).await;
}

#[tokio::test]
async fn a_reboot_in_the_middle_is_made_good_once_or_told() {
    let host = Reached::light().await;
    let units = host.units.path().display();
    // As if it had been begun in other boots.
    let begun_in = |unit: &str, boots: &str| {
        format!(
            "mkdir {units}/{unit} && for boot in {boots}; do echo $boot 1; done >{units}/{unit}/runs"
        )
    };
    let ran = host.units.path().join("ran");
    let command = format!("echo upgraded >>{}", ran.display());
    let recover = format!("echo recovered >>{}", ran.display());

    host.run(&begun_in("commissaire-1", "a")).await;
    let output = host.unit("commissaire-1", &command, &recover).await;
    assert_eq!((output.status, output.stdout.as_str()), (0, "0\n"), "{output:?}");
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "recovered\nupgraded\n");
    let this_boot = "$(cat /proc/sys/kernel/random/boot_id)";
    for (unit, boots, recover, expected) in [
        ("commissaire-2", "a b", recover.as_str(), "in the middle of it twice"),
        ("commissaire-3", "a", "", "not safe to just go on"),
        ("commissaire-4", this_boot, recover.as_str(), "somebody stopped it"),
    ] {
        host.run(&begun_in(unit, boots)).await;
        let output = host.unit(unit, &command, recover).await;
        assert_eq!(output.status, 1);
        assert!(output.stderr.contains(expected), "{output:?}");
        assert!(output.stderr.contains(unit), "it says where to look: {output:?}");
    }
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "recovered\nupgraded\n", "nothing more");
}

#[tokio::test]
async fn what_is_old_goes_unless_it_runs() {
    let host = Reached::light().await;
    let (units, path) = (host.units.path(), host.units.path().display());
    let running = format!("until [ -e {path}/go ]; do sleep 0.1; done");
    let running = async { host.unit("commissaire-running", &running, "").await };
    let rest = async {
        host.until(&format!("[ -s {path}/commissaire-running/runs ]")).await;
        let touch = "touch -d \"2 days ago\" commissaire-old commissaire-running";
        host.run(&format!("cd {path} && mkdir commissaire-old commissaire-new && {touch}")).await;
        assert_eq!(host.unit("commissaire-1", "true", "").await.status, 0);
        for (unit, there) in [("old", false), ("new", true), ("running", true), ("1", true)] {
            assert_eq!(units.join(format!("commissaire-{unit}")).exists(), there, "{unit}");
        }
        host.run(&format!("touch {path}/go")).await;
    };
    let (output, ()) = tokio::join!(running, rest);
    assert_eq!((output.status, output.stdout.as_str()), (0, "0\n"), "{output:?}");
}

#[tokio::test]
async fn a_name_that_is_none_is_refused_and_without_one_it_has_its_own() {
    let host = Reached::light().await;
    let path = host.units.path();
    let said = message(host.upgrade("commissaire-../../x", "true").await);
    assert!(said.contains("is not `commissaire-` and at most"), "{said}");
    assert_eq!(std::fs::read_dir(path).unwrap().count(), 0);
    let vars = json!({
        "commissaire_upgrade_command": format!("echo x >>{}/ran", path.display()),
        "commissaire_unit_dir": path,
    });
    let Value::Object(vars) = vars else { panic!("an object") };
    for _ in 0..2 {
        let (ansible, upgrade) = (Ansible::new(None), Playbook::Upgrade);
        let run = ansible.run(&host.run_dir, &host.session, upgrade, &vars, DEADLINE, |_| {});
        run.await.unwrap();
    }
    assert_eq!(std::fs::read_to_string(path.join("ran")).unwrap(), "x\nx\n", "anew each time");
}

#[tokio::test]
async fn a_failure_has_the_last_words_of_the_command() {
    let host = Reached::light().await;
    let command = "seq 1000; seq 2000 3000 >&2; echo 'no \"space\" $HOME' >&2; exit 7";
    let said = message(host.upgrade("commissaire-1-apply", command).await);
    assert!(said.starts_with("exit status 7: "), "{said}");
    assert!(said.contains("3000\nno \"space\" $HOME") && said.len() < 2000, "{said}");
    let output = format!("output is in {}/commissaire-1-apply on", host.units.path().display());
    assert!(said.contains(&output), "{said}");
    for (unit, command, expected) in [
        ("commissaire-2", "echo nothing provides x; exit 4", "nothing provides x\n"),
        ("commissaire-3", "exit 4", "it printed nothing"),
    ] {
        let output = host.unit(unit, command, "").await;
        assert_eq!((output.status, output.stdout.as_str()), (0, "4\n"), "{output:?}");
        assert!(output.stderr.starts_with(expected), "{output:?}");
    }
}

#[tokio::test]
async fn what_a_command_waits_for_is_reported_while_it_waits() {
    let host = Reached::light().await;
    let go = host.units.path().join("go");
    let command =
        format!("echo held by x >waiting; until [ -e {} ]; do sleep 0.1; done", go.display());
    let vars = json!({
        "commissaire_upgrade_command": command,
        "commissaire_unit": "commissaire-1-apply",
        "commissaire_unit_dir": host.units.path(),
    });
    let Value::Object(vars) = vars else { panic!("an object") };
    let mut reported = Vec::new();
    let on_event = |event: TaskEvent| {
        if event.outcome == TaskOutcome::Waiting {
            reported.push(event.message);
            std::fs::write(&go, "").unwrap();
        }
    };
    let (ansible, upgrade) = (Ansible::new(None), Playbook::Upgrade);
    let run = ansible.run(&host.run_dir, &host.session, upgrade, &vars, DEADLINE, on_event);
    run.await.unwrap();
    assert_eq!(reported, ["held by x"]);
}

#[tokio::test]
async fn a_full_disk_is_named_and_nothing_is_run() {
    let host = Reached::light().await;
    let path = host.units.path().display().to_string();
    host.run(&format!("mount -t tmpfs -o size=64k tmpfs {path}")).await;
    let ran = tempfile::tempdir().unwrap();
    let command = format!("touch {}/ran", ran.path().display());
    let said = message_of_full_disk(host.upgrade("commissaire-1-apply", &command).await);
    for part in ["No space left on device", "Nothing was run", &format!("df -h {path}")] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert!(!ran.path().join("ran").exists());
    // What fills it up itself is told so, whatever it has printed.
    host.run(&format!("mount -o remount,size=4m {path}")).await;
    let fills = "head -c 8000000 /dev/zero >big; exit 3";
    let said = message_of_full_disk(host.upgrade("commissaire-2-apply", fills).await);
    assert!(said.starts_with("exit status 3") && said.contains("has no room"), "{said}");
    host.run(&format!("umount -l {path}")).await;
}

#[tokio::test]
async fn zypper_is_run_again_after_103_and_102_is_a_reboot() {
    let test = "zypper_is_run_again_after_103_and_102_is_a_reboot";
    let Some(testbed) = Testbed::up_booted(test, &["opensuse"]) else { return };
    let host = Reached::new(testbed).await;
    let facts = host_access::gather(&host.session, RUN).await.unwrap();
    let commands = facts.os.commands(&facts.version, facts.ostree);
    let command = commands.upgrade;
    host.run(commands.refresh.unwrap()).await;
    host.run(
        "cd /var/lib && mkdir -p stand-in && cd stand-in && printf 'zypper\\nkernel\\n' >installed && \
         printf 'zypper 1.1\\nkernel 6.5\\n' >updates && printf '103\\n102\\n' >statuses && touch reboot-required",
    )
    .await;
    let summary = host.upgrade("commissaire-1-apply", command).await.unwrap();
    assert_eq!(summary.data["commissaire_reboot_required"], true, "{summary:?}");
    assert_eq!(
        changes(&summary),
        "0 2 0\nkernel.noarch 1.0-1.stand.in 6.5-1.stand.in\nzypper.noarch 1.0-1.stand.in 1.1-1.stand.in"
    );
    assert_eq!(summary.changed, 1);
    let calls = "grep -c 'zypper --non-interactive update' /var/log/stand-in.log";
    assert_eq!(host.run(calls).await, "2");

    host.run("rm /var/lib/stand-in/reboot-required").await;
    let summary = host.upgrade("commissaire-2-apply", command).await.unwrap();
    assert_eq!((changes(&summary), summary.changed), ("0 0 0", 0));
    assert_eq!(summary.data["commissaire_reboot_required"], false, "{summary:?}");
    host.run("echo 4 >/var/lib/stand-in/statuses").await;
    assert!(
        message(host.upgrade("commissaire-3-apply", command).await).starts_with("exit status 4")
    );
}
