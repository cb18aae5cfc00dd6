use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use clap::Parser as _;
use host_access::own_key;
use storage_svc::{Config, Handlers, keyring};

use super::*;

/// The names, modes and contents of the files in a directory.
fn state(folder: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let state = entries.map(|entry| {
        let mode = entry.metadata().unwrap().permissions().mode();
        let name = entry.file_name().to_string_lossy().into_owned();
        (name, (mode, std::fs::read(entry.path()).unwrap()))
    });
    state.collect()
}

fn args(folder: &Path) -> crate::Args {
    let folder = folder.to_string_lossy().into_owned();
    let config = format!("{folder}/x.conf");
    let run = format!("{folder}/run");
    let args = ["commissaire", "--data-dir", &folder, "--run-dir", &run, "-c", &config, "doctor"];
    crate::Args::parse_from(args)
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// A data directory after a first start.
async fn made(folder: &Path) -> Handlers {
    set_mode(folder, 0o700);
    std::fs::write(folder.join("x.conf"), "{}").unwrap();
    let key = storage_svc::config::secret_key_in(folder);
    let config = Config::sqlite(data_dir::database_in(folder), key.clone());
    let handlers = Handlers::open(config.handlers()).await.unwrap();
    keyring::unlock(&handlers, &key).await.unwrap();
    own_key::make(folder).unwrap();
    handlers
}

/// The findings that depend on the installation only, and not on this machine.
async fn findings(args: &crate::Args) -> String {
    let mut report = Report::default();
    let installation = configuration::one_process(args, &mut report).unwrap();
    check(&installation, &mut report).await;
    let is_of_machine = |check| matches!(check, Check::Clock | Check::Ansible | Check::Disk);
    report.0.retain(|finding| !is_of_machine(finding.check));
    let text = report.text(true).unwrap();
    let text = text.replace(&args.data_dir().to_string_lossy().into_owned(), "DIR");
    let keys = text.split_whitespace().filter(|word| word.starts_with("SHA256:"));
    let keys: Vec<_> = keys.map(|word| word.trim_end_matches([',', ';']).to_owned()).collect();
    keys.iter().fold(text, |text, key| text.replace(key, "FINGERPRINT"))
}

#[tokio::test]
async fn a_whole_installation_is_checked_and_nothing_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let handlers = made(folder.path()).await;
    let args = args(folder.path());
    let before = state(folder.path());
    let while_in_use = findings(&args).await;
    assert!(before.contains_key("commissaire.db-wal"), "the database is in use");
    let contents = |mut state: BTreeMap<String, (u32, Vec<u8>)>| {
        // It holds the locks of readers.
        state.entry("commissaire.db-shm".to_owned()).and_modify(|file| file.1.clear());
        state
    };
    assert_eq!(contents(state(folder.path())), contents(before));

    handlers.close().await;
    drop(handlers);
    // The last connection removes the side files, if it may write. That of the writer's thread ends a little later.
    while folder.path().join("commissaire.db-wal").exists() {
        let connection = rusqlite::Connection::open(data_dir::database_in(folder.path())).unwrap();
        connection.query_row("SELECT count(*) FROM records", [], |_| Ok(())).unwrap();
        drop(connection);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let before = state(folder.path());
    let afterwards = findings(&args).await;
    assert_eq!(state(folder.path()), before);
    assert_eq!(afterwards, while_in_use);
    insta::assert_snapshot!(afterwards);
}

#[tokio::test]
async fn problems_are_printed_with_their_remedies() {
    let folder = tempfile::tempdir().unwrap();
    made(folder.path()).await.close().await;
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("x.conf", r#"{"listen-prot": 8001}"#);
    write("id_ed25519.pub", "ssh-ed25519 AAAA");
    write("audit.log", "");
    write("server.pem", "");
    set_mode(folder.path(), 0o755);
    set_mode(&folder.path().join("audit.log"), 0o644);
    set_mode(&folder.path().join("server.pem"), 0o640);
    insta::assert_snapshot!(findings(&args(folder.path())).await);
}

#[tokio::test]
async fn a_directory_without_daemons_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let run = async |args: &[&str]| {
        let args = crate::Args::parse_from(args);
        let Some(crate::args::Command::Doctor(command)) = &args.command else { panic!("{args:?}") };
        format!("{:?}", run(&args, command).await.unwrap())
    };
    let usage = format!("{:?}", ExitCode::from(USAGE));
    let folder = folder.path().to_str().unwrap();
    assert_eq!(run(&["commissaire", "doctor", "--config-dir", folder]).await, usage);
    let both = ["commissaire", "--data-dir", folder, "doctor", "--config-dir", folder];
    assert_eq!(run(&both).await, usage);
}
