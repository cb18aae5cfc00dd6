//! The message broker: whether each daemon's account can connect and may do what the daemon does.

use bus::permissions::{Permission, Permissions};
use daemons::Daemon;
use runtime::error_text::chain;

use super::report::{Check, Report};
use super::subject::Subject;

const CHECK: Check = Check::Broker;

/// Sets the permissions, and declares what is missing.
const ACCOUNTS: &str =
    "run /usr/share/commissaire/rabbitmq-accounts on a node of the broker (docs/bus.md, Accounts)";

/// Checks the account of each daemon.
pub(super) async fn check(installation: &Subject, report: &mut Report) {
    for (daemon, options) in &installation.brokers {
        let program = daemon.program();
        match Permissions::connect(options).await {
            Ok(permissions) => {
                account(*daemon, &permissions, report).await;
                permissions.close().await;
            }
            Err(error) => {
                let finding = format!("{program} cannot connect: {}", chain(&error));
                let remedy = "start the broker, or correct the address and the account (`bus-uri`, `bus-uri-file`)";
                report.error(CHECK, finding, remedy);
            }
        }
    }
}

async fn account(daemon: Daemon, permissions: &Permissions, report: &mut Report) {
    let program = daemon.program();
    let account = permissions.account().unwrap_or("of its certificate").to_owned();
    match permissions.exchange().await {
        Permission::Granted => {}
        Permission::Missing(said) => {
            let finding = format!("the exchange of {program} does not exist: {said}");
            let remedy =
                format!("start the daemon, which makes it if its account may; else {ACCOUNTS}");
            return report.warning(CHECK, finding, remedy);
        }
        Permission::Denied(said) | Permission::Unknown(said) => {
            let finding = format!("{program} cannot use its exchange: {said}");
            return report.error(CHECK, finding, "correct `bus-exchange`, or delete that exchange");
        }
    }
    let before = report.0.len();
    for action in daemon.broker_actions() {
        match permissions.check(&action).await {
            Permission::Granted => {}
            Permission::Denied(said) => report.error(
                CHECK,
                format!("the account {account} of {program} may not {action}: {said}"),
                ACCOUNTS,
            ),
            Permission::Missing(said) => report.warning(
                CHECK,
                format!("{program} cannot {action}: {said}"),
                format!("start the daemons, which make it if their accounts may; else {ACCOUNTS}"),
            ),
            Permission::Unknown(said) => report.warning(
                CHECK,
                format!(
                    "cannot tell whether the account {account} of {program} may {action}: {said}"
                ),
                "look at its permissions: rabbitmqctl list_user_permissions ACCOUNT",
            ),
        }
    }
    if report.0.len() == before {
        let finding = format!("the account {account} may do what {program} does");
        report.ok(CHECK, finding);
    }
}
