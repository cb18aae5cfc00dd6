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
    /// The host that was away is there again.
    Back,
    /// The second host is away.
    SecondAway,
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
            let operation =
                soon("an operation", async || server.stored("/commissaire/operations/").await)
                    .await;
            let (id, first) = (operation["id"].as_str(), operation["hosts"][0].as_str());
            let key = format!("/commissaire/operation_hosts/{}.{}", id.unwrap(), first.unwrap());
            soon(wanted, || async {
                let host = server.stored(&key).await?;
                let place = |name| STEPS.iter().position(|step| *step == name);
                (place(host["step"].as_str()?)? >= place(wanted)?).then_some(())
            })
            .await;
        }
        Moment::Away => happened(testbed, 1, false).await,
        Moment::Back => happened(testbed, testbed.hosts().len() + 1, true).await,
        Moment::SecondAway => happened(testbed, 2, false).await,
        Moment::Facts => {
            soon("the facts are known", || async {
                let host = server.stored("/commissaire/hosts/").await?;
                (host["status"] != "investigating").then_some(())
            })
            .await;
        }
        Moment::SettingUp => {
            soon("it is being set up", || async {
                let state = server.stored("/commissaire/host_state/").await?;
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

/// Waits until hosts have come up, or gone away, so many times.
async fn happened(testbed: &Testbed, times: usize, up: bool) {
    soon("a host goes, or comes", || async {
        let seen = testbed.events().into_iter().filter(|event| event.up == up).count();
        (seen >= times).then_some(())
    })
    .await;
}
