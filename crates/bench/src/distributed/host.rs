//! `GET /host/X`, one at a time and many at a time.

use tokio::time::Instant;

use anyhow::ensure;

use super::SHARE;
use super::daemons::Daemons;
use super::ground::{self, Ground};
use super::reader::Reader;
use super::requester::Requester;
use crate::Setup;
use crate::get::{TURN, busy_turn};
use crate::report::{Bound, Figure, Report, Row};
use crate::stats::Samples;

/// The p50 is at most this many times a bare request over AMQP plus a bare read of etcd.
const LATENCY: f64 = 1.5;

/// With many connections at least this many times what comes of as many bare requests over AMQP.
const THROUGHPUT: f64 = 0.6;

/// As many as are asked at a time.
const CONNECTIONS: usize = 64;

/// How many turns of the throughput each gets.
const TURNS: u32 = 6;

/// Requests that are not counted.
const WARM_UP: usize = 300;

const PATH: &str = "/api/v0/host/10.100.100.0";

/// Measures and reports.
///
/// # Errors
/// When it cannot be measured.
pub async fn measure(
    setup: &Setup,
    ground: &Ground,
    daemons: &Daemons,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut bare = Bare {
        requester: Requester::start(setup, &ground.broker.uri()).await?,
        reader: Reader::connect(ground).await?,
        body: daemons.client().await?.get(PATH).await?.to_vec(),
    };
    latency(setup.requests / SHARE, daemons, &mut bare, report).await?;
    throughput(daemons, &bare, report).await
}

struct Bare {
    requester: Requester,
    reader: Reader,
    /// Of the size of a real one.
    body: Vec<u8>,
}

/// One of each in turns.
async fn latency(
    requests: usize,
    daemons: &Daemons,
    bare: &mut Bare,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut client = daemons.client().await?;
    let (mut ours, mut amqp, mut etcd) = (Vec::new(), Vec::new(), Vec::new());
    for request in 0..WARM_UP + requests.max(1) {
        let begun = Instant::now();
        client.get(PATH).await?;
        let answered = Instant::now();
        let echo = bare.requester.request(&bare.body).await?;
        let echoed = Instant::now();
        bare.reader.host(0).await?;
        let read = Instant::now();
        ensure!(echo == bare.body, "the echo is something else");
        if request >= WARM_UP {
            ours.push(answered - begun);
            amqp.push(echoed - answered);
            etcd.push(read - echoed);
        }
    }
    let [ours, amqp, etcd] = [ours, amqp, etcd].map(Samples::from_iter);
    for (what, percent, bound) in [("p50", 50, Some(Bound::Ratio(LATENCY))), ("p99", 99, None)] {
        let [ours, amqp, etcd] = [&ours, &amqp, &etcd].map(|times| times.percentile(percent));
        report.row(Row {
            what: format!("distributed GET host, {what}"),
            ours: Figure::Time(ours),
            bare: Some(Figure::Time(amqp + etcd)),
            bound,
        });
    }
    report.note(format!(
        "a bare request over AMQP takes {}, a bare read of etcd {}",
        Figure::Time(amqp.median()),
        Figure::Time(etcd.median())
    ));
    Ok(())
}

async fn throughput(daemons: &Daemons, bare: &Bare, report: &mut Report) -> anyhow::Result<()> {
    let (mut ours, mut theirs) = (0, 0);
    let before = daemons.cpu()?;
    for _ in 0..TURNS {
        ours += busy_turn(daemons.address, &daemons.authorization, PATH, CONNECTIONS).await?;
        theirs += bare.requester.busy_turn(&bare.body, CONNECTIONS, TURN).await?;
    }
    report.note(format!("processor time of a request: {}", daemons.cpu_each(&before, ours)?));
    let rate = |answers: u32| Figure::Rate(f64::from(answers) / (TURN * TURNS).as_secs_f64());
    report.row(Row {
        what: format!("distributed GET host, {CONNECTIONS} at a time"),
        ours: rate(ours),
        bare: Some(rate(theirs)),
        bound: Some(Bound::LeastRatio(THROUGHPUT)),
    });
    debug_assert_eq!(PATH.rsplit('/').next(), Some(ground::address(0).as_str()));
    Ok(())
}
