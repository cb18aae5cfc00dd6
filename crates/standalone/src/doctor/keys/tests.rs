use storage_svc::store::Commit;
use storage_svc::{Config, Handlers, Store, keyring};

use super::super::subject::Form;
use super::*;
use crate::data_dir;

const SECRET: &str = "/commissaire/secrets/hosts/10.0.0.1";

/// An installation with both keys, a sealed record and the fingerprint of the SSH key.
struct Ground {
    folder: tempfile::TempDir,
    store: Store,
    installation: Subject,
}

impl Ground {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = storage_svc::config::secret_key_in(folder.path());
        let config = Config::sqlite(data_dir::database_in(folder.path()), key.clone());
        let handlers = Handlers::open(config.handlers()).await.unwrap();
        let sealer = keyring::unlock(&handlers, &key).await.unwrap();
        own_key::make(folder.path()).unwrap();
        let mut installation = Subject::new(Form::OneProcess, folder.path());
        installation.key_dirs.insert(folder.path().to_owned());
        installation.add_storage(config);
        let ground = Self { folder, store: handlers.store(0).clone(), installation };
        ground.put(SECRET, sealer.seal(SECRET, "{}").unwrap()).await;
        let private = ground.folder.path().join(own_key::PRIVATE);
        ground.know(&own_key::fingerprint_of(&private).unwrap().unwrap()).await;
        ground
    }

    async fn put(&self, key: &str, value: String) {
        let commit = Commit { puts: vec![(key.to_owned(), value)], ..Commit::default() };
        self.store.commit(commit).await.unwrap();
    }

    async fn know(&self, fingerprint: &str) {
        let record = serde_json::to_string(&ServerKeys::of(fingerprint)).unwrap();
        self.put("/commissaire/server_keys/all", record).await;
    }

    async fn problems(&self) -> Vec<String> {
        let handlers = self.installation.storage.as_ref().unwrap().handlers();
        let inspection = Inspection::open(handlers).await.unwrap();
        let mut report = Report::default();
        check(&self.installation, Some(&inspection), &mut report).await;
        assert!(report.0.len() >= 2, "one of each key");
        report.problems()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

#[tokio::test]
async fn keys_of_the_installation_have_no_problems() {
    let ground = Ground::new().await;
    assert_eq!(ground.problems().await, [""; 0]);
    let mut report = Report::default();
    check(&ground.installation, None, &mut report).await;
    assert_eq!(report.problems(), [""; 0], "without records there is nothing to compare");
}

#[tokio::test]
async fn without_records_keys_are_read_and_only_missed_where_records_are_elsewhere() {
    let mut ground = Ground::new().await;
    let problems = async |installation: &Subject| {
        let mut report = Report::default();
        check(installation, None, &mut report).await;
        report.problems()
    };
    std::fs::write(ground.path("secret.key"), "nonsense").unwrap();
    let malformed = problems(&ground.installation).await;
    assert!(malformed[0].contains("line 1 of the key file"), "{malformed:?}");
    std::fs::remove_file(ground.path("secret.key")).unwrap();
    std::fs::remove_file(ground.path("id_ed25519")).unwrap();
    assert_eq!(problems(&ground.installation).await, [""; 0]);
    ground.installation.storage = None;
    let missing = problems(&ground.installation).await;
    assert!(missing[0].starts_with("Warning: ") && missing[0].contains("; copy it from another"));
}

#[tokio::test]
async fn a_sealing_key_that_is_lost_or_of_another_installation_is_an_error() {
    let ground = Ground::new().await;
    let key = ground.path("secret.key");
    std::fs::remove_file(&key).unwrap();
    let lost = ground.problems().await;
    assert!(lost[0].contains("is missing, and the store holds credentials"), "{lost:?}");
    assert!(lost[0].ends_with(RESTORE) && !key.exists(), "{lost:?}");

    Sealer::open(&key, false).unwrap();
    let foreign = ground.problems().await;
    assert!(foreign[0].contains("which is not in the key file"), "{foreign:?}");

    std::fs::write(&key, "nonsense").unwrap();
    let malformed = ground.problems().await;
    assert!(malformed[0].contains("line 1 of the key file"), "{malformed:?}");
}

#[tokio::test]
async fn a_sealed_record_that_was_changed_is_named() {
    let ground = Ground::new().await;
    let sealer = Sealer::open(&ground.path("secret.key"), true).unwrap();
    ground.put(SECRET, sealer.seal("/elsewhere", "{}").unwrap()).await;
    let problems = ground.problems().await;
    assert!(problems[0].contains(&format!("does not open the record {SECRET}")), "{problems:?}");
}

#[tokio::test]
async fn an_ssh_key_that_hosts_do_not_trust_is_an_error() {
    let ground = Ground::new().await;
    let other = "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU";
    ground.know(other).await;
    let foreign = ground.problems().await;
    assert!(foreign[0].contains(&format!("and hosts trust {other}; restore it")), "{foreign:?}");
    assert!(foreign[0].contains("--accept-new-key"), "{foreign:?}");
    std::fs::remove_file(ground.path("id_ed25519")).unwrap();
    let missing = ground.problems().await;
    assert!(missing[0].contains("id_ed25519 is missing, and hosts trust SHA256:"), "{missing:?}");
}

#[tokio::test]
async fn a_public_half_of_another_key_is_an_error() {
    let ground = Ground::new().await;
    let other = tempfile::tempdir().unwrap();
    own_key::make(other.path()).unwrap();
    std::fs::copy(other.path().join(own_key::PUBLIC), ground.path(own_key::PUBLIC)).unwrap();
    let problems = ground.problems().await;
    assert!(problems[0].contains("is not the public half of "), "{problems:?}");
    assert!(problems[0].contains("; ssh-keygen -y -f "), "{problems:?}");
    std::fs::remove_file(ground.path(own_key::PUBLIC)).unwrap();
    assert_eq!(ground.problems().await, [""; 0]);
    assert!(!ground.path(own_key::PUBLIC).exists(), "it is left to the next start");
}

#[tokio::test]
async fn a_damaged_ssh_key_is_an_error() {
    let ground = Ground::new().await;
    std::fs::write(ground.path("id_ed25519"), "nonsense").unwrap();
    let problems = ground.problems().await;
    assert!(problems[0].contains("ssh-keygen failed"), "{problems:?}");
}
