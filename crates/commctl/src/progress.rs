//! How each host is getting on: a live display on a terminal, plain lines elsewhere.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::output::printable;

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
    /// None where there is no terminal to draw on.
    display: Option<Display>,
}

/// A line with a spinner for each host under way; finished ones move up as plain lines.
#[derive(Debug, Default)]
struct Display {
    area: MultiProgress,
    spinners: RefCell<HashMap<String, ProgressBar>>,
}

impl Default for Progress {
    fn default() -> Self {
        let display = std::io::stderr().is_terminal().then(Display::default);
        Self { shown: RefCell::default(), display }
    }
}

impl Progress {
    /// Shows a step unless it is on display already.
    pub(crate) fn show(&self, step: Step) {
        if self.shown.borrow().get(&step.host) == Some(&step) {
            return;
        }
        match &self.display {
            Some(display) => display.draw(&step),
            None => eprintln!("{}", step.line()),
        }
        self.shown.borrow_mut().insert(step.host.clone(), step);
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
    fn draw(&self, step: &Step) {
        let mut spinners = self.spinners.borrow_mut();
        if step.is_last {
            if let Some(spinner) = spinners.remove(&step.host) {
                spinner.finish_and_clear();
            }
            self.area.suspend(|| eprintln!("{}", step.line()));
            return;
        }
        let area = &self.area;
        let spinner = spinners.entry(step.host.clone()).or_insert_with(|| {
            let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
            let spinner = ProgressBar::new_spinner();
            if let Ok(style) = style {
                spinner.set_style(style);
            }
            let spinner = area.add(spinner);
            spinner.enable_steady_tick(TICK);
            spinner
        });
        spinner.set_message(step.line());
    }
}

impl Drop for Display {
    /// Leaves no half-drawn lines behind.
    fn drop(&mut self) {
        for spinner in self.spinners.borrow().values() {
            spinner.finish_and_clear();
        }
    }
}
