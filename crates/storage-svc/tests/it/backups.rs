//! Backups at random instants under load, restored, and compared with what was acknowledged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backup::{Backup, Verification, Writer};
use bus::{Bus, Context};
use model::{
    ApiToken, Binding, Enrollment, Freeze, HostCreds, Instance, Lease, LeasePurpose, Model,
    Network, NetworkType, Operation, OperationControl, Wanted,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use runtime::{Clock, Lifecycle};
use secrecy::ExposeSecret as _;
use serde_json::json;
use storage_client::{StorageClient, Transaction};
use storage_svc::restore::{Options, RestoreError, plan, write};
use storage_svc::store::Memory;
use storage_svc::{Config, Handler, Handlers, Sealer};
use tempfile::TempDir;

/// Records that are written in pairs: both of a pair have the same version at each moment.
const PAIRS: usize = 6;

/// What stands in each credential, and must not be in a backup.
const CANARY: &str = "canary-canary-canary";

/// A storage service over some store.
struct Ground {
    handler: Handler,
    storage: StorageClient,
    life: Lifecycle,
    folder: TempDir,
}

impl Ground {
    async fn on(handler: Handler, folder: TempDir) -> Self {
        let config = Config::new(folder.path().join("secret.key")).or_handler(handler.clone());
        let (bus, life) = (Bus::memory(), Lifecycle::new());
        storage_svc::run(&bus, &config, &life).await.unwrap();
        let storage = StorageClient::new(bus, Context::service("test"));
        Self { handler, storage, life, folder }
    }

    async fn in_memory() -> Self {
        Self::on(Handler::memory(Memory::default()), tempfile::tempdir().unwrap()).await
    }

    async fn handlers(&self) -> Handlers {
        Handlers::open(vec![self.handler.clone()]).await.unwrap()
    }

    fn sealer(&self) -> Sealer {
        Sealer::open(&self.folder.path().join("secret.key"), true).unwrap()
    }

    /// A backup over the bus, as the gateway takes it; with pauses, in which others write.
    async fn backup(&self, pause: Duration) -> String {
        let header = self.storage.begin_backup(&Clock::System.stamp()).await.unwrap();
        let mut writer = Writer::begin(Vec::new(), &header).unwrap();
        for store in 0..header.stores.len() {
            let mut after = String::new();
            loop {
                tokio::time::sleep(pause).await;
                let page = self.storage.read_backup(&header, store, &after).await.unwrap();
                page.records.iter().for_each(|record| writer.record(record).unwrap());
                let Some(next) = page.after else { break };
                after = next;
            }
        }
        String::from_utf8(writer.end().unwrap().1).unwrap()
    }

    /// Restores a backup into this store, with the key of the installation that it is of.
    async fn restore(&self, text: &str, key: &Sealer) -> Result<(), RestoreError> {
        let backup = Backup::read(text.as_bytes(), Verification::Full).unwrap();
        let options = options();
        let plan = plan(backup, key, &[], &options)?;
        write(&self.handlers().await, key, &plan, false, |_, _| {}).await
    }
}

fn options() -> Options {
    Options { now: Clock::System.stamp(), skip_damaged: false }
}

fn network(pair: usize, half: &str, version: u64) -> Network {
    let options = json!({"version": version}).as_object().unwrap().clone();
    Network { name: format!("{half}-{pair}"), kind: NetworkType::FlannelEtcd, options }
}

fn version(network: &Network) -> u64 {
    network.options["version"].as_u64().unwrap()
}

fn creds(pair: usize) -> HostCreds {
    let address = format!("10.0.0.{}", pair + 1);
    serde_json::from_value(json!({"address": address, "ssh_priv_key": CANARY})).unwrap()
}

/// The versions of the pairs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Versions {
    /// The last one that was acknowledged.
    acknowledged: u64,
    /// The last one that was begun.
    begun: u64,
}

/// Writes the pairs until the end, each by a task of its own.
#[derive(Default)]
struct Load {
    versions: Mutex<[Versions; PAIRS]>,
    end: AtomicBool,
}

impl Load {
    fn versions(&self) -> [Versions; PAIRS] {
        *self.versions.lock().unwrap()
    }

    async fn write(self: Arc<Self>, storage: StorageClient, pair: usize, mut random: StdRng) {
        while !self.end.load(Ordering::SeqCst) {
            let next = {
                let mut versions = self.versions.lock().unwrap();
                versions[pair].begun += 1;
                versions[pair].begun
            };
            let transaction = Transaction::default()
                .save(&network(pair, "a", next))
                .and_then(|all| all.save(&network(pair, "z", next)))
                .and_then(|all| all.save(&creds(pair)));
            storage.transact(&transaction.unwrap()).await.unwrap();
            self.versions.lock().unwrap()[pair].acknowledged = next;
            tokio::time::sleep(Duration::from_micros(random.random_range(0..3000))).await;
        }
    }
}

/// More records than a page of a backup has, between the halves of the pairs: these are in different pages.
const FILLERS: usize = 600;

async fn fill(ground: &Ground) {
    for chunk in (0..FILLERS).collect::<Vec<_>>().chunks(100) {
        let save = |all: Transaction, number: &usize| all.save(&network(*number, "m", 0));
        let transaction = chunk.iter().try_fold(Transaction::default(), save).unwrap();
        ground.storage.transact(&transaction).await.unwrap();
    }
}

/// Takes a backup at a random instant, and checks it against what was acknowledged before and begun after.
async fn instant(ground: &Ground, seed: u64) -> String {
    let mut random = StdRng::seed_from_u64(seed);
    let load = Arc::new(Load::default());
    // The store may hold those of earlier instants.
    for versions in load.versions.lock().unwrap().iter_mut() {
        versions.begun = seed << 20;
    }
    let writers: Vec<_> = (0..PAIRS)
        .map(|pair| {
            let random = StdRng::seed_from_u64(random.random());
            tokio::spawn(Arc::clone(&load).write(ground.storage.clone(), pair, random))
        })
        .collect();
    tokio::time::sleep(Duration::from_micros(random.random_range(0..20_000))).await;
    let before = load.versions();
    let text = ground.backup(Duration::from_micros(random.random_range(0..2000))).await;
    let after = load.versions();
    load.end.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(!text.contains(CANARY), "seed {seed}: a credential is readable");
    assert!(text.lines().count() > FILLERS, "seed {seed}: of several pages");

    let restored = Ground::in_memory().await;
    restored.restore(&text, &ground.sealer()).await.unwrap();
    let found = restored.storage.list::<Network>().await.unwrap();
    let found: BTreeMap<_, _> =
        found.iter().map(|found| (found.record.name.as_str(), version(&found.record))).collect();
    for pair in 0..PAIRS {
        let half = |half| found.get(format!("{half}-{pair}").as_str()).copied().unwrap_or(0);
        let (a, b) = (half("a"), half("z"));
        assert_eq!(a, b, "seed {seed}: half a transaction of the pair {pair}");
        let Versions { acknowledged, .. } = before[pair];
        assert!(a >= acknowledged, "seed {seed}: {a} of the pair {pair}, not {acknowledged}");
        assert!(a <= after[pair].begun, "seed {seed}: {a} of the pair {pair} was never begun");
    }
    restored.life.shutdown(Duration::from_secs(1)).await;
    text
}

#[tokio::test(start_paused = true)]
async fn no_record_is_missing_and_none_half_at_200_random_instants() {
    for seed in 0..200 {
        let ground = Ground::in_memory().await;
        fill(&ground).await;
        instant(&ground, seed).await;
        ground.life.shutdown(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn no_record_is_missing_and_none_half_at_10_instants_of_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let ground = Ground::on(Handler::sqlite(folder.path().join("store.db")), folder).await;
    fill(&ground).await;
    for seed in 0..10 {
        instant(&ground, seed).await;
    }
}

/// The `commissaire` process reads the database that the storage service writes.
#[tokio::test]
async fn another_process_takes_a_backup_of_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let ground = Ground::on(Handler::sqlite(folder.path().join("store.db")), folder).await;
    ground.storage.save(&network(0, "a", 7)).await.unwrap();
    ground.storage.save(&creds(0)).await.unwrap();
    let handlers = ground.handlers().await;
    let beside = storage_svc::backup::Beside::default();
    let taken = storage_svc::backup::take(&handlers, Clock::System.stamp(), beside, Vec::new());
    let (trailer, text) = taken.await.unwrap();
    let counts: Vec<_> = trailer.counts.iter().map(|(kind, n)| (kind.as_str(), *n)).collect();
    assert_eq!(counts, [("HostCreds", 1), ("Network", 1)]);
    let backup = Backup::read(text.as_slice(), Verification::Full).unwrap();
    assert_eq!(backup.header.records, 2);
    assert!(backup.header.sealing_mark.is_some());
}

mod etcd {
    use testbed::etcd::Etcd;

    use super::*;

    #[tokio::test]
    async fn no_record_is_missing_and_none_half_at_10_instants() {
        let etcd = Etcd::up();
        let options = etcd_access::Options::at(etcd.endpoints());
        let ground = Ground::on(Handler::etcd(options), tempfile::tempdir().unwrap()).await;
        fill(&ground).await;
        let mut text = String::new();
        for seed in 0..10 {
            text = instant(&ground, seed).await;
        }
        let other = Etcd::up();
        let options = etcd_access::Options::at(other.endpoints());
        let restored = Ground::on(Handler::etcd(options), tempfile::tempdir().unwrap()).await;
        restored.restore(&text, &ground.sealer()).await.unwrap();
        let backup = Backup::read(text.as_bytes(), Verification::Full).unwrap();
        let again = restored.backup(Duration::ZERO).await;
        let again = Backup::read(again.as_bytes(), Verification::Full).unwrap();
        assert_eq!(again.header.counts["Network"], backup.header.counts["Network"]);
        assert_eq!(again.header.counts["HostCreds"], backup.header.counts["HostCreds"]);
    }
}

/// What a restored installation must not go on with.
async fn with_work() -> (Ground, String) {
    let ground = Ground::in_memory().await;
    let token = json!({"id": "t1", "name": "ci", "token_hash": "", "owner": "ann", "role": "reader",
        "login": {"kind": "password"}, "clusters": ["*"], "expires": "2027-01-01T00:00:00.000000",
        "created_at": "2026-12-01T00:00:00.000000"});
    let enrollment = json!({"id": "e1", "token_hash": "", "uses": 1,
        "expires": "2027-01-01T00:00:00.000000", "created_at": "2026-12-01T00:00:00.000000"});
    let binding = json!({"name": "b1", "kind": "user", "subject": "ann", "role": "reader",
        "clusters": ["web"], "changed_at": "2026-12-01T00:00:00.000000"});
    let operation = |id: &str, cluster: &str, status: &str| {
        json!({"id": id, "cluster": cluster, "kind": "restart", "status": status, "hosts": ["10.0.0.1"],
            "started_at": "2026-12-01T00:00:00.000000"})
    };
    let webhook =
        json!({"id": "o1.paused", "event": "paused", "operation": {"id": "o1", "explanation": {}}});
    let storage = &ground.storage;
    save::<ApiToken>(storage, token).await;
    save::<Enrollment>(storage, enrollment).await;
    save::<Binding>(storage, binding).await;
    save::<Operation>(storage, operation("o1", "web", "in_process")).await;
    save::<Operation>(storage, operation("o2", "db", "finished")).await;
    save::<Operation>(storage, operation("o3", "ci", "in_process")).await;
    save::<OperationControl>(storage, json!({"id": "o3", "wanted": "abort", "by": "bob"})).await;
    save::<model::PendingWebhook>(storage, webhook).await;
    for (name, counter) in [("operation.web", 7), ("watcher.w1", 9), ("webhook.o1.paused", 3)] {
        let lease = json!({"name": name, "owner": "x", "counter": counter, "ttl_ms": 15000});
        save::<Lease>(storage, lease).await;
    }
    let instance = json!({"name": "all", "id": "6b2f", "generation": 1, "generation_id": "g1"});
    save::<Instance>(storage, instance).await;
    storage.save(&creds(0)).await.unwrap();
    let text = ground.backup(Duration::ZERO).await;
    (ground, text)
}

async fn save<T: Model>(storage: &StorageClient, record: serde_json::Value) {
    storage.save::<T>(&serde_json::from_value(record).unwrap()).await.unwrap();
}

#[tokio::test]
async fn restored_installation_goes_on_with_nothing_by_itself() {
    let (ground, text) = with_work().await;
    let restored = Ground::in_memory().await;
    restored.restore(&text, &ground.sealer()).await.unwrap();
    let storage = &restored.storage;
    assert!(storage.get::<Freeze>(Freeze::ALL).await.unwrap().record.restored);
    assert!(!storage.get::<ApiToken>("t1").await.unwrap().record.voided_at.is_empty());
    assert!(!storage.get::<Enrollment>("e1").await.unwrap().record.voided_at.is_empty());
    assert!(storage.get::<Binding>("b1").await.unwrap().record.pending);
    let control = |id| storage.get::<OperationControl>(id);
    let paused = control("o1").await.unwrap().record;
    assert_eq!((paused.wanted, paused.by.as_str()), (Wanted::Pause, "restore"));
    assert!(paused.reason.starts_with("restored from a backup of "), "{}", paused.reason);
    assert_eq!(control("o3").await.unwrap().record.wanted, Wanted::Abort, "it starts nothing");
    assert!(control("o2").await.is_err(), "it has ended");
    let leases = storage.list::<Lease>().await.unwrap();
    let leases: Vec<_> = leases
        .iter()
        .map(|found| {
            (found.record.name.purpose(), found.record.owner.as_str(), found.record.ttl_ms)
        })
        .collect();
    let handed_over = |cluster| (Some(LeasePurpose::Operation(cluster)), "", 0);
    assert_eq!(leases, [handed_over("ci"), handed_over("web")]);
    assert!(storage.list::<model::PendingWebhook>().await.unwrap().is_empty());
    let instance = storage.get::<Instance>(Instance::ALL).await.unwrap().record;
    assert_eq!((instance.id.as_str(), instance.generation), ("6b2f", 2));
    assert!(!instance.generation_id.is_empty() && instance.generation_id != "g1");
    assert!(!instance.restored.unwrap().takes_over);
}

#[tokio::test]
async fn credentials_are_sealed_with_the_key_of_the_restored_installation() {
    let (ground, text) = with_work().await;
    let folder = tempfile::tempdir().unwrap();
    let own = Sealer::open(&folder.path().join("secret.key"), false).unwrap();
    let read = || Backup::read(text.as_bytes(), Verification::Full).unwrap();
    let refused = plan(read(), &own, &[], &options()).unwrap_err();
    assert!(refused.to_string().contains("--secret-key-file"), "{refused}");
    let plan = plan(read(), &own, &[ground.sealer()], &options()).unwrap();
    let handler = Handler::memory(Memory::default());
    let handlers = Handlers::open(vec![handler.clone()]).await.unwrap();
    write(&handlers, &own, &plan, false, |_, _| {}).await.unwrap();
    let restored = Ground::on(handler, folder).await;
    let creds = restored.storage.get::<HostCreds>("10.0.0.1").await.unwrap().record;
    assert_eq!(creds.ssh_priv_key.expose_secret(), CANARY);
}

#[tokio::test]
async fn records_that_are_there_are_replaced_on_request_only() {
    let (ground, text) = with_work().await;
    let restored = Ground::in_memory().await;
    restored.storage.save(&creds(4)).await.unwrap();
    let refused = restored.restore(&text, &ground.sealer()).await.unwrap_err();
    assert!(refused.to_string().contains("1 HostCreds"), "{refused}");
    assert!(restored.storage.find::<Instance>(Instance::ALL).await.unwrap().is_none());
    let backup = Backup::read(text.as_bytes(), Verification::Full).unwrap();
    let plan = plan(backup, &ground.sealer(), &[], &options()).unwrap();
    let handlers = restored.handlers().await;
    write(&handlers, &ground.sealer(), &plan, true, |_, _| {}).await.unwrap();
    assert!(restored.storage.find::<HostCreds>("10.0.0.5").await.unwrap().is_none());
}

#[tokio::test]
async fn restore_that_is_cut_off_anywhere_is_begun_again_and_no_service_starts_before() {
    let (ground, text) = with_work().await;
    let read = || Backup::read(text.as_bytes(), Verification::Full).unwrap();
    let sealer = ground.sealer();
    // Dropped at its n-th write.
    for cut in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(ground.folder.path().join("secret.key"), folder.path().join("secret.key"))
            .unwrap();
        let memory = Memory::default();
        let writes = Arc::new(Mutex::new(0));
        let (count, reached) = (Arc::clone(&writes), cut);
        memory.observe(move |_, _| {
            let mut count = count.lock().unwrap();
            *count += 1;
            assert!(*count <= reached, "cut off");
        });
        let handler = Handler::memory(memory.clone());
        let handlers = Handlers::open(vec![handler.clone()]).await.unwrap();
        let first = plan(read(), &sealer, &[], &options()).unwrap();
        let own = ground.sealer();
        let cut_off =
            tokio::spawn(async move { write(&handlers, &own, &first, false, |_, _| {}).await });
        let is_cut_off = cut_off.await.is_err();
        memory.observe(|_, _| {});
        if !is_cut_off {
            assert!(cut > 2, "the mark, the records and the end of the restore are writes");
            return;
        }
        if cut > 0 {
            let begun = Ground::on(handler.clone(), folder).await;
            let refused = begun.storage.list::<Network>().await.unwrap_err();
            assert!(
                refused.to_string().contains("`commissaire restore` again"),
                "{cut}: {refused}"
            );
        }
        let handlers = Handlers::open(vec![handler.clone()]).await.unwrap();
        let again = plan(read(), &sealer, &[], &options()).unwrap();
        write(&handlers, &sealer, &again, false, |_, _| {}).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(ground.folder.path().join("secret.key"), folder.path().join("secret.key"))
            .unwrap();
        let restored = Ground::on(handler, folder).await;
        assert!(restored.storage.get::<Binding>("b1").await.unwrap().record.pending, "{cut}");
    }
    panic!("it is cut off at each write");
}

#[tokio::test]
async fn damaged_record_ends_a_restore_before_anything_is_written() {
    let (ground, text) = with_work().await;
    let damaged = text
        .replace(r#""role":"reader","clusters":["web"]"#, r#""role":"root","clusters":["web"]"#);
    assert_ne!(damaged, text);
    let read = || Backup::read(damaged.as_bytes(), Verification::EditedLines).unwrap();
    let refused = plan(read(), &ground.sealer(), &[], &options()).unwrap_err();
    assert!(refused.to_string().contains("/commissaire/bindings/b1: "), "{refused}");
    // Its subject could have more rights without it.
    let options = Options { skip_damaged: true, ..options() };
    let refused = plan(read(), &ground.sealer(), &[], &options).unwrap_err();
    assert!(refused.to_string().contains("/commissaire/bindings/b1: "), "{refused}");

    let damaged = text.replace(r#""wanted":"abort""#, r#""wanted":"stop""#);
    assert_ne!(damaged, text);
    let read = Backup::read(damaged.as_bytes(), Verification::EditedLines).unwrap();
    let plan = plan(read, &ground.sealer(), &[], &options).unwrap();
    assert!(plan.report.left_out.iter().any(|(key, _)| key == "/commissaire/operation_control/o3"));
}

#[tokio::test]
async fn change_of_a_backup_is_noticed() {
    let (_ground, text) = with_work().await;
    let refused = |text: &str| Backup::read(text.as_bytes(), Verification::Full).unwrap_err();
    let changed = text.replace("\"ann\"", "\"bob\"");
    assert!(refused(&changed).to_string().contains("SHA-256"));
    let mut lines: Vec<_> = text.lines().collect();
    lines.remove(3);
    assert!(refused(&lines.join("\n")).to_string().contains("records, and its header says"));
    let cut_off = &text[..text.len() / 2];
    assert!(Backup::read(cut_off.as_bytes(), Verification::Full).is_err());
    assert!(refused("{}").to_string().contains("not a backup"));
    let later = text.replacen("\"commissaire_backup\":1", "\"commissaire_backup\":2", 1);
    assert!(refused(&later).to_string().contains("use version"));
    assert!(refused(&format!("{text}{{}}\n")).to_string().contains("after its trailer"));
}
