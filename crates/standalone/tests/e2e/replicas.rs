//! kill -9 of each daemon at five moments of an investigation and of a restart, one replica of each
//! running, and two: the work ends correctly.

use daemons::Daemon;
use serde_json::json;
use testbed::Testbed;

use crate::crashes::{restarted_once_each, set_up_once};
use crate::moments::{INVESTIGATION, RESTART, reached};
use crate::processes::Form;
use crate::server::Server;

/// Kills a replica of the daemon at each of the moments, in turn, and starts it again, as systemd would.
async fn killed_at_every_moment(victim: Daemon, replicas: usize) {
    let mut server = Server::start(Form::Distributed(replicas), json!({"lease-ttl": 8})).await;
    if let Some(testbed) = Testbed::up_booted("killed_at_every_moment", &["fedora"]) {
        server.flannel_cluster().await;
        server.register(&testbed, 0, json!({"cluster": "c1"})).await;
        for (turn, moment) in INVESTIGATION.into_iter().enumerate() {
            reached(moment, &server, &testbed).await;
            server.processes.kill(Some(victim), turn % replicas);
            server.processes.start_blindly();
        }
        set_up_once(&server, &testbed).await;
        server.delete_at_last(&format!("/host/{}", testbed.address(0).0)).await;
        server.delete_at_last("/cluster/c1").await;
    }

    let testbed = Testbed::up(&["debian", "debian"]);
    server.cluster(&testbed).await;
    let before = [testbed.boot_id(0), testbed.boot_id(1)];
    server.put_at_last("/cluster/c1/restart", json!({})).await;
    for (turn, moment) in RESTART.into_iter().enumerate() {
        reached(moment, &server, &testbed).await;
        server.processes.kill(Some(victim), turn % replicas);
        server.processes.start_blindly();
    }
    restarted_once_each(&server, &testbed, &before).await;
}

macro_rules! every_daemon {
    ($($test:ident: $daemon:ident),+ $(,)?) => {
        mod full {
            mod one_replica {
                $(#[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    crate::replicas::killed_at_every_moment(daemons::Daemon::$daemon, 1).await;
                })+
            }

            mod two_replicas {
                $(#[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    crate::replicas::killed_at_every_moment(daemons::Daemon::$daemon, 2).await;
                })+
            }
        }
    };
}

every_daemon!(
    the_gateway_is_killed: Server,
    the_storage_service_is_killed: Storage,
    the_investigator_is_killed: Investigator,
    the_watcher_is_killed: Watcher,
    the_cluster_executor_is_killed: Clusterexec,
    the_container_manager_service_is_killed: Containermgr,
);
