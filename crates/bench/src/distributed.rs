//! The six daemons on a broker and an etcd of their own, against what nobody can do without who asks over
//! AMQP for what lies in etcd: a request over AMQP and a read of etcd, each with nothing around it.
//!
//! Bare and with commissaire take turns, with the same client libraries, on the same broker and etcd.
//!
//! - [`ground`][]: the broker, etcd, and the records in it
//! - [`daemons`][]: the six processes
//! - [`requester`][], [`echo`][]: a bare request over AMQP, and the process that answers it
//! - [`reader`][]: bare reads of etcd
//! - [`host`][], [`cluster`][], [`list`][]: what is measured
//! - [`counter`][]: how many requests over the bus a request to the API makes

pub mod cluster;
pub mod counter;
pub mod daemons;
pub mod echo;
pub mod ground;
pub mod host;
pub mod list;
pub mod reader;
pub mod requester;

use std::time::Duration;

use anyhow::Context as _;

use crate::Setup;
use crate::report::{Bound, Figure, Report, Row};
use daemons::Daemons;
use ground::Ground;

/// The daemons together, when idle, with the few hosts of the quickstart.
const MEMORY: u64 = 60_000_000;

/// How long they have had nothing to do when that is looked at.
const IDLE: Duration = Duration::from_secs(10);

/// One request out of this many that `get` sends.
const SHARE: usize = 10;

/// Measures and reports.
///
/// # Errors
/// When it cannot be measured.
pub async fn measure(setup: &Setup, report: &mut Report) -> anyhow::Result<()> {
    let ground = Ground::up().await?;
    let daemons = Daemons::start(setup, &ground).await?;
    let measured = all(setup, &ground, &daemons, report).await;
    measured.with_context(|| format!("the daemons logged:\n{}", daemons.logs()))
}

async fn all(
    setup: &Setup,
    ground: &Ground,
    daemons: &Daemons,
    report: &mut Report,
) -> anyhow::Result<()> {
    let bound = Bound::Most(Figure::Memory(MEMORY));
    memory(daemons, "six daemons, started", Some(bound), report)?;
    host::measure(setup, ground, daemons, report).await?;
    cluster::measure(ground, daemons, report).await?;
    list::measure(ground, daemons, report).await?;
    tokio::time::sleep(IDLE).await;
    memory(daemons, "six daemons, idle after 10,000 hosts", None, report)
}

fn memory(
    daemons: &Daemons,
    what: &str,
    bound: Option<Bound>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let each = daemons.memory()?;
    let ours = Figure::Memory(each.iter().map(|(_, bytes)| bytes).sum());
    report.row(Row { what: what.to_owned(), ours, bare: None, bound });
    let each: Vec<_> =
        each.iter().map(|(name, bytes)| format!("{name} {}", Figure::Memory(*bytes))).collect();
    report.note(format!("{what}: {}", each.join(", ")));
    Ok(())
}
