//! Moments of the work at which something is killed.

use testbed::Testbed;

use crate::server::{Server, eventually, soon};

/// See the module. A moment has come, too, when the work is past it already.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Moment {
    /// The request is acknowledged.
    Accepted,
    /// The first host of the operation is at this step.
    Step(&'static str),
    /// A host is away.
    Away,
    /// The facts of a host are known.
    Facts,
    /// Ansible is at work on it.
    SettingUp,
    /// This package is installed on it.
    Installed(&'static str),
}

/// The five moments of a restart.
pub(crate) const RESTART: [Moment; 5] = [
    Moment::Accepted,
    Moment::Step("reboot"),
    Moment::Step("verify"),
    Moment::Away,
    Moment::Step("done"),
];

/// The five moments of an investigation.
pub(crate) const INVESTIGATION: [Moment; 5] = [
    Moment::Accepted,
    Moment::Facts,
    Moment::SettingUp,
    Moment::Installed("flannel"),
    Moment::Installed("docker"),
];

/// The steps of a host, in their order.
const STEPS: [&str; 6] = ["pending", "probe", "apply", "reboot", "verify", "done"];

/// Waits for the moment.
pub(crate) async fn reached(moment: Moment, server: &Server, testbed: &Testbed) {
    match moment {
        Moment::Accepted => {}
        Moment::Step(wanted) => {
            soon(wanted, || async {
                let operation = server.stored("/commissaire/operations/")?;
                let step = operation["hosts"][0]["step"].as_str()?;
                let place = |name| STEPS.iter().position(|step| *step == name);
                (place(step)? >= place(wanted)?).then_some(())
            })
            .await;
        }
        Moment::Away => {
            soon("a host is away", || async {
                testbed.events().iter().any(|event| !event.up).then_some(())
            })
            .await;
        }
        Moment::Facts => {
            soon("the facts are known", || async {
                let host = server.stored("/commissaire/hosts/")?;
                (host["status"] != "investigating").then_some(())
            })
            .await;
        }
        Moment::SettingUp => {
            soon("it is being set up", || async {
                let state = server.stored("/commissaire/host_state/")?;
                (state["set_up"] == true).then_some(())
            })
            .await;
        }
        Moment::Installed(package) => {
            eventually(package, || async {
                let log = testbed.exec(0, "cat /var/log/stand-in.log 2>/dev/null || true");
                log.contains(&format!("install -y {package}")).then_some(())
            })
            .await;
        }
    }
}
