//! `commctl backup`: a backup of all records, verified as it is received.

use std::io::{IsTerminal as _, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::context::Context;
use crate::error::Error;
use crate::files::{WriteError, directory_of};

/// The longest line of a backup, in bytes.
const LINE_MAX: usize = 16 << 20;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  commctl backup commissaire.jsonl
  commctl backup - | zstd > commissaire.jsonl.zst

It needs the role admin or backup on all clusters; for a script: commctl token create --role backup
--cluster '*' nightly. Credentials in it are encrypted, and the keys that open them stay on the server:
`commissaire backup --with-key` there includes them. docs/backup.md says how to restore.

Exit status: 0 the backup is complete; else it is not, and FILE is not written.")]
pub(crate) struct Backup {
    /// The new file, mode 0600; an existing one is not overwritten. - for standard output
    file: PathBuf,
}

/// The format of backups.
const FORMAT: u32 = 1;

/// The last line.
#[derive(Debug, Deserialize)]
struct Trailer {
    /// [`FORMAT`].
    end_of_backup: u32,
    records: u64,
    sha256: String,
}

impl Backup {
    pub(crate) async fn run(&self, context: &Context) -> Result<(), Error> {
        if self.file.as_os_str() == "-" {
            if std::io::stdout().is_terminal() {
                let message = "standard output is a terminal: name a file, or redirect it";
                return Err(Error::Usage(message.to_owned()));
            }
            let records = receive(context, &mut std::io::stdout().lock(), Error::Write).await?;
            eprintln!("{records} records, complete");
            return Ok(());
        }
        let failed = |source| Error::from(WriteError { path: self.file.clone(), source });
        // Before the server begins: the file that is written last must not exist.
        if self.file.try_exists().map_err(failed)? {
            return Err(Error::Usage(format!("{} exists: nothing was done", self.file.display())));
        }
        let mut file = NamedTempFile::new_in(directory_of(&self.file)).map_err(failed)?;
        let records = receive(context, file.as_file_mut(), failed).await?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist_noclobber(&self.file).map_err(|error| failed(error.error))?;
        eprintln!("{}: {records} records, complete", self.file.display());
        Ok(())
    }
}

/// Receives a backup to its end; returns the number of its records.
async fn receive(
    context: &Context,
    output: &mut impl Write,
    failed: impl Fn(std::io::Error) -> Error,
) -> Result<u64, Error> {
    let mut download = context.client()?.download(&["backup"]).await?;
    let mut check = Check::default();
    while let Some(chunk) = download.chunk().await? {
        check.take(chunk.as_ref())?;
        output.write_all(chunk.as_ref()).map_err(&failed)?;
    }
    output.flush().map_err(&failed)?;
    check.end()
}

/// What has been received.
#[derive(Debug, Default)]
struct Check {
    /// Of all lines before the last one.
    sha256: Sha256,
    /// The number of lines before the last one.
    lines: u64,
    /// The last line, as far as it has been received.
    line: Vec<u8>,
}

impl Check {
    fn take(&mut self, mut chunk: &[u8]) -> Result<(), Error> {
        while !chunk.is_empty() {
            if self.line.last() == Some(&b'\n') {
                self.sha256.update(&self.line);
                self.lines += 1;
                self.line.clear();
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let (part, rest) = chunk.split_at(end.map_or(chunk.len(), |end| end + 1));
            self.line.extend_from_slice(part);
            chunk = rest;
            if self.line.len() > LINE_MAX {
                return Err(damaged("a line is too long"));
            }
        }
        Ok(())
    }

    fn end(self) -> Result<u64, Error> {
        let Ok(trailer) = serde_json::from_slice::<Trailer>(&self.line) else {
            return Err(damaged("it was cut off: the server's log says why"));
        };
        if trailer.end_of_backup != FORMAT {
            return Err(damaged("or of a later version: use the commctl of the server's version"));
        }
        let sha256: String = self.sha256.finalize().iter().map(|b| format!("{b:02x}")).collect();
        // The header is a line, too.
        if trailer.sha256 != sha256 || trailer.records + 1 != self.lines {
            return Err(damaged("its checksum is another"));
        }
        Ok(trailer.records)
    }
}

fn damaged(why: &str) -> Error {
    Error::Failed(format!("the backup is not complete, {why}; nothing of it is of use: try again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(chunks: &[&str]) -> Result<u64, String> {
        let mut check = Check::default();
        chunks.iter().for_each(|chunk| check.take(chunk.as_bytes()).unwrap());
        check.end().map_err(|error| error.to_string())
    }

    fn trailer(lines: &str, records: u64) -> String {
        let sha256: String =
            Sha256::digest(lines).iter().map(|byte| format!("{byte:02x}")).collect();
        format!(r#"{{"end_of_backup":1,"records":{records},"counts":{{}},"sha256":"{sha256}"}}"#)
    }

    #[test]
    fn backup_is_complete_with_its_trailer_only() {
        let lines = "{\"commissaire_backup\":1}\n{\"type\":\"Host\"}\n";
        let whole = format!("{lines}{}\n", trailer(lines, 1));
        assert_eq!(received(&[&whole]), Ok(1));
        let (first, second) = whole.split_at(30);
        assert_eq!(received(&[first, second, ""]), Ok(1));
        for cut in 0..whole.len() - 1 {
            // Its line feed is not needed.
            assert_eq!(received(&[&whole[..cut]]).is_ok(), cut == whole.len() - 1, "{cut}");
        }
        let changed = whole.replace("Host", "Hosts");
        assert!(received(&[&changed]).unwrap_err().contains("checksum"));
        let counted = format!("{lines}{}\n", trailer(lines, 2));
        assert!(received(&[&counted]).unwrap_err().contains("checksum"));
    }
}
