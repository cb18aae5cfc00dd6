//! What a password costs: `GET` of a host with HTTP Basic, its hash of bcrypt's cost 12, against a `GET`
//! of such a host on a path that nobody has to authenticate for.

use anyhow::bail;
use serde_json::json;

use crate::Setup;
use crate::client::Client;
use crate::get::{Asked, NOWHERE, host_from_nowhere, latencies};
use crate::process::Commissaire;
use crate::report::{Bound, Figure, Report, Row};

/// The p50 is at most this many times the open one's.
const BOUND: f64 = 1.1;

/// A second host that exists in the store only, whose path is open.
const OPEN: &str = "/api/v0/host/127.0.0.3";

/// Measures and reports.
///
/// # Errors
/// When it cannot be measured.
pub async fn measure(setup: &Setup, report: &mut Report) -> anyhow::Result<()> {
    let config = json!({"self-auths": [OPEN]});
    let commissaire = Commissaire::ready_with(setup, "auth", &config, &[]).await?;
    if !commissaire.users()?.contains("$2b$12$") {
        bail!("the administrator's hash is not of cost 12");
    }
    let mut known = commissaire.client().await?;
    let hosts =
        [host_from_nowhere(&mut known, NOWHERE).await?, host_from_nowhere(&mut known, OPEN).await?];
    let mut nobody = Client::connect(commissaire.server.address, None).await?;
    // Without a password the one is closed and the other open: it is that what is measured.
    if nobody.get(NOWHERE).await.is_ok() {
        bail!("{NOWHERE} is open to everybody");
    }
    let [ours, open] = hosts;
    let asked = [
        Asked { client: &mut known, path: NOWHERE, expected: &ours },
        Asked { client: &mut nobody, path: OPEN, expected: &open },
    ];
    let [ours, open] = latencies(setup.requests, asked).await?;
    for (what, percent, bound) in [("p50", 50, Some(Bound::Ratio(BOUND))), ("p99", 99, None)] {
        report.row(Row {
            what: format!("GET host, with a password, {what}"),
            ours: Figure::Time(ours.percentile(percent)),
            bare: Some(Figure::Time(open.percentile(percent))),
            bound,
        });
    }
    Ok(())
}
