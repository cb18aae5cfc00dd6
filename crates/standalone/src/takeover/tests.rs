use std::sync::Arc;

use bus::{Bus, Context};
use host_access::generation::{SeenMarks, signed_text};
use host_access::{Fence, Hosts as _, LogInLedger, Mark, Refusal};
use model::{Restored, ServerKeys};
use runtime::{Clock, Lifecycle};
use simulated_hosts::{FINGERPRINT, OWN_KEY, SimulatedHosts};
use storage_client::lease;
use storage_svc::Handler;
use storage_svc::store::Memory;
use tokio::time::Instant;

use super::*;

const RESTORED: &str = "2026-12-01T12:00:00.000000";

/// A restored installation with hosts.
struct Ground {
    hosts: SimulatedHosts,
    storage: StorageClient,
    takeover: Takeover,
    _life: Lifecycle,
    _folder: tempfile::TempDir,
}

impl Ground {
    async fn with_hosts(count: usize) -> Self {
        let (bus, life, folder) = (Bus::memory(), Lifecycle::new(), tempfile::tempdir().unwrap());
        let config = storage_svc::Config::new(folder.path().join("secret.key"));
        let config = config.or_handler(Handler::memory(Memory::default()));
        storage_svc::run(&bus, &config, &life).await.unwrap();
        let storage = StorageClient::new(bus.clone(), Context::service("test"));
        let restored = Restored { at: RESTORED.into(), ..Restored::default() };
        let instance = Instance {
            name: Instance::ALL.to_owned(),
            id: "i".to_owned(),
            generation: 2,
            generation_id: "own".to_owned(),
            restored: Some(restored),
        };
        storage.save(&instance).await.unwrap();
        storage.save(&ServerKeys::of(FINGERPRINT)).await.unwrap();
        let hosts = SimulatedHosts::default();
        for number in 1..=count {
            let address = format!("10.0.0.{number}");
            hosts.add(&address);
            let address = Address::from(address.as_str());
            storage.save(&Host { address: address.clone(), ..Host::default() }).await.unwrap();
            storage.save(&HostCreds::new(&address)).await.unwrap();
            storage.save(&HostState { address, ..HostState::default() }).await.unwrap();
        }
        let deps = Deps {
            bus: bus.clone(),
            clock: Clock::System,
            hosts: Arc::new(hosts.clone()),
            own_key: OWN_KEY.into(),
            ledger: LogInLedger::new(&bus, Clock::System),
            lease_ttl: lease::TTL,
        };
        let takeover = Takeover::new(deps, storage.clone(), Duration::from_mins(25));
        Self { hosts, storage, takeover, _life: life, _folder: folder }
    }

    /// Marks a host for another installation, which has confirmed it so long ago.
    async fn mark(&self, address: &str, generation: u64, id: &str, ago: Duration) {
        let text = signed_text("i", generation, id);
        let signature = self.hosts.sign(&OWN_KEY.into(), &text).await.unwrap();
        let mark = Mark { generation, id: id.to_owned(), signature };
        self.write(address, &mark, ago);
    }

    fn write(&self, address: &str, mark: &Mark, ago: Duration) {
        let at = Instant::now().checked_sub(ago).unwrap();
        self.hosts.edit(address, |machine| {
            machine.marks.insert("i".to_owned(), format!("{mark}\n"));
            machine.confirmed.insert("i".to_owned(), at);
        });
    }

    fn mark_of(&self, address: &str) -> String {
        self.hosts.edit(address, |machine| machine.marks.get("i").cloned().unwrap_or_default())
    }

    async fn instance(&self) -> Instance {
        self.storage.get::<Instance>(Instance::ALL).await.unwrap().record
    }

    async fn state(&self, address: &str) -> HostState {
        self.storage.get::<HostState>(address).await.unwrap().record
    }
}

/// Instants before the start of a paused clock cannot be named.
async fn later() {
    tokio::time::advance(Duration::from_hours(2)).await;
}

#[tokio::test(start_paused = true)]
async fn hosts_of_a_former_installation_that_has_stopped_are_taken_over() {
    later().await;
    let ground = Ground::with_hosts(3).await;
    ground.mark("10.0.0.1", 1, "former", Duration::from_mins(40)).await;
    ground.mark("10.0.0.2", 1, "former", Duration::from_mins(30)).await;
    ground.hosts.edit("10.0.0.3", |machine| machine.is_reachable = false);
    let survey = ground.takeover.survey().await.unwrap();
    let confirmed = Duration::from_mins(30);
    let former = Former { generation: 1, is_signed: true, hosts: 2, confirmed };
    assert_eq!(survey.former, [(("former".to_owned(), true), former)].into());
    assert!(survey.text().contains("generation 1 (former), last confirmed 30 min ago"));
    assert_eq!(survey.unreached[0].0, "10.0.0.3");
    assert!(ground.mark_of("10.0.0.1").starts_with("1 former "), "a look changes nothing");

    let outcome = ground.takeover.take(&survey, &[]).await.unwrap();
    assert_eq!((outcome.generation, outcome.marked, outcome.unreached.len()), (2, 2, 1));
    assert!(outcome.text().contains("1 hosts were not reached"), "{}", outcome.text());
    assert!(ground.instance().await.restored.unwrap().takes_over);
    for (address, generation) in [("10.0.0.1", 2), ("10.0.0.2", 2), ("10.0.0.3", 0)] {
        assert_eq!(ground.state(address).await.generation, generation, "{address}");
    }
    assert!(ground.mark_of("10.0.0.2").starts_with("2 own "));
}

#[tokio::test(start_paused = true)]
async fn active_installation_is_fenced_on_request_only() {
    later().await;
    let ground = Ground::with_hosts(2).await;
    ground.mark("10.0.0.1", 1, "former", Duration::from_mins(9)).await;
    let survey = ground.takeover.survey().await.unwrap();
    for fenced in [vec![], vec!["other".to_owned()]] {
        let refused = ground.takeover.take(&survey, &fenced).await.unwrap_err().to_string();
        assert!(refused.contains("active 9 min ago") && refused.contains("--yes-fence former"));
    }
    assert!(!ground.instance().await.restored.unwrap().takes_over);
    assert!(
        ground.mark_of("10.0.0.1").starts_with("1 former ")
            && ground.mark_of("10.0.0.2").is_empty()
    );
    let outcome = ground.takeover.take(&survey, &["former".to_owned()]).await.unwrap();
    assert_eq!(outcome.marked, 2);
}

#[tokio::test(start_paused = true)]
async fn generation_is_raised_above_that_of_every_other_installation() {
    later().await;
    let ground = Ground::with_hosts(3).await;
    let long_ago = Duration::from_hours(1);
    ground.mark("10.0.0.1", 2, "twin", long_ago).await;
    ground.mark("10.0.0.2", 5, "newer", long_ago).await;
    let survey = ground.takeover.survey().await.unwrap();
    let outcome = ground.takeover.take(&survey, &[]).await.unwrap();
    assert_eq!((outcome.generation, outcome.marked), (6, 3));
    for address in ["10.0.0.1", "10.0.0.2", "10.0.0.3"] {
        assert!(ground.mark_of(address).starts_with("6 own "), "{address}");
    }
    let again = ground.takeover.survey().await.unwrap();
    assert!(again.former.is_empty());
    assert_eq!(
        ground.takeover.take(&again, &[]).await.unwrap().generation,
        6,
        "nothing is raised again"
    );
}

#[tokio::test(start_paused = true)]
async fn forged_mark_raises_nothing_and_its_host_is_named() {
    later().await;
    let ground = Ground::with_hosts(2).await;
    let forged = Mark { generation: 999, id: "forged".to_owned(), signature: "AAAA".to_owned() };
    ground.write("10.0.0.1", &forged, Duration::ZERO);
    let survey = ground.takeover.survey().await.unwrap();
    assert!(survey.text().contains("no key that is known here has signed it"));
    // A former installation whose key was replaced after the backup may run.
    let refused = ground.takeover.take(&survey, &[]).await.unwrap_err().to_string();
    assert!(refused.contains("--yes-fence forged"), "{refused}");
    let outcome = ground.takeover.take(&survey, &["forged".to_owned()]).await.unwrap();
    assert_eq!((outcome.generation, outcome.marked), (2, 1));
    let (address, why) = &outcome.refused[0];
    assert!(*address == "10.0.0.1" && why.contains("forged or damaged"), "{why}");
}

/// A host that was down at the takeover of another installation still has the mark from before that.
#[tokio::test(start_paused = true)]
async fn highest_generation_of_an_installation_counts() {
    later().await;
    let ground = Ground::with_hosts(2).await;
    let long_ago = Duration::from_hours(1);
    ground.mark("10.0.0.1", 1, "other", long_ago).await;
    ground.mark("10.0.0.2", 3, "other", long_ago).await;
    let survey = ground.takeover.survey().await.unwrap();
    let outcome = ground.takeover.take(&survey, &[]).await.unwrap();
    assert_eq!((outcome.generation, outcome.marked), (4, 2), "{}", outcome.text());
}

/// As after a snapshot of the machine was put back.
#[tokio::test(start_paused = true)]
async fn installation_whose_records_are_older_than_its_marks_takes_its_hosts_over_again() {
    later().await;
    let ground = Ground::with_hosts(1).await;
    ground.mark("10.0.0.1", 5, "own", Duration::from_mins(1)).await;
    let fencing = &ground.takeover.fencing;
    let marks = SeenMarks::parse(&format!("0\n{}", ground.mark_of("10.0.0.1"))).marks;
    let refusal = Refusal { fence: Fence::Newer, marks };
    let why = fencing.explain("10.0.0.1", &refusal).await.unwrap().to_string();
    assert!(why.contains("in a later generation than 2 (own)"), "{why}");
    let survey = ground.takeover.survey().await.unwrap();
    let outcome = ground.takeover.take(&survey, &[]).await.unwrap();
    assert_eq!((outcome.generation, outcome.marked), (6, 1), "{}", outcome.text());
}
