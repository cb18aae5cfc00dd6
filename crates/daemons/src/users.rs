//! `commissaire user` and `commissaire-server user`: the users file, in which HTTP Basic looks users up.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Subcommand;
use http_gateway::auth::passwords;
use http_gateway::principal::Role;
use rustix::fs::{FlockOperation, flock};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

/// The mode of a new file: the server reads it by its group.
const MODE: u32 = 0o640;

/// The longest name of a user, in characters.
const NAME_LENGTH_MAX: usize = 64;

/// Adds, changes and removes users who log in with a password
///
/// A running server reads the file again within seconds.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  commissaire-server user add ann                   asks for the password twice, without showing it
  commissaire-server user add ci --role operator < password.txt
  commissaire-server user passwd ann
  commissaire-server user list

Exit status: 0 done; 1 failed, and nothing was changed; 2 wrong usage.")]
pub struct Args {
    /// The users file [default: that of the server]
    #[arg(long, value_name = "FILE", global = true)]
    pub file: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Add a user; the password is asked for on the terminal, or is the first line of standard input
    Add {
        /// The name
        name: String,
        /// What the user may do: see docs/access.md
        #[arg(long, default_value = "admin", value_parser = role)]
        role: Role,
    },
    /// Change the password of a user
    Passwd {
        /// The name
        name: String,
    },
    /// Remove a user; the user's event streams end
    Remove {
        /// The name
        name: String,
    },
    /// List the users: a line `NAME ROLE` each
    List,
}

impl Args {
    /// Does it, in this users file.
    ///
    /// # Errors
    /// When it does not work: nothing is then changed.
    pub fn carry_out(&self, file: &Path) -> anyhow::Result<()> {
        let done = match &self.command {
            Command::Add { name, role } => {
                check_name(name)?;
                // Before the question for a password that nothing would need.
                ensure!(!read(file)?.contains_key(name), "there is a user {name:?} already");
                let hash = passwords::hash(&ask_for_password(name)?)?;
                change(file, |users| {
                    ensure!(!users.contains_key(name), "there is a user {name:?} already");
                    users.insert(name.clone(), json!({"hash": hash, "role": role}));
                    Ok(())
                })?;
                format!("{name} is added")
            }
            Command::Passwd { name } => {
                known(&read(file)?, name)?;
                let hash = passwords::hash(&ask_for_password(name)?)?;
                change(file, |users| {
                    known(users, name)?;
                    users[name]["hash"] = hash.into();
                    Ok(())
                })?;
                format!("{name} has the new password")
            }
            Command::Remove { name } => {
                change(file, |users| {
                    known(users, name)?;
                    users.remove(name);
                    Ok(())
                })?;
                format!("{name} is removed")
            }
            Command::List => {
                list(&read(file)?);
                return Ok(());
            }
        };
        eprintln!("{done} ({}); a running server knows it within 2 s", file.display());
        Ok(())
    }
}

fn role(text: &str) -> Result<Role, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

#[expect(clippy::print_stdout, reason = "the list is what the command is for")]
fn list(users: &Map<String, Value>) {
    for (name, user) in users {
        // One without a role has the highest, as in the original.
        println!("{name} {}", user["role"].as_str().unwrap_or("admin"));
    }
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let is_valid = (1..=NAME_LENGTH_MAX).contains(&name.chars().count())
        && !name.chars().any(|c| c == ':' || c.is_control());
    ensure!(
        is_valid,
        "{name:?} is no name of a user: it needs 1 to {NAME_LENGTH_MAX} characters, without colons and control characters"
    );
    Ok(())
}

fn known(users: &Map<String, Value>, name: &str) -> anyhow::Result<()> {
    if users.get(name).is_some_and(Value::is_object) {
        return Ok(());
    }
    if users.is_empty() {
        bail!("there is no user {name:?}, and no other one: `user add {name}` adds it");
    }
    let names: Vec<_> = users.keys().map(String::as_str).collect();
    bail!("there is no user {name:?}; there are: {}", names.join(", "));
}

fn ask_for_password(name: &str) -> anyhow::Result<SecretString> {
    let input = std::io::stdin();
    if input.is_terminal() {
        let prompt =
            |text: &str| rpassword::prompt_password(text).context("cannot ask for the password");
        let password = prompt(&format!("New password of {name}: "))?;
        ensure!(prompt("Again: ")? == password, "the two passwords differ");
        return Ok(password.into());
    }
    let mut line = String::new();
    input.lock().read_line(&mut line).context("cannot read the password")?;
    let password = line.strip_suffix('\n').unwrap_or(&line);
    Ok(password.strip_suffix('\r').unwrap_or(password).into())
}

/// The users; none where the file is missing.
fn read(file: &Path) -> anyhow::Result<Map<String, Value>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    serde_json::from_str(&text).with_context(|| format!("{} is no users file", file.display()))
}

/// Changes the users: the file is replaced as a whole, and its owner and mode stay.
fn change(
    file: &Path,
    change: impl FnOnce(&mut Map<String, Value>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // A link stays one.
    let file = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let lock = File::open(folder).with_context(|| format!("cannot open {}", folder.display()))?;
    // Until it is closed: of two changes at a time, the second one sees the first.
    flock(&lock, FlockOperation::LockExclusive).context("cannot lock the directory")?;
    let mut users = read(&file)?;
    change(&mut users)?;
    let text = serde_json::to_string_pretty(&users).context("cannot write the users as JSON")?;
    let temporary = file.with_extension("new");
    let write = || {
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut new = options.write(true).create_new(true).mode(0o600).open(&temporary)?;
        writeln!(new, "{text}")?;
        let (owner, mode) = match std::fs::metadata(&file) {
            Ok(existing) => (existing.clone(), existing.permissions().mode()),
            Err(_) => (lock.metadata()?, MODE),
        };
        let own = new.metadata()?;
        if (own.uid(), own.gid()) != (owner.uid(), owner.gid()) {
            fchown(&new, Some(owner.uid()), Some(owner.gid()))?;
        }
        new.set_permissions(PermissionsExt::from_mode(mode & 0o777))?;
        new.sync_all()?;
        std::fs::rename(&temporary, &file)?;
        // The new name survives a power failure, too.
        lock.sync_all()
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}
