//! The units, on a booted host: systemd starts, reloads and stops the daemons.

use std::process::Command;

use testbed::Testbed;

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
    install(&testbed, &conf("sysusers.d/commissaire.conf"), "/usr/lib/sysusers.d/commissaire.conf");
    install(&testbed, &conf("tmpfiles.d/commissaire.conf"), "/usr/lib/tmpfiles.d/commissaire.conf");
    let run = |script: &str| testbed.exec(0, script);
    run(
        "systemd-sysusers && systemd-tmpfiles --create commissaire.conf && systemctl daemon-reload",
    );
    run("commissaire links /usr/bin");
    let verify = "systemd-analyze verify /etc/systemd/system/commissaire*.service 2>&1";
    assert_eq!(run(&format!("{verify} | grep commissaire || true")), "");

    // Everything in one process: ready when systemd says so.
    run("systemctl start commissaire");
    run("systemctl reload commissaire");
    assert_eq!(run("systemctl is-active commissaire"), "active");
    assert_eq!(run("stat -c '%U %a' /var/lib/commissaire/secret.key"), "commissaire 600");
    // The kernel gives what is about a process that is not dumpable to root.
    let pid = run("systemctl show -P MainPID commissaire");
    assert_eq!(run(&format!("stat -c %U /proc/{pid}/mem")), "root");
    assert_eq!(run("systemctl show -P LimitCORE commissaire"), "0");
    run("systemctl stop commissaire");
    assert_eq!(run("systemctl show -P Result -P ExecMainStatus commissaire"), "success\n0");

    // The daemons, without a broker: they wait, and can be stopped while they do.
    let daemons = units.split_once(' ').unwrap().1;
    run(&format!("systemctl start --no-block {daemons}"));
    let states = run(&format!("systemctl is-active {daemons} || true"));
    assert!(states.lines().all(|state| state == "activating"), "{states}");
    run(&format!("systemctl stop {daemons}"));
    let ends = run(&format!("systemctl show -P Result {daemons}"));
    let ends: Vec<_> = ends.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(ends, ["success"; 6]);
}
