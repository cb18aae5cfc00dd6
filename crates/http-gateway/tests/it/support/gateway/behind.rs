//! What is behind a gateway: the records, and the messages that others got.

use bus::{Call, Context, topology};
use model::{
    Alarm, Cluster, Host, HostCreds, HostState, Lease, LeasePurpose, Model, Network, Operation,
    OperationEvent, OperationHost, Status, WriteProbe,
};
use serde_json::{Value, json};
use storage_svc::store::{Commit, Entry};

use super::Gateway;
use crate::support::HOST_KEY;

impl Gateway {
    /// A host that is in this state, with the credentials it was registered with.
    pub(crate) async fn host(&self, address: &str, status: Status) {
        let host = Host { address: address.into(), status, ..Host::default() };
        self.storage.save(&host).await.unwrap();
        self.storage.save(&HostCreds::new(address)).await.unwrap();
    }

    /// A cluster in the default network with these members.
    pub(crate) async fn cluster(&self, name: &str, members: &[&str]) {
        let (name, network) = (name.into(), Network::DEFAULT.to_owned());
        let hostset = members.iter().map(|member| (*member).into()).collect();
        let cluster = Cluster { name, network, hostset, ..Cluster::default() };
        self.storage.save(&cluster).await.unwrap();
    }

    /// An operation in process on this cluster.
    pub(crate) async fn operation_on(&self, cluster: &str) {
        let (name, owner) = (LeasePurpose::Operation(cluster).name(), "executor".to_owned());
        let lease = Lease { name, owner, counter: 1, ttl_ms: 60_000, ..Lease::default() };
        self.storage.save(&lease).await.unwrap();
    }

    /// An alarm of this scope.
    pub(crate) async fn alarm(&self, scope: &str) {
        let since = "2026-11-28T05:00:00.000000".into();
        let reason = "4 of 10 hosts became unreachable or refuse log-ins at once".to_owned();
        let alarm = Alarm { scope: scope.to_owned(), since, share: 0.4, reason };
        self.storage.save(&alarm).await.unwrap();
    }

    /// A restart of the cluster `c1`, in process, but for these members.
    pub(crate) async fn operation(&self, id: &str, members: Value) -> Operation {
        let mut operation = json!({"id": id, "cluster": "c1", "kind": "restart", "hosts": [],
            "started_by": "admin", "request_id": "r", "started_at": "2026-11-26T05:00:00.000000"});
        operation.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let operation: Operation = serde_json::from_value(operation).unwrap();
        self.storage.save(&operation).await.unwrap()
    }

    /// A host's part in an operation.
    pub(crate) async fn progress(&self, operation: &str, address: &str, members: Value) {
        let id = OperationHost::id_of(operation, address);
        let mut progress = json!({"id": id, "address": address});
        progress.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self.storage
            .save::<OperationHost>(&serde_json::from_value(progress).unwrap())
            .await
            .unwrap();
    }

    /// An event of an operation.
    pub(crate) async fn event(&self, operation: &str, seq: u64, detail: &str) {
        let event = json!({"id": OperationEvent::id_of(operation, seq), "seq": seq, "outcome": "ok",
            "time": "2026-11-26T05:00:01.000000", "host": "10.0.0.1", "step": "probe",
            "detail": detail});
        self.storage.save::<OperationEvent>(&serde_json::from_value(event).unwrap()).await.unwrap();
    }

    /// What is known about a host beyond its record.
    pub(crate) async fn host_state(&self, state: Value) {
        let state: HostState = serde_json::from_value(state).unwrap();
        self.storage.save(&state).await.unwrap();
    }

    /// What [`super::ROUTES`] and [`super::WITH_BODY`] speak of; `10.0.0.2` is a host in no cluster.
    pub(crate) async fn with_everything(self) -> Self {
        self.host("10.0.0.1", Status::Active).await;
        self.host_state(json!({"address": "10.0.0.1", "seen_host_key": HOST_KEY})).await;
        self.host("10.0.0.2", Status::Disassociated).await;
        self.cluster("c1", &["10.0.0.1"]).await;
        let ended = json!({"status": "finished", "finished_at": "2026-11-26T05:01:00.000000",
                           "hosts": ["10.0.0.1"]});
        self.operation("o1", ended).await;
        self.progress("o1", "10.0.0.1", json!({"step": "done"})).await;
        self.event("o1", 1, "").await;
        self.put("/network/n1", json!({}))
            .await
            .is(201, &json!({"name": "n1", "type": "flannel_etcd", "options": {}}));
        self.put("/containermanager/k1", json!({"type": "trivial"}))
            .await
            .is(201, &json!({"name": "k1", "type": "trivial", "options": {}}));
        self
    }

    /// A record as it is stored.
    pub(crate) async fn stored<T: Model>(&self, id: &str) -> Option<T> {
        self.storage.find::<T>(id).await.unwrap().map(|found| found.record)
    }

    /// The lines of the audit log.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.audit_log).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Everything that is stored, with revisions, but for the probe that `/readyz` writes.
    pub(crate) async fn records(&self) -> Vec<Entry> {
        let all = self.store.list("/").await.unwrap();
        all.iter().filter(|entry| !entry.key.starts_with(WriteProbe::PREFIX)).cloned().collect()
    }

    /// Writes over a record, past the storage service.
    pub(crate) async fn damage<T: Model>(&self, id: &str, value: &str) {
        let puts = vec![(T::key(id), value.to_owned())];
        let done = self.store.commit(Commit { puts, ..Commit::default() }).await.unwrap();
        assert_eq!(done.replaced, [true]);
    }

    /// What the container manager service was asked so far: methods and parameters.
    pub(crate) fn registrations(&self) -> Vec<(String, Value)> {
        let calls = self.registrations.lock().unwrap();
        calls.iter().map(|call| (call.method.clone(), call.params.value())).collect()
    }

    /// The credentials that were tried so far.
    pub(crate) fn trials(&self) -> Vec<Value> {
        self.trials.lock().unwrap().iter().map(|call| call.params.value()).collect()
    }

    /// What the executor was asked so far.
    pub(crate) fn restarts(&self) -> Vec<Call> {
        self.restarts.lock().unwrap().clone()
    }

    /// The hosts that the investigator was sent to since this was last asked.
    pub(crate) async fn investigations(&self) -> Vec<String> {
        // Messages are taken in turn: when this one has arrived, those before it have.
        let last = json!({"address": "last"});
        self.bus.notify(topology::INVESTIGATE, &last, &Context::default()).await.unwrap();
        let mut addresses = Vec::new();
        while addresses.last().is_none_or(|address| address != "last") {
            tokio::task::yield_now().await;
            let calls = std::mem::take(&mut *self.investigations.lock().unwrap());
            let address = |call: &Call| call.params.value()["address"].as_str().unwrap().to_owned();
            addresses.extend(calls.iter().map(address));
        }
        addresses.pop();
        addresses
    }
}
