use etcd_access::MemberStatus;
use storage_svc::Store;
use storage_svc::store::Commit;

use super::*;

async fn checked(folder: &Path) -> (bool, Vec<String>) {
    let mut installation = Subject::new(Form::OneProcess, folder);
    let key = storage_svc::config::secret_key_in(folder);
    installation.add_storage(storage_svc::Config::sqlite(data_dir::database_in(folder), key));
    let mut report = Report::default();
    let is_open = check(&installation, &mut report).await.is_some();
    assert!(!report.0.is_empty());
    (is_open, report.problems())
}

/// A database file with the format of its records; nothing uses it afterwards.
async fn database(folder: &Path, format: u32) {
    let store = Store::sqlite(&data_dir::database_in(folder)).unwrap();
    let format = format!(r#"{{"records": {format}}}"#);
    let puts = vec![("/commissaire/format".to_owned(), format)];
    store.commit(Commit { puts, ..Commit::default() }).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_database_that_does_not_exist_yet_is_no_problem_and_a_lost_one_is() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(checked(folder.path()).await, (false, vec![]));
    for trace in ["secret.key", "first-start"] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(trace), "").unwrap();
        std::fs::write(folder.path().join("commissaire.db"), "").unwrap();
        let (_, problems) = checked(folder.path()).await;
        assert!(problems[0].contains("is missing or empty, but "), "{problems:?}");
        assert!(
            problems[0].contains(trace) && problems[0].ends_with("--new-store"),
            "{problems:?}"
        );
    }
}

#[tokio::test]
async fn a_sound_database_has_no_problems_while_it_is_in_use_and_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    database(folder.path(), RECORD_FORMAT).await;
    assert_eq!(checked(folder.path()).await, (true, vec![]));
    let _in_use = Store::sqlite(&data_dir::database_in(folder.path())).unwrap();
    assert_eq!(checked(folder.path()).await, (true, vec![]));
}

#[tokio::test]
async fn a_damaged_database_is_an_error_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    database(folder.path(), RECORD_FORMAT).await;
    let path = data_dir::database_in(folder.path());
    while folder.path().join("commissaire.db-wal").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let mut bytes = std::fs::read(&path).unwrap();
    // The header of the second page, which is that of a table.
    bytes[4096..4104].fill(0xff);
    std::fs::write(&path, &bytes).unwrap();
    let (is_open, problems) = checked(folder.path()).await;
    assert!(!is_open && problems[0].starts_with("Error: "), "{problems:?}");
    assert!(problems[0].contains("is damaged") && problems[0].contains("restore a backup"));
    std::fs::write(&path, "text, and not a database, long enough for a header").unwrap();
    let (_, problems) = checked(folder.path()).await;
    assert!(problems[0].contains("is damaged"), "{problems:?}");
}

#[tokio::test]
async fn a_restore_that_is_not_complete_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::sqlite(&data_dir::database_in(folder.path())).unwrap();
    let format = format!(r#"{{"records": {RECORD_FORMAT}, "restoring": {{"backup": "1a"}}}}"#);
    let puts = vec![("/commissaire/format".to_owned(), format)];
    store.commit(Commit { puts, ..Commit::default() }).await.unwrap();
    let (_, problems) = checked(folder.path()).await;
    assert!(problems[0].contains("not restored to its end"), "{problems:?}");
}

#[tokio::test]
async fn records_of_a_later_version_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    database(folder.path(), RECORD_FORMAT + 1).await;
    let (_, problems) = checked(folder.path()).await;
    assert!(problems[0].contains("and this version knows"), "{problems:?}");
    assert!(problems[0].contains("; install the version that wrote them"), "{problems:?}");
    let folder = tempfile::tempdir().unwrap();
    database(folder.path(), RECORD_FORMAT - 1).await;
    assert_eq!(checked(folder.path()).await, (true, vec![]));
}

#[test]
fn etcd_that_becomes_full_or_has_alarms_is_a_problem() {
    let problems = |percent: u64, alarms: &[&str]| {
        let status = MemberStatus {
            endpoint: "http://m1".to_owned(),
            db_size: percent << 20,
            db_size_in_use: 1 << 20,
            quota: None,
            alarms: alarms.iter().map(|alarm| (*alarm).to_owned()).collect(),
        };
        let endpoint = status.endpoint.clone();
        let member = Member { endpoint, status: Ok(status), quota: 100 << 20 };
        let mut report = Report::default();
        etcd(&member, &mut report);
        report.problems()
    };
    assert_eq!(problems(74, &[]), [""; 0]);
    let high = problems(75, &[]);
    assert!(high[0].starts_with("Warning: ") && high[0].contains("75 % of its quota (75 of 100"));
    assert!(problems(95, &[])[0].starts_with("Error: "));
    let full = problems(10, &["memberID:1 alarm:NOSPACE "]);
    assert!(full[0].contains("it refuses every write (memberID:1 alarm:NOSPACE)"), "{full:?}");
    assert!(full[0].ends_with("etcdctl alarm disarm"), "{full:?}");
    assert!(problems(10, &["memberID:1 alarm:CORRUPT "])[0].contains("member remove"));
}
