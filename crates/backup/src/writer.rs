//! Writes backups.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::format::{Counts, FORMAT, Header, Keys, Record, Trailer};
use crate::reader::Backup;

/// Writes the lines of a backup, counts its records, and computes its checksum.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    sha256: Sha256,
    records: u64,
    counts: Counts,
}

impl<W: Write> Writer<W> {
    /// Begins a backup.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn begin(output: W, header: &Header) -> io::Result<Self> {
        let (sha256, counts) = (Sha256::new(), Counts::default());
        let mut writer = Self { output, sha256, records: 0, counts };
        writer.line(header)?;
        Ok(writer)
    }

    /// Writes the encrypted key files.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn keys(&mut self, armored: String) -> io::Result<()> {
        self.line(&Keys { keys: armored })
    }

    /// Writes a record.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn record(&mut self, record: &Record) -> io::Result<()> {
        self.line(record)?;
        self.records += 1;
        match self.counts.get_mut(&record.kind) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(record.kind.clone(), 1)),
        }
        Ok(())
    }

    /// Writes the trailer; returns it and the output.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn end(self) -> io::Result<(Trailer, W)> {
        let Self { mut output, sha256, records, counts } = self;
        let trailer = Trailer { end_of_backup: FORMAT, records, counts, sha256: hex(sha256) };
        serde_json::to_writer(&mut output, &trailer)?;
        output.write_all(b"\n")?;
        output.flush()?;
        Ok((trailer, output))
    }

    /// What has been written; to be emptied by a caller that sends it in parts.
    pub fn output(&mut self) -> &mut W {
        &mut self.output
    }

    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.sha256.update(&text);
        self.output.write_all(&text)
    }
}

impl Backup {
    /// Sets the counts of the header to those of the records.
    pub fn count(&mut self) {
        let mut counts = Counts::new();
        for record in &self.records {
            *counts.entry(record.kind.clone()).or_default() += 1;
        }
        self.header.records = counts.values().sum();
        self.header.counts = counts;
    }

    /// Writes the backup, with a new trailer.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn write<W: Write>(&self, output: W) -> io::Result<(Trailer, W)> {
        let mut writer = Writer::begin(output, &self.header)?;
        if let Some(keys) = &self.keys {
            writer.keys(keys.clone())?;
        }
        for record in &self.records {
            writer.record(record)?;
        }
        writer.end()
    }
}

/// A checksum in hexadecimal digits.
pub(crate) fn hex(sha256: Sha256) -> String {
    sha256.finalize().iter().fold(String::new(), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
