//! The step `ready`: the node of a host that is back has to be ready in Kubernetes, with the host's boot id, for a while.
//!
//! - `gate`: whether a node is ready again (pure)

mod gate;

use std::time::Duration;

use model::messages::NodeRequest;
use model::{FailureReason, HostNode, OperationHost, Outcome, ReadyOptions, Step, WaitReason};
use tokio::time::Instant;

use super::done::save_done;
use super::host::HostRun;
use crate::host_error::{HostError, HostFailure};
use crate::journal::LogLine;
use crate::nodes::NodesError;
use gate::{Part, Problem, problem};

/// The pause between two looks at the node.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The pause between two writes of why the node is not ready yet.
const WRITE_AGAIN: Duration = Duration::from_secs(5);

/// Timeout of a look while the host settles, which goes on in the meantime.
const LOOK: Duration = Duration::from_secs(5);

/// Whether the node of a host is ready again, and since when.
#[derive(Debug)]
pub(super) struct Readiness {
    /// When the host was verified.
    begun: Instant,
    /// Since when the node is ready without interruption.
    ready_since: Option<Instant>,
    /// Why it is not ready.
    problem: String,
    /// The part that it is about.
    missing: Part,
    /// Whether the node does not exist any more.
    is_gone: bool,
}

impl Readiness {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            ready_since: None,
            problem: String::new(),
            missing: Part::Node,
            is_gone: false,
        }
    }

    /// Looks at the node of the host once.
    ///
    /// # Errors
    /// The host has failed if the account of the container manager may not read the node.
    pub(super) async fn look(&mut self, run: &HostRun<'_>, boot_id: &str) -> Result<(), HostError> {
        let Some((nodes, node)) = run.node() else { return Ok(()) };
        let read = |request: NodeRequest| nodes.client.node(request);
        // One request a look: of what was not ready at the last one, else of the node.
        let looked = async {
            let contents = read(request(&node, self.missing)).await?;
            if let Some(problem) = problem(&node, boot_id, &contents, self.missing) {
                return Ok(Some((self.missing, problem)));
            }
            if self.ready_since.is_some() {
                return Ok(None);
            }
            for part in Part::ALL.into_iter().filter(|part| *part != self.missing) {
                let contents = read(request(&node, part)).await?;
                if let Some(problem) = problem(&node, boot_id, &contents, part) {
                    return Ok(Some((part, problem)));
                }
            }
            Ok(None)
        };
        let problem = match looked.await {
            Ok(None) => None,
            Ok(Some((_, Problem::Gone))) => {
                self.is_gone = true;
                None
            }
            Ok(Some((part, Problem::NotReady(problem)))) => {
                self.missing = part;
                Some(problem)
            }
            Err(NodesError::Away { message, .. }) => Some(message),
            Err(NodesError::Denied(message) | NodesError::Refused(message)) => {
                let (address, name) = (run.address(), &node.name);
                let message = format!(
                    "{message}; {address} is back after its reboot, and its node {name} stays cordoned: look at it, then \
                     uncordon it with `commctl host uncordon {address}`"
                );
                return Err(HostFailure::new(FailureReason::KubernetesDenied, message).into());
            }
        };
        match problem {
            None => {
                self.ready_since.get_or_insert_with(Instant::now);
                self.missing = Part::Node;
                self.problem.clear();
            }
            Some(problem) => {
                self.ready_since = None;
                self.problem = problem;
            }
        }
        Ok(())
    }

    /// Looks at everything once more: pods and drivers are not looked at while the node stays ready.
    async fn look_at_all(&mut self, run: &HostRun<'_>, boot_id: &str) -> Result<(), HostError> {
        let ready_since = self.ready_since.take();
        self.look(run, boot_id).await?;
        if self.ready_since.is_some() {
            self.ready_since = ready_since;
        }
        Ok(())
    }

    /// Looks while the host settles: a slow answer does not delay that.
    pub(super) async fn look_meanwhile(
        &mut self,
        run: &HostRun<'_>,
        boot_id: &str,
    ) -> Result<(), HostError> {
        if run.part().node.is_none() {
            return Ok(());
        }
        if let Ok(looked) = tokio::time::timeout(LOOK, self.look(run, boot_id)).await {
            return looked;
        }
        self.ready_since = None;
        Ok(())
    }

    /// Why the node does not count as ready.
    fn problem(&self, settle: Duration) -> String {
        let Some(since) = self.ready_since else { return self.problem.clone() };
        format!(
            "it is ready, but only for {} s, and has to be for {} s (`ready.settle`)",
            since.elapsed().as_secs(),
            settle.as_secs()
        )
    }

    fn has_settled(&self, settle: Duration) -> bool {
        self.is_gone || self.ready_since.is_some_and(|since| since.elapsed() >= settle)
    }
}

/// The request for a part of what has to be ready.
fn request(node: &HostNode, part: Part) -> NodeRequest {
    NodeRequest {
        node: node.name.clone(),
        state: part == Part::Node,
        pods: part == Part::Pods,
        drivers: part == Part::Drivers,
        ..NodeRequest::default()
    }
}

/// Saves what follows once the host is verified and has settled: the step `ready` if it has a node, else it is done.
pub(super) async fn enter_ready(
    run: &mut HostRun<'_>,
    boot_id: &str,
    failed_units: &[String],
) -> Result<(), HostError> {
    if run.part().node.is_none() {
        return save_done(run, boot_id, failed_units).await;
    }
    let change = |host: &mut OperationHost| {
        host.step = Step::Ready;
        if host.boot_id_before.is_some() {
            host.boot_id_after = Some(boot_id.to_owned());
        }
        if !failed_units.is_empty() {
            host.result.get_or_insert_default().failed_units = failed_units.to_vec();
        }
    };
    run.save(change, &[LogLine(Step::Ready, Outcome::Started, "")]).await?;
    run.verified = Some(boot_id.to_owned());
    Ok(())
}

/// Waits until the node has been ready for as long as the operation says, and saves the step `uncordon`.
pub(super) async fn ready(run: &mut HostRun<'_>) -> Result<(), HostError> {
    let boot_id = run.verified.clone().unwrap_or_default();
    let options = run.journal.operation.options.ready.clone().unwrap_or_default();
    let mut readiness = run.readiness.take().unwrap_or_else(Readiness::new);
    // A node that was not ready before does not have to be.
    if run.part().node.is_some_and(|node| node.was_ready) {
        wait_until_ready(run, &mut readiness, &options, &boot_id).await?;
    }
    let detail = if readiness.is_gone { "the node was deleted in the meantime" } else { "" };
    let is_gone = readiness.is_gone;
    let change = |host: &mut OperationHost| {
        host.step = Step::Uncordon;
        if let Some(node) = host.node.as_mut().filter(|_| is_gone) {
            node.is_cordoned = false;
        }
    };
    let lines =
        [LogLine(Step::Ready, Outcome::Ok, detail), LogLine(Step::Uncordon, Outcome::Started, "")];
    Ok(run.save(change, &lines).await?)
}

async fn wait_until_ready(
    run: &mut HostRun<'_>,
    readiness: &mut Readiness,
    options: &ReadyOptions,
    boot_id: &str,
) -> Result<(), HostError> {
    let deadline = readiness.begun + options.timeout().max(options.settle());
    let mut written: Option<Instant> = None;
    loop {
        if readiness.has_settled(options.settle()) {
            readiness.look_at_all(run, boot_id).await?;
        } else {
            readiness.look(run, boot_id).await?;
        }
        if readiness.has_settled(options.settle()) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let problem = readiness.problem(options.settle());
            return Err(not_ready(run, &problem, options.timeout()).into());
        }
        let is_recent = written.is_some_and(|at| at.elapsed() < WRITE_AGAIN);
        let detail = readiness.problem.clone();
        let wait = run.wait(WaitReason::NodeReturning, &detail);
        if !detail.is_empty() && !is_recent && run.part().wait.as_ref() != Some(&wait) {
            let change = |host: &mut OperationHost| host.wait = Some(wait.clone());
            run.save(change, &[LogLine(Step::Ready, Outcome::Waiting, &detail)]).await?;
            written = Some(Instant::now());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Whether the node of a host that came back late is ready again.
pub(super) async fn is_ready(run: &HostRun<'_>, boot_id: &str) -> Result<bool, HostError> {
    let Some(node) = run.part().node else { return Ok(true) };
    let mut readiness = Readiness::new();
    readiness.look(run, boot_id).await?;
    Ok(!node.was_ready || readiness.is_gone || readiness.ready_since.is_some())
}

fn not_ready(run: &HostRun<'_>, problem: &str, timeout: Duration) -> HostFailure {
    let node = run.part().node.map(|node| node.name).unwrap_or_default();
    let address = run.address();
    let message = format!(
        "the node {node} of {address} was not ready {} s after the host was verified: {problem}; it stays cordoned: \
         look at its kubelet, then uncordon it with `commctl host uncordon {address}`",
        timeout.as_secs()
    );
    HostFailure::new(FailureReason::NodeNotReady, message)
}
