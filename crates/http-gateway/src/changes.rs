//! Changes of clusters that take several transactions: deleting one, and replacing many members.
//!
//! A request marks the cluster (`Cluster::change`) in one transaction, after everything that can be
//! refused was checked. A job then carries the change out, at most [`CHUNK`] hosts per transaction,
//! since etcd limits the operations of one. The mark is the job: each gateway looks for marks when it
//! starts and every 30 s, and takes the lease `change.{cluster}`; so the change continues after a
//! crash. Every transaction checks the lease, and the revision of the cluster with its mark.

mod step;

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use bus::error::chain;
use bus::{Bus, Context, Result, warn_unless_outage};
use model::{ClusterHead, ClusterName, LeasePurpose};
use runtime::claims::{Claim, Claims};
use runtime::{Clock, Lifecycle, random};
use storage_client::lease::{Held, Leases, TTL};
use storage_client::{StorageClient, Transaction};
use tokio::sync::{Mutex, oneshot};
use tokio::time::{sleep, timeout};

use crate::api::Api;
use crate::error::ApiError;
use crate::nodes::Registered;
use crate::request::RequestContext;
use step::{Failure, Progress};

/// Hosts per transaction. Each takes up to two operations (`Host`, `HostState`), and etcd accepts 128.
pub const CHUNK: usize = 50;

/// How often marks are looked for.
const SCAN: Duration = Duration::from_secs(30);

/// The same while another gateway holds the lease of one: whether that gateway is alive shows only over
/// time; and while the storage service does not answer.
const SCAN_AGAIN: Duration = Duration::from_secs(1);

/// How often a request looks whether the job of another gateway has ended.
const POLL: Duration = Duration::from_millis(250);

/// How long a request waits for the end of a change at most. Proxies and `commctl` stop waiting for an
/// answer after 45 to 60 s.
const WAIT: Duration = Duration::from_secs(40);

/// Timeout of a request to the container manager service, which gives a manager 30 s.
const MANAGER_TIMEOUT: Duration = Duration::from_secs(40);

/// Conflicts in a row after which a job pauses until the next scan.
const CONFLICTS: usize = 256;

/// Starts these jobs, and waits for them; clones are cheap and share it.
#[derive(Debug, Clone)]
pub struct Changes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bus: Bus,
    storage: StorageClient,
    clock: Clock,
    retrying: Arc<Mutex<()>>,
    leases: Leases,
    /// The clusters whose change this process carries out.
    busy: Claims,
    lifecycle: Lifecycle,
    wait: Duration,
}

impl Changes {
    /// `request_limit` is how long a request may take.
    pub(crate) fn new(
        bus: &Bus,
        clock: &Clock,
        retrying: &Arc<Mutex<()>>,
        request_limit: Duration,
        lifecycle: &Lifecycle,
    ) -> Self {
        let storage = StorageClient::new(bus.clone(), Context::service("gateway"));
        let owner = format!("gateway:{}", random::uuid());
        Self(Arc::new(Shared {
            leases: Leases::new(storage.clone(), lifecycle.clone(), owner, TTL),
            bus: bus.clone(),
            storage,
            clock: clock.clone(),
            retrying: Arc::clone(retrying),
            busy: Claims::default(),
            lifecycle: lifecycle.clone(),
            // Before that it has been checked and marked, which takes its part of the limit.
            wait: (request_limit / 2).min(WAIT),
        }))
    }

    /// Carries out the change that a cluster is marked with, and waits for its end. A change that another
    /// gateway carries out is waited for.
    ///
    /// # Errors
    /// 504 when the change continues after this request; 502 when the container manager refuses; 503 when
    /// a service does not answer, and the change continues later.
    pub async fn finish(&self, cluster: &ClusterName) -> Result<(), ApiError> {
        timeout(self.0.wait, self.follow(cluster)).await.unwrap_or_else(|_| {
            let detail = "the change takes longer than this request may".to_owned();
            Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, continues(&detail, cluster)))
        })
    }

    async fn follow(&self, cluster: &ClusterName) -> Result<(), ApiError> {
        while self.is_marked(cluster).await? {
            match self.start(cluster).await? {
                Some(ended) => {
                    // The sender is dropped when this process stops.
                    return ended.await.unwrap_or_else(|_| {
                        let detail = "this server is stopping";
                        Err(ApiError::unavailable(continues(detail, cluster)))
                    });
                }
                None => sleep(POLL).await,
            }
        }
        Ok(())
    }

    async fn is_marked(&self, cluster: &ClusterName) -> Result<bool> {
        let found = self.0.storage.find::<ClusterHead>(cluster).await?;
        Ok(found.is_some_and(|cluster| cluster.record.change.is_some()))
    }

    /// Starts the job of a cluster, unless this process or another one carries it out.
    async fn start(
        &self,
        cluster: &ClusterName,
    ) -> Result<Option<oneshot::Receiver<Result<(), ApiError>>>> {
        let Some(claim) = self.0.busy.claim(cluster) else { return Ok(None) };
        let lease = LeasePurpose::Change(cluster).name();
        let Some(held) = self.0.leases.try_acquire(&lease).await? else { return Ok(None) };
        let (sender, ended) = oneshot::channel();
        let job = self.clone().run(cluster.clone(), claim, held, sender);
        self.0.lifecycle.spawn("cluster change", job);
        Ok(Some(ended))
    }

    async fn run(
        self,
        cluster: ClusterName,
        claim: Claim,
        held: Held,
        sender: oneshot::Sender<Result<(), ApiError>>,
    ) {
        let result = tokio::select! {
            result = self.carry_out(&cluster, &held) => Some(result),
            () = self.0.lifecycle.stopping() => None,
        };
        // After the last step the lease is released already.
        if held.check().is_ok()
            && let Err(error) = held.release(Transaction::default()).await
        {
            warn_unless_outage!(error, "the lease of a cluster's change expires by itself");
        }
        drop(claim);
        let Some(result) = result else { return };
        match &result {
            Ok(()) => tracing::info!(
                cluster.name = cluster.as_str(),
                "the change of the cluster has ended"
            ),
            Err(error) => tracing::warn!(
                cluster.name = cluster.as_str(),
                error = error.detail(),
                "the change of the cluster did not end"
            ),
        }
        // The request may have ended before.
        drop(sender.send(result));
    }

    async fn carry_out(&self, cluster: &ClusterName, held: &Held) -> Result<(), ApiError> {
        let api = self.api();
        let registered = Registered::default();
        let mut conflicts = 0;
        let result = loop {
            match step::next(&api, cluster, held, &registered).await {
                Ok(Progress::Continue) => conflicts = 0,
                Ok(Progress::Ended) => break Ok(()),
                Err(Failure::Conflict) if held.check().is_ok() && conflicts < CONFLICTS => {
                    conflicts += 1;
                }
                Err(Failure::Conflict) => {
                    let detail = continues("other requests keep changing its hosts", cluster);
                    return Err(ApiError::unavailable(detail));
                }
                Err(Failure::Later(error)) => {
                    let detail = continues(error.detail(), cluster);
                    return Err(error.with_detail(detail));
                }
                Err(Failure::Refused(error)) => {
                    break Err(step::refused(cluster, held, error, &api).await?);
                }
            }
        };
        registered.take_back(&api).await;
        result
    }

    /// The services, as the job uses them.
    fn api(&self) -> Api {
        let Shared { bus, storage, clock, retrying, .. } = &*self.0;
        Api {
            storage: storage.clone(),
            context: RequestContext {
                bus: Context::service("gateway"),
                ..RequestContext::default()
            },
            bus: bus.with_timeout(MANAGER_TIMEOUT),
            clock: clock.clone(),
            retrying: Arc::clone(retrying),
        }
    }

    /// Looks for clusters that are marked and whose change no gateway carries out, until the daemon stops.
    pub(crate) fn look_for_orphans(self) -> impl Future<Output = ()> + Send {
        let stopping = self.0.lifecycle.stopping();
        let look = async move {
            loop {
                let pause = match self.scan().await {
                    Ok(true) => SCAN,
                    Ok(false) => SCAN_AGAIN,
                    Err(error) => {
                        tracing::debug!(
                            error = chain(&error),
                            "cannot look for changes of clusters yet"
                        );
                        SCAN_AGAIN
                    }
                };
                sleep(pause).await;
            }
        };
        async move {
            tokio::select! {
                () = stopping => {}
                () = look => {}
            }
        }
    }

    /// Starts the jobs that can be started; false when another gateway holds the lease of one.
    async fn scan(&self) -> Result<bool> {
        let clusters = self.0.storage.list::<ClusterHead>().await?.into_iter();
        let marked = clusters.map(|cluster| cluster.record).filter(|c| c.change.is_some());
        let marked: HashSet<_> = marked.map(|cluster| cluster.name).collect();
        let mut all_started = true;
        for cluster in marked {
            let here = self.0.busy.holds(&cluster);
            all_started &= here || self.start(&cluster).await?.is_some();
        }
        Ok(all_started)
    }
}

/// Adds to the detail of an error that the change continues without the request.
fn continues(detail: &str, cluster: &ClusterName) -> String {
    format!(
        "{detail}; the change of the cluster {cluster} goes on by itself: look with GET \
         /api/v0/cluster/{cluster}, or repeat the request to wait for its end"
    )
}
