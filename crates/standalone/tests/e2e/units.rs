//! The units, on a booted host: systemd starts, reloads and stops the daemons, and brings them back.

use std::process::Command;
use std::time::Duration;

use testbed::Testbed;

/// Waits until a command on the first host prints something else than before.
#[expect(clippy::disallowed_methods, reason = "a host boots in real time")]
fn until_changed(testbed: &Testbed, script: &str, before: &str) {
    // Much longer than a host takes to boot, or a daemon to start.
    for _ in 0..600 {
        // It fails while the host boots.
        match testbed.try_run(&["exec", &testbed.hosts()[0], script]) {
            Ok(found) if found != before => return,
            _ => std::thread::sleep(Duration::from_millis(200)),
        }
    }
    panic!("{script} still says {before:?}");
}

/// Brings a file of this machine to the first host.
fn install(testbed: &Testbed, from: &str, to: &str) {
    let copied = Command::new("scp")
        .args(["-q", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i"])
        .arg(testbed.key())
        .arg(from)
        .arg(format!("{}@{}:{to}", testbed.user(), testbed.address(0).0))
        .status()
        .unwrap();
    assert!(copied.success(), "{from}");
}

#[test]
fn systemd_starts_reloads_and_stops_the_daemons() {
    let test = "systemd_starts_reloads_and_stops_the_daemons";
    let Some(testbed) = Testbed::up_booted(test, &["debian"]) else { return };
    let conf = |path: &str| format!("{}/../../conf/{path}", env!("CARGO_MANIFEST_DIR"));
    install(&testbed, env!("CARGO_BIN_EXE_commissaire"), "/usr/bin/commissaire");
    let units = "commissaire commissaire-server commissaire-storage-service \
                 commissaire-investigator-service commissaire-watcher-service \
                 commissaire-clusterexec-service commissaire-containermgr-service";
    for unit in units.split_whitespace() {
        let file = format!("{unit}.service");
        install(
            &testbed,
            &conf(&format!("systemd/{file}")),
            &format!("/etc/systemd/system/{file}"),
        );
    }
    for file in ["commissaire-backup.service", "commissaire-backup.timer"] {
        let target = format!("/etc/systemd/system/{file}");
        install(&testbed, &conf(&format!("systemd/{file}")), &target);
    }
    install(&testbed, &conf("sysusers.d/commissaire.conf"), "/usr/lib/sysusers.d/commissaire.conf");
    let run = |script: &str| testbed.exec(0, script);
    run("systemd-sysusers && systemctl daemon-reload");
    run("commissaire links /usr/bin");
    let verify = "systemd-analyze verify /etc/systemd/system/commissaire*.service /etc/systemd/system/commissaire-backup.timer 2>&1";
    // systemd 252 does not know the two that make pauses grow.
    let complaints = run(&format!("{verify} | grep commissaire || true"));
    let complaints = complaints.lines().filter(|line| {
        !["'RestartSteps'", "'RestartMaxDelaySec'"].iter().any(|known| line.contains(known))
    });
    assert_eq!(complaints.collect::<Vec<_>>(), [""; 0]);

    // Everything in one process: ready when systemd says so.
    run("systemctl start commissaire");
    run("systemctl reload commissaire");
    assert_eq!(run("systemctl is-active commissaire"), "active");
    assert_eq!(run("stat -c '%U %a' /var/lib/commissaire/secret.key"), "commissaire 600");
    // The nightly backup, beside the server.
    run("systemctl start commissaire-backup.service");
    let kept = "stat -c '%U %a' /var/lib/commissaire-backups /var/lib/commissaire-backups/*.jsonl";
    assert_eq!(run(kept), "commissaire 700\ncommissaire 600");
    run("tail -n 1 /var/lib/commissaire-backups/*.jsonl | grep -q end_of_backup");
    // The kernel gives what is about a process that is not dumpable to root.
    let pid = run("systemctl show -P MainPID commissaire");
    assert_eq!(run(&format!("stat -c %U /proc/{pid}/mem")), "root");
    assert_eq!(run("systemctl show -P LimitCORE commissaire"), "0");
    assert_eq!(run("systemctl show -P StatusText -P WatchdogUSec commissaire"), "1min\nserving");

    // A reload ends when the files were read; one that is invalid is named in the status.
    let shown = "systemctl show -P StatusText commissaire";
    run("cp -p /var/lib/commissaire/users.json /root && echo x >/var/lib/commissaire/users.json");
    run("systemctl reload commissaire");
    until_changed(&testbed, &format!("{shown} | grep 'reload failed: authentication stays'"), "");
    let failed = run(shown);
    run("cp -p /root/users.json /var/lib/commissaire && systemctl reload commissaire");
    until_changed(&testbed, &format!("{shown} | grep -x serving"), &failed);
    assert_eq!(run("systemctl is-active commissaire"), "active");

    // It comes back more often than systemd's usual limit of starts allows, and after a reboot.
    let pid = "systemctl is-active -q commissaire && systemctl show -P MainPID commissaire";
    for _ in 0..6 {
        let before = run(pid);
        run("systemctl kill -s KILL commissaire");
        until_changed(&testbed, pid, &before);
    }
    let boot = format!("{pid} >/dev/null && cat /proc/sys/kernel/random/boot_id");
    let before = run(&boot);
    run("systemctl enable -q commissaire && systemd-run -q --on-active=0 systemctl reboot");
    until_changed(&testbed, &boot, &before);
    assert_eq!(run("stat -c '%U %a' /run/commissaire"), "commissaire 700");
    let journal = |unit: &str| run(&format!("journalctl -q -o cat -p warning -u {unit}"));
    assert!(!journal("commissaire").contains("ready"), "that is information");
    run("systemctl stop commissaire");
    assert_eq!(run("systemctl show -P Result -P ExecMainStatus commissaire"), "success\n0");

    // The daemons, without a broker: they wait, and can be stopped while they do.
    let daemons = units.split_once(' ').unwrap().1;
    run(&format!("systemctl start --no-block {daemons}"));
    let states = run(&format!("systemctl is-active {daemons} || true"));
    assert!(states.lines().all(|state| state == "activating"), "{states}");
    until_changed(&testbed, "systemctl show -P StatusText commissaire-watcher-service", "");
    let broker = "the message broker amqp://guest@127.0.0.1:5672, virtual host / (the default of `bus-uri` in \
                  /etc/commissaire/watcher.conf)";
    let why = "it cannot be reached: Connection refused (os error 111)";
    assert_eq!(
        run("systemctl show -P StatusText commissaire-watcher-service"),
        format!("starting: waiting for {broker}: {why}")
    );
    let outages = journal("commissaire-watcher-service");
    let outage = format!("{broker} is unavailable: {why}; trying again");
    assert_eq!(outages.matches(&outage).count(), 1, "{outages}");
    run(&format!("systemctl stop {daemons}"));
    let ends = run(&format!("systemctl show -P Result {daemons}"));
    let ends: Vec<_> = ends.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(ends, ["success"; 6]);
}
