//! Backups: JSON lines that hold the records of an installation as they were at one moment.
//!
//! The first line is a [`Header`], then there is a line for the [`KeyFiles`] if they are included, one for each
//! [`Record`], and the last line is a [`Trailer`] with the number of records and the SHA-256 of all lines before it. Credentials
//! are in it as the store has them: sealed.
//!
//! - [`mod@format`][]: the lines
//! - [`writer`][]: writes them, and counts
//! - [`reader`][]: reads and verifies them
//! - [`transform`][]: maps their names, and chooses records
//! - [`key_files`][]: the keys of an installation, encrypted with a passphrase
//!
//! All of it is pure, but for random numbers: it opens no file and knows neither the bus nor the store.

pub mod format;
pub mod key_files;
pub mod reader;
pub mod transform;
pub mod writer;

pub use format::{Counts, FORMAT, Header, Record, StoreMoment, Trailer};
pub use key_files::{KeyFile, KeyFiles};
pub use reader::{Backup, ReadError, Verification};
pub use writer::Writer;
