//! `commissaire restore`: a backup put into the stores and the data directory of this machine.

mod cordons;
mod credstore;
mod files;
mod report;
mod running;
mod services;

use std::fs::File;
use std::io::{self, BufReader, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use backup::{Backup, KeyFiles, Verification};
use runtime::Clock;
use secrecy::SecretString;
use storage_svc::restore::{Options, Plan, begin, check_empty, check_places, plan, write};
use storage_svc::{Handlers, Sealer};

use crate::args::Args;
use crate::data_dir::DataDir;
use crate::first_start;
use crate::installation::{Installation, InstallationArgs, SECRET_KEY};
use crate::passphrase;
use files::Files;
use services::Services;

/// What to restore, and how.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  commissaire restore backup.jsonl --dry-run            what would be restored, and what is missing
  commissaire restore backup.jsonl                      into an installation without hosts and clusters
  commissaire restore backup.jsonl --replace            in place of what is there
  zstd -dc backup.jsonl.zst | commissaire restore - --passphrase-file FILE
  commissaire restore --takeover                        take the hosts over, once the former installation has stopped

A restore that was interrupted is begun again with the same command; until it is complete, the server does not start.

Exit status: 0 restored; 1 not restored, or not to the end; 2 wrong usage.")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct RestoreArgs {
    /// The backup, - for standard input
    #[arg(required_unless_present = "takeover")]
    file: Option<PathBuf>,

    /// Replace all records that are there
    #[arg(long)]
    replace: bool,

    /// Verify the backup, and print what would be restored; nothing is written
    #[arg(long)]
    dry_run: bool,

    /// A file of mode 0600 whose first line is the passphrase of the keys in the backup [default: it is asked for]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,

    /// Leave the keys in the backup alone, and use those of this machine
    #[arg(long, conflicts_with = "passphrase_file")]
    without_keys: bool,

    /// The secret.key that the credentials in the backup are encrypted with, if it is neither in the backup nor here
    #[arg(long, value_name = "FILE")]
    secret_key_file: Option<PathBuf>,

    /// Leave out records that are damaged
    #[arg(long)]
    skip_damaged: bool,

    /// Take the hosts over from the former installation, which must never run again: after the restore, or, without a file, at any time later, also while the server runs
    #[arg(long)]
    takeover: bool,

    /// Take them over although the installation with this id was active a short while ago: it is certain that it has stopped
    #[arg(long, value_name = "ID", requires = "takeover")]
    yes_fence: Vec<String>,

    /// Print what was restored as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    installation: InstallationArgs,
}

impl RestoreArgs {
    /// Restores the backup.
    ///
    /// # Errors
    /// When it is not restored to its end.
    pub async fn carry_out(&self, args: &Args) -> anyhow::Result<ExitCode> {
        let installation = Installation::load(args, &self.installation).await?;
        let Some(file) = &self.file else {
            installation.require_owner()?;
            installation.require_records()?;
            credstore::refuse(&installation)?;
            let services = Services::start(&installation).await?;
            let taken = services.take_over(args, &installation, &self.yes_fence).await;
            let listed = list_cordons(&services).await;
            services.stop().await;
            return taken.and(listed).map(|()| ExitCode::SUCCESS);
        };
        let backup = read(file)?;
        let keys = self.keys(&backup)?;
        if installation.data_dir.exists() {
            installation.require_owner()?;
        }
        credstore::refuse(&installation)?;
        eprintln!("the installation in {}", installation.data_dir.display());
        // For one process at a time: no server runs from here on.
        let data = DataDir::open(&installation.data_dir).context(
            "cannot restore while the server runs: stop it first (systemctl stop commissaire)",
        )?;
        let files = Files::plan(&installation, keys.as_ref())?;
        let (own, others) = self.sealers(&installation, keys.as_ref())?;
        let options = Options { now: Clock::System.stamp(), skip_damaged: self.skip_damaged };
        let header = backup.header.clone();
        let plan = plan(backup, &own, &others, &options)?;
        let missing = files.missing(&header);
        let handlers = Handlers::open(installation.storage.handlers()).await?;
        if !installation.is_one_process {
            running::refuse(&handlers).await?;
        }
        if !self.replace {
            check_empty(&handlers, &plan).await?;
        }
        check_places(&handlers, &plan)?;
        if self.dry_run {
            self.print(&plan, &missing, "would restore")?;
            return Ok(ExitCode::SUCCESS);
        }
        if installation.is_one_process {
            first_start::begin(&data)?;
        }
        // From here on, the services refuse to start before it is complete.
        begin(&handlers, &plan).await?;
        files.write(&options.now)?;
        write(&handlers, &own, &plan, self.replace, progress()).await?;
        handlers.close().await;
        if installation.is_one_process {
            first_start::complete(&data)?;
        }
        self.print(&plan, &missing, "restored")?;
        let services = Services::start(&installation).await?;
        let followed = self.follow(args, &installation, &services).await;
        services.stop().await;
        followed.map(|()| ExitCode::SUCCESS)
    }

    /// What follows once the backup is restored.
    async fn follow(
        &self,
        args: &Args,
        installation: &Installation,
        services: &Services,
    ) -> anyhow::Result<()> {
        list_cordons(services).await?;
        if !self.takeover {
            return Ok(());
        }
        services.take_over(args, installation, &self.yes_fence).await.context(
            "the backup is restored, but the hosts are not taken over: run `commissaire restore --takeover` again",
        )
    }

    /// The keys in the backup.
    fn keys(&self, backup: &Backup) -> anyhow::Result<Option<KeyFiles>> {
        let Some(encrypted) = backup.keys.as_ref().filter(|_| !self.without_keys) else {
            ensure!(
                self.passphrase_file.is_none() || backup.keys.is_some(),
                "the backup holds no keys: leave --passphrase-file out; it was taken without --with-key"
            );
            return Ok(None);
        };
        let passphrase: SecretString = match &self.passphrase_file {
            Some(file) => passphrase::of_file(file)?,
            None => passphrase::existing()
                .context("the backup holds keys; --without-keys leaves them alone")?,
        };
        Ok(Some(KeyFiles::decrypt(encrypted, &passphrase)?))
    }

    /// What seals here, and what else opens credentials of the backup.
    fn sealers(
        &self,
        installation: &Installation,
        keys: Option<&KeyFiles>,
    ) -> anyhow::Result<(Sealer, Vec<Sealer>)> {
        let path = installation.storage.key_file();
        let in_backup = match keys.and_then(|keys| keys.data_file(SECRET_KEY)) {
            Some(file) => Some(Sealer::of_text(&path, &files::text(file)?)?),
            None => None,
        };
        let given = match &self.secret_key_file {
            Some(file) => Some(Sealer::open(file, true)?),
            None => None,
        };
        // systemd's credential stays in use: the key of the backup would have no effect.
        let is_adopted = path == installation.storage.secret_key_file;
        let own = match in_backup {
            Some(sealer) if is_adopted => return Ok((sealer, given.into_iter().collect())),
            Some(sealer) => return Ok((Sealer::open(&path, true)?, vec![sealer])),
            None if self.dry_run && !path.exists() => match given {
                Some(sealer) => return Ok((sealer, Vec::new())),
                None => bail!(
                    "there is no {} here, and no key in the backup: give the secret.key of the backed up installation \
                     with --secret-key-file",
                    path.display()
                ),
            },
            None => Sealer::open(&path, false)?,
        };
        Ok((own, given.into_iter().collect()))
    }

    #[expect(clippy::print_stdout, reason = "it is what the command is for")]
    fn print(&self, plan: &Plan, missing: &[String], done: &str) -> anyhow::Result<()> {
        if self.json {
            println!("{}", report::json(&plan.report, missing)?);
        } else {
            print!("{}", report::text(&plan.report, missing, done));
        }
        Ok(())
    }
}

fn read(file: &Path) -> anyhow::Result<Backup> {
    let cannot = || format!("cannot use the backup {}", file.display());
    if file == Path::new("-") {
        return Backup::read(io::stdin().lock(), Verification::Full).with_context(cannot);
    }
    let file = File::open(file).with_context(cannot)?;
    Backup::read(BufReader::new(file), Verification::Full).with_context(cannot)
}

/// Lists the nodes with cordons that no record knows.
async fn list_cordons(services: &Services) -> anyhow::Result<()> {
    for sentence in cordons::unknown(&services.storage, &services.bus).await? {
        eprintln!("  - {sentence}");
    }
    Ok(())
}

/// Shows the progress on a terminal.
fn progress() -> impl FnMut(usize, usize) {
    let is_terminal = io::stderr().is_terminal();
    move |done, all| {
        if is_terminal {
            eprint!("\rrestoring: {done} of {all} records{}", if done == all { "\n" } else { "" });
            // It is only shown.
            drop(io::stderr().flush());
        }
    }
}
