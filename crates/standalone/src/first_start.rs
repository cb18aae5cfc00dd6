//! What is made at the first start. Each part is made whole or not at all, and only where it is missing:
//! a first start that was cut off is made good by the next one.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use rand::RngExt as _;
use secrecy::SecretString;
use serde_json::json;
use service_core::model::{Network, NetworkType};
use service_core::storage::Transaction;
use service_core::{Result, StorageClient};

use crate::data_dir::{DataDir, write_private};

/// The administrator that the first start makes.
const ADMIN: &str = "admin";

/// Characters of its password: 20 of these are 116 bits.
const ALPHABET: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const PASSWORD_LENGTH: usize = 20;

/// bcrypt's cost, as `commctl passhash` has it.
const COST: u32 = 12;

/// The server's own SSH key, made by `ssh-keygen` where it is missing.
///
/// # Errors
/// When it can neither be read nor made.
pub fn own_key(data: &DataDir) -> anyhow::Result<SecretString> {
    let (private, public) = (data.private_key(), data.public_key());
    if !private.exists() {
        let new = data.path().join("id_ed25519.new");
        let new_public = data.path().join("id_ed25519.new.pub");
        for leftover in [&new, &new_public] {
            if leftover.exists() {
                std::fs::remove_file(leftover)
                    .with_context(|| format!("cannot remove {}", leftover.display()))?;
            }
        }
        ssh_keygen(&["-q", "-t", "ed25519", "-N", "", "-C", "commissaire", "-f"], &new)?;
        // The private key comes last: where it is, its public half is.
        std::fs::rename(&new_public, &public)
            .and_then(|()| std::fs::rename(&new, &private))
            .with_context(|| format!("cannot make {}", private.display()))?;
        tracing::info!(path = %public.display(), "made an SSH key for reaching hosts");
    }
    let text = std::fs::read_to_string(&private);
    text.map(SecretString::from).with_context(|| format!("cannot read {}", private.display()))
}

fn ssh_keygen(arguments: &[&str], file: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("ssh-keygen");
    let output = command.args(arguments).arg(file).stdin(Stdio::null()).output();
    let output = output.context("cannot run ssh-keygen: install the OpenSSH client")?;
    if !output.status.success() {
        bail!("ssh-keygen failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The users file; where it is missing, with an administrator whose password is generated and shown on
/// the terminal, else kept in a file of mode 0600.
///
/// # Errors
/// When a file cannot be written.
pub fn admin(data: &DataDir) -> anyhow::Result<PathBuf> {
    let users = data.users();
    if users.exists() {
        return Ok(users);
    }
    let mut random = rand::rng();
    let letter = |_| char::from(ALPHABET[random.random_range(..ALPHABET.len())]);
    let password: String = (0..PASSWORD_LENGTH).map(letter).collect();
    let hash = bcrypt::hash(&password, COST).context("cannot hash the administrator's password")?;
    let content = json!({ADMIN: {"hash": hash}}).to_string();
    let mut terminal = std::io::stderr();
    if terminal.is_terminal() {
        write_private(&users, &content)?;
        writeln!(terminal, "\n  The API's user is {ADMIN}, the password {password}\n  It is shown this once; its hash is in {}\n", users.display())
            .context("cannot show the administrator's password")?;
    } else {
        let file = data.admin_password();
        write_private(&file, &format!("{password}\n"))?;
        write_private(&users, &content)?;
        tracing::info!(user = ADMIN, path = %file.display(), "the administrator's password is in this file");
    }
    Ok(users)
}

/// The network of clusters that name none: nothing to install, since there is no etcd for flannel here.
///
/// # Errors
/// When the storage service does not answer.
pub async fn default_network(storage: &StorageClient) -> Result<()> {
    if storage.find::<Network>(Network::DEFAULT).await?.is_some() {
        return Ok(());
    }
    let (name, kind) = (Network::DEFAULT.to_owned(), NetworkType::None);
    let network = Network { name, kind, options: serde_json::Map::new() };
    storage.transact(&Transaction::default().create(&network)?).await.map(drop)
}
