//! Keys that systemd hands over to the units: a command that is not one of them does not see them.

use std::path::Path;

use anyhow::ensure;
use host_access::own_key;

use crate::installation::{Installation, SECRET_KEY};

/// Where systemd looks for the credentials that the units load.
const STORES: [&str; 2] = ["/etc/credstore", "/etc/credstore.encrypted"];

/// The data directory of the units.
const OF_UNITS: &str = "/var/lib/commissaire";

/// Refuses to restore, or to take hosts over, with a key that the services would not use.
///
/// # Errors
/// When systemd hands another one over.
pub(super) fn refuse(installation: &Installation) -> anyhow::Result<()> {
    let dir = &installation.data_dir;
    let seen = [
        (SECRET_KEY, installation.storage.key_file() != installation.storage.secret_key_file),
        (own_key::PRIVATE, own_key::private_path(dir) != dir.join(own_key::PRIVATE)),
    ];
    let unseen = seen.into_iter().filter(|(_, is_seen)| !is_seen);
    let mut stored = unseen.flat_map(|(name, _)| STORES.map(|store| Path::new(store).join(name)));
    let stored = stored.find(|path| path.exists());
    ensure!(
        dir != Path::new(OF_UNITS) || stored.is_none(),
        "the services use {}, which this command does not see; nothing was done. Run it with `systemd-run --pty --uid \
         commissaire -p LoadCredential=secret.key -p LoadCredential=id_ed25519 commissaire --data-dir {OF_UNITS} restore …`",
        stored.unwrap_or_default().display()
    );
    Ok(())
}
