//! The exchange, the queues and the routing keys: constants only.

use std::str::Split;

/// The topic exchange, unless `--bus-exchange` names another.
pub const EXCHANGE: &str = "commissaire";

/// A queue that the replicas of a service share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Its name; at the broker `requests.NAME`, or `jobs.NAME`.
    pub name: &'static str,
    /// The topic pattern that feeds it.
    pub binding: &'static str,
    /// A job queue keeps messages while nobody consumes; a request to any other queue without a
    /// consumer fails at once.
    pub jobs: bool,
    /// Its messages are bare records, without JSON-RPC around them.
    pub bare: bool,
}

/// Requests to the storage service.
pub const STORAGE: Queue =
    Queue { name: "storage", binding: "storage.*", jobs: false, bare: false };
/// Requests to the cluster executor.
pub const CLUSTEREXEC: Queue =
    Queue { name: "clusterexec", binding: "jobs.clusterexec.*", jobs: false, bare: false };
/// Hosts to look at.
pub const INVESTIGATOR: Queue =
    Queue { name: "investigator", binding: INVESTIGATE, jobs: true, bare: false };
/// Hosts to keep an eye on.
pub const WATCHER: Queue = Queue { name: "watcher", binding: WATCH, jobs: true, bare: true };
/// Requests to the container manager service.
pub const CONTAINERMGR: Queue =
    Queue { name: "containermgr", binding: "container.*", jobs: false, bare: false };
/// Requests about hosts that are answered from the hosts themselves.
pub const HOSTS: Queue = Queue { name: "hosts", binding: "hosts.*", jobs: false, bare: false };

/// The job queues: they exist from the start, so that a job finds its queue before the first consumer.
pub const JOBS: [Queue; 2] = [INVESTIGATOR, WATCHER];

/// The job queue that a message for `key` belongs into, if it is a job.
pub fn job_queue(key: &str) -> Option<Queue> {
    JOBS.into_iter().find(|queue| matches(queue.binding, key))
}

/// The queues of requests, each of one service.
pub const REQUESTS: [Queue; 4] = [STORAGE, CLUSTEREXEC, CONTAINERMGR, HOSTS];

/// The queue of a service of Commissaire that requests for `key` go to.
pub fn request_queue(key: &str) -> Option<Queue> {
    REQUESTS.into_iter().find(|queue| matches(queue.binding, key))
}

/// The service that a request for `key` is meant for, for messages.
pub fn service_of(key: &str) -> &str {
    match request_queue(key) {
        Some(queue) if queue == HOSTS => INVESTIGATOR.name,
        Some(queue) => queue.name,
        None => key.split('.').next().unwrap_or(key),
    }
}

/// `storage.save`
pub const STORAGE_SAVE: &str = "storage.save";
/// `storage.get`
pub const STORAGE_GET: &str = "storage.get";
/// `storage.delete`
pub const STORAGE_DELETE: &str = "storage.delete";
/// `storage.list`
pub const STORAGE_LIST: &str = "storage.list";
/// `storage.transact`
pub const STORAGE_TRANSACT: &str = "storage.transact";
/// `storage.begin_backup`
pub const STORAGE_BEGIN_BACKUP: &str = "storage.begin_backup";
/// `storage.read_backup`
pub const STORAGE_READ_BACKUP: &str = "storage.read_backup";
/// `storage.list_store_handlers`
pub const STORAGE_LIST_STORE_HANDLERS: &str = "storage.list_store_handlers";
/// `jobs.investigate`
pub const INVESTIGATE: &str = "jobs.investigate";
/// `jobs.watcher`: a bare `WatcherRecord`, no JSON-RPC around it.
pub const WATCH: &str = "jobs.watcher";
/// `hosts.try_login`
pub const HOSTS_TRY_LOGIN: &str = "hosts.try_login";
/// `jobs.clusterexec.continue`
pub const CONTINUE: &str = "jobs.clusterexec.continue";
/// `container.register_node`
pub const CONTAINER_REGISTER_NODE: &str = "container.register_node";
/// `container.remove_node`
pub const CONTAINER_REMOVE_NODE: &str = "container.remove_node";
/// `container.remove_all_nodes`
pub const CONTAINER_REMOVE_ALL_NODES: &str = "container.remove_all_nodes";
/// `container.node_registered`
pub const CONTAINER_NODE_REGISTERED: &str = "container.node_registered";
/// `container.get_node_status`
pub const CONTAINER_GET_NODE_STATUS: &str = "container.get_node_status";
/// `jobs.clusterexec.cordon`
pub const CORDON_HOST: &str = "jobs.clusterexec.cordon";
/// `jobs.clusterexec.uncordon`
pub const UNCORDON_HOST: &str = "jobs.clusterexec.uncordon";

/// `container.nodes`
pub const CONTAINER_NODES: &str = "container.nodes";
/// `container.node`
pub const CONTAINER_NODE: &str = "container.node";
/// `container.cordon`
pub const CONTAINER_CORDON: &str = "container.cordon";
/// `container.uncordon`
pub const CONTAINER_UNCORDON: &str = "container.uncordon";
/// `container.evict`
pub const CONTAINER_EVICT: &str = "container.evict";
/// `container.control_plane`
pub const CONTAINER_CONTROL_PLANE: &str = "container.control_plane";
/// `container.workloads`
pub const CONTAINER_WORKLOADS: &str = "container.workloads";

/// `notify.ping`: every replica of every service answers it.
pub const PING: &str = "notify.ping";

/// The routing key of the notification about a change to a record.
pub fn changed(model: &str, event: &str) -> String {
    format!("notify.storage.{model}.{event}")
}

/// Whether a topic pattern takes a routing key: `*` stands for one word, `#` for any number.
pub fn matches(pattern: &str, key: &str) -> bool {
    fn words(mut pattern: Split<'_, char>, mut key: Split<'_, char>) -> bool {
        match pattern.next() {
            None => key.next().is_none(),
            Some("#") => loop {
                if words(pattern.clone(), key.clone()) {
                    return true;
                }
                if key.next().is_none() {
                    return false;
                }
            },
            Some(word) => {
                key.next().is_some_and(|first| word == "*" || word == first) && words(pattern, key)
            }
        }
    }
    words(pattern.split('.'), key.split('.'))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn topic_patterns_match_as_amqp_says() {
        for (pattern, key) in [
            ("storage.*", "storage.get"),
            ("#", "a.b.c"),
            ("notify.#", "notify"),
            ("notify.storage.*.deleted", "notify.storage.Host.deleted"),
            ("notify.#.deleted", "notify.storage.Host.deleted"),
        ] {
            assert!(matches(pattern, key), "{pattern} {key}");
        }
        for (pattern, key) in
            [("storage.*", "storage"), ("storage.*", "storage.a.b"), ("a.#.c", "a.b"), ("a", "b")]
        {
            assert!(!matches(pattern, key), "{pattern} {key}");
        }
    }
}
