//! Hosts whose `sshd` answers and does not let us in: they are not asked in a hurry.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bus::{Context, topology};
use host_access::{AccessError, Ansible, RunDir, Share, Ssh};
use model::{FailureReason, Host, HostCreds, Status};
use runtime::Lifecycle;
use serde_json::json;
use simulated_hosts::LogIn;
use testbed::sshd::Sshds;
use tokio::time::{Instant, sleep};
use watcher_svc::Config;

use crate::fixture::{Fixture, config, eventually, gaps};

const ADDRESS: &str = "10.0.0.1";

#[tokio::test(start_paused = true)]
async fn a_host_at_its_limit_of_log_ins_keeps_its_status_and_is_asked_ever_more_seldom() {
    let fixture = Fixture::start().await;
    fixture.register(ADDRESS, Status::Active).await;
    fixture.hosts.edit(ADDRESS, |machine| machine.log_in = LogIn::Throttled);
    let _watcher = fixture.watch(Config::default()).await;
    let probes = fixture.probed(ADDRESS, 6).await;
    // One interval, two, four, eight, and no longer; each a quarter later or sooner.
    for (gap, intervals) in gaps(&probes).iter().zip([1.0, 2.0, 4.0, 8.0, 8.0]) {
        let (least, most) = (45.0 * intervals, 75.0 * intervals + 0.1);
        assert!((least..most).contains(gap), "{:?}", gaps(&probes));
    }
    assert_eq!(fixture.host(ADDRESS).await.status, Status::Active);
    assert_eq!(fixture.state(ADDRESS).await.failing.count, 0);
    assert_eq!(fixture.state(ADDRESS).await.boot_id, "", "it let nobody in");
    fixture.hosts.edit(ADDRESS, |machine| machine.log_in = LogIn::Accepted);
    eventually("it lets us in again", async || {
        (!fixture.state(ADDRESS).await.boot_id.is_empty()).then_some(())
    })
    .await;
    let (before, after) = (fixture.probes(ADDRESS).len(), Instant::now());
    fixture.probed(ADDRESS, before + 1).await;
    assert!(after.elapsed() < Duration::from_secs(64), "an interval again, and a twentieth");
    assert_eq!(fixture.host(ADDRESS).await.status, Status::Active);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_refused_log_ins_is_itself_again_once_it_accepts_them() {
    let fixture = Fixture::start().await;
    fixture.register(ADDRESS, Status::Active).await;
    fixture.hosts.edit(ADDRESS, |machine| machine.log_in = LogIn::Refused);
    let _watcher = fixture.watch(Config::default()).await;
    fixture.until(ADDRESS, Status::Failed).await;
    assert_eq!(fixture.state(ADDRESS).await.reason, "auth-refused");
    let failed = Instant::now();
    sleep(Duration::from_mins(5)).await;
    fixture.hosts.edit(ADDRESS, |machine| machine.log_in = LogIn::Accepted);
    fixture.until(ADDRESS, Status::Active).await;
    assert!(failed.elapsed() < Duration::from_mins(11) + Duration::from_secs(1));
    assert_eq!(fixture.state(ADDRESS).await.reason, "");
}

/// A log-in as somebody, without any care.
fn bare_log_in(sshds: &Sshds, user: &str) {
    let mut command = Command::new("ssh");
    command.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]);
    command.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes", "-i"]);
    command.arg(sshds.key()).arg("-p").arg(sshds.port().to_string());
    command.arg(format!("{user}@{}", sshds.addresses()[0])).arg("true").stdin(Stdio::null());
    assert!(!command.output().unwrap().status.success(), "{user} is not let in");
}

/// A fail2ban of this test's own with Debian's jail for sshd as it comes, told to ban nobody in earnest.
struct Fail2ban {
    folder: tempfile::TempDir,
    /// Lines of the log of an `sshd` that it has been given.
    told: usize,
}

impl Fail2ban {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("fb").tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let copied = Command::new("cp").arg("-r").arg("/etc/fail2ban").arg(path("etc")).status();
        assert!(copied.unwrap().success(), "fail2ban is needed");
        fs::write(path("auth.log"), "").unwrap();
        // Only where it reads and what it does; when it bans is its default.
        let jail = format!(
            "[DEFAULT]\nignoreself = false\nignoreip =\naction =\n[sshd]\nenabled = true\n\
             backend = polling\nlogpath = {}\n",
            path("auth.log").display()
        );
        fs::write(path("etc/jail.local"), jail).unwrap();
        fs::write(path("etc/fail2ban.local"), "[Definition]\ndbfile = None\n").unwrap();
        let fail2ban = Self { folder, told: 0 };
        fail2ban.client(&["start"]);
        fail2ban
    }

    /// Gives it what an `sshd` has logged since the last time, as syslog would.
    fn tell(&mut self, sshds: &Sshds) {
        let log = sshds.log();
        let now = runtime::Clock::System.wall().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut lines = Vec::new();
        for line in log.lines().skip(self.told) {
            // Each connection has a process of its own, and a port.
            let port = line.rsplit("port ").next().and_then(|rest| rest.split(' ').next());
            writeln!(lines, "{now} host sshd[{}]: {line}", port.unwrap_or("1")).unwrap();
        }
        self.told = log.lines().count();
        let file = fs::File::options().append(true).open(self.folder.path().join("auth.log"));
        file.unwrap().write_all(&lines).unwrap();
    }

    fn client(&self, words: &[&str]) -> String {
        let path = |name: &str| self.folder.path().join(name);
        let mut command = Command::new("fail2ban-client");
        command.arg("-c").arg(path("etc")).arg("-s").arg(path("sock")).arg("-p").arg(path("pid"));
        command.arg("--logtarget").arg(path("log")).args(words);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "fail2ban-client {words:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// How many it has banned, or seen fail.
    fn total(&self, what: &str) -> usize {
        let status = self.client(&["status", "sshd"]);
        let line = status.lines().find(|line| line.contains(&format!("Total {what}:"))).unwrap();
        line.rsplit(':').next().unwrap().trim().parse().unwrap()
    }
}

impl Drop for Fail2ban {
    fn drop(&mut self) {
        let ended = std::panic::catch_unwind(|| self.client(&["stop"]));
        assert!(ended.is_ok() || std::thread::panicking(), "fail2ban does not stop");
    }
}

/// Registers all addresses of these `sshd`s as active hosts.
async fn register(fixture: &Fixture, sshds: &Sshds) {
    let key = BASE64.encode(fs::read(sshds.key()).unwrap());
    for address in sshds.addresses() {
        let creds = HostCreds {
            ssh_priv_key: key.clone().into(),
            remote_user: testbed::sshd::user(),
            ssh_port: sshds.port(),
            ssh_host_key: sshds.host_key(),
            ..HostCreds::new(address)
        };
        let (address, status) = (address.to_owned(), Status::Active);
        fixture.storage.save(&creds).await.unwrap();
        fixture
            .storage
            .save(&Host { address: address.into(), status, ..Host::default() })
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn all_services_together_do_not_get_the_server_banned() {
    let (fixture, sshds) = (Fixture::start().await, Sshds::start(2, ""));
    // A short path: control sockets are made below it.
    let folder = tempfile::Builder::new().prefix("w").tempdir().unwrap();
    let deps = |name| {
        let run_dir = RunDir::create(folder.path(), name).unwrap();
        fixture.deps(&fixture.bus, Ssh::new(run_dir, Ansible::new(None)))
    };
    let mut fail2ban = Fail2ban::start();
    let (address, other) = (sshds.addresses()[0], sshds.addresses()[1]);
    register(&fixture, &sshds).await;
    let mut creds = fixture.creds(address).await;
    // Nobody of that name: what fail2ban takes for worse than a wrong key.
    creds.remote_user = "commissaire-wrong".to_owned();
    fixture.storage.save(&creds).await.unwrap();
    // An interval is long enough for a log-in to each host, whatever else the machine does.
    let quick = config(json!({"interval": 2, "report_interval": 0.1}));
    watcher_svc::run(deps("w"), quick, &Lifecycle::new()).await.unwrap();
    fixture.until(address, Status::Failed).await;
    let asked = json!({"address": address, "last_check": ""});
    for _ in 0..10 {
        fixture.bus.request(topology::WATCH, &asked, &Context::default()).await.unwrap();
    }
    fixture.checked(other).await;
    assert_eq!(fixture.state(address).await.reason, "auth-refused");
    // The investigator, the executor and a rotation, each in a process of its own.
    let mut held_back = 0;
    for (name, share) in [("i", Share::Work), ("x", Share::Work), ("r", Share::Trial)] {
        let deps = deps(name);
        let target = host_access::credentials::target(&creds, &deps.own_key).unwrap();
        for _ in 0..3 {
            let log_in = deps.hosts.connect(&target, Duration::from_secs(30));
            match deps.ledger.log_in(address, share, log_in).await.unwrap_err() {
                AccessError::HeldBack { .. } => held_back += 1,
                error => assert_eq!(error.reason(), FailureReason::AuthRefused, "{error}"),
            }
        }
    }
    assert_eq!(held_back, 8, "one log-in was left");
    fail2ban.tell(&sshds);
    eventually("fail2ban has read of all of them", async || {
        (fail2ban.total("failed") >= 4).then_some(())
    })
    .await;
    assert_eq!((fail2ban.total("failed"), fail2ban.total("banned")), (4, 0));
    // It is awake: one more, and it bans.
    bare_log_in(&sshds, "commissaire-wrong");
    fail2ban.tell(&sshds);
    eventually("it bans", async || (fail2ban.total("banned") == 1).then_some(())).await;
}
