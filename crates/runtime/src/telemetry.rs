//! Logs: one set-up for every daemon. See `docs/logging.md` for what is logged at which level.

use std::fs::File;
use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use clap::ValueEnum;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// How a log line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Changes what is logged, later.
#[derive(Debug, Clone)]
pub struct Level(Option<reload::Handle<EnvFilter, Registry>>);

impl Level {
    /// Shows our own debug messages, or not; without effect where `RUST_LOG` decides.
    pub fn set(&self, debug: bool) {
        if let Some(handle) = &self.0
            && let Err(error) = handle.reload(EnvFilter::new(directives(debug)))
        {
            tracing::error!(error = &error as &dyn std::error::Error, "the log level stays");
        }
    }
}

/// Sets up logging to standard error; to be called once, by `main`.
///
/// `debug` shows our own debug messages; the `RUST_LOG` variable, where set, decides alone.
pub fn init(debug: bool, format: LogFormat) -> Level {
    let told = EnvFilter::try_from_default_env();
    let fixed = told.is_ok();
    let filter = told.unwrap_or_else(|_| EnvFilter::new(directives(debug)));
    let (filter, handle) = reload::Layer::new(filter);
    // lapin logs whole messages and kube whole responses, which may hold secrets: no filter shows their log messages. Our
    // own errors say what failed.
    let without_secrets = filter_fn(|metadata| {
        !["lapin", "kube_client"].iter().any(|library| metadata.target().starts_with(library))
    });
    let registry = tracing_subscriber::registry().with(filter).with(without_secrets);
    let colours = std::io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    match (format, is_journal()) {
        (LogFormat::Text, false) => registry.with(layer.with_target(false)).init(),
        (LogFormat::Json, false) => registry.with(layer.json()).init(),
        // The journal has its own time stamps.
        (LogFormat::Text, true) => {
            let layer = layer.with_target(false).without_time();
            registry.with(layer.map_event_format(Prioritized)).init();
        }
        (LogFormat::Json, true) => {
            registry.with(layer.json().map_event_format(Prioritized)).init();
        }
    }
    Level((!fixed).then_some(handle))
}

/// Writes why the process fails to standard error.
pub fn failed(error: &impl std::fmt::Display) {
    let priority = if is_journal() { "<3>" } else { "" };
    eprintln!("{priority}error: {error:#}");
}

/// Whether standard error is systemd's journal.
#[expect(clippy::disallowed_methods, reason = "systemd says it so, and nothing else reads it")]
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let stderr = std::io::stderr().as_fd().try_clone_to_owned();
    let metadata = stderr.and_then(|stderr| File::from(stderr).metadata());
    metadata.is_ok_and(|found| stream == format!("{}:{}", found.dev(), found.ino()))
}

/// Lines that begin with the priority that the journal takes for theirs: `<4>` for a warning.
#[derive(Debug)]
struct Prioritized<F>(F);

impl<F, S, N> FormatEvent<S, N> for Prioritized<F>
where
    F: FormatEvent<S, N>,
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let priority = match *event.metadata().level() {
            tracing::Level::ERROR => 3,
            tracing::Level::WARN => 4,
            tracing::Level::INFO => 6,
            _ => 7,
        };
        write!(writer, "<{priority}>")?;
        self.0.format_event(context, writer, event)
    }
}

fn directives(debug: bool) -> &'static str {
    if debug {
        "info,runtime=debug,bus=debug,storage_client=debug,etcd_access=debug,storage_svc=debug,\
         http_gateway=debug,investigator_svc=debug,clusterexec_svc=debug,containermgr_svc=debug,\
         watcher_svc=debug,host_access=debug,daemons=debug,commissaire=debug"
    } else {
        "info"
    }
}

#[cfg(test)]
mod tests {
    use testbed::log::Text;

    use super::*;

    #[test]
    fn the_journal_gets_the_priority_of_each_line() {
        let text = Text::default();
        let writer = text.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let layer = layer.with_ansi(false).with_target(false).without_time();
        let layer = layer.map_event_format(Prioritized);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::error!("one");
            tracing::warn!("two");
            tracing::info!("three");
            tracing::debug!("four");
        });
        assert_eq!(text.get(), "<3>ERROR one\n<4> WARN two\n<6> INFO three\n<7>DEBUG four\n");
    }
}
