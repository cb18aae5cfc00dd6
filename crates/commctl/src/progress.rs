//! How each host is getting on: a live display on a terminal, plain lines elsewhere.

mod echo;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use self::echo::NoEcho;
use crate::text::printable;

const TICK: Duration = Duration::from_millis(100);

/// Where a host stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    host: String,
    state: String,
    is_last: bool,
}

impl Step {
    /// More will follow.
    pub(crate) fn under_way(host: String, state: String) -> Self {
        Self { host, state, is_last: false }
    }

    /// Nothing more will happen to this host.
    pub(crate) fn last(host: String, state: String) -> Self {
        Self { host, state, is_last: true }
    }

    fn line(&self) -> String {
        format!("{} {}", printable(&self.host), printable(&self.state))
    }
}

/// What has been shown so far.
#[derive(Debug)]
pub(crate) struct Progress {
    shown: RefCell<HashMap<String, Step>>,
    /// How many hosts it is about, where that is known.
    total: Cell<Option<usize>>,
    /// None where there is no terminal to draw on.
    display: Option<Display>,
}

/// A line with a spinner for each host under way and one for the whole, below finished hosts, which
/// have moved up as plain lines.
#[derive(Debug)]
struct Display {
    _echo: NoEcho,
    area: MultiProgress,
    spinners: RefCell<HashMap<String, ProgressBar>>,
    whole: RefCell<Option<ProgressBar>>,
}

impl Default for Progress {
    fn default() -> Self {
        let display = std::io::stderr().is_terminal().then(Display::new);
        Self { shown: RefCell::default(), total: Cell::default(), display }
    }
}

impl Progress {
    /// Shows how many of so many hosts are done, too.
    pub(crate) fn expect(&self, hosts: usize) {
        self.total.set(Some(hosts));
        if let Some(display) = &self.display {
            display.expect(hosts);
        }
    }

    /// Shows a step unless it is on display already.
    pub(crate) fn show(&self, step: Step) {
        if self.shown.borrow().get(&step.host) == Some(&step) {
            return;
        }
        let mut shown = self.shown.borrow_mut();
        let others = shown.values().filter(|other| other.is_last && other.host != step.host);
        let done = others.count() + usize::from(step.is_last);
        match &self.display {
            Some(display) => display.draw(&step, done),
            None => eprintln!("{}", self.plain(&step, done)),
        }
        shown.insert(step.host.clone(), step);
    }

    fn plain(&self, step: &Step, done: usize) -> String {
        match self.total.get() {
            Some(total) if step.is_last => format!("{} ({done} of {total})", step.line()),
            _ => step.line(),
        }
    }

    /// Says something that is not about one host.
    pub(crate) fn note(&self, text: &str) {
        match &self.display {
            Some(display) => display.area.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }
}

impl Display {
    fn new() -> Self {
        let area = MultiProgress::new();
        let (spinners, whole) = (RefCell::default(), RefCell::default());
        Self { _echo: NoEcho::begin(), area, spinners, whole }
    }

    fn expect(&self, hosts: usize) {
        let mut whole = self.whole.borrow_mut();
        let whole = whole.get_or_insert_with(|| {
            let bar = ProgressBar::new(0);
            ticking(self.area.add(bar), "[{bar:20}] {pos} of {len} hosts ({elapsed})")
        });
        whole.set_length(hosts.try_into().unwrap_or(u64::MAX));
    }

    fn draw(&self, step: &Step, done: usize) {
        if let Some(whole) = &*self.whole.borrow() {
            whole.set_position(done.try_into().unwrap_or(u64::MAX));
        }
        let mut spinners = self.spinners.borrow_mut();
        if step.is_last {
            if let Some(spinner) = spinners.remove(&step.host) {
                spinner.finish_and_clear();
                self.area.remove(&spinner);
            }
            self.area.suspend(|| eprintln!("{}", step.line()));
            return;
        }
        let spinner = spinners.entry(step.host.clone()).or_insert_with(|| {
            let spinner = ProgressBar::new_spinner();
            let spinner = match &*self.whole.borrow() {
                Some(whole) => self.area.insert_before(whole, spinner),
                None => self.area.add(spinner),
            };
            ticking(spinner, "{spinner} {msg} ({elapsed})")
        });
        spinner.set_message(step.line());
    }
}

fn ticking(bar: ProgressBar, template: &str) -> ProgressBar {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(TICK);
    bar
}

impl Drop for Display {
    /// Leaves no half-drawn lines behind.
    fn drop(&mut self) {
        for bar in self.spinners.borrow().values().chain(&*self.whole.borrow()) {
            bar.finish_and_clear();
        }
    }
}
