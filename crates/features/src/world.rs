//! What a scenario knows: the services, and what was answered last.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::api::{Answer, Credentials, send};
use crate::command::{self, Run};
use crate::coverage;
use crate::fleet::{Fleet, Form};

/// How long the services may take for something, and the pause between two looks; in simulated time, hosts may take long.
const SIMULATED: (Duration, Duration) = (Duration::from_hours(4), Duration::from_secs(1));
const REAL: (Duration, Duration) = (Duration::from_mins(15), Duration::from_millis(100));

/// How the services of all scenarios are run.
pub(crate) static FORM: OnceLock<Form> = OnceLock::new();

/// A wrong status code for a request, to see that a scenario notices.
pub(crate) static PLANTED: OnceLock<(String, u16)> = OnceLock::new();

/// A scenario.
#[derive(Debug, cucumber::World)]
#[world(init = Self::new)]
pub(crate) struct World {
    pub(crate) fleet: Fleet,
    /// What is remembered, by its name: `$NAME` in requests and commands.
    remembered: BTreeMap<String, String>,
    /// What the next request is sent with besides.
    pub(crate) headers: Vec<(String, String)>,
    answer: Option<Answer>,
    run: Option<Run>,
    urls: Vec<String>,
    requests: usize,
}

impl World {
    async fn new() -> Self {
        Self {
            fleet: Fleet::start(FORM.get().copied().unwrap_or_default()).await,
            remembered: BTreeMap::new(),
            headers: Vec::new(),
            answer: None,
            run: None,
            urls: Vec::new(),
            requests: 0,
        }
    }

    /// Replaces `$NAME` by what is remembered.
    pub(crate) fn fill_in(&self, text: &str) -> String {
        // The longest names first: one may begin with another.
        let mut names: Vec<_> = self.remembered.iter().collect();
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        names
            .into_iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value))
    }

    pub(crate) fn remember(&mut self, name: &str, value: String) {
        self.remembered.insert(name.to_owned(), value);
    }

    /// Sends a request to the next gateway. Paths without a version are below `/api/v0`.
    pub(crate) async fn request(
        &mut self,
        credentials: &Credentials,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> &Answer {
        let path = self.fill_in(path);
        let path = match path.split('/').nth(1) {
            Some("api" | "healthz" | "readyz" | "metrics" | "docs") => path,
            _ => format!("/api/v0{path}"),
        };
        let body = body.map(|body| self.fleet.to_hosts(&self.fill_in(body)));
        coverage::requested(method, &path);
        let gateways = self.fleet.gateways();
        let gateway = gateways[self.requests % gateways.len()].clone();
        self.requests += 1;
        let headers = std::mem::take(&mut self.headers);
        let headers: Vec<_> =
            headers.into_iter().map(|(name, value)| (name, self.fill_in(&value))).collect();
        let at = self.fleet.to_hosts(&path);
        let mut answer = send(gateway, credentials, (method, &at), &headers, body.as_deref()).await;
        answer.translate(&self.fleet);
        if let Some((planted, status)) = PLANTED.get()
            && *planted == format!("{method} {path}")
        {
            answer.status = *status;
        }
        self.answer.insert(answer)
    }

    /// The same as an administrator.
    pub(crate) async fn ask(&mut self, method: &str, path: &str, body: Option<&str>) -> &Answer {
        self.request(&Credentials::User("admin".to_owned()), method, path, body).await
    }

    /// What was answered last.
    pub(crate) fn answer(&self) -> &Answer {
        self.answer.as_ref().expect("nothing was requested")
    }

    /// Runs `commctl` as a user.
    pub(crate) async fn run(&mut self, user: &str, line: &str, input: Option<&str>) {
        let line = self.fill_in(line);
        coverage::ran(&line);
        if self.urls.is_empty() {
            self.urls = self.fleet.listen().await;
        }
        let home = self.home(user);
        if !home.exists() {
            command::configure(&home, &self.urls, user);
        }
        let input = input.map(|input| self.fleet.to_hosts(&self.fill_in(input)));
        let mut run = command::run(&home, &self.fleet.to_hosts(&line), input).await;
        run.stdout = self.fleet.to_scenario(run.stdout);
        run.stderr = self.fleet.to_scenario(run.stderr);
        self.run = Some(run);
    }

    /// The home directory of a user.
    pub(crate) fn home(&self, user: &str) -> PathBuf {
        self.fleet.folder().join(user)
    }

    /// What became of the last command.
    pub(crate) fn last_run(&self) -> &Run {
        self.run.as_ref().expect("no command was run")
    }

    /// Reads a resource until it is as expected.
    pub(crate) async fn until(&mut self, path: &str, is_expected: impl Fn(&Value) -> bool) {
        let (hang, pause) = if FORM.get() == Some(&Form::Real) { REAL } else { SIMULATED };
        let begun = Instant::now();
        loop {
            let answer = self.ask("GET", path, None).await;
            if answer.status < 300 && is_expected(&answer.body) {
                return;
            }
            assert!(begun.elapsed() < hang, "{path} stays {} {}", answer.status, answer.text);
            sleep(pause).await;
        }
    }
}
