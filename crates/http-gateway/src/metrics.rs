//! `/metrics`, as Prometheus reads it: what is counted, and how it is written.
//!
//! Labels have few values: a route is its template, never a path; a method is a known one.

mod fleet;

use std::sync::OnceLock;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use metrics::{Gauge, counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use runtime::{Clock, Lifecycle};
use tokio::time::{Instant, timeout};
use utoipa_axum::routes;

use crate::api::Api;
use crate::endpoint::{Endpoint, Endpoints};
use crate::readiness::Ground;
use crate::state::AppState;
use fleet::Fleet;

/// Upper bounds of the classes of durations, in seconds.
const BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 10.0];

/// How often what was measured is summed up, scraped or not.
const UPKEEP: Duration = Duration::from_secs(5);

/// How long a scrape waits for what is read from the store.
const REFRESH: Duration = Duration::from_secs(3);

/// One for the process: what is measured anywhere in it is shown.
static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Begins to measure; what the process is comes first.
///
/// # Errors
/// When the recorder cannot be made.
pub(crate) fn install(clock: &Clock, lifecycle: &Lifecycle) -> Result<(), BuildError> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)?
        .build_recorder();
    let handle = recorder.handle();
    // A second gateway in the process, as in tests, is measured together with the first.
    if metrics::set_global_recorder(recorder).is_ok() {
        drop(HANDLE.set(handle.clone()));
        gauge!("commissaire_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1);
        #[expect(clippy::cast_precision_loss, reason = "seconds fit for some million years")]
        gauge!("process_start_time_seconds").set(clock.wall().as_second() as f64);
        let stopping = lifecycle.stopping();
        lifecycle.spawn("metrics", async move {
            let upkeep = async {
                loop {
                    tokio::time::sleep(UPKEEP).await;
                    handle.run_upkeep();
                }
            };
            tokio::select! {
                () = stopping => {}
                () = upkeep => {}
            }
        });
    }
    Ok(())
}

/// The endpoint of metrics.
pub fn endpoints() -> Endpoints<AppState> {
    Endpoints::new("metrics").add(routes!(render), Endpoint::READER)
}

/// What is counted, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    responses((status = 200, body = String, content_type = "text/plain; version=0.0.4; charset=utf-8")),
)]
pub async fn render(State(state): State<AppState>, api: Api) -> impl IntoResponse {
    let ground =
        Ground { bus: &api.bus, context: &api.context.bus, audit: &state.audit, clock: &api.clock };
    // Sets its gauges; without an answer they stay as they are.
    drop(timeout(REFRESH, state.readiness.alarms(&ground)).await);
    drop(Box::pin(timeout(REFRESH, state.readiness.last_backup(&ground))).await);
    let checks = state.readiness.checks(&ground).await;
    let replicas = state.readiness.services(&ground, true).await.replicas;
    let fleet = match Box::pin(timeout(REFRESH, Fleet::read(&api, &state))).await {
        Ok(Ok(fleet)) => Some(fleet),
        failed => {
            // An outage is logged by the checks.
            if checks.failure.is_none() {
                tracing::warn!(?failed, "the fleet cannot be read for the metrics");
            }
            None
        }
    };
    let mut text = HANDLE.get().map(PrometheusHandle::render).unwrap_or_default();
    text += &fleet::render(fleet.as_ref(), &checks, &replicas);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

/// Measures how long a request takes, and counts it.
pub fn measure<Answer: Future<Output = Response>>(
    request: Request,
    answer: impl FnOnce(Request) -> Answer,
) -> impl Future<Output = Response> {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or_else(|| "none".to_owned(), |route| route.as_str().to_owned());
    let method = known(request.method());
    let (started, in_flight) = (Instant::now(), InFlight::new());
    let answer = answer(request);
    async move {
        let _in_flight = in_flight;
        let response = answer.await;
        let status = response.status().as_u16().to_string();
        let duration = histogram!(
            "commissaire_http_request_duration_seconds",
            "method" => method,
            "route" => route.clone()
        );
        duration.record(started.elapsed());
        let requests = counter!(
            "commissaire_http_requests_total",
            "method" => method,
            "route" => route,
            "status" => status
        );
        requests.increment(1);
        response
    }
}

fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// A request under way, also when its client goes away.
struct InFlight(Gauge);

impl InFlight {
    fn new() -> Self {
        let gauge = gauge!("commissaire_http_requests_in_flight");
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
