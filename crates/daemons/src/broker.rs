//! What each daemon does at the message broker. `conf/rabbitmq/accounts` gives its account the permissions for it.

use bus::permissions::Action;
use bus::topology::{
    CLUSTEREXEC, CONTAINER_NODES, CONTAINER_REGISTER_NODE, CONTAINER_REMOVE_NODE, CONTAINERMGR,
    CORDON_HOST, HOSTS, HOSTS_TRY_LOGIN, INVESTIGATE, INVESTIGATOR, PING, STORAGE, STORAGE_GET,
    WATCH, WATCHER, changed,
};

use crate::Daemon;

impl Daemon {
    /// What its account of the message broker has to be allowed to do: one routing key of each kind.
    pub fn broker_actions(self) -> Vec<Action> {
        let send = |keys: &[&str]| keys.iter().map(|key| Action::Send((*key).to_owned())).collect();
        let all_changes = |types: &[&str]| -> Vec<_> {
            types.iter().map(|name| Action::Subscribe(changed(name, "*"))).collect()
        };
        let mut actions: Vec<Action> = send(&[STORAGE_GET]);
        actions.extend([Action::Answer, Action::Subscribe(PING.to_owned())]);
        match self {
            Self::Server => {
                let keys =
                    [INVESTIGATE, WATCH, CORDON_HOST, CONTAINER_NODES, HOSTS_TRY_LOGIN, PING];
                actions.extend(send(&keys));
                actions.push(Action::Subscribe(changed("OperationEvent", "created")));
                actions.extend(all_changes(&["ApiToken", "Binding"]));
                actions.extend([INVESTIGATOR, WATCHER].map(Action::ReadDeadLetters));
            }
            Self::Storage => {
                actions.push(Action::Send(changed("Host", "updated")));
                actions.push(Action::Serve(STORAGE));
                actions.extend(all_changes(&["CheckReport"]));
            }
            Self::Investigator => {
                actions.extend(send(&[CONTAINER_REGISTER_NODE, CONTAINER_REMOVE_NODE]));
                actions.extend([Action::Serve(HOSTS), Action::TakeJobs(INVESTIGATOR)]);
            }
            Self::Watcher => {
                actions.extend(send(&[INVESTIGATE]));
                actions.push(Action::TakeJobs(WATCHER));
                actions.extend(all_changes(&["Host", "HostState", "Lease", "OperationHost"]));
            }
            Self::Clusterexec => {
                actions.extend(send(&[CONTAINER_NODES]));
                actions.push(Action::Serve(CLUSTEREXEC));
            }
            Self::Containermgr => {
                actions.push(Action::Serve(CONTAINERMGR));
                actions.extend(all_changes(&["ContainerManagerConfig", "CordonDebt"]));
            }
        }
        actions
    }
}
