//! From exec until the first answer.

use std::time::Duration;

use anyhow::Context as _;

use crate::Setup;
use crate::get::{NOWHERE, host_from_nowhere};
use crate::process::{Commissaire, READY, Server};
use crate::report::{Bound, Figure, Report, Row};
use crate::stats::Samples;

/// From exec until it is ready, on a data directory that exists.
const BOUND: Duration = Duration::from_millis(200);

/// How often it is started, and the bare server as often, in turns.
const ROUNDS: usize = 15;

/// First starts: each makes a data directory.
const FIRST_STARTS: usize = 3;

/// A path that needs somebody who is known.
const AUTHENTICATED: &str = "/api/v0/hosts";

/// Measures and reports.
///
/// # Errors
/// When it cannot be measured.
pub async fn measure(setup: &Setup, report: &mut Report) -> anyhow::Result<()> {
    let mut first = Vec::new();
    for number in 0..FIRST_STARTS {
        let mut commissaire = Commissaire::start(setup, &format!("first-{number}"))?;
        first.push(commissaire.server.first_200(READY, None).await?);
    }
    let data = "first-0";
    let authorization = {
        let commissaire = Commissaire::ready(setup, data).await?;
        let body = host_from_nowhere(&mut commissaire.client().await?, NOWHERE).await?;
        std::fs::write(setup.folder.path().join("host.json"), body)
            .context("cannot write the answer down")?;
        commissaire.authorization()?
    };

    let (mut ready, mut bare, mut authenticated) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ready.push(Commissaire::start(setup, data)?.server.first_200(READY, None).await?);
        let body = setup.folder.path().join("host.json");
        bare.push(Server::bare(setup, &body)?.first_200(NOWHERE, None).await?);
        let mut commissaire = Commissaire::start(setup, data)?;
        let answered = commissaire.server.first_200(AUTHENTICATED, Some(&authorization));
        authenticated.push(answered.await?);
    }
    let (ready, bare) = (Samples::from_iter(ready), Samples::from_iter(bare));
    let median = |times: Vec<_>| Figure::Time(Samples::from_iter(times).median());
    report.row(Row {
        what: format!("start until {READY} is 200"),
        ours: Figure::Time(ready.median()),
        bare: Some(Figure::Time(bare.median())),
        bound: Some(Bound::Most(Figure::Time(BOUND))),
    });
    report.row(Row {
        what: "start until GET hosts is 200".to_owned(),
        ours: median(authenticated),
        bare: Some(Figure::Time(bare.median())),
        bound: None,
    });
    report.row(Row {
        what: format!("first start until {READY} is 200"),
        ours: median(first),
        bare: None,
        bound: None,
    });
    report.note(format!(
        "the slowest of {} starts took {}",
        ready.len(),
        Figure::Time(ready.max())
    ));
    Ok(())
}
