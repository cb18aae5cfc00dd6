//! Keys that systemd hands over to the units: a command that is not one of them does not see them.

use std::path::Path;

use anyhow::ensure;

use crate::installation::{Installation, SECRET_KEY};

/// Where systemd looks for the credentials that the units load.
const STORES: [&str; 2] = ["/etc/credstore", "/etc/credstore.encrypted"];

/// The data directory of the units.
const OF_UNITS: &str = "/var/lib/commissaire";

/// Refuses to restore with a key that the services would not use.
///
/// # Errors
/// When systemd hands another one over.
pub(super) fn refuse(installation: &Installation) -> anyhow::Result<()> {
    let is_seen = installation.storage.key_file() != installation.storage.secret_key_file;
    let is_of_units = installation.data_dir == Path::new(OF_UNITS);
    let stored = STORES.map(|store| Path::new(store).join(SECRET_KEY));
    let stored = stored.into_iter().find(|path| path.exists());
    ensure!(
        is_seen || !is_of_units || stored.is_none(),
        "the services use {}, which this command does not see; nothing was done. Run it with `systemd-run --pty --uid \
         commissaire -p LoadCredential=secret.key -p LoadCredential=id_ed25519 commissaire --data-dir {OF_UNITS} restore …`",
        stored.unwrap_or_default().display()
    );
    Ok(())
}
