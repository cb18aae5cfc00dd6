//! What TLS costs on a connection that stays: `GET` of a host, against the same in clear.

use serde_json::json;

use crate::Setup;
use crate::get::{Asked, NOWHERE, host_from_nowhere, latencies};
use crate::process::Commissaire;
use crate::report::{Bound, Figure, Report, Row};

/// The p50 is at most this many times that in clear.
const BOUND: f64 = 1.2;

/// Measures and reports.
///
/// # Errors
/// When it cannot be measured.
pub async fn measure(setup: &Setup, report: &mut Report) -> anyhow::Result<()> {
    let plain = Commissaire::ready(setup, "plain").await?;
    let mut tls = Commissaire::start_with(setup, "tls", &json!({}), &["--tls"])?;
    let mut secret = tls.tls_client().await?;
    let encrypted = host_from_nowhere(&mut secret, NOWHERE).await?;
    // The server closes a connection without a first request after ten seconds.
    let mut clear = plain.client().await?;
    let open = host_from_nowhere(&mut clear, NOWHERE).await?;
    let asked = [
        Asked { client: &mut secret, path: NOWHERE, expected: &encrypted },
        Asked { client: &mut clear, path: NOWHERE, expected: &open },
    ];
    let [ours, bare] = latencies(setup.requests, asked).await?;
    for (what, percent, bound) in [("p50", 50, Some(Bound::Ratio(BOUND))), ("p99", 99, None)] {
        report.row(Row {
            what: format!("GET host, TLS, {what}"),
            ours: Figure::Time(ours.percentile(percent)),
            bare: Some(Figure::Time(bare.percentile(percent))),
            bound,
        });
    }
    Ok(())
}
