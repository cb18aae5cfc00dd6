//! Keeping the terminal from writing `^C` into the display.

use std::io::stderr;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// While it lives, control characters are not echoed.
#[derive(Debug)]
pub(super) struct NoEcho(Option<Termios>);

impl NoEcho {
    pub(super) fn begin() -> Self {
        let Ok(before) = tcgetattr(stderr()) else { return Self(None) };
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHOCTL);
        // A terminal that can't do that shows a line too many in the end.
        Self(tcsetattr(stderr(), OptionalActions::Now, &quiet).is_ok().then_some(before))
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // The terminal may be gone.
            let _restored = tcsetattr(stderr(), OptionalActions::Now, before);
        }
    }
}
