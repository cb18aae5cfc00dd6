//! Processors that stay awake.
//!
//! An idle processor sleeps after some 50 µs, and to wake it takes about as long as an answer from memory. Where one
//! server answers before its client's processor sleeps, and the other one does not, the ratio of their times is that of
//! a server and of an alarm clock.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};

/// Linux lets processors sleep only where waking them takes no longer than the least of what is written here, in
/// microseconds, for as long as the file is open.
const FILE: &str = "/dev/cpu_dma_latency";

/// No processor sleeps until this is dropped.
#[derive(Debug)]
pub struct Awake(#[expect(dead_code, reason = "it is held open")] File);

impl Awake {
    /// Keeps them awake from now on.
    ///
    /// # Errors
    /// When that is not permitted, or not possible here.
    pub fn keep() -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).open(FILE)?;
        file.write_all(&0_i32.to_ne_bytes())?;
        Ok(Self(file))
    }
}
