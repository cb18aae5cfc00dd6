//! `GET /cluster/X` with many members.

use tokio::time::Instant;

use anyhow::ensure;

use super::counter::Counter;
use super::daemons::Daemons;
use super::ground::{CLUSTER, Ground, MEMBERS};
use super::reader::Reader;
use crate::report::{Bound, Figure, Report, Row};
use crate::stats::Samples;

/// At most so many requests over the bus.
const REQUESTS: u32 = 3;

/// The p50 is at most this many times two bare reads of as many hosts.
const LATENCY: f64 = 2.0;

const ROUNDS: usize = 200;
const WARM_UP: usize = 20;

/// The id of the request of which the requests over the bus are counted.
const COUNTED: &str = "bench-counted";

/// Measures and reports.
///
/// # Errors
/// When it cannot be measured.
pub async fn measure(
    ground: &Ground,
    daemons: &Daemons,
    report: &mut Report,
) -> anyhow::Result<()> {
    let path = format!("/api/v0/cluster/{CLUSTER}");
    let (mut client, mut reader) = (daemons.client().await?, Reader::connect(ground).await?);
    let cluster = client.get_json(&path).await?;
    ensure!(cluster["hosts"]["available"] == MEMBERS, "not all members are there: {cluster}");

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..WARM_UP + ROUNDS {
        let begun = Instant::now();
        client.get(&path).await?;
        let answered = Instant::now();
        for _ in 0..2 {
            reader.hosts(MEMBERS).await?;
        }
        let read = Instant::now();
        if round >= WARM_UP {
            ours.push(answered - begun);
            theirs.push(read - answered);
        }
    }
    report.row(Row {
        what: format!("distributed GET cluster of {MEMBERS}, p50"),
        ours: Figure::Time(Samples::from_iter(ours).median()),
        bare: Some(Figure::Time(Samples::from_iter(theirs).median())),
        bound: Some(Bound::Ratio(LATENCY)),
    });

    let mut counter = Counter::start(&ground.broker.uri()).await?;
    client.identify(COUNTED);
    client.get(&path).await?;
    let count = counter.count(COUNTED).await?;
    ensure!(count > 0, "the requests over the bus do not say what they are part of");
    report.row(Row {
        what: "the same, requests over the bus".to_owned(),
        ours: Figure::Count(count),
        bare: None,
        bound: Some(Bound::Most(Figure::Count(REQUESTS))),
    });
    Ok(())
}
