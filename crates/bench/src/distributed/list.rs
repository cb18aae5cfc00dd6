//! `GET /hosts` with very many hosts.

use tokio::time::Instant;

use anyhow::{Context as _, ensure};
use model::Host;

use super::daemons::Daemons;
use super::ground::{Ground, HOSTS};
use super::reader::Reader;
use crate::report::{Bound, Figure, Report, Row};
use crate::stats::Samples;

/// The p50 is at most this many times one bare read of the same records, made into the same JSON.
const LATENCY: f64 = 1.5;

const PATH: &str = "/api/v0/hosts";
const ROUNDS: u32 = 40;
const WARM_UP: u32 = 5;

/// Measures and reports.
///
/// # Errors
/// When it cannot be measured.
pub async fn measure(
    ground: &Ground,
    daemons: &Daemons,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (mut client, mut reader) = (daemons.client().await?, Reader::connect(ground).await?);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut reads = Vec::new();
    let before = daemons.cpu()?;
    for round in 0..WARM_UP + ROUNDS {
        let begun = Instant::now();
        let answer = client.get(PATH).await?;
        let answered = Instant::now();
        let found = reader.hosts(HOSTS).await?;
        let read = answered.elapsed();
        let hosts = found.iter().map(|found| serde_json::from_slice(found.value()));
        let hosts: Vec<Host> = hosts.collect::<Result<_, _>>().context("no hosts in etcd")?;
        let same = serde_json::to_vec(&hosts)?;
        let took = answered.elapsed();
        ensure!(answer == same, "the answer is not what etcd has");
        if round >= WARM_UP {
            ours.push(answered - begun);
            theirs.push(took);
            reads.push(read);
        }
    }
    report.row(Row {
        what: format!("distributed GET hosts, {HOSTS}, p50"),
        ours: Figure::Time(Samples::from_iter(ours).median()),
        bare: Some(Figure::Time(Samples::from_iter(theirs).median())),
        bound: Some(Bound::Ratio(LATENCY)),
    });
    let each = daemons.cpu_each(&before, WARM_UP + ROUNDS)?;
    report.note(format!("processor time of a GET hosts: {each}"));
    report.note(format!(
        "of the bare part of GET hosts the read takes {}",
        Figure::Time(Samples::from_iter(reads).median())
    ));
    Ok(())
}
