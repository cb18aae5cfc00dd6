//! The keys: the one that credentials are sealed with, and the server's own SSH key.

use std::path::Path;

use host_access::own_key;
use model::ServerKeys;
use model::host_keys::fingerprint;
use runtime::error_text::chain;
use storage_svc::Inspection;
use storage_svc::inspection::Sealed;
use storage_svc::keyring::UnlockError;
use storage_svc::secrets::{KeyError, Sealer};

use super::report::{Check, Report};
use super::subject::Subject;
use super::user::key_file;

const CHECK: Check = Check::Keys;

/// Where the right file is.
const RESTORE: &str =
    "restore it from a backup, or copy it from another machine of this installation";

/// Checks the keys; against the records where these can be read (`inspection`).
pub(super) async fn check(
    installation: &Subject,
    inspection: Option<&Inspection>,
    report: &mut Report,
) {
    if let Some(storage) = &installation.storage
        && storage.custodia_socket_path.is_none()
    {
        let file = key_file("secret.key", &storage.secret_key_file, &installation.storage_dir);
        match inspection {
            Some(inspection) => {
                sealing_key(&file, &storage.secret_key_file, inspection, report).await;
            }
            None => unused_key(&file, report),
        }
    }
    let has_store = installation.storage.is_some();
    for folder in &installation.key_dirs {
        ssh_key(folder, has_store, inspection, report).await;
    }
}

/// A sealing key without records that it could be compared with.
fn unused_key(file: &Path, report: &mut Report) {
    let shown = file.display();
    if !file.exists() {
        return report.ok(CHECK, format!("{shown} does not exist; no records to compare it with"));
    }
    match Sealer::open(file, true) {
        Ok(_) => report.ok(CHECK, format!("{shown} holds a key; no records to compare it with")),
        Err(KeyError::Exposed { .. }) => {}
        Err(error) => report.error(CHECK, chain(&error), RESTORE),
    }
}

/// `configured`: the file that the configuration has, which `file` is unless systemd hands another one over.
async fn sealing_key(file: &Path, configured: &Path, inspection: &Inspection, report: &mut Report) {
    let shown = file.display();
    match inspection.check_key(file).await {
        Ok(None) => report.ok(CHECK, format!("{shown} does not exist: the first start makes it")),
        Ok(Some(Sealed { opened, damaged, .. })) => {
            for (record, why) in &damaged {
                let finding = format!("{shown} does not open the record {record}: {why}");
                let remedy = "register these credentials again (commctl host, commctl container_manager), or restore \
                              the record from a backup";
                report.error(CHECK, finding, remedy);
            }
            if damaged.is_empty() {
                report.ok(CHECK, format!("{shown} opens all sealed records ({opened})"));
            }
        }
        Err(UnlockError::Key(error)) => {
            let remedy = match &error {
                // That is a finding of the check of permissions.
                KeyError::Exposed { .. } if file == configured => return,
                KeyError::Exposed { .. } => format!("chmod 600 {shown}"),
                KeyError::File { .. } => format!("make it readable for the server: {shown}"),
                _ => RESTORE.to_owned(),
            };
            report.error(CHECK, chain(&error), remedy);
        }
        Err(error) => report.error(CHECK, chain(&error), "start the store"),
    }
}

async fn ssh_key(
    folder: &Path,
    has_store: bool,
    inspection: Option<&Inspection>,
    report: &mut Report,
) {
    let private = key_file(own_key::PRIVATE, &folder.join(own_key::PRIVATE), folder);
    let known = match inspection {
        None => None,
        Some(inspection) => match inspection.find::<ServerKeys>(ServerKeys::ALL).await {
            Ok(known) => Some(known.unwrap_or_default()),
            Err(error) => {
                let finding = format!("cannot compare {}: {}", private.display(), chain(&error));
                return report.error(CHECK, finding, "restore the record from a backup");
            }
        },
    };
    match own_key::fingerprint_of(&private) {
        Err(error) => report.error(CHECK, chain(&error), RESTORE),
        Ok(None) => missing(&private, has_store, known.as_ref(), report),
        Ok(Some(found)) => {
            compare(&private, &found, known.as_ref(), report);
            public_half(&private, &folder.join(own_key::PUBLIC), &found, report);
        }
    }
}

fn missing(private: &Path, has_store: bool, known: Option<&ServerKeys>, report: &mut Report) {
    let private = private.display();
    match known {
        Some(known) if !known.fingerprints.is_empty() => report.error(
            CHECK,
            format!("{private} is missing, and hosts trust {}", listed(known)),
            RESTORE,
        ),
        Some(_) => report.ok(CHECK, format!("{private} does not exist: the first start makes it")),
        None if has_store => {
            report.ok(CHECK, format!("{private} does not exist; no records to compare it with"));
        }
        None => report.warning(
            CHECK,
            format!("{private} is missing"),
            "copy it from another machine of this installation; the first start of all makes it",
        ),
    }
}

/// Whether the store knows a key: the services that reach hosts do not start with another one.
fn compare(private: &Path, found: &str, known: Option<&ServerKeys>, report: &mut Report) {
    let private = private.display();
    match known {
        None => report.ok(CHECK, format!("{private} is {found}; no records to compare it with")),
        Some(known) if known.fingerprints.is_empty() => {
            report.ok(CHECK, format!("{private} is {found}; the next start records it"));
        }
        Some(known) if known.fingerprints.contains(found) => {
            report.ok(CHECK, format!("{private} is {found}, which hosts trust"));
        }
        Some(known) => report.error(
            CHECK,
            format!("{private} is {found}, and hosts trust {}", listed(known)),
            format!(
                "{RESTORE}; to introduce this key on purpose, add its public half to authorized_keys on the hosts and \
                 start once with --accept-new-key"
            ),
        ),
    }
}

/// Whether the public half, which is installed on new hosts, is that of the private key.
fn public_half(private: &Path, public: &Path, found: &str, report: &mut Report) {
    let (private, shown) = (private.display(), public.display());
    let remedy = format!("ssh-keygen -y -f {private} > {shown}");
    match std::fs::read_to_string(public) {
        Ok(line) if fingerprint(line.trim()).as_deref() == Some(found) => {}
        Ok(_) => {
            report.error(CHECK, format!("{shown} is not the public half of {private}"), remedy);
        }
        // The next start makes it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => report.error(CHECK, format!("cannot read {shown}: {error}"), remedy),
    }
}

fn listed(known: &ServerKeys) -> String {
    let fingerprints: Vec<_> = known.fingerprints.iter().map(String::as_str).collect();
    fingerprints.join(", ")
}

#[cfg(test)]
mod tests;
