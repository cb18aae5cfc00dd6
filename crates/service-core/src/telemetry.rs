//! Logs: one set-up for every daemon. See `docs/logging.md` for what is logged at which level.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How a log line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Sets up logging to standard error; to be called once, by `main`.
///
/// `debug` shows our own debug messages; the `RUST_LOG` variable, where set, decides alone.
pub fn init(debug: bool, format: LogFormat) {
    let ours = if debug {
        "info,service_core=debug,storage_svc=debug,http_gateway=debug,\
        investigator_svc=debug,clusterexec_svc=debug,host_access=debug,commissaire=debug"
    } else {
        "info"
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(ours));
    let registry = tracing_subscriber::registry().with(filter);
    let colours = std::io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    match format {
        LogFormat::Text => registry.with(layer.with_target(false)).init(),
        LogFormat::Json => registry.with(layer.json()).init(),
    }
}
