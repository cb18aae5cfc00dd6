//! The check of the permissions by `commissaire doctor`.

use bus::amqp;
use bus::permissions::{Permission, Permissions};
use daemons::Daemon;

use super::{Installation, short};

/// The accounts of the script may do what each daemon does, a check leaves no trace at the broker, and each missing
/// permission is found.
pub(super) async fn are_checked(installation: &Installation) {
    let before = state(installation);
    for daemon in Daemon::ALL {
        for (action, found) in found(installation, daemon).await {
            assert_eq!(found, Permission::Granted, "{daemon:?}: {action}");
        }
    }
    assert_eq!(state(installation), before);

    for daemon in Daemon::ALL {
        set_permissions(installation, daemon, "^$");
        for (action, found) in found(installation, daemon).await {
            assert!(matches!(found, Permission::Denied(_)), "{daemon:?}: {action}: {found:?}");
        }
        // Only the routing keys are left to it, which are permissions of their own.
        set_permissions(installation, daemon, ".*");
        let user = format!("commissaire-{}", short(daemon));
        let topics = [&user, installation.exchange.as_str(), "^$", "^$"];
        ctl(installation, &[&["set_topic_permissions"], &topics[..]].concat());
        for (action, found) in found(installation, daemon).await {
            let is_topic =
                !["answer", "take jobs", "read dead"].iter().any(|other| action.starts_with(other));
            let is_denied = matches!(found, Permission::Denied(_));
            assert_eq!(is_denied, is_topic, "{daemon:?}: {action}: {found:?}");
        }
    }
    assert_eq!(state(installation), before);
    tokio::task::block_in_place(|| installation.accounts(&[]));
}

async fn found(installation: &Installation, daemon: Daemon) -> Vec<(String, Permission)> {
    let options = amqp::Options {
        uri: installation.uri(daemon).into(),
        origin: "the test".to_owned(),
        exchange: installation.exchange.clone(),
        name: daemon.config().to_owned(),
    };
    let permissions = Permissions::connect(&options).await.unwrap();
    assert_eq!(permissions.account(), Some(format!("commissaire-{}", short(daemon)).as_str()));
    assert_eq!(permissions.exchange().await, Permission::Granted);
    let mut found = Vec::new();
    for action in daemon.broker_actions() {
        found.push((action.to_string(), permissions.check(&action).await));
    }
    permissions.close().await;
    found
}

fn set_permissions(installation: &Installation, daemon: Daemon, pattern: &str) {
    let user = format!("commissaire-{}", short(daemon));
    ctl(installation, &["set_permissions", &user, pattern, pattern, pattern]);
}

/// The queues with their messages and consumers, the bindings and the exchanges.
fn state(installation: &Installation) -> [String; 3] {
    let queues = ["list_queues", "name", "messages", "consumers"];
    [&queues[..], &["list_bindings"], &["list_exchanges"]].map(|what| {
        let mut lines: Vec<_> = ctl(installation, what).lines().map(str::to_owned).collect();
        lines.sort();
        lines.join("\n")
    })
}

fn ctl(installation: &Installation, arguments: &[&str]) -> String {
    tokio::task::block_in_place(|| installation.broker.ctl(arguments))
}
