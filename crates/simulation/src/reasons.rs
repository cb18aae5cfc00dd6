//! Provokes the reasons of failures and waits in the whole system: what `GET /explain` shows of them is compared in whole.
//!
//! While a scenario runs, everything is explained again and again, and the first explanation with each reason is kept.
//!
//! - `nodes`: the same system, with hosts that are nodes of a Kubernetes
//! - `scenarios`: the scenarios

mod nodes;
mod scenarios;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bus::{Bus, Context};
use http_gateway::peer::Peer;
use model::{Cluster, FailureReason, Host, HostCreds, NetworkType, Status, WaitReason};
use runtime::{Clock, random};
use serde_json::{Value, json};
use simulated_hosts::{Machine, SimulatedHosts};
use storage_client::{StorageClient, Transaction};
use storage_svc::store::Memory;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};
use tower::ServiceExt as _;

use crate::client::{PASSWORD, client_name};
use crate::network::Network;
use crate::processes::{Ground, Processes};
use crate::scenario::{Replica, Service, address};
use crate::trace::Trace;
use crate::truth::Truth;

/// The pause between two looks, unless a scenario looks closer.
const LOOK: Duration = Duration::from_secs(1);

/// The pause between two looks at a step.
const CLOSE_LOOK: Duration = Duration::from_millis(200);

/// For how long a scenario waits for a reason.
const HANG: Duration = Duration::from_hours(2);

/// The whole system, with hosts of one cluster.
struct Stage {
    processes: Processes,
    storage: StorageClient,
    hosts: SimulatedHosts,
    truth: Truth,
    /// How many hosts are explained.
    count: usize,
    /// The operation that is explained.
    operation: Option<String>,
    /// The first explanation with each reason.
    seen: BTreeMap<String, Value>,
    _folder: tempfile::TempDir,
}

impl Stage {
    /// All services, and a cluster with so many hosts that are set up.
    async fn start(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let truth = Truth::new(Trace::new(false));
        let (store, hosts) = (Memory::default(), SimulatedHosts::default());
        let (network, _) = Network::new(1, &truth, &hosts);
        let clock = Clock::simulated("2026-11-28T12:00:00Z".parse().unwrap());
        let key_file = folder.path().join("secret.key");
        let link = network.link("administrator", &[]);
        let bus = Bus::over_transport(std::sync::Arc::new(link));
        let storage = StorageClient::new(bus, Context::service("administrator"));
        let ground =
            Ground { network, store, hosts: hosts.clone(), clock, kubernetes: None, key_file };
        let (processes, seen) = (Processes::new(ground), BTreeMap::new());
        let mut stage = Self {
            processes,
            storage,
            hosts,
            truth,
            count,
            operation: None,
            seen,
            _folder: folder,
        };
        stage.run(Service::Storage).await;
        http_gateway::make_default_network(&stage.storage, NetworkType::None).await.unwrap();
        let mut transaction = Transaction::default();
        for address in (0..count).map(address) {
            stage.hosts.add(&address);
            let key = stage.hosts.edit(&address, |machine| machine.host_key.clone());
            let creds = HostCreds { ssh_host_key: key, ..HostCreds::new(&address) };
            let (status, os) = (Status::Disassociated, "debian".to_owned());
            let host = Host { address: address.into(), status, os, ..Host::default() };
            transaction = transaction.save(&host).unwrap().save(&creds).unwrap();
        }
        stage.storage.transact(&transaction).await.unwrap();
        let hostset = (0..count).map(|host| address(host).into()).collect();
        let (name, network) = ("web".into(), "default".to_owned());
        stage
            .storage
            .save(&Cluster { name, network, hostset, ..Cluster::default() })
            .await
            .unwrap();
        for service in
            [Service::Executor, Service::Investigator, Service::Watcher, Service::Gateway]
        {
            stage.run(service).await;
        }
        stage
    }

    async fn run(&mut self, service: Service) {
        self.processes.start(Replica { service, number: 1 }, &[]).await.unwrap();
    }

    fn crash(&mut self, service: Service) {
        self.processes.crash(Replica { service, number: 1 });
    }

    fn network(&self) -> &Network {
        &self.processes.ground().network
    }

    fn edit(&self, host: usize, change: impl FnOnce(&mut Machine)) {
        self.hosts.edit(&address(host), change);
    }

    /// An answer of the gateway: its status, and its body.
    async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let gateway = self.processes.gateways().remove(0);
        let credentials = BASE64.encode(format!("{}:{PASSWORD}", client_name(0)));
        let peer = SocketAddr::from(([192, 0, 2, 1], 4711));
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v0{path}"))
            .extension(ConnectInfo(Peer::from(peer)))
            .header("host", "test")
            .header("authorization", format!("Basic {credentials}"))
            .body(Body::from(body.to_string()))
            .unwrap();
        let response = gateway.oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// The same, of a request that succeeds.
    async fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.send(method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// Starts an operation on the cluster.
    async fn start_operation(&mut self, kind: &str, options: Value) {
        self.ask("PUT", &format!("/cluster/web/{kind}"), options).await;
        let all = self.ask("GET", "/cluster/web/operations", json!({})).await;
        self.operation = Some(all[0]["id"].as_str().unwrap().to_owned());
    }

    /// Does something with the operation, such as pausing it.
    async fn control(&self, word: &str) {
        let path = format!("/operation/{}/{word}", self.operation.as_ref().unwrap());
        self.ask("POST", &path, json!({})).await;
    }

    /// Waits until a host is at a step of the operation.
    async fn at_step(&mut self, host: usize, step: &str) {
        let path = format!("/operation/{}", self.operation.as_ref().unwrap());
        let begun = Instant::now();
        loop {
            let operation = self.ask("GET", &path, json!({})).await;
            let hosts = operation["hosts"].as_array().unwrap();
            let part = hosts.iter().find(|part| part["address"] == address(host)).unwrap();
            if part["step"] == step {
                return;
            }
            assert!(begun.elapsed() < HANG, "{} is not at {step}: {operation}", address(host));
            sleep(CLOSE_LOOK).await;
        }
    }

    /// Waits for the end of the operation.
    async fn ended(&self) {
        let path = format!("/operation/{}", self.operation.as_ref().unwrap());
        while self.ask("GET", &path, json!({})).await["status"] == "in_process" {
            sleep(LOOK).await;
        }
    }

    /// Notes a reason with its explanation.
    fn note(&mut self, explanation: &Value) {
        let mut explanation = explanation.clone();
        let related = explanation["related"].take();
        if let Some(reason) = explanation["reason"].as_str().filter(|reason| !reason.is_empty()) {
            let reason = reason.to_owned();
            explanation.as_object_mut().unwrap().remove("related");
            self.seen.entry(reason).or_insert(explanation);
        }
        for explanation in related.as_array().into_iter().flatten() {
            self.note(explanation);
        }
    }

    /// Explains everything.
    async fn look(&mut self) {
        let mut paths = vec!["/explain".to_owned(), "/explain/cluster/web".to_owned()];
        paths.extend(self.operation.iter().map(|id| format!("/explain/operation/{id}")));
        paths.extend((0..self.count).map(|host| format!("/explain/host/{}", address(host))));
        for path in paths {
            let (status, explanation) = self.send("GET", &path, json!({})).await;
            if status == 200 {
                self.note(&explanation);
            }
        }
    }

    /// Looks until everything was seen.
    async fn until(&mut self, reasons: &[&str]) {
        self.until_every(LOOK, reasons).await;
    }

    async fn until_every(&mut self, pause: Duration, reasons: &[&str]) {
        let begun = Instant::now();
        loop {
            self.look().await;
            let missing: Vec<_> = reasons.iter().filter(|r| !self.seen.contains_key(**r)).collect();
            if missing.is_empty() {
                return;
            }
            let seen: Vec<_> = self.seen.keys().collect();
            assert!(begun.elapsed() < HANG, "{missing:?} were not seen, but {seen:?}");
            sleep(pause).await;
        }
    }
}

/// Plays a scenario, which provokes these reasons, and compares their explanations with the snapshot.
fn provokes(name: &str, reasons: &[&str], play: impl AsyncFnOnce() -> Stage) {
    drop(metrics::set_global_recorder(metrics::NoopRecorder));
    let _seeded = random::seeded(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let mut stage = LocalSet::new().block_on(&runtime, play());
    stage.processes.crash_all();
    stage.network().close();
    runtime.shutdown_background();
    let wanted: BTreeSet<_> = reasons.iter().copied().collect();
    let seen: BTreeMap<_, _> =
        stage.seen.into_iter().filter(|(reason, _)| wanted.contains(reason.as_str())).collect();
    assert_eq!(seen.keys().map(String::as_str).collect::<BTreeSet<_>>(), wanted);
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", "TIME");
    settings.add_filter("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "ID");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_snapshot_path("reasons/snapshots");
    settings.set_omit_expression(true);
    settings.bind(|| {
        insta::assert_snapshot!(name, serde_json::to_string_pretty(&seen).unwrap());
    });
}

#[test]
fn every_reason_is_provoked_here_or_elsewhere() {
    let failures = FailureReason::ALL.iter().map(|reason| reason.word());
    let all: BTreeSet<_> =
        failures.chain(WaitReason::ALL.iter().map(|reason| reason.word())).collect();
    let here = scenarios::PROVOKED.iter().flat_map(|(_, reasons)| reasons.iter().copied());
    let elsewhere = scenarios::ELSEWHERE.iter().map(|(reason, _)| *reason);
    let provoked: BTreeSet<_> = here.chain(elsewhere).collect();
    let missing: Vec<_> = all.difference(&provoked).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let unknown: Vec<_> = provoked.difference(&all).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
