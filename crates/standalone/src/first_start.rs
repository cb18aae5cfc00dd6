//! What is made at the first start. Each part is made whole or not at all, and only where it is missing:
//! a first start that was cut off is made good by the next one.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use http_gateway::auth::passwords;
use runtime::random;
use serde_json::json;

use crate::data_dir::{DataDir, write_private};
use storage_svc::Store;

/// What the file `first-start` holds until the first start is complete, and from then on.
const UNFINISHED: &str = "unfinished\n";
const FINISHED: &str = "finished\n";

/// The administrator that the first start makes.
const ADMIN: &str = "admin";

/// Characters of its password: 20 of these are 116 bits.
const ALPHABET: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const PASSWORD_LENGTH: usize = 20;

/// Refuses an installation whose records are lost: the database is missing or empty, although the sealing key
/// is from an earlier start, or the first start was completed. An empty one in its place would look like a
/// working server that manages no hosts.
///
/// The file `first-start` is written before the database and the key, and marks the first start as complete
/// only when both are on disk. A first start that was cut off anywhere is repeated; installations that are
/// older than that file are recognized by their key. `new_store` begins with an empty database.
///
/// # Errors
/// When records are lost and `new_store` is not set; when it is set and records are there; when the database is
/// damaged.
pub fn check_store(data: &DataDir, new_store: bool) -> anyhow::Result<()> {
    let (database, mark) = (data.database(), data.first_start());
    let holds_records = Store::sqlite_holds_records(&database)?;
    if holds_records {
        if new_store {
            bail!(
                "--new-store: the database {} holds records, and nothing was changed: remove the option; to \
                 begin with an empty database, move the data directory away",
                database.display()
            );
        }
        return Ok(());
    }
    let reached = match std::fs::read_to_string(&mark) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", mark.display()));
        }
    };
    let key = data.own_secret_key();
    let is_installed = match reached.as_deref() {
        Some(UNFINISHED) => false,
        Some(_) => true,
        None => key.exists(),
    };
    if is_installed && !new_store {
        bail!(
            "the database {} is missing or empty, but {} shows an earlier start: its records are lost, or are \
             elsewhere. Nothing was changed. Restore a copy (`commissaire copy-database` makes them), or begin \
             with an empty database once with --new-store",
            database.display(),
            if key.exists() { key } else { mark }.display(),
        );
    }
    write_private(&mark, UNFINISHED)
}

/// Marks the first start as begun: a restore that is cut off is repeated, and leaves no installation without records.
///
/// # Errors
/// When the mark cannot be written.
pub fn begin(data: &DataDir) -> anyhow::Result<()> {
    write_private(&data.first_start(), UNFINISHED)
}

/// Marks the first start as complete: from now on a database without records is a loss.
///
/// # Errors
/// When the mark cannot be written.
pub fn complete(data: &DataDir) -> anyhow::Result<()> {
    let mark = data.first_start();
    match std::fs::read_to_string(&mark) {
        Ok(text) if text == FINISHED => Ok(()),
        _ => write_private(&mark, FINISHED),
    }
}

/// The users file; where it is missing, with an administrator whose password is generated and shown on
/// the terminal, with the command that logs in by it, else kept in a file of mode 0600. `fingerprint` is that
/// of the server's own authority, if it has one.
///
/// # Errors
/// When a file cannot be written.
pub fn admin(data: &DataDir, url: &str, fingerprint: Option<&str>) -> anyhow::Result<PathBuf> {
    let users = data.users();
    if users.exists() {
        return Ok(users);
    }
    let password = random::password(ALPHABET, PASSWORD_LENGTH);
    let hash = passwords::hash(&password.clone().into())
        .context("cannot hash the administrator's password")?;
    let content = json!({ADMIN: {"hash": hash}}).to_string();
    let mut terminal = std::io::stderr();
    if terminal.is_terminal() {
        write_private(&users, &content)?;
        write!(terminal, "{}", welcome(url, &password, &users, fingerprint))
            .context("cannot show the administrator's password")?;
    } else {
        let file = data.admin_password();
        write_private(&file, &format!("{password}\n"))?;
        write_private(&users, &content)?;
        tracing::info!(user = ADMIN, path = %file.display(), "the administrator's password is in this file");
    }
    Ok(users)
}

/// The text that a terminal shows after the first start.
fn welcome(url: &str, password: &str, users: &Path, fingerprint: Option<&str>) -> String {
    let authority = fingerprint.map_or_else(String::new, |fingerprint| {
        format!(
            "\n  It asks for the SHA-256 fingerprint of the server's authority, of which eight characters do:\n  \
             {fingerprint}\n  `commissaire ca-fingerprint` prints it again\n"
        )
    });
    let users = users.display();
    format!(
        "\n  The API is at {url}, its user is {ADMIN}, the password {password}\n  It is shown this once; its hash \
         is in {users}\n\n  To log in with it:\n  commctl login {url} --username {ADMIN}\n{authority}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> (tempfile::TempDir, DataDir) {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        (folder, data)
    }

    #[test]
    fn the_first_start_says_how_to_log_in_and_by_which_authority() {
        let users = Path::new("/d/users.json");
        let plain = welcome("http://127.0.0.1:8000", "secret", users, None);
        assert_eq!(
            plain,
            "\n  The API is at http://127.0.0.1:8000, its user is admin, the password secret\n  It is shown this \
             once; its hash is in /d/users.json\n\n  To log in with it:\n  commctl login \
             http://127.0.0.1:8000 --username admin\n\n"
        );
        let tls = welcome("https://192.0.2.1:8000", "secret", users, Some("AB:CD"));
        assert!(
            tls.contains("\n  commctl login https://192.0.2.1:8000 --username admin\n"),
            "{tls}"
        );
        assert!(tls.contains("\n  AB:CD\n"), "{tls}");
    }

    fn refusal(data: &DataDir) -> String {
        format!("{:#}", check_store(data, false).unwrap_err())
    }

    /// What a start leaves behind: the database with its schema, and with a record where it came so far.
    async fn make_store(data: &DataDir, with_record: bool) {
        let store = Store::sqlite(&data.database()).unwrap();
        if with_record {
            let puts = vec![("/commissaire/secrets/mark".to_owned(), "{}".to_owned())];
            let commit = storage_svc::store::Commit { puts, ..Default::default() };
            store.commit(commit).await.unwrap();
            store.close().await.unwrap();
        }
    }

    /// Each moment at which a first start can be cut off; the next one goes on.
    #[tokio::test]
    async fn a_first_start_that_was_cut_off_is_repeated() {
        let (_folder, data) = data();
        check_store(&data, false).unwrap();
        check_store(&data, false).unwrap();
        std::fs::write(data.database(), "").unwrap();
        check_store(&data, false).unwrap();
        make_store(&data, false).await;
        check_store(&data, false).unwrap();
        std::fs::write(data.own_secret_key(), "").unwrap();
        check_store(&data, false).unwrap();
        make_store(&data, true).await;
        check_store(&data, false).unwrap();
        complete(&data).unwrap();
        check_store(&data, false).unwrap();
    }

    #[tokio::test]
    async fn a_lost_database_is_refused_and_not_replaced() {
        let (_folder, data) = data();
        check_store(&data, false).unwrap();
        std::fs::write(data.own_secret_key(), "").unwrap();
        make_store(&data, true).await;
        complete(&data).unwrap();
        std::fs::remove_file(data.database()).unwrap();
        assert!(refusal(&data).contains("--new-store"), "{}", refusal(&data));
        assert!(!data.database().exists(), "the check makes no file");
        std::fs::write(data.database(), "").unwrap();
        assert!(refusal(&data).contains("missing or empty"));
        std::fs::remove_file(data.database()).unwrap();
        make_store(&data, false).await;
        assert!(refusal(&data).contains("missing or empty"), "a schema is no record");
        check_store(&data, true).unwrap();
        check_store(&data, false).unwrap();
    }

    /// Made by a version that did not write the mark, or with a key that systemd hands over.
    #[tokio::test]
    async fn either_the_key_or_the_mark_shows_an_earlier_start() {
        let (_folder, old) = data();
        std::fs::write(old.own_secret_key(), "").unwrap();
        assert!(refusal(&old).contains("secret.key shows an earlier start"), "{}", refusal(&old));
        let (_folder, with_loaded_key) = data();
        complete(&with_loaded_key).unwrap();
        assert!(refusal(&with_loaded_key).contains("first-start shows an earlier start"));
    }

    #[tokio::test]
    async fn records_are_never_given_up_for_a_new_store() {
        let (_folder, data) = data();
        make_store(&data, true).await;
        let error = format!("{:#}", check_store(&data, true).unwrap_err());
        assert!(error.contains("holds records"), "{error}");
    }
}
