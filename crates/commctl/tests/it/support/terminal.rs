//! A terminal with a person at it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use tokio::time::Instant;

use super::HANG;

const ROWS: NonZero<u16> = NonZero::new(24).unwrap();
const COLUMNS: NonZero<u16> = NonZero::new(100).unwrap();

/// commctl in a terminal of its own.
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    seen: Arc<Mutex<Seen>>,
    /// Ends when nobody has the terminal open any more.
    reader: Option<JoinHandle<()>>,
}

/// What came, and what the screen makes of it.
struct Seen {
    bytes: Vec<u8>,
    screen: vt100::Parser,
}

impl Terminal {
    /// Runs it in this home.
    pub(crate) fn run(home: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let size =
            Winsize { ws_row: ROWS.get(), ws_col: COLUMNS.get(), ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&ours, size).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = File::from(rustix::fs::open(name.as_c_str(), flags, Mode::empty()).unwrap());
        // It leads a session whose terminal this is: Ctrl-C goes to it, and /dev/tty is ours.
        let child = Command::new("setsid")
            .arg("--ctty")
            .arg(env!("CARGO_BIN_EXE_commctl"))
            .args(arguments)
            .env_clear()
            .env("HOME", home)
            .env("TERM", "xterm-256color")
            .envs(environment.iter().copied())
            .current_dir(home)
            .stdin(Stdio::from(theirs.try_clone().unwrap()))
            .stdout(Stdio::from(theirs.try_clone().unwrap()))
            .stderr(Stdio::from(theirs))
            .spawn()
            .unwrap();
        let screen = vt100::Parser::new(ROWS, COLUMNS, 0);
        let seen = Arc::new(Mutex::new(Seen { bytes: Vec::new(), screen }));
        let (keyboard, watched) = (File::from(ours), Arc::clone(&seen));
        let mut output = keyboard.try_clone().unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It ends with an error when the last one who had the terminal open is gone.
            while let Ok(count) = output.read(&mut bytes) {
                let mut seen = watched.lock().unwrap();
                seen.bytes.extend(&bytes[..count]);
                seen.screen.process(&bytes[..count]);
            }
        });
        Self { child, keyboard, seen, reader: Some(reader) }
    }

    pub(crate) fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn presses_ctrl_c(&mut self) {
        self.types("\u{3}");
    }

    /// The process: setsid has become it.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What stands on the screen.
    pub(crate) fn screen(&self) -> String {
        let text = self.seen.lock().unwrap().screen.screen().contents();
        text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
    }

    /// All that was ever written.
    pub(crate) fn written(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap().bytes).into_owned()
    }

    /// Waits until the screen shows all of these.
    #[track_caller]
    pub(crate) fn shows(&self, wanted: &[&str]) {
        self.waits(|screen| wanted.iter().all(|text| screen.contains(text)), wanted);
    }

    /// Waits for this question, and until what is typed is not shown.
    #[track_caller]
    pub(crate) fn asks_for_a_secret(&self, question: &str) {
        let is_hidden = || {
            let modes = tcgetattr(&self.keyboard).unwrap().local_modes;
            !modes.contains(LocalModes::ECHO)
        };
        self.waits(|screen| screen.contains(question) && is_hidden(), &[question]);
    }

    #[track_caller]
    fn waits(&self, found: impl Fn(&str) -> bool, wanted: &[&str]) {
        let begin = Instant::now();
        while !found(&self.screen()) {
            let late = begin.elapsed() > HANG;
            assert!(!late, "no {wanted:?} on the screen:\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its exit status and the last screen.
    pub(crate) fn ends(&mut self) -> (i32, String) {
        let status = self.child.wait().unwrap().code().unwrap_or(-1);
        // What it wrote last may still be on its way.
        self.reader.take().map(JoinHandle::join).transpose().unwrap();
        (status, self.screen())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}
