//! Hosts whose `sshd` answers and does not let us in: they are not asked in a hurry.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use host_access::{AccessError, Share};
use jiff::Timestamp;
use service_core::model::{CheckReport, HostCreds, Model as _, RefusedLogIns, Status};
use testbed::sshd::{self, Sshds};

use crate::fixture::{Checks, Fixture, eventually, every};

/// When the next checks of a host end.
async fn checks(changes: &mut Checks, address: &str, count: usize) -> Vec<Timestamp> {
    let mut checks = Vec::new();
    while checks.len() < count {
        let (host, time) = changes.next().await;
        if host == address {
            checks.push(time);
        }
    }
    checks
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_at_its_limit_of_log_ins_keeps_its_status_and_is_asked_ever_more_seldom() {
    let (fixture, sshds) = (Fixture::start().await, Sshds::start(1, "MaxStartups 3:100:3"));
    let address = sshds.addresses()[0];
    fixture.register_all(&sshds).await;
    let mut changes = fixture.checks().await;
    let full = sshds.occupy(3);
    let _life = fixture.watch(&every(1.0)).await;
    let times = checks(&mut changes, address, 4).await;
    let gap = |two: &[Timestamp]| two[1].duration_since(two[0]).as_millis();
    let gaps: Vec<_> = times.windows(2).map(gap).collect();
    // One interval, two, four; each a quarter later or sooner.
    for (gap, least) in gaps.iter().zip([750, 1500, 3000]) {
        assert!(*gap >= least, "{gaps:?}");
    }
    assert!(!sshds.log().contains("Accepted"), "it let nobody in");
    assert_eq!(fixture.host(address).await.status, Status::Active);
    assert_eq!(fixture.state(address).await.failing.count, 0);
    drop(full);
    eventually("it lets us in again", || async {
        (!fixture.state(address).await.boot_id.is_empty()).then_some(())
    })
    .await;
    let times = checks(&mut changes, address, 3).await;
    assert!(gap(&times[1..]) < 4000, "an interval again, not the eight of before: {times:?}");
    assert_eq!(fixture.host(address).await.status, Status::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_penalises_our_address_keeps_its_status() {
    let test = "a_host_that_penalises_our_address_keeps_its_status";
    if !sshd::knows("PerSourcePenalties=yes") {
        return testbed::skip(test, "this OpenSSH has no PerSourcePenalties: it came with 9.8");
    }
    let options = "PerSourcePenalties authfail:20s min:5s max:60s";
    let (fixture, sshds) = (Fixture::start().await, Sshds::start(1, options));
    let address = sshds.addresses()[0];
    fixture.register_all(&sshds).await;
    // Somebody else behind our address tries keys.
    for _ in 0..2 {
        bare_log_in(&sshds, "nobody");
    }
    let _life = fixture.watch(&every(1.0)).await;
    for _ in 0..2 {
        fixture.checked(address).await;
    }
    assert!(sshds.log().contains("penalty"), "{}", sshds.log());
    assert_eq!(fixture.host(address).await.status, Status::Active);
    assert_eq!(fixture.state(address).await.failing.count, 0);
    eventually("it lets us in again", || async {
        (!fixture.state(address).await.boot_id.is_empty()).then_some(())
    })
    .await;
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
        let now = service_core::Clock::System.wall().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
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

#[tokio::test(flavor = "multi_thread")]
async fn all_services_together_do_not_get_the_server_banned() {
    let (fixture, sshds) = (Fixture::start().await, Sshds::start(2, ""));
    let mut fail2ban = Fail2ban::start();
    let (address, other) = (sshds.addresses()[0], sshds.addresses()[1]);
    fixture.register_all(&sshds).await;
    let mut creds = fixture.storage.get::<HostCreds>(address).await.unwrap().record;
    // Nobody of that name: what fail2ban takes for worse than a wrong key.
    creds.remote_user = "commissaire-wrong".to_owned();
    fixture.storage.save(&creds).await.unwrap();
    let _life = fixture.watch(&every(1.0)).await;
    fixture.until(address, Status::Failed).await;
    for _ in 0..10 {
        fixture.ask(address, "").await;
        fixture.checked(other).await;
    }
    assert_eq!(fixture.state(address).await.reason, "auth-refused");
    // The investigator, the executor and a rotation, each in a process of its own.
    let mut held_back = 0;
    for (name, share) in [("i", Share::Work), ("x", Share::Work), ("r", Share::Trial)] {
        let deps = fixture.deps(name);
        let target = host_access::credentials::target(&creds, &deps.own_key).unwrap();
        for _ in 0..3 {
            let log_in = deps.hosts.connect(&target, Duration::from_secs(30));
            match deps.ledger.log_in(address, share, log_in).await.unwrap_err() {
                AccessError::HeldBack { .. } => held_back += 1,
                error => assert_eq!(error.reason(), "auth-refused", "{error}"),
            }
        }
    }
    assert_eq!(held_back, 8, "one log-in was left");
    fail2ban.tell(&sshds);
    eventually("fail2ban has read of all of them", || async {
        (fail2ban.total("failed") >= 4).then_some(())
    })
    .await;
    assert_eq!((fail2ban.total("failed"), fail2ban.total("banned")), (4, 0));
    // It is awake: one more, and it bans.
    bare_log_in(&sshds, "commissaire-wrong");
    fail2ban.tell(&sshds);
    eventually("it bans", || async { (fail2ban.total("banned") == 1).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_refused_log_ins_is_itself_again_once_it_accepts_them() {
    let (fixture, sshds) = (Fixture::start().await, Sshds::start(1, ""));
    let address = sshds.addresses()[0];
    fixture.register_all(&sshds).await;
    let mut creds = fixture.storage.get::<HostCreds>(address).await.unwrap().record;
    let right = creds.clone();
    creds.remote_user = "commissaire-wrong".to_owned();
    fixture.storage.save(&creds).await.unwrap();
    let life = fixture.watch(&every(1.0)).await;
    fixture.until(address, Status::Failed).await;
    life.shutdown(Duration::from_secs(20)).await;
    fixture.storage.save(&right).await.unwrap();
    // As if ten minutes had passed.
    fixture.delete::<RefusedLogIns>(address).await;
    for report in fixture.storage.list::<CheckReport>().await.unwrap() {
        fixture.delete::<CheckReport>(report.record.id()).await;
    }
    let mut host = fixture.host(address).await;
    host.last_check = "2026-01-01T00:00:00.000000".to_owned();
    fixture.storage.save(&host).await.unwrap();
    let _life = fixture.watch(&every(1.0)).await;
    fixture.until(address, Status::Active).await;
    assert_eq!(fixture.state(address).await.reason, "");
}
