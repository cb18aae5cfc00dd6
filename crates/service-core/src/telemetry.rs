//! Logs: one set-up for every daemon. See `docs/logging.md` for what is logged at which level.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
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
    // lapin logs whole messages when they come back, and messages hold secrets: whatever is asked for, it
    // is not heard. What matters of it the bus itself tells.
    let without_lapin = filter_fn(|metadata| !metadata.target().starts_with("lapin"));
    let registry = tracing_subscriber::registry().with(filter).with(without_lapin);
    let colours = std::io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    match format {
        LogFormat::Text => registry.with(layer.with_target(false)).init(),
        LogFormat::Json => registry.with(layer.json()).init(),
    }
    Level((!fixed).then_some(handle))
}

fn directives(debug: bool) -> &'static str {
    if debug {
        "info,service_core=debug,storage_svc=debug,http_gateway=debug,investigator_svc=debug,\
         clusterexec_svc=debug,containermgr_svc=debug,watcher_svc=debug,host_access=debug,\
         daemons=debug,commissaire=debug"
    } else {
        "info"
    }
}
