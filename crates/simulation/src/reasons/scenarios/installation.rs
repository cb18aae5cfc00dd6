//! Reasons of clusters, of operations that are refused, and of the installation.

use std::time::Duration;

use model::{Cluster, ClusterChange, ClusterHead, Host, HostState, Status};
use serde_json::json;
use storage_client::Transaction;
use tokio::time::sleep;

use super::{of, refused};
use crate::reasons::{Stage, provokes};
use crate::scenario::{Service, address};

pub(super) const ALARMS: &[&str] =
    &["alarm", "alarm-raised", "alarm-timeout", "checks-failing", "status-held"];

#[test]
fn alarms() {
    provokes("alarms", ALARMS, async || {
        let mut stage = Stage::start(10).await;
        sleep(Duration::from_mins(3)).await;
        stage.start_operation("restart", json!({"max_unavailable": "90%"})).await;
        for host in 6..10 {
            stage.hosts.power_off(&address(host));
        }
        stage.until(ALARMS).await;
        stage
    });
}

pub(super) const MEMBERS: &[&str] = &["deleting", "empty", "members-changing", "members-failed"];

#[test]
fn members() {
    provokes("members", MEMBERS, async || {
        let mut stage = Stage::start(2).await;
        stage.hosts.power_off(&address(0));
        stage.until(&["members-failed"]).await;
        // The job that carries a change out looks for it only now and then.
        let head = stage.storage.get::<ClusterHead>("web").await.unwrap().record;
        for change in
            [ClusterChange::Changing { hostset: vec![address(1).into()] }, ClusterChange::Deleting]
        {
            let change = Some(change);
            stage.storage.save(&ClusterHead { change, ..head.clone() }).await.unwrap();
            stage.look().await;
        }
        let cluster = Cluster::new(head, Vec::new());
        stage.storage.save(&cluster).await.unwrap();
        stage.until(MEMBERS).await;
        stage
    });
}

pub(super) const REFUSALS: &[&str] = &[
    "budget-used-up",
    "cluster-is-changing",
    "controller-is-member",
    "in-process",
    "none-reachable",
];

#[test]
fn refusals() {
    provokes("refusals", REFUSALS, async || {
        let mut stage = Stage::start(2).await;
        let own: HostState =
            of(json!({"address": address(0), "boot_id": crate::processes::OWN_BOOT_ID}));
        stage.storage.save(&own).await.unwrap();
        refused(&mut stage, json!({})).await;
        let other = HostState { boot_id: String::new(), ..own };
        stage.storage.save(&other).await.unwrap();
        let head = stage.storage.get::<ClusterHead>("web").await.unwrap().record;
        let change = Some(ClusterChange::Deleting);
        stage.storage.save(&ClusterHead { change, ..head.clone() }).await.unwrap();
        refused(&mut stage, json!({})).await;
        stage.storage.save(&head).await.unwrap();
        stage.ask("PUT", "/cluster/web/restart", json!({})).await;
        refused(&mut stage, json!({})).await;
        let all = stage.ask("GET", "/cluster/web/operations", json!({})).await;
        stage.operation = Some(all[0]["id"].as_str().unwrap().to_owned());
        stage.ended().await;
        for host in [0, 1] {
            stage.hosts.power_off(&address(host));
        }
        refused(&mut stage, json!({})).await;
        stage.hosts.power_on(&address(1));
        sleep(Duration::from_mins(1)).await;
        let options = json!({
            "hosts": [address(0)], "skip_unreachable": true, "max_unavailable": "100%",
        });
        refused(&mut stage, options).await;
        stage
    });
}

pub(super) const SERVICES: &[&str] =
    &["executor-away", "investigator-away", "service-missing", "unproven", "watcher-away"];

#[test]
fn services() {
    provokes("services", SERVICES, async || {
        let mut stage = Stage::start(3).await;
        stage.start_operation("restart", json!({})).await;
        stage.hosts.power_off(&address(2));
        let host =
            Host { address: address(2).into(), status: Status::Investigating, ..Host::default() };
        let enrolled = json!({"id": "e1", "since": "2026-11-28T12:00:00.000000"});
        let known: HostState = of(json!({"address": address(2), "enrolled": enrolled}));
        let again = Transaction::default().save(&host).unwrap().save(&known).unwrap();
        stage.storage.transact(&again).await.unwrap();
        stage.until(&["unproven"]).await;
        for service in [Service::Executor, Service::Investigator, Service::Watcher] {
            stage.crash(service);
        }
        stage.until(SERVICES).await;
        stage
    });
}

pub(super) const OUTAGES: &[&str] = &["storage-away"];

#[test]
fn outages() {
    provokes("outages", OUTAGES, async || {
        let mut stage = Stage::start(1).await;
        stage.look().await;
        stage.crash(Service::Storage);
        stage.until(OUTAGES).await;
        stage
    });
}
