//! Reads and verifies backups.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read as _};

use model::RECORD_FORMAT;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::format::{Counts, FORMAT, Header, Keys, Record, Trailer};
use crate::writer::hex;

/// The longest line, in bytes: several times the largest record that etcd stores.
const LINE_MAX: u64 = 16 << 20;

/// Why a backup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The input cannot be read.
    #[error("cannot read the backup")]
    Read(#[source] io::Error),
    /// It does not begin with a header.
    #[error("this is not a backup of Commissaire: its first line is not the header")]
    NotABackup,
    /// It was written by a later version.
    #[error(
        "the backup has {what} {found}, and this version knows {known}: use version {version} or a later one"
    )]
    Later {
        /// The format that is not known.
        what: &'static str,
        /// The one of the backup.
        found: u32,
        /// The newest that is known.
        known: u32,
        /// The version that wrote the backup.
        version: String,
    },
    /// A line is longer than 16 MiB.
    #[error("line {0} of the backup is longer than {LINE_MAX} bytes")]
    LongLine(u64),
    /// A line is not one of a backup.
    #[error("line {line} of the backup is damaged")]
    Line {
        /// Its number.
        line: u64,
        /// Why.
        source: serde_json::Error,
    },
    /// A key is there twice.
    #[error("line {line} of the backup repeats the record {key}")]
    Repeated {
        /// Its number.
        line: u64,
        /// The key.
        key: String,
    },
    /// The trailer is missing.
    #[error(
        "the backup ends before its trailer: it was cut off, or its last line was removed{RESEAL}"
    )]
    CutOff,
    /// Something follows the trailer.
    #[error("line {0} of the backup comes after its trailer: nothing may follow it")]
    AfterEnd(u64),
    /// The records are not as many as the header or the trailer says.
    #[error("the backup holds {found} records, and its {place} says {stated}{RESEAL}")]
    Count {
        /// Where the number is stated.
        place: &'static str,
        /// The number there.
        stated: u64,
        /// The number that there are.
        found: u64,
    },
    /// The trailer is one of another format than the header.
    #[error("the backup has the format {header}, and its trailer says {trailer}{RESEAL}")]
    Format {
        /// That of the header.
        header: u32,
        /// That of the trailer.
        trailer: u32,
    },
    /// The checksum is not the one of the lines.
    #[error(
        "the backup was changed or damaged: its SHA-256 is {found}, and its trailer says {stated}{RESEAL}"
    )]
    Checksum {
        /// That of the trailer.
        stated: String,
        /// That of the lines.
        found: String,
    },
}

/// What to do about a file that was edited on purpose.
const RESEAL: &str = ". If it was edited on purpose, compute its trailer again with \
                      `commissaire transform --reseal`; else use another backup";

/// Whether the counts and the checksum are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// They are.
    Full,
    /// The lines were edited on purpose: counts, checksum and trailer are ignored.
    EditedLines,
}

/// A backup.
#[derive(Debug, Clone)]
pub struct Backup {
    /// The header.
    pub header: Header,
    /// The key files, encrypted ([`crate::KeyFiles`]).
    pub keys: Option<String>,
    /// The records, in the order of the lines.
    pub records: Vec<Record>,
    /// The checksum; empty when it was not verified.
    pub sha256: String,
}

/// A line after the header.
enum Line {
    Record(Record),
    Keys(Keys),
    Trailer(Trailer),
}

impl Backup {
    /// Reads a backup to its end.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(mut input: impl BufRead, verification: Verification) -> Result<Self, ReadError> {
        let mut lines = Lines { input: &mut input, number: 0, sha256: Sha256::new() };
        let header = lines.header()?;
        let mut backup = Self { header, keys: None, records: Vec::new(), sha256: String::new() };
        let (mut keys, mut counts) = (BTreeSet::new(), Counts::default());
        let trailer = loop {
            let before = lines.sha256.clone();
            let Some(text) = lines.next()? else {
                if verification == Verification::EditedLines {
                    return Ok(backup);
                }
                return Err(ReadError::CutOff);
            };
            let line = lines.number;
            match parse(&text, line)? {
                Line::Record(record) => {
                    if !keys.insert(record.key.clone()) {
                        return Err(ReadError::Repeated { line, key: record.key });
                    }
                    *counts.entry(record.kind.clone()).or_default() += 1;
                    backup.records.push(record);
                }
                Line::Keys(Keys { keys }) => backup.keys = Some(keys),
                Line::Trailer(trailer) => {
                    backup.sha256 = hex(before);
                    break trailer;
                }
            }
        };
        if lines.next()?.is_some() {
            return Err(ReadError::AfterEnd(lines.number));
        }
        if verification == Verification::EditedLines {
            backup.sha256.clear();
            return Ok(backup);
        }
        backup.verify(&trailer, &counts)?;
        Ok(backup)
    }

    fn verify(&self, trailer: &Trailer, counts: &Counts) -> Result<(), ReadError> {
        let (header, end) = (self.header.commissaire_backup, trailer.end_of_backup);
        if header != end {
            return Err(ReadError::Format { header, trailer: end });
        }
        let found = u64::try_from(self.records.len()).unwrap_or(u64::MAX);
        for (place, records, stated) in [
            ("header", self.header.records, &self.header.counts),
            ("trailer", trailer.records, &trailer.counts),
        ] {
            if records != found || stated != counts {
                return Err(ReadError::Count { place, stated: records, found });
            }
        }
        if trailer.sha256 != self.sha256 {
            let (stated, found) = (trailer.sha256.clone(), self.sha256.clone());
            return Err(ReadError::Checksum { stated, found });
        }
        Ok(())
    }
}

fn parse(text: &str, line: u64) -> Result<Line, ReadError> {
    let damaged = |source| ReadError::Line { line, source };
    if text.starts_with(r#"{"end_of_backup""#) {
        return serde_json::from_str(text).map(Line::Trailer).map_err(damaged);
    }
    if text.starts_with(r#"{"keys""#) {
        return serde_json::from_str(text).map(Line::Keys).map_err(damaged);
    }
    serde_json::from_str(text).map(Line::Record).map_err(damaged)
}

/// The lines of the input.
struct Lines<'a, R> {
    input: &'a mut R,
    /// The number of the last one that was read.
    number: u64,
    /// Of all that were read.
    sha256: Sha256,
}

impl<R: BufRead> Lines<'_, R> {
    /// The next line that is not empty; `None` at the end.
    fn next(&mut self) -> Result<Option<String>, ReadError> {
        loop {
            let mut text = String::new();
            self.number += 1;
            let mut line = self.input.by_ref().take(LINE_MAX + 1);
            line.read_line(&mut text).map_err(ReadError::Read)?;
            if text.len() as u64 > LINE_MAX {
                return Err(ReadError::LongLine(self.number));
            }
            self.sha256.update(text.as_bytes());
            if text.is_empty() {
                return Ok(None);
            }
            if !text.trim().is_empty() {
                return Ok(Some(text));
            }
        }
    }

    fn header(&mut self) -> Result<Header, ReadError> {
        #[derive(Deserialize)]
        struct Formats {
            commissaire_backup: u32,
            #[serde(default)]
            record_format: u32,
            #[serde(default)]
            version: String,
        }
        let text = match self.next() {
            Ok(Some(text)) => text,
            // A binary file, for example.
            Err(ReadError::Read(error)) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(ReadError::NotABackup);
            }
            Ok(None) | Err(ReadError::LongLine(_)) => return Err(ReadError::NotABackup),
            Err(error) => return Err(error),
        };
        let formats: Formats = serde_json::from_str(&text).map_err(|_| ReadError::NotABackup)?;
        let Formats { commissaire_backup, record_format, version } = formats;
        for (what, found, known) in [
            ("the format", commissaire_backup, FORMAT),
            ("records of the format", record_format, RECORD_FORMAT),
        ] {
            if found > known {
                return Err(ReadError::Later { what, found, known, version });
            }
        }
        serde_json::from_str(&text).map_err(|source| ReadError::Line { line: self.number, source })
    }
}
