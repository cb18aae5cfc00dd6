//! What is made at the first start. Each part is made whole or not at all, and only where it is missing:
//! a first start that was cut off is made good by the next one.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rand::RngExt as _;
use serde_json::{Value, json};

use crate::data_dir::{DataDir, write_private};

/// The administrator that the first start makes.
const ADMIN: &str = "admin";

/// Characters of its password: 20 of these are 116 bits.
const ALPHABET: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const PASSWORD_LENGTH: usize = 20;

/// bcrypt's cost, as `commctl passhash` has it.
const COST: u32 = 12;

/// The users file; where it is missing, with an administrator whose password is generated and shown on
/// the terminal, with what `commctl` needs beside it, else kept in a file of mode 0600. `authority` is what
/// clients pin.
///
/// # Errors
/// When a file cannot be written.
pub fn admin(data: &DataDir, url: &str, authority: Option<&Path>) -> anyhow::Result<PathBuf> {
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
        writeln!(terminal, "\n  The API is at {url}, its user is {ADMIN}, the password {password}\n  It is shown this once; its hash is in {}\n\n  ~/.commissaire.json for commctl:\n  {}\n", users.display(), client_config(url, authority))
            .context("cannot show the administrator's password")?;
    } else {
        let file = data.admin_password();
        write_private(&file, &format!("{password}\n"))?;
        write_private(&users, &content)?;
        tracing::info!(user = ADMIN, path = %file.display(), "the administrator's password is in this file");
    }
    Ok(users)
}

/// What `commctl` reads; it asks for the password.
fn client_config(url: &str, authority: Option<&Path>) -> Value {
    let mut config = json!({"endpoint": url, "username": ADMIN});
    if let Some(path) = authority {
        config["certificate_authority"] = path.to_string_lossy().into();
    }
    config
}
