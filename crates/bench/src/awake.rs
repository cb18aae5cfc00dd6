//! Keeps processors out of sleep states during measurements.
//!
//! An idle processor enters a sleep state after about 50 µs, and leaving it takes about as long as a response from memory. If
//! one server responds within that time and the other does not, the ratio of their latencies is not that of the servers.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};

/// While this file is open, Linux uses only sleep states whose exit latency is at most the number of microseconds written to
/// it.
const FILE: &str = "/dev/cpu_dma_latency";

/// No processor enters a sleep state until this is dropped.
#[derive(Debug)]
pub struct Awake(#[expect(dead_code, reason = "kept open")] File);

impl Awake {
    /// Disables sleep states.
    ///
    /// # Errors
    /// If the file cannot be opened: it needs root.
    pub fn keep() -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).open(FILE)?;
        file.write_all(&0_i32.to_ne_bytes())?;
        Ok(Self(file))
    }
}
