//! The methods of the container manager service.

use std::sync::Arc;

use bus::jsonrpc::Params;
use bus::{Bus, Call, Context, Error, Kind, Result, presence, topology};
use model::messages::{
    ControlPlaneAnswer, ControlPlaneRequest, CordonRequest, EvictAnswer, EvictRequest, Node,
    NodeRequest, Nodes, NodesRequest, UncordonRequest, WorkloadsAnswer, WorkloadsRequest,
};
use model::{Address, ident};
use runtime::{Files, Lifecycle};
use serde::Serialize;
use serde_json::Value;
use storage_client::StorageClient;

use crate::ClientFactory;
use crate::config::Config;
use crate::debts::Debts;
use crate::managers::{Manager, Managers};

/// Requests that are served concurrently: each waits for a container manager.
const PREFETCH: usize = 64;

/// The parameters of methods that take an object only.
const NAMED: &[&str] = &[];

/// Serves the methods of `container` until the daemon stops. `files` holds the certificates and keys that configurations
/// name.
///
/// # Errors
/// When the bus is unavailable.
pub async fn run(bus: Bus, config: Config, files: Files, lifecycle: &Lifecycle) -> Result<()> {
    run_with(bus, config, files, ClientFactory::Network, lifecycle).await
}

/// The same with clients of Kubernetes API servers that the caller makes.
///
/// # Errors
/// When the bus is unavailable.
pub async fn run_with(
    bus: Bus,
    config: Config,
    files: Files,
    clients: ClientFactory,
    lifecycle: &Lifecycle,
) -> Result<()> {
    let storage = StorageClient::new(bus.clone(), Context::service("containermgr"));
    let managers = Arc::new(Managers::new(storage.clone(), config, files, clients));
    let debts = Debts::new(Arc::clone(&managers), storage);
    let serving = Arc::clone(&managers);
    let handler = move |call| {
        let managers = Arc::clone(&serving);
        async move { answer(&managers, call).await }
    };
    bus.serve(topology::CONTAINERMGR, PREFETCH, lifecycle, handler).await?;
    presence::answer_pings(&bus, topology::CONTAINERMGR.name, lifecycle);
    let stopping = lifecycle.stopping();
    lifecycle.spawn_critical("containermgr", async move {
        tokio::select! {
            () = stopping => {}
            () = managers.follow(&bus) => {}
            () = debts.pay_all(&bus) => {}
        }
    });
    Ok(())
}

async fn answer(managers: &Managers, call: Call) -> Result<Value> {
    match call.method.as_str() {
        "register_node" => {
            let (manager, address) = node(managers, call.params).await?;
            manager.register_node(&address).await.map(|()| Value::Null)
        }
        "remove_node" => {
            let (manager, address) = node(managers, call.params).await?;
            manager.remove_node(&address).await.map(|()| Value::Null)
        }
        "remove_all_nodes" => {
            let Nodes { container_manager_name, addresses } = call.params.parse(Nodes::ORDER)?;
            let addresses: Vec<_> =
                addresses.iter().map(|address| canonical(address)).collect::<Result<_>>()?;
            let manager = managers.get(&container_manager_name).await?;
            manager.remove_nodes(&addresses).await.map(|()| Value::Null)
        }
        "node_registered" => {
            let (manager, address) = node(managers, call.params).await?;
            manager.check_registered(&address).await.map(|()| Value::Null)
        }
        "get_node_status" => {
            let (manager, address) = node(managers, call.params).await?;
            manager.node_status(&address).await
        }
        "nodes" => {
            let request: NodesRequest = call.params.parse(NAMED)?;
            let manager = managers.get(&request.container_manager_name).await?;
            to_json(&manager.nodes(&request).await?)
        }
        "node" => {
            let request: NodeRequest = call.params.parse(NAMED)?;
            let manager = managers.get(&request.container_manager_name).await?;
            to_json(&manager.kubernetes()?.node_contents(&request).await?)
        }
        "cordon" => {
            let request: CordonRequest = call.params.parse(NAMED)?;
            let manager = managers.get(&request.container_manager_name).await?;
            to_json(&manager.kubernetes()?.cordon(&request).await?)
        }
        "uncordon" => {
            let request: UncordonRequest = call.params.parse(NAMED)?;
            let manager = managers.get(&request.container_manager_name).await?;
            to_json(&manager.kubernetes()?.uncordon(&request).await?)
        }
        "evict" => {
            let request: EvictRequest = call.params.parse(NAMED)?;
            let manager = managers.get(&request.container_manager_name).await?;
            let pods = manager.kubernetes()?.evict(&request).await?;
            to_json(&EvictAnswer { pods })
        }
        "control_plane" => {
            let request: ControlPlaneRequest = call.params.parse(NAMED)?;
            let manager = managers.get(&request.container_manager_name).await?;
            let problem = manager.kubernetes()?.control_plane_problem(&request.except).await?;
            to_json(&ControlPlaneAnswer { problem })
        }
        "workloads" => {
            let request: WorkloadsRequest = call.params.parse(NAMED)?;
            let manager = managers.get(&request.container_manager_name).await?;
            let ready = manager.kubernetes()?.workloads(&request.workloads).await?;
            to_json(&WorkloadsAnswer { ready })
        }
        other => {
            let message = format!("the container manager service has no method {other:?}");
            Err(Error::new(Kind::MethodNotFound, message))
        }
    }
}

fn to_json(answer: &impl Serialize) -> Result<Value> {
    serde_json::to_value(answer)
        .map_err(|error| Error::internal("cannot write the answer as JSON").with_source(error))
}

async fn node(managers: &Managers, params: Params) -> Result<(Manager, Address)> {
    let Node { container_manager_name, address } = params.parse(Node::ORDER)?;
    let address = canonical(&address)?;
    Ok((managers.get(&container_manager_name).await?, address))
}

fn canonical(address: &str) -> Result<Address> {
    ident::canonical_address(address)
        .ok_or_else(|| Error::invalid("an address is an IP address or a host name"))
}
