//! `commissaire transform`: a backup with other names, or with some of its records.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use backup::transform::{
    AddressMap, AddressMapping, Change, ChangeKind, ClusterMapping, Criterion, NameMap, Transform,
    Transformed, UserMapping,
};
use backup::{Backup, Counts, Verification};
use serde_json::json;

/// What to change in a backup.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  commissaire transform backup.jsonl --dry-run --map-address 10.0.0.0/24=10.1.0.0/24
      what would change; nothing is written
  commissaire backup | commissaire transform --map-address 10.0.0.0/24=10.1.0.0/24 \\
      | commissaire --data-dir /srv/other restore -
      this installation in another data directory, with other addresses of its hosts
  commissaire transform --map-cluster web=shop --map-user ann=corp:ann backup.jsonl > new.jsonl
  commissaire transform --only cluster:web backup.jsonl > web.jsonl
      one cluster, its hosts and its operations
  commissaire transform --exclude host:10.0.0.0/28 --exclude keys backup.jsonl > rest.jsonl
  jq -c 'if .type == \"Host\" then .value.os = \"debian\" else . end' backup.jsonl \\
      | commissaire transform --reseal > edited.jsonl
      lines that were edited by hand: without --reseal they are refused

WHAT is one of:
  TYPE          the records of a type, as in the field `type` of a line: Host, Operation
  keys          the encrypted keys of the server
  cluster:NAME  the cluster, its hosts (by their ClusterMember records) with all that belongs
                to them, its operations with their hosts, events and requests, its
                enrollments, alarms and leases, and its container manager, which --exclude
                leaves out only if no other cluster uses it
  host:ADDRESS, host:CIDR
                Host, HostCreds, HostState, HostPlacement, ClusterMember, RefusedLogIns,
                CordonDebt and the lease of these hosts, and not the history of operations
WHAT goes by the names in the backup, before they are mapped. With --only cluster: or host: the
records that any restore needs stay, too: Instance, Network, ServerKeys, and the keys. The
membership of a host in a cluster that is left out is left out with it.

Credentials stay encrypted: a line whose key changes gets the field `sealed_for`, by which
`restore` opens it. A line that does not change is copied as it is. Two hosts or two clusters
that would get one name are an error.

Exit status: 0 the backup is complete; 1 nothing was written; 2 wrong usage.")]
pub struct TransformArgs {
    /// The backup, - for standard input
    #[arg(default_value = "-")]
    file: PathBuf,

    /// Replace an address of hosts, or a network by one of the same prefix length: the host part stays. Also in lists, sentences and commands
    #[arg(long, value_name = "OLD=NEW")]
    map_address: Vec<AddressMapping>,

    /// Rename a cluster. Patterns with * in bindings and tokens stay, and are reported
    #[arg(long, value_name = "OLD=NEW")]
    map_cluster: Vec<ClusterMapping>,

    /// Rename a user, as in logs: `ann`, or `corp:ann` for one of an identity provider
    #[arg(long, value_name = "OLD=NEW")]
    map_user: Vec<UserMapping>,

    /// Keep only this (repeatable: all of them)
    #[arg(long, value_name = "WHAT")]
    only: Vec<Criterion>,

    /// Leave this out (repeatable), also of what --only keeps
    #[arg(long, value_name = "WHAT")]
    exclude: Vec<Criterion>,

    /// Accept lines that were edited: the counts and the checksum are computed again
    #[arg(long)]
    reseal: bool,

    /// Print what would change, and write no backup
    #[arg(long)]
    dry_run: bool,

    /// Print that as JSON
    #[arg(long, requires = "dry_run")]
    json: bool,
}

impl TransformArgs {
    /// Transforms the backup.
    ///
    /// # Errors
    /// When it is not transformed; nothing was written then.
    pub fn carry_out(&self) -> anyhow::Result<ExitCode> {
        ensure!(
            self.dry_run || !io::stdout().is_terminal(),
            "standard output is a terminal: redirect it to a file or to `commissaire restore -`, or add --dry-run"
        );
        let transform = self.transform()?;
        let backup = self.read()?;
        let read = backup.records.len();
        let transformed = transform.apply(backup).context("nothing was written")?;
        for note in &transformed.notes {
            eprintln!("note: {note}");
        }
        if self.dry_run {
            self.print(&transformed)?;
        } else {
            let output = BufWriter::new(io::stdout().lock());
            transformed.backup.write(output).context("the backup is not complete")?;
            eprintln!("{}", summary(&transformed, read));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn transform(&self) -> anyhow::Result<Transform> {
        let wrong = |option: &'static str| move |why: String| anyhow::anyhow!("{option}: {why}");
        Ok(Transform {
            addresses: AddressMap::new(self.map_address.iter().cloned())
                .map_err(wrong("--map-address"))?,
            clusters: NameMap::of_clusters(self.map_cluster.iter().cloned())
                .map_err(wrong("--map-cluster"))?,
            users: NameMap::of_users(self.map_user.iter().cloned()).map_err(wrong("--map-user"))?,
            only: self.only.clone(),
            exclude: self.exclude.clone(),
        })
    }

    fn read(&self) -> anyhow::Result<Backup> {
        let verification = if self.reseal { Verification::EditedLines } else { Verification::Full };
        let cannot = || format!("cannot use the backup {}", self.file.display());
        if self.file == Path::new("-") {
            ensure!(
                !io::stdin().is_terminal(),
                "standard input is a terminal: name the FILE of a backup, or redirect it"
            );
            return Backup::read(io::stdin().lock(), verification).with_context(cannot);
        }
        let file = File::open(&self.file).with_context(cannot)?;
        Backup::read(BufReader::new(file), verification).with_context(cannot)
    }

    /// Prints the diff.
    fn print(&self, transformed: &Transformed) -> anyhow::Result<()> {
        let mut output = BufWriter::new(io::stdout().lock());
        let Transformed { backup, changes, keys_left_out, notes } = transformed;
        let counts = CountsOfChanges::of(transformed);
        if self.json {
            let value = json!({
                "changes": changes,
                "keys_left_out": keys_left_out,
                "notes": notes,
                "records": {
                    "unchanged": counts.unchanged, "changed": counts.changed, "moved": counts.moved,
                    "removed": counts.removed, "written": backup.records.len(),
                },
                "counts": backup.header.counts,
            });
            serde_json::to_writer_pretty(&mut output, &value).context("cannot write the diff")?;
            writeln!(output).context("cannot write the diff")?;
        } else {
            write_text(&mut output, changes, *keys_left_out, &counts, &backup.header.counts)
                .context("cannot write the diff")?;
        }
        output.flush().context("cannot write the diff")
    }
}

fn write_text(
    output: &mut impl Write,
    changes: &[Change],
    keys_left_out: bool,
    counts: &CountsOfChanges,
    types: &Counts,
) -> io::Result<()> {
    if keys_left_out {
        writeln!(output, "- keys")?;
    }
    for change in changes {
        write!(output, "{change}")?;
    }
    let CountsOfChanges { unchanged, changed, moved, removed } = counts;
    writeln!(
        output,
        "{unchanged} records unchanged, {changed} changed, {moved} moved to another key, {removed} left out"
    )?;
    let types: Vec<_> = types.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    writeln!(output, "the result: {}", types.join(", "))
}

/// How many records change in which way.
#[derive(Debug)]
struct CountsOfChanges {
    unchanged: usize,
    changed: usize,
    moved: usize,
    removed: usize,
}

impl CountsOfChanges {
    fn of(transformed: &Transformed) -> Self {
        let count = |kind| transformed.changes.iter().filter(|c| c.change == kind).count();
        let (changed, moved) = (count(ChangeKind::Changed), count(ChangeKind::Moved));
        let unchanged = transformed.backup.records.len().saturating_sub(changed + moved);
        Self { unchanged, changed, moved, removed: count(ChangeKind::Removed) }
    }
}

fn summary(transformed: &Transformed, read: usize) -> String {
    let CountsOfChanges { changed, moved, removed, .. } = CountsOfChanges::of(transformed);
    format!(
        "transformed: {read} records read, {} written, {} of them changed, {removed} left out{}",
        transformed.backup.records.len(),
        changed + moved,
        if transformed.keys_left_out { ", and the keys" } else { "" }
    )
}
