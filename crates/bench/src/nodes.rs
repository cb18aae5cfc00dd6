//! What a look at 1,000 nodes of a Kubernetes costs the container manager service, without the API server.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bus::{Bus, Context, topology};
use containermgr_svc::{ClientFactory, Config};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use model::ContainerManagerConfig;
use runtime::{Files, Lifecycle};
use serde_json::json;
use simulated_kubernetes::{MASTERS, NodeSettings, Settings, SimulatedKubernetes};
use storage_client::StorageClient;
use tower::{ServiceExt as _, service_fn};

use crate::Setup;
use crate::process::own_cpu;
use crate::report::{Bound, Figure, Report, Row};

/// The nodes.
const NODES: usize = 1000;

/// How often they are looked at.
const ROUNDS: u32 = 20;

/// The most processor time of a look.
const MOST: Duration = Duration::from_millis(100);

/// The most requests of a look: two pages.
const REQUESTS: usize = 2;

/// Answers of the API server, by the paths of the requests: from the second look on, it costs nothing.
#[derive(Debug, Clone, Default)]
struct Answers {
    known: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    requests: Arc<Mutex<usize>>,
}

/// Measures and reports.
///
/// # Errors
/// When it cannot be measured.
pub async fn measure(setup: &Setup, report: &mut Report) -> anyhow::Result<()> {
    let start = "2026-11-28T12:00:00Z".parse().context("no time")?;
    let kubernetes = SimulatedKubernetes::new(Settings { seed: 1, start });
    kubernetes.add_user("token", "commissaire", &[MASTERS]);
    for number in 0..NODES {
        let address = format!("10.0.{}.{}", number / 250, number % 250 + 1);
        kubernetes.add_node(&NodeSettings::new(&format!("node-{number:04}"), &address));
    }
    let answers = Answers::default();
    let (bus, life) = (Bus::memory(), Lifecycle::new());
    let folder = setup.folder.path().join("nodes");
    std::fs::create_dir(&folder).context("cannot make a folder")?;
    let config = storage_svc::Config::sqlite(folder.join("store.db"), folder.join("secret.key"));
    storage_svc::run(&bus, &config, &life).await.context("no storage service")?;
    let storage = StorageClient::new(bus.clone(), Context::service("bench"));
    let manager = json!({"name": "k", "type": "kubernetes",
                         "options": {"server_url": "https://api.test"}});
    let manager: ContainerManagerConfig = serde_json::from_value(manager)?;
    storage.save(&manager).await.context("no container manager")?;
    let clients = ClientFactory::Function(Arc::new({
        let answers = answers.clone();
        move |_: &model::KubernetesOptions| Ok(answers.client(&kubernetes))
    }));
    let run = containermgr_svc::run_with(
        bus.clone(),
        Config::default(),
        Files::default(),
        clients,
        &life,
    );
    run.await.context("no container manager service")?;
    let look = async || {
        let request = json!({"container_manager_name": "k"});
        let context = Context::service("bench");
        let found = bus.request(topology::CONTAINER_NODES, &request, &context).await;
        let found = found.context("no answer")?;
        let count = found["nodes"].as_array().map_or(0, Vec::len);
        anyhow::ensure!(count == NODES, "{count} nodes");
        anyhow::Ok(())
    };
    look().await?;
    let (before, requests) = (own_cpu()?, answers.count());
    for _ in 0..ROUNDS {
        look().await?;
    }
    let each = (own_cpu()?.saturating_sub(before)) / ROUNDS;
    let requests = (answers.count() - requests) / usize::try_from(ROUNDS)?;
    report.row(Row {
        what: format!("look at {NODES} nodes, processor time"),
        ours: Figure::Time(each),
        bare: None,
        bound: Some(Bound::Most(Figure::Time(MOST))),
    });
    report.row(Row {
        what: format!("look at {NODES} nodes, requests"),
        ours: Figure::Count(u32::try_from(requests)?),
        bare: None,
        bound: Some(Bound::Most(Figure::Count(u32::try_from(REQUESTS)?))),
    });
    life.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

impl Answers {
    fn count(&self) -> usize {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client of the API server that asks it each question once.
    fn client(&self, kubernetes: &SimulatedKubernetes) -> kube::Client {
        let (answers, api) = (self.clone(), kubernetes.service());
        let service = service_fn(move |mut request: Request<Body>| {
            let (answers, api) = (answers.clone(), api.clone());
            async move {
                let path = request.uri().to_string();
                *answers.requests.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                let known = answers
                    .known
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get(&path)
                    .cloned();
                if let Some(body) = known {
                    return Ok::<_, Infallible>(Response::new(Body::from(body)));
                }
                let token = http::HeaderValue::from_static("Bearer token");
                request.headers_mut().insert(http::header::AUTHORIZATION, token);
                // A connection that is closed is an answer that is not JSON.
                let body = match api.oneshot(request).await {
                    Ok(response) => response
                        .into_body()
                        .collect()
                        .await
                        .map(http_body_util::Collected::to_bytes)
                        .unwrap_or_default()
                        .to_vec(),
                    Err(_) => Vec::new(),
                };
                answers
                    .known
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(path, body.clone());
                Ok(Response::new(Body::from(body)))
            }
        });
        kube::Client::new(service, "default")
    }
}
