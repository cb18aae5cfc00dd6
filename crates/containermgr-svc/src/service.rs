//! The methods of the container manager service.

use std::sync::Arc;

use bus::jsonrpc::Params;
use bus::{Bus, Call, Context, Error, Kind, Result, presence, topology};
use model::messages::{Node, Nodes};
use model::{Address, ident};
use runtime::{Files, Lifecycle};
use serde_json::Value;
use storage_client::StorageClient;

use crate::ClientFactory;
use crate::config::Config;
use crate::managers::{Manager, Managers};

/// Requests that are served concurrently: each waits for a container manager.
const PREFETCH: usize = 64;

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
    let managers = Arc::new(Managers::new(storage, config, files, clients));
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
        other => {
            let message = format!("the container manager service has no method {other:?}");
            Err(Error::new(Kind::MethodNotFound, message))
        }
    }
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
