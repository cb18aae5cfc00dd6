//! The terminal that tables are fitted to.

use std::env::var_os;
use std::io::{IsTerminal as _, stdout};

use anstream::{AutoStream, ColorChoice};
use jiff::Timestamp;
use rustix::termios::tcgetwinsize;

use crate::clock::now;

/// The width of a terminal that does not say it.
const WIDTH: usize = 80;

/// The least width that tables are fitted to.
const WIDTH_MIN: usize = 20;

/// The most lines of one value, and the most rows of a table below a record.
const LINES_MAX: usize = 8;
const ROWS_MAX: usize = 20;

/// What the output can show, and how.
#[derive(Debug, Clone)]
pub(crate) struct Screen {
    /// In columns; `None` for any width and number of lines.
    pub(super) width: Option<usize>,
    pub(super) has_colors: bool,
    pub(super) is_utf8: bool,
    /// Whether times are absolute, in UTC.
    pub(super) is_utc: bool,
    pub(super) now: Timestamp,
}

impl Screen {
    /// Standard output.
    pub(crate) fn of_stdout(is_utc: bool) -> Self {
        let is_terminal = stdout().is_terminal();
        let has_colors = is_terminal && AutoStream::choice(&stdout()) != ColorChoice::Never;
        Self { width: Some(width()), has_colors, is_utf8: is_utf8(), is_utc, now: now() }
    }

    /// The same without a limit.
    pub(super) fn unlimited(&self) -> Self {
        Self { width: None, ..self.clone() }
    }

    /// The most lines of one value.
    pub(super) fn lines_max(&self) -> usize {
        if self.width.is_some() { LINES_MAX } else { usize::MAX }
    }

    /// The most rows of a table below a record.
    pub(super) fn rows_max(&self) -> usize {
        if self.width.is_some() { ROWS_MAX } else { usize::MAX }
    }

    /// Stands for the rest of a shortened text; one column wide.
    pub(super) fn ellipsis(&self) -> char {
        if self.is_utf8 { '…' } else { '~' }
    }
}

/// `COLUMNS`, else the width of the terminal.
fn width() -> usize {
    let given = var_os("COLUMNS").and_then(|columns| columns.to_str()?.parse().ok());
    let size = || tcgetwinsize(stdout()).ok().map(|size| usize::from(size.ws_col));
    given.or_else(size).filter(|width| *width > 0).unwrap_or(WIDTH).max(WIDTH_MIN)
}

/// Whether the locale has UTF-8.
fn is_utf8() -> bool {
    let mut set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(var_os);
    let locale = set.find(|value| !value.is_empty()).unwrap_or_default();
    let locale = locale.to_string_lossy().to_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}
