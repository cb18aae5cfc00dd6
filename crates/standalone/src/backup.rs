//! `commissaire backup`: the records of an installation, and its keys on request, in one file.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use backup::{KeyFile, KeyFiles, Trailer};
use model::{LastBackup, Stamp, abridged};
use runtime::Clock;
use storage_svc::Handlers;
use storage_svc::backup::{Beside, note, open, take};
use tempfile::NamedTempFile;

use crate::args::Args;
use crate::installation::{Installation, InstallationArgs};
use crate::passphrase;

/// What the names of backups in a directory begin and end with.
const PREFIX: &str = "commissaire-";
const SUFFIX: &str = ".jsonl";

/// What to back up, and where to.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  commissaire backup > backup.jsonl
  commissaire backup --with-key -o backup.jsonl         asks for a passphrase twice
  commissaire backup --with-key --passphrase-file /etc/commissaire/backup.passphrase \\
      --directory /var/backups/commissaire --keep 14    as the timer commissaire-backup.timer does
  commissaire backup | zstd | ssh elsewhere 'cat > commissaire.jsonl.zst'

Exit status: 0 the backup is complete; 1 it is not; 2 wrong usage.")]
pub struct BackupArgs {
    /// The new file, mode 0600; an existing one is not overwritten [default: standard output]
    #[arg(short, long, value_name = "FILE", conflicts_with = "directory")]
    output: Option<PathBuf>,

    /// Make a file in this directory, named after the time
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,

    /// Remove all but the newest N backups in the directory, once the new one is complete
    #[arg(long, value_name = "N", requires = "directory", value_parser = clap::value_parser!(u16).range(1..))]
    keep: Option<u16>,

    /// Include the keys, encrypted with a passphrase: `secret.key`, `id_ed25519`, the authority, the users file and the configuration
    #[arg(long)]
    with_key: bool,

    /// A file of mode 0600 whose first line is the passphrase [default: it is asked for]
    #[arg(long, value_name = "FILE", requires = "with_key")]
    passphrase_file: Option<PathBuf>,

    #[command(flatten)]
    installation: InstallationArgs,
}

impl BackupArgs {
    /// Takes the backup.
    ///
    /// # Errors
    /// When it is not complete.
    pub async fn carry_out(&self, args: &Args) -> anyhow::Result<ExitCode> {
        let to_stdout = self.output.is_none() && self.directory.is_none();
        ensure!(
            !to_stdout || !io::stdout().is_terminal(),
            "standard output is a terminal: give -o FILE, or redirect it"
        );
        let installation = Installation::load(args, &self.installation).await?;
        if installation.is_one_process || self.with_key {
            installation.require_owner()?;
        }
        installation.require_records()?;
        let handlers = open(&installation.storage).await?;
        if self.with_key && installation.storage.custodia_socket_path.is_none() {
            let key_file = installation.storage.key_file();
            storage_svc::backup::check_key(&handlers, &key_file).await.with_context(|| {
                format!(
                    "{} is not the key of the records. If systemd hands the key over (/etc/credstore), take the backup as the \
                     unit does: systemctl start commissaire-backup",
                    key_file.display()
                )
            })?;
        }
        let beside = self.beside(&installation)?;
        let with_keys = beside.keys.is_some();
        let not_included = beside.not_included.clone();
        let taken_at = Clock::System.stamp();
        let target = self.target(&taken_at);
        let trailer = if let Some(path) = &target {
            write_file(path, &handlers, &taken_at, beside).await?
        } else {
            let output = BufWriter::new(io::stdout().lock());
            take(&handlers, taken_at.clone(), beside, output).await?.0
        };
        let last = LastBackup {
            name: LastBackup::ALL.to_owned(),
            taken_at: taken_at.clone(),
            records: trailer.records,
            with_keys,
            by: format!("uid {}", rustix::process::geteuid().as_raw()),
        };
        if let Err(error) = note(&handlers, &last).await {
            let error = bus::error::chain(&error);
            tracing::warn!(
                error,
                "the backup is complete, but its time is not noted: /readyz shows an older one"
            );
        }
        report(target.as_deref(), &trailer, &taken_at, &not_included);
        if let (Some(directory), Some(keep)) = (&self.directory, self.keep) {
            prune(directory, usize::from(keep))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The file to write; `None` for standard output.
    fn target(&self, taken_at: &Stamp) -> Option<PathBuf> {
        let directory = self.directory.as_ref().map(|directory| {
            let time: String = taken_at.chars().take(19).collect();
            directory.join(format!("{PREFIX}{}Z{SUFFIX}", time.replace(':', "-")))
        });
        directory.or_else(|| self.output.clone())
    }

    /// The keys, and what is not in the backup.
    fn beside(&self, installation: &Installation) -> anyhow::Result<Beside> {
        let mut not_included = Vec::new();
        if installation.storage.custodia_socket_path.is_some() {
            not_included.push(
                "the credentials of hosts and container managers: Custodia keeps them".to_owned(),
            );
        }
        let named = installation.named_files();
        if !named.is_empty() {
            not_included.push(format!(
                "the files that the configuration names: {}",
                abridged(&named, ", ")
            ));
        }
        not_included.push("the audit log".to_owned());
        if !self.with_key {
            not_included.push(
                "the keys of the server, its users file and its configuration: --with-key includes them".to_owned(),
            );
            return Ok(Beside { keys: None, not_included });
        }
        let passphrase = match &self.passphrase_file {
            Some(file) => passphrase::of_file(file)?,
            None => passphrase::new()?,
        };
        passphrase::check(&passphrase)?;
        let (files, absent) = key_files(installation)?;
        not_included.extend(absent.into_iter().map(|path| format!("{path}: it does not exist")));
        Ok(Beside { keys: Some(files.encrypt(&passphrase)?), not_included })
    }
}

/// The keys and the configuration, and the paths of those that do not exist.
fn key_files(installation: &Installation) -> anyhow::Result<(KeyFiles, Vec<String>)> {
    let (mut files, mut absent) = (KeyFiles::default(), Vec::new());
    for (name, path) in installation.key_files() {
        match read(name.to_owned(), &path)? {
            Some(file) => files.data.push(file),
            None => absent.push(path.display().to_string()),
        }
    }
    for path in &installation.configuration {
        let name = path.display().to_string();
        files.configuration.extend(read(name, path)?);
    }
    Ok((files, absent))
}

/// A file; `None` if it does not exist.
fn read(name: String, path: &Path) -> anyhow::Result<Option<KeyFile>> {
    match std::fs::read(path) {
        Ok(content) => {
            let content = zeroize::Zeroizing::new(content);
            Ok(Some(KeyFile::new(name, &content)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Writes a file that is a whole backup or does not exist.
async fn write_file(
    path: &Path,
    handlers: &Handlers,
    taken_at: &Stamp,
    beside: Beside,
) -> anyhow::Result<Trailer> {
    let cannot = || format!("cannot write {}", path.display());
    ensure!(
        !path.try_exists().with_context(cannot)?,
        "{} exists: nothing was done",
        path.display()
    );
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    // Only its owner can read it.
    let mut file = NamedTempFile::new_in(folder).with_context(cannot)?;
    let output = BufWriter::new(file.as_file_mut());
    let (trailer, output) = take(handlers, taken_at.clone(), beside, output).await?;
    drop(output);
    file.as_file().sync_all().with_context(cannot)?;
    file.persist_noclobber(path).with_context(cannot)?;
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(cannot)?;
    Ok(trailer)
}

/// Removes old backups.
fn prune(directory: &Path, keep: usize) -> anyhow::Result<()> {
    let cannot = || format!("cannot remove old backups in {}", directory.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(cannot)? {
        let name = entry.with_context(cannot)?.file_name();
        if name.to_str().is_some_and(is_named_by_time) {
            names.push(name);
        }
    }
    // Their names sort by time.
    names.sort();
    let surplus = names.len().saturating_sub(keep);
    for name in &names[..surplus] {
        std::fs::remove_file(directory.join(name)).with_context(cannot)?;
    }
    Ok(())
}

/// Whether a file has the name of a backup in a directory: `commissaire-2026-12-01T03-00-00Z.jsonl`.
fn is_named_by_time(name: &str) -> bool {
    const SHAPE: &str = "0000-00-00T00-00-00Z";
    let fits = |(c, shape): (char, char)| {
        if shape == '0' { c.is_ascii_digit() } else { c == shape }
    };
    let time = name.strip_prefix(PREFIX).and_then(|name| name.strip_suffix(SUFFIX));
    time.is_some_and(|time| time.len() == SHAPE.len() && time.chars().zip(SHAPE.chars()).all(fits))
}

fn report(target: Option<&Path>, trailer: &Trailer, taken_at: &Stamp, not_included: &[String]) {
    let place = target.map_or_else(String::new, |path| format!(" in {}", path.display()));
    eprintln!("backup of {taken_at}{place}: {} records, complete", trailer.records);
    eprintln!("not included:\n  {}", not_included.join("\n  "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_backups_that_are_named_by_their_time_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let names = [
            "commissaire-2026-12-01T03-00-00Z.jsonl",
            "commissaire-2026-12-02T03-00-00Z.jsonl",
            "commissaire-2026-12-03T03-00-00Z.jsonl",
            "commissaire-manual.jsonl",
            "commissaire-2026-12-03T03-00-00Z.jsonl.zst",
        ];
        for name in names {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        prune(folder.path(), 2).unwrap();
        let left = names.map(|name| folder.path().join(name).exists());
        assert_eq!(left, [false, true, true, true, true]);
    }
}
